"""``debride corrupt``: a copy of a data set with simulated label noise, and a record of what was done to every case."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from debride.data.copy import Change, Label, copier, copy_by
from debride.data.formats.layout import VERIFIED
from debride.data.masks.annotated import of_undrawn, without_undrawn
from debride.data.pixels.images import read_label
from debride.data.plain import dataset_of, plain_dataset
from debride.execute import Work
from debride.execute.cluster import cluster_in_use
from debride.execute.work import Do
from debride.files import write_json
from debride.noise import NOISES, Noise, make_noise, name_of, parameters
from debride.noise.strength import calibrate, changed_rate, label_dice
from debride.rng import derive, generator
from debride.settings import Bounds, check_bounds
from debride.types import Case, DataError, Dataset, Geometry, Split


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """What ``noise.json`` holds that is read back: the Dice of all labels to the clean ones, None where no label has an object,
    and the share of pixels that changed."""

    overall_dice: Annotated[float, Bounds(least=0, most=1)] | None
    overall_changed: Annotated[float, Bounds(least=0, most=1)]


def corrupt_dataset(
    dataset: Dataset,
    out: Path,
    noise: Noise,
    *,
    seed: int,
    share: float = 1.0,
    splits: Collection[Split] = ("train", "val"),
    target_dice: float | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes ``dataset`` to ``out`` with noisy labels and ``noise.json``, and returns what that file holds.

    ``share`` of the cases of ``splits`` is corrupted; trusted cases are spared and listed. What happens to a corrupted case
    depends on its id and the seed alone. The means are over the corrupted cases, the overall ones over all of ``splits``.
    The simulators count pixels, so each case's shape is recorded: drawn at another resolution the same parameters are of
    another strength; ``DilateErode`` in millimetres goes by the spacing of the label's file instead, and raises DataError for
    one without. ``target_dice`` sets the strength instead: the mean label Dice on a sample of training labels. Labels that
    become empty stay so and are counted. Nothing leaves or enters a class that was not drawn in its case, and Dice and shares
    of changed pixels are without these classes. The work is done by so many ``jobs``; those of more than one, or
    of a cluster, find the noise by its name.
    """
    check_bounds(noise)
    classes = len(dataset.classes)
    candidates = [case for case in dataset.cases if case.split in splits and case.label is not None and not case.trusted]
    if not candidates:
        raise DataError(dataset.root, "has no case to corrupt", "Check `splits` and `trusted`.")
    if not 0 < share <= 1:
        raise DataError("`share`", f"is {share}", "Give a number above 0 and up to 1.")
    if target_dice is not None:
        noise = _calibrated(noise, dataset, candidates, target_dice, seed)
    chosen = {case.id for case in _drawn(candidates, share, seed)}
    records: dict[str, dict[str, Any]] = {}
    untouched: list[bool] = []  # of each case of the splits that keeps its label, whether it has foreground and so a Dice

    def told(case: Case, said: Any) -> None:
        if case.id in chosen:
            records[case.id] = said
        elif case.split in splits:
            untouched.append(said)

    def record(folder: Path) -> None:
        write_json(folder / "noise.json", report())

    def report() -> dict[str, Any]:
        ordered = dict(sorted(records.items()))  # sums are then the same to the last bit, whatever the order of the cases
        dice = [record["dice"] for record in ordered.values() if record["dice"] is not None]
        changed = [record["changed"] for record in ordered.values()]
        return {
            "noise": name_of(noise),
            "parameters": parameters(noise),
            "seed": seed,
            "share": share,
            "splits": sorted(splits),
            "target_dice": target_dice,
            "mean_dice": float(np.mean(dice)) if dice else None,
            "mean_changed": float(np.mean(changed)),
            "overall_dice": float(np.mean([*dice, *[1.0] * sum(untouched)])) if dice or any(untouched) else None,
            "overall_changed": sum(changed) / (len(changed) + len(untouched)),
            "emptied": sum(record["emptied"] for record in records.values()),
            "trusted": sorted(case.id for case in dataset.cases if case.trusted),
            "cases": ordered,
        }

    if jobs == 1 and not cluster_in_use():  # a noise that no other process needs to find by its name
        work = Work(lambda setup: copier(dataset, _changing(noise, classes, seed)))
    else:
        named = {"noise": name_of(noise), "parameters": parameters(noise), "seed": seed}
        work = Work(corrupting, {**named, "dataset": plain_dataset(dataset)})
    copy_by(
        dataset,
        out,
        work,
        jobs=jobs,
        about=lambda case: case.id in chosen,
        told=told,
        progress=progress,
        finish=record,
        besides=[VERIFIED],
    )
    return report()


def corrupting(setup: Any) -> Do:
    """A copy of cases with labels made noisy: of those about which that is said."""
    dataset = dataset_of(setup["dataset"])
    noise = make_noise(setup["noise"], **setup["parameters"])
    return copier(dataset, _changing(noise, len(dataset.classes), setup["seed"]))


def _changing(noise: Noise, classes: int, seed: int) -> Change:
    """Makes a label noisy, and tells how much; of a label that stays it tells whether it has foreground."""

    def change(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label, Any]:
        if not about:
            return label, _foreground(label)
        drawn = without_undrawn(case, label)
        noisy = _noisy(noise, case, drawn, classes, generator(seed, "noise", case.id), geometry)
        if case.annotated is not None:
            noisy = np.where(of_undrawn(case, noisy), drawn, noisy)
        record = {
            "dice": label_dice(drawn, noisy, classes),
            "changed": changed_rate(drawn, noisy),
            "emptied": bool(_foreground(drawn) and not _foreground(noisy)),
            "shape": list(label.shape),
        }
        return noisy if case.annotated is None else np.where(of_undrawn(case, label), label, noisy), record

    return change


def _noisy(
    noise: Noise, case: Case, label: npt.NDArray[np.uint8], classes: int, rng: np.random.Generator, geometry: Geometry
) -> npt.NDArray[np.uint8]:
    """A noisy copy of a case's label (S)."""
    if noise.needs_spacing and geometry.spacing is None:
        remedy = "Convert the labels to NIfTI with their spacing, or give the noise distances in pixels (unit=px)."
        raise DataError(case.label, "says nothing of its spacing, which distances in mm need", remedy)
    return noise(label, classes, rng, geometry.spacing)


def _calibrated(noise: Noise, dataset: Dataset, candidates: list[Case], target: float, seed: int) -> Noise:
    if noise.strongest(1) is None:
        able = ", ".join(name for name, kind in NOISES.items() if kind.strongest is not Noise.strongest)
        raise DataError("`dice`", f"does not apply to {name_of(noise)}", f"Noises with a strength: {able}.")
    if noise.needs_spacing:
        remedy = "Give nearest and farthest without `dice`, or unit=px."
        raise DataError("`dice`", "does not apply to distances in mm", remedy)
    sample = _drawn(candidates, min(1.0, noise.sample / len(candidates)), derive(seed, "sample"))
    labels = [without_undrawn(case, read_label(case.label, dataset)[0]) for case in sample if case.label is not None]
    return calibrate(noise, labels, len(dataset.classes), target, seed)[0]


def _drawn(cases: list[Case], share: float, seed: int) -> list[Case]:
    """A share of the cases, chosen by a hash of their ids: whatever their order, the same ones."""
    order = sorted(cases, key=lambda case: derive(seed, "share", case.id))
    return order[: max(1, round(share * len(order)))]


def _foreground(label: npt.NDArray[np.uint8]) -> bool:
    return bool(((label > 0) & (label < 255)).any())
