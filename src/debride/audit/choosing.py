"""Which cases to verify: what is read of each case, and the few that are chosen by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.wrong_classes.near_duplicates import images_of
from debride.calibration.appearance import of_image, shown, voxels_of
from debride.calibration.moved_labels import STEPS, dice_when_moved
from debride.calibration.moving import nesting
from debride.calibration.representatives import Chosen, Described, choose
from debride.data.masks.annotated import without_undrawn
from debride.data.pairs import check_pair
from debride.data.pixels.images import read_header, read_image, read_label
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Work, affordable, spread
from debride.execute.work import Do
from debride.progress import track
from debride.rng import derive
from debride.types import Case, DataError, Dataset

Plain = dict[str, Any]

MOVED = 40
"""Labels that are moved to say what a bias would cost, drawn by the names of the cases."""


@dataclass(frozen=True)
class Seen:
    """What is told of a case: how it is ``described``, and of each foreground class the ``sizes``, in ml or mm2 or voxels as
    ``unit`` says; none of an image with one class."""

    described: Described
    sizes: tuple[float, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Choice:
    """The cases that are chosen, each with what was seen of it, of how many, and what was seen of all."""

    chosen: tuple[tuple[Chosen, Seen], ...]
    seen: tuple[Seen, ...]


def candidates(dataset: Dataset, count: int) -> list[Case]:
    """The training cases with a label that are not trusted yet. Raises DataError where there are fewer than ``count``."""
    labelled = [case for case in dataset.of("train") if case.label is not None or case.target is not None]
    cases = [case for case in labelled if not case.trusted]
    if not cases:
        problem = "has no training case with a label" + (" that is not trusted yet" if labelled else "")
        raise DataError(dataset.root, problem, "Verify labels of training cases: add some, or check how the splits are drawn.")
    if not 1 <= count <= len(cases):
        problem = f"is {count}, but {len(cases)} training cases have a label and are not trusted yet"
        raise DataError("`count`", problem, f"Give a number from 1 to {len(cases)}.")
    return cases


def choose_masks(dataset: Dataset, count: int, jobs: int = 1) -> Choice:
    """Chooses cases by their images, of which each is read once, and some hundred numbers are kept."""
    cases, seen = candidates(dataset, count), []
    header = read_header(cases[0].image[0])
    jobs = affordable(jobs, 8 * math.prod(header.shape) * len(cases[0].image)) if jobs > 1 else 1
    work, items = Work(begin_seeing, plain_dataset(dataset)), map(plain_case, cases)
    with spread(work, items, jobs=jobs, name=lambda item: str(item["id"])) as outcomes, track("reading", len(cases)) as show:
        for case, outcome in zip(cases, outcomes, strict=True):
            seen.append(_seen(case, outcome.value()))
            show(len(seen))
    return _choice(seen, count)


def choose_classes(dataset: Dataset, count: int, jobs: int = 1) -> Choice:
    """Chooses images with a class each, by the images: for each class those that look most like the others of it."""
    cases = candidates(dataset, count)
    seen = []
    for case, (_, picture) in zip(cases, images_of(dataset, cases, jobs), strict=True):
        assert case.target is not None
        target = case.target
        seen.append(Seen(Described(case.id, case.patient, {"picture": picture}, frozenset({target}), target)))
    return _choice(seen, count)


def cost_of_bias(dataset: Dataset, cases: Sequence[Case], jobs: int = 1) -> list[tuple[float, str, float]]:
    """What the labels of some cases have in common with themselves, moved: how far outwards, in "mm" or "px", and the mean Dice
    over cases and foreground classes. At most ``MOVED`` of the cases are read, twice."""
    drawn = sorted(cases, key=lambda case: (derive(0, "moved", case.id), case.id))[:MOVED]
    spacings = [read_header(case.label).grid.geometry.spacing for case in drawn if case.label]
    known = [min(spacing) for spacing in spacings if spacing]
    finest, unit = (float(np.median(known)), "mm") if len(known) == len(drawn) else (1.0, "px")
    parents = nesting((_label(dataset, case)[0] for case in drawn), len(dataset.classes))
    shifts = [step * finest for step in STEPS]
    work = Work(begin_moving, {"dataset": plain_dataset(dataset), "parents": parents, "unit": unit, "shifts": shifts})
    with spread(work, map(plain_case, drawn), jobs=jobs, name=lambda item: str(item["id"])) as outcomes:
        rows = [outcome.value() for outcome in outcomes]
    table = np.array(rows, np.float64).reshape(len(rows), len(shifts), -1)
    if np.isnan(table).all():
        problem = f"has no foreground in the labels of {len(drawn)} cases that were drawn"
        raise DataError(dataset.root, problem, "Check its labels; without any nothing can be moved.")
    means = np.nanmean(table, axis=(0, 2)).tolist()
    return [(shift, unit, mean) for shift, mean in zip(shifts, means, strict=True)]


def begin_seeing(setup: Plain) -> Do:
    """What is told of a case of a data set (``setup``): {"groups", "shows", "voxels", "spacing"}."""
    dataset = dataset_of(setup)

    def see(item: Plain) -> Plain:
        case = case_of(item)
        check_pair(case)
        label, spacing = _label(dataset, case)
        voxels = voxels_of(label, len(dataset.classes))
        return {
            "groups": of_image(read_image(case.image)[0]),
            "shows": sorted(shown(label)),
            "voxels": voxels,
            "spacing": spacing,
        }

    return see


def begin_moving(setup: Plain) -> Do:
    """The Dice (shift, K - 1) of a case's label with itself moved by each of the "shifts", None where it has not the class."""
    dataset = dataset_of(setup["dataset"])

    def move(item: Plain) -> list[list[float | None]]:
        label, spacing = _label(dataset, case_of(item))
        steps = spacing if setup["unit"] == "mm" and spacing else (1.0,) * label.ndim
        rows = [dice_when_moved(label, setup["parents"], steps, shift).tolist() for shift in setup["shifts"]]
        return [[None if math.isnan(value) else value for value in row] for row in rows]

    return move


def _label(dataset: Dataset, case: Case) -> tuple[npt.NDArray[np.uint8], tuple[float, ...] | None]:
    """A case's label and its spacing in mm."""
    assert case.label is not None
    label, geometry = read_label(case.label, dataset)
    return without_undrawn(case, label), geometry.spacing


def _seen(case: Case, told: Plain) -> Seen:
    spacing, voxels = told["spacing"], told["voxels"]
    each, unit = 1.0, "voxels"
    if spacing:
        each, unit = (math.prod(spacing) / 1000, "ml") if len(spacing) == 3 else (math.prod(spacing), "mm2")
    groups = {name: np.array(values, np.float32) for name, values in told["groups"].items()}
    described = Described(case.id, case.patient, groups, frozenset(told["shows"]))
    return Seen(described, tuple(each * count for count in voxels), unit)


def _choice(seen: Sequence[Seen], count: int) -> Choice:
    first, by_id = seen[0].described.groups, {each.described.id: each for each in seen}
    for each in seen:
        if any(np.shape(each.described.groups[name]) != np.shape(first[name]) for name in first):
            problem = f"has other channels than {seen[0].described.id}"
            raise DataError(f"case {each.described.id}", problem, "Give every case the same channels.")
    chosen = choose([each.described for each in seen], count)
    return Choice(tuple((each, by_id[each.id]) for each in chosen), tuple(seen))
