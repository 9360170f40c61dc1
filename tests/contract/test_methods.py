"""What every method must do, whatever its paper says."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_npz
from tests.training_jobs import TEST_METHODS, same, small_class_job, small_job, weights

from debride.cli import make_parser
from debride.data.augmentation import Augmentation, ClassAugmentation
from debride.data.open import trust
from debride.methods import METHODS
from debride.methods.base import Method
from debride.training.fit import Job, fit, make_method
from debride.training.predict import load_run
from debride.training.run import TrainingRun
from debride.types import DataError

NAMES = sorted(set(METHODS) - set(TEST_METHODS))
SEGMENTERS = [name for name in NAMES if "segmentation" in METHODS[name].tasks]
CLASSIFIERS = [name for name in NAMES if "classification" in METHODS[name].tasks]
JOBS = [("segmentation", name) for name in SEGMENTERS] + [("classification", name) for name in CLASSIFIERS]


def job_for(task: str, root: Path, name: str, **settings: Any) -> Job:
    """A small training of a method for a task."""
    if task == "classification":
        return small_class_job(root, name, **settings)
    return small_job(root, name, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_says_where_it_comes_from(name: str) -> None:
    method = METHODS[name]
    assert method.__mro__[1] is Method, "one level of inheritance"
    assert method.paper.title and method.paper.authors and method.paper.reference and method.paper.sections
    for field in dataclasses.fields(method.Config):
        assert field.metadata.get("about"), f"{name}: {field.name} does not say what it is"
    assert inspect.getdoc(method)


@pytest.mark.parametrize("name", NAMES)
def test_its_options_do_not_clash_with_others(name: str) -> None:
    make_parser(["train", name, "data"])


@pytest.mark.parametrize(("task", "name"), JOBS)
def test_same_seed_gives_same_weights_and_another_seed_others(task: str, name: str, tmp_path: Path) -> None:
    epochs = 1 if task == "segmentation" else 2  # the second is no warm-up
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(job_for(task, tmp_path, name, out=out, seed=seed, epochs=epochs))
    a, b, c = (weights(tmp_path / out, f"epoch-000{epochs}") for out in "abc")
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize(("task", "name"), [*JOBS, *(("segmentation", name) for name in TEST_METHODS)])
def test_resumed_equals_uninterrupted(task: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping after an epoch and going on gives the weights, the records and the label state of a training in one go."""
    trusted = tmp_path / "trusted.txt"
    trusted.write_text("case000\ncase001\n" if task == "segmentation" else "train_00000\ntrain_00001\ntrain_00002\n")
    whole = job_for(task, tmp_path, name, out="whole", epochs=4, trusted=trusted)
    fit(whole)
    part = job_for(task, tmp_path, name, out="part", epochs=4, trusted=trusted)
    optimise = TrainingRun.optimise

    def stop_in_last_epoch(run: TrainingRun, *arguments: object, **more: object) -> None:
        if run.epoch == 3:
            raise StoppedError
        optimise(run, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingRun, "optimise", stop_in_last_epoch)
    with pytest.raises(StoppedError):
        fit(part)
    monkeypatch.undo()
    fit(dataclasses.replace(part, resume=True))
    assert same(weights(tmp_path / "whole", "epoch-0004"), weights(tmp_path / "part", "epoch-0004"))
    records = [
        [json.loads(line) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()] for out in ("whole", "part")
    ]
    assert [row["train"] for row in records[0]] == [row["train"] for row in records[1]]
    states = [tmp_path / out / "resume" / "epoch-0004" / "labels" for out in ("whole", "part")]
    assert folder_hash(states[0]) == folder_hash(states[1])


@pytest.mark.parametrize(("task", "name"), JOBS)
def test_data_are_left_alone(task: str, name: str, tmp_path: Path) -> None:
    job = job_for(task, tmp_path, name, epochs=1)
    before = folder_hash(job.dataset.root)
    fit(job)
    assert folder_hash(job.dataset.root) == before


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("volumes", [False, True], ids=["2D", "3D"])
def test_trains_and_predicts_probabilities(name: str, volumes: bool, tmp_path: Path) -> None:
    job = small_job(tmp_path, name, volumes=volumes, epochs=1)
    fit(job)
    trained = load_run(job.out, "last", torch.device("cpu"))
    size = (16, 16, 16) if volumes else (32, 32)
    channels = trained.channels
    with torch.no_grad():
        probability = trained.method.predict(torch.randn(2, channels, *size))
    assert probability.shape == (2, len(job.dataset.classes), *size)
    assert probability.dtype == torch.float32
    torch.testing.assert_close(probability.sum(1), torch.ones(2, *size))
    assert (probability >= 0).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifies(name: str, tmp_path: Path) -> None:
    """Probabilities of images of any size, for grey images too."""
    job = small_class_job(tmp_path, name, epochs=2)
    fit(job)
    trained = load_run(job.out, "last", torch.device("cpu"))
    with torch.no_grad():
        probability = trained.method.predict(torch.randn(5, 3, 20, 14))
    assert probability.shape == (5, 3) and probability.dtype == torch.float32 and bool((probability >= 0).all())
    torch.testing.assert_close(probability.sum(1), torch.ones(5))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifies_a_toy_set(name: str, tmp_path: Path) -> None:
    """On images that differ in colour nearly all are right after a few epochs, three in ten labels being wrong."""
    build_npz(tmp_path / "classes", n=96, noise=0.3)
    clean = tmp_path / "trusted.txt"
    images = np.load(tmp_path / "classes" / "small.npz")
    right = [row for row in range(96) if images["train_labels"][row, 0] == row % 3][:12]
    clean.write_text("".join(f"train_{row:05d}\n" for row in right))
    config = {"noise_rate": 0.3} if "noise_rate" in METHODS[name].paper.needs else {}
    job = small_class_job(
        tmp_path, name, epochs=12, trusted=clean, config=config, augmentation=ClassAugmentation(policy="none")
    )
    fit(job)
    last = json.loads((job.out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val"]["accuracy"] > 0.85, last


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_for_another_task_is_refused(name: str, tmp_path: Path) -> None:
    for task, make in (("segmentation", small_job), ("classification", small_class_job)):
        if task in METHODS[name].tasks:
            continue
        with pytest.raises(DataError, match=f"is not for {task}") as caught:
            fit(make(tmp_path, name))
        assert "ce" in caught.value.remedy


@pytest.mark.parametrize("name", SEGMENTERS)
def test_learns_a_toy_set(name: str, tmp_path: Path) -> None:
    """After some epochs on easy images with clean labels, the Dice on the validation cases is far from where it began."""
    settings = {"epochs": 40, "learning_rate": 0.02, "validate_every": 40, "n": 18, "optimiser": "adamw", "width": 8}
    job = small_job(tmp_path, name, augmentation=Augmentation.none(), **settings)
    if "noise_rate" in METHODS[name].paper.needs:
        job = dataclasses.replace(job, method_config=METHODS[name].Config(noise_rate=0.0))
    if name == "mean-teacher":  # learns from trusted cases alone
        job = dataclasses.replace(job, dataset=trust(job.dataset, 0.7, 0))
    if name == "cl":  # corrects labels once: not before the network knows them, which a tenth of 120 steps is too few for
        job = dataclasses.replace(job, method_config=METHODS[name].Config(warm_up=0.5))
    fit(job)
    last = json.loads((job.out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val"]["dice"] > 0.75, last


@pytest.mark.parametrize(("task", "name"), JOBS)
def test_networks_start_apart_and_depend_on_the_seed(task: str, name: str, tmp_path: Path) -> None:
    job = job_for(task, tmp_path, name)
    one, again = make_method(job, 3).state_dict(), make_method(job, 3).state_dict()
    assert same(one, again)
    own = {name: value for name, value in one.items() if not name.startswith("teacher.")}  # which is a copy at first
    matrices = [value for value in own.values() if value.ndim > 1 and value.std() > 0]
    assert len({value.numpy().tobytes() for value in matrices}) == len(matrices), "two layers have the same initial weights"


class StoppedError(Exception):
    """What a training that is stopped on purpose raises."""


def folder_hash(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
