"""The real sets of the benchmark, how many of their labels are looked at, and how the networks that judge them are trained."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from debride.data.open import open_dataset
from debride.data.rater_choice import image_id
from debride.rng import derive
from debride.types import Dataset

SHARES = (0.0, 0.05, 0.15, 0.3)
"""Shares of the labels that are made wrong. Without any, nothing should be flagged."""

SEEDS = (0, 1, 2)
"""Each draws other labels, errors, folds and weights."""

MEMBERS = 2
"""Networks that predict each case: their mean is what all rankings see, their disagreement is a ranking."""

IMAGES = {"image_size": (64, 64), "epochs": 10, "batch_size": 8}
"""How networks for pictures are trained."""

VOLUMES = {"image_size": (16, 32, 32), "epochs": 10, "batch_size": 2}
"""How networks for volumes are trained."""


@dataclass(frozen=True)
class Audited:
    """A set of the benchmark: its ``folder`` in DEBRIDE_DATA, how many ``cases`` are drawn of it (None: all), the training of
    its networks, and with several raters the one whose labels are audited."""

    folder: str
    cases: int | None
    training: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    rater: str | None = None
    folds: int = 2


SETS = {
    "acdc": Audited("nnUNet_raw/Dataset102_ACDC", 400, IMAGES, {"patient_pattern": "^(patient[0-9]+)"}),
    "kvasir": Audited("kvasir-seg", 300, IMAGES),
    "atrium": Audited("nnUNet_raw/Dataset101_LeftAtrium", None, VOLUMES),
    "jsrt": Audited("jsrt", None, IMAGES | {"epochs": 25}),
    "lidc": Audited("lidc", 800, IMAGES | {"epochs": 6}, rater="rater1"),
}

TRAINED_ON = {"network": "benchmarks.audit.quick:quick", "learning_rate": 0.1, "device": "cpu"}
"""What all trainings share."""


def whole_set(name: str) -> Dataset:
    """A set where DEBRIDE_DATA has it."""
    return open_dataset(Path(os.environ["DEBRIDE_DATA"]) / SETS[name].folder, **SETS[name].options)


def open_set(name: str) -> Dataset:
    """The training and validation cases of a set, of one rater alone where there are several."""
    dataset = whole_set(name)
    cases = [case for case in dataset.of("train", "val") if SETS[name].rater in (None, case.rater)]
    return replace(dataset, cases=tuple(cases), rest=None)


def drawn(dataset: Dataset, limit: int | None, seed: int) -> Dataset:
    """The data set with at most so many images, drawn by the seed and their names."""
    images = sorted({image_id(case) for case in dataset.cases}, key=lambda id: (derive(seed, "audited", id), id))
    kept = set(images[:limit])
    return replace(dataset, cases=tuple(case for case in dataset.cases if image_id(case) in kept))
