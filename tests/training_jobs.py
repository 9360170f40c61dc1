"""Small trainings for tests: a job on a few small images, and what it left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from debride.data.augmentation import Augmentation, ClassAugmentation
from debride.data.open import open_dataset, trust
from debride.methods import METHODS
from debride.training.config import ClassTrainConfig, TrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from tests.datasets import build_folder, build_nnunet_3d, build_npz
from tests.methods_under_test import Remembering, RememberingTwice, TwoStreams

TEST_METHODS = {"remembering": Remembering, "remembering-twice": RememberingTwice, "two-streams": TwoStreams}
SMALL = {
    "epochs": 2,
    "batch_size": 4,
    "network": "unet-small",
    "width": 4,
    "learning_rate": 0.05,
    "device": "cpu",
    "log_to": (),
    "image_size": (32, 32),
}


SMALL_CLASSES = {
    "epochs": 3,
    "batch_size": 8,
    "network": "cnn",
    "width": 4,
    "learning_rate": 0.05,
    "device": "cpu",
    "log_to": (),
}


def small_class_job(root: Path, method: str, *, out: str = "run", resume: bool = False, n: int = 48, **settings: Any) -> Job:
    """A training of ``method`` on 12 x 12 images of three classes, of which a few are trusted; ``config`` is the method's."""
    data = root / "classes"
    if not data.exists():
        build_npz(data, n=n)
    dataset = open_dataset(data, trusted=settings.pop("trusted", None))
    if not any(case.trusted for case in dataset.cases):
        dataset = trust(dataset, 0.2, 0)
    config, augmentation = settings.pop("config", {}), settings.pop("augmentation", ClassAugmentation())
    return Job(
        dataset=dataset,
        method=method,
        method_config=METHODS[method].Config(**config),
        config=ClassTrainConfig(**{**SMALL_CLASSES, **settings}),
        augmentation=augmentation,
        out=root / out,
        cache=root / "cache",
        resume=resume,
    )


def small_job(
    root: Path, method: str, *, out: str = "run", resume: bool = False, volumes: bool = False, n: int = 12, **settings: Any
) -> Job:
    """A training of ``method`` on images of 32 x 32 (or patches of small volumes), made under ``root`` where they are not
    there yet. A method that needs trusted cases is given some."""
    data = root / "data"
    if not data.exists():
        build_nnunet_3d(data, n=6) if volumes else build_folder(data, n=n, classes=3)
    METHODS.update(TEST_METHODS)
    config = dict(SMALL)
    if volumes:
        config |= {"image_size": None, "patch_size": (16, 16, 16), "batch_size": 2}
    trusted = settings.pop("trusted", None)
    augmentation = settings.pop("augmentation", Augmentation())
    dataset = open_dataset(data, trusted=trusted)
    if trusted is None and "trusted" in METHODS[method].paper.needs:
        dataset = trust(dataset, 0.2, 0)
    return Job(
        dataset=dataset,
        method=method,
        method_config=METHODS[method].Config(),
        config=TrainConfig(**{**config, **settings}),
        augmentation=augmentation,
        out=root / out,
        cache=root / "cache",
        resume=resume,
    )


def run_job(job: Job, threads: int = 1) -> None:
    """``fit`` in a process of its own: picklable, with the test methods known and one thread."""
    METHODS.update(TEST_METHODS)
    torch.set_num_threads(threads)
    fit(job)


def weights(run: Path, which: str) -> dict[str, torch.Tensor]:
    """The tensors of a weights file of a run."""
    return load_file(run / "weights" / f"{which}.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
