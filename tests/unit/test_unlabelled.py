"""Training images without a label: what is learnt from them, and that nothing else is made of them."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder
from tests.training_jobs import SMALL, run_job, same, small_class_job, small_job, weights

from debride.data.augmentation import Augmentation
from debride.data.open import open_dataset
from debride.methods import METHODS
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.training.predict import trained_on
from debride.training.unlabelled import with_unlabelled
from debride.types import DataError, Dataset

TAKERS = [name for name, cls in METHODS.items() if cls.paper.unlabelled]


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    """A data set of a few labelled images, and another with the masks of as many others."""
    whole = build_folder(tmp_path / "whole", n=16, classes=3)
    names = sorted(path.stem for path in (whole / "images").iterdir())
    for folder, part in (("labelled", names[:8]), ("others", names[8:])):
        for kind in ("images", "masks"):
            (tmp_path / folder / kind).mkdir(parents=True)
            for file in (whole / kind).iterdir():
                if file.stem in part:
                    shutil.copy(file, tmp_path / folder / kind / file.name)
    splits = {"train": names[:6], "val": names[6:8]}
    (tmp_path / "labelled" / "splits.json").write_text(json.dumps(splits))
    return tmp_path / "labelled", tmp_path / "others"


def job_on(dataset: Dataset, method: str, out: Path, **settings: object) -> Job:
    return Job(
        dataset=dataset,
        method=method,
        method_config=METHODS[method].Config(),
        config=TrainConfig(**{**SMALL, **settings}),  # type: ignore[arg-type]
        augmentation=Augmentation(),
        out=out,
        cache=out.parent / "cache",
    )


def garbled(folder: Path, seed: int) -> None:
    """Other masks of the same kind in place of those that there are."""
    draws = np.random.default_rng(seed)
    for file in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray(draws.choice(np.unique(mask), mask.shape).astype(mask.dtype)).save(file)


def test_some_methods_take_them() -> None:
    assert TAKERS == ["mean-teacher", "mtcl", "alc"]


@pytest.mark.slow
@pytest.mark.parametrize("method", TAKERS)
def test_hidden_labels_change_no_bit(tmp_path: Path, parts: tuple[Path, Path], method: str) -> None:
    labelled, others = parts
    for number, out in enumerate(("first", "second")):
        garbled(others, number)
        fit(job_on(with_unlabelled(open_dataset(labelled), others, method), method, tmp_path / out))
    assert same(weights(tmp_path / "first", "epoch-0002"), weights(tmp_path / "second", "epoch-0002"))
    assert (tmp_path / "first" / "run.json").read_bytes() == (tmp_path / "second" / "run.json").read_bytes()


@pytest.mark.slow
def test_a_mean_teacher_learns_the_same_from_them_as_from_images_whose_labels_it_does_not_look_at(
    tmp_path: Path, parts: tuple[Path, Path]
) -> None:
    labelled, others = parts
    without = with_unlabelled(open_dataset(labelled), others / "images", "mean-teacher")
    given = tuple(
        case if case.label else replace(case, label=others / "masks" / f"{case.patient}.png") for case in without.cases
    )
    fit(job_on(without, "mean-teacher", tmp_path / "without"))
    fit(job_on(replace(without, cases=given), "mean-teacher", tmp_path / "with"))
    assert same(weights(tmp_path / "without", "epoch-0002"), weights(tmp_path / "with", "epoch-0002"))
    trusted_alone = job_on(open_dataset(labelled), "mean-teacher", tmp_path / "alone")
    cases = tuple(replace(case, trusted=True) for case in trusted_alone.dataset.cases)
    fit(replace(trusted_alone, dataset=replace(trusted_alone.dataset, cases=cases)))
    assert not same(weights(tmp_path / "without", "epoch-0002"), weights(tmp_path / "alone", "epoch-0002"))


@pytest.mark.slow
@pytest.mark.parametrize("method", TAKERS)
def test_they_are_in_no_score_and_no_cleansed_label(tmp_path: Path, parts: tuple[Path, Path], method: str) -> None:
    labelled, others = parts
    dataset = open_dataset(labelled, trusted=None)
    marked = tuple(replace(case, trusted=case.id == dataset.of("train")[0].id) for case in dataset.cases)
    job = job_on(with_unlabelled(replace(dataset, cases=marked), others, method), method, tmp_path / "run")
    fit(replace(job, cleansed=True))
    own = {case.id for case in dataset.of("train")}
    with (job.out / "label_scores.csv").open() as file:
        assert {row["case"] for row in csv.DictReader(file)} == own
    assert {path.stem for path in (job.out / "cleansed").iterdir()} == own
    description = json.loads((job.out / "run.json").read_text())
    assert description["trusted"] == [dataset.of("train")[0].id]
    assert len(description["unlabelled"]) == 8 and all(name.startswith("unlabelled/") for name in description["unlabelled"])
    assert set(trained_on(job.out, "last") or ()) == own
    resumed = replace(job, resume=True)
    before = weights(job.out, "epoch-0002")
    fit(resumed)
    assert same(before, weights(job.out, "epoch-0002"))


def test_images_of_the_data_set_are_left_out(
    tmp_path: Path, parts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    labelled, others = parts
    for number, file in enumerate(sorted((labelled / "images").iterdir())):
        shutil.copy(file, others / "images" / f"again{number}.png")
    joined = with_unlabelled(open_dataset(labelled), others / "images", "alc")
    names = {case.id for case in joined.cases if case.label is None}
    assert len(names) == 8 and not any("again" in name for name in names)
    said = capsys.readouterr().err
    assert "8 images are in the data set too (6 of train, 2 of val) and are left out" in said
    assert "6 training cases have a label, 8 have none" in said and "no case is marked as trusted" in said
    assert [case.trusted for case in joined.of("train")] == [True] * 6 + [False] * 8
    with pytest.raises(DataError, match="holds no image that the data set does not have"):
        with_unlabelled(open_dataset(labelled), labelled / "images", "alc")


def test_images_of_another_kind_are_refused(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    labelled, others = parts
    file = next((others / "images").iterdir())
    grey = Image.open(file).convert("L" if np.asarray(Image.open(file)).ndim == 3 else "RGB")
    grey.save(file)
    with pytest.raises(DataError, match=rf"{file.name}: has \d channels, others have \d"):
        fit(job_on(with_unlabelled(open_dataset(labelled), others, "alc"), "alc", tmp_path / "run"))


def test_methods_and_tasks_without_a_use_for_them_are_refused(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    labelled, others = parts
    dataset = open_dataset(labelled)
    with pytest.raises(DataError, match=r"method ce: learns nothing .* Methods that do: mean-teacher, mtcl, alc"):
        with_unlabelled(dataset, others, "ce")
    joined = with_unlabelled(dataset, others, "alc")
    with pytest.raises(DataError, match="method gsd-net: learns nothing"):
        fit(job_on(joined, "gsd-net", tmp_path / "run"))
    with pytest.raises(DataError, match=r"`devices`: is 2, and some training cases have no label"):
        run_job(job_on(joined, "alc", tmp_path / "run", devices=2))
    with pytest.raises(DataError, match="`unlabelled`: is not for classification"):
        with_unlabelled(small_class_job(tmp_path / "classes", "ce").dataset, others, "alc")
    blank = tuple(replace(case, label=None) if case.split == "val" else case for case in dataset.cases)
    with pytest.raises(DataError, match="has validation cases without a label"):
        fit(job_on(replace(dataset, cases=blank), "ce", tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("method", TAKERS)
def test_on_patches_of_volumes(tmp_path: Path, method: str) -> None:
    job = small_job(tmp_path, method, volumes=True, foreground=1.0, epochs=1)
    first, *others = job.dataset.of("train")
    blank = [replace(case, label=None, trusted=False) for case in others]
    cases = (replace(first, trusted=True), *blank, *job.dataset.of("val"))
    fit(replace(job, dataset=replace(job.dataset, cases=cases)))
    assert (job.out / "weights" / "epoch-0001.safetensors").exists()
