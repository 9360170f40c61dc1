"""Predictions from runs: which run a case goes to, what the network has seen, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.prediction_files import pictures, predicted, random_map, save_npy
from tests.training_jobs import small_job

from debride.audit.predictions.sources import FolderPredictions, RunPredictions, open_predictions, warn_seen
from debride.data.pixels.images import read_image, read_label
from debride.training.fit import fit
from debride.training.predict import load_run, trained_on
from debride.training.predict_masks import predict_case, predict_whole
from debride.types import DataError, Dataset


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """Two runs of a cross-validation, fold-1 without the first three cases and fold-2 with these alone."""
    root = tmp_path_factory.mktemp("runs")
    dataset = small_job(root, "ce", n=6).dataset
    cases = [replace(case, split="train") for case in dataset.cases]
    for name, part in (("fold-1", cases[3:]), ("fold-2", cases[:3])):
        job = small_job(root, "ce", out=f"cv/{name}", epochs=1, image_size=(16, 16), crop=True)
        fit(replace(job, dataset=replace(dataset, cases=tuple(part))))
    return root / "cv", dataset


@pytest.mark.slow
def test_each_case_goes_to_the_run_that_has_not_seen_it(runs: tuple[Path, Dataset]) -> None:
    folder, dataset = runs
    found = open_predictions(folder, dataset, dataset.cases, device="cpu")
    assert isinstance(found, RunPredictions)
    assert [found.seen(case) for case in dataset.cases] == [False] * 6 and warn_seen(found, dataset.cases) is None
    assert found.about["runs"] == [str(folder / name) for name in ("fold-1", "fold-2")] and found.about["methods"] == ["ce"]
    mixed = [dataset.cases[at] for at in (4, 0, 5, 1)]
    assert [case.id for case in found.order(mixed)] == ["case000", "case001", "case004", "case005"] or [
        case.id for case in found.order(mixed)
    ] == ["case004", "case005", "case000", "case001"]
    for case, run in ((dataset.cases[0], "fold-1"), (dataset.cases[5], "fold-2")):
        trained = load_run(folder / run, "last", torch.device("cpu"))
        image, geometry = read_image(case.image)
        low = predict_case(trained, image, geometry, torch.device("cpu"))
        wanted = torch.nn.functional.interpolate(low[None], (32, 32), mode="bilinear", align_corners=False, antialias=True)[0]
        np.testing.assert_allclose(predicted(found, case, dataset).probability, wanted, atol=1e-5)


def test_one_run_for_all_cases_says_what_it_has_seen(runs: tuple[Path, Dataset]) -> None:
    folder, dataset = runs
    found = open_predictions(folder / "fold-1", dataset, dataset.cases, device="cpu")
    assert [found.seen(case) for case in dataset.cases] == [False] * 3 + [True] * 3
    assert "labels of 3 of these 6 cases" in str(warn_seen(found, dataset.cases))
    grouped = replace(dataset, cases=tuple(replace(case, patient=f"p{n % 3}") for n, case in enumerate(dataset.cases)))
    found = open_predictions(folder / "fold-1", grouped, grouped.cases, device="cpu")
    assert [found.seen_patient(case) for case in grouped.cases] == [True] * 3 + [False] * 3
    assert trained_on(folder / "fold-1", "last") == ("case003", "case004", "case005")


def test_of_the_best_weights_the_validation_cases_are_seen(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", n=6, epochs=1)
    fit(job)
    val, train = ({case.id for case in job.dataset.of(split)} for split in ("val", "train"))
    assert set(trained_on(tmp_path / "run", "last") or ()) == train
    assert set(trained_on(tmp_path / "run", "best") or ()) == train | val
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    del description["train"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(description))
    found = open_predictions(tmp_path / "run", job.dataset, job.dataset.cases, device="cpu")
    assert {found.seen(case) for case in job.dataset.cases} == {None}


def test_runs_for_other_classes_and_cases_without_a_run_are_refused(runs: tuple[Path, Dataset]) -> None:
    folder, dataset = runs
    for classes in (dataset.classes[:2], dataset.classes[:1] + dataset.classes[:0:-1]):
        with pytest.raises(DataError, match="was trained on the classes"):
            open_predictions(folder, replace(dataset, classes=classes), dataset.cases, device="cpu")
    found = open_predictions(folder, dataset, dataset.cases[:1], device="cpu")
    with pytest.raises(DataError, match="has no run"):
        found.seen(dataset.cases[1])  # type: ignore[union-attr]
    with pytest.raises(DataError, match="its label"):
        found.of(dataset.cases[0], (31, 32), read_label(Path(str(dataset.cases[0].label)), dataset)[1])
    with pytest.raises(DataError, match="does not exist"):
        RunPredictions({"case000": folder / "absent"}, dataset, "cpu")


def test_a_volume_comes_whole_in_half_precision_with_background_where_it_was_cropped(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", volumes=True, epochs=1, crop=True)
    case = job.dataset.cases[0]
    for path in case.image:
        volume: Any = nib.load(path)
        voxels = np.asarray(volume.dataobj).copy()
        voxels[:3] = 0
        make: Any = nib.Nifti1Image
        nib.save(make(voxels, volume.affine), path)
    fit(job)
    trained = load_run(tmp_path / "run", "last", torch.device("cpu"))
    probability = predict_whole(trained, case, torch.device("cpu"))
    image, geometry = read_image(case.image)
    assert probability.shape == (3, *image.shape[1:]) and probability.dtype == np.float16
    inside = predict_case(trained, image[..., 3:], geometry, torch.device("cpu")).numpy()
    np.testing.assert_allclose(probability[..., 3:], inside, atol=1e-3)
    assert (probability[0, ..., :3] == 1).all() and (probability[1:, ..., :3] == 0).all()


def test_a_folder_without_runs_is_one_of_files(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    for case in dataset.cases[:2]:
        save_npy(tmp_path / "p" / f"{case.id}.npy", random_map(3, (12, 12)))
    assert isinstance(open_predictions(tmp_path / "p", dataset, dataset.cases[:2]), FolderPredictions)
    assert isinstance(open_predictions(tmp_path / "p", dataset, dataset.cases, missing_ok=True), FolderPredictions)
