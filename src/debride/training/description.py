"""``run.json``: what a training was, enough to predict with it and to resume it. ``job.describe`` says what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from debride.data.label_regions import REGION_TASK
from debride.data.pixels.images import MAX_VALUE
from debride.files import read_json
from debride.records import Count, Decimal, not_different, read_as
from debride.settings import Bounds
from debride.types import IGNORE, DataError, Dataset, Region

FREE_ON_RESUME = ("versions", "dataset_root", "parameters", "one_bit", "init")
"""Entries that may differ when a training is resumed; ``training`` entries that may are in ``FREE_SETTINGS``."""
FREE_SETTINGS = ("device", "keep_last", "compile", "log_to", "patience")

_REMEDY = "Restore it, or train again."


def _not_classes(names: Sequence[str]) -> str:
    """Why names can be no classes; empty if they can."""
    return "" if 2 <= len(names) <= IGNORE else f"which are not 2 to {IGNORE} names"


def _not_fingerprint(fingerprint: Sequence[Any]) -> str:
    """Why a list says of no case what it was trained as; empty if it does."""
    return "" if fingerprint and isinstance(fingerprint[0], str) else "which begins with no case's id"


_Fingerprints = tuple[Annotated[tuple[Any, ...], _not_fingerprint], ...]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What ``run.json`` holds that is needed to predict. Runs from before there was more than segmentation name no ``task``.
    ``regions`` are those of a run for them."""

    method: str
    method_config: Mapping[str, Any]
    training: Mapping[str, Any]
    task: str = "segmentation"
    ndim: Annotated[int, Bounds(least=2, most=3)]
    channels: Annotated[int, Bounds(least=1, most=4096)]
    classes: Annotated[tuple[str, ...], _not_classes, not_different]
    values: Mapping[Decimal, Count]
    ignore: Annotated[int, Bounds(least=0, most=MAX_VALUE)] | None
    versions: Mapping[str, str]
    train: _Fingerprints | None = None
    val: _Fingerprints | None = None
    trusted: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    one_bit: bool = False
    init: Mapping[str, str] | None = None
    plans: Mapping[str, str] | None = None
    regions: tuple[Region, ...] = ()


def same_training(file: Path, description: dict[str, Any]) -> None:
    """Refuses to resume a training with other data or settings, naming the first entry that differs."""
    old = read_description(file)
    begun, begins = (each.get("init") or {} for each in (old, description))
    if begun.get("hash") != begins.get("hash"):
        problem = f"was written by a training that began with {begun.get('weights', 'random weights')}"
        raise DataError(file, problem, "Give the same weights by `init`, or leave it out as before.")
    for name, value in description.items():
        if name in FREE_ON_RESUME:
            continue
        before = old.get(name)
        if name == "training" and isinstance(before, dict):
            value, before = (
                {key: item for key, item in _resumed_entries(each).items() if key not in FREE_SETTINGS}
                for each in (value, before)
            )
        if value != before:
            raise DataError(
                file,
                f"was written by a training with other {_difference(name, before, value)}",
                "Resume with the same settings and data.",
            )


def _resumed_entries(training: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``training`` that make a difference: of processes their number, wherever they are."""
    entries = training_entries(training)
    nodes, devices = entries["nodes"], entries.get("devices")
    if isinstance(nodes, int) and isinstance(devices, int):
        return {**entries, "nodes": 1, "devices": nodes * devices}
    return entries


def training_entries(training: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``training`` as they are named now: older runs have no ``architecture``, and some ``tensorboard`` in place
    of two others."""
    training = {"architecture": None, "nodes": 1, **training}
    if "tensorboard" not in training:
        return training
    rest = {name: value for name, value in training.items() if name != "tensorboard"}
    return {**rest, "log_to": ["tensorboard"] if training["tensorboard"] else [], "patience": None}


def read_description(file: Path) -> dict[str, Any]:
    """Reads ``run.json``, which holds at least what ``Description`` says; raises DataError for one that does not."""
    if not file.exists():
        raise DataError(file, "does not exist", "Give the folder that `debride train --out` wrote.")
    description: Any = read_json(file)
    if not isinstance(description, dict) or "versions" not in description:
        raise DataError(file, "does not describe a training", "Give the folder that `debride train --out` wrote.")
    read = read_as(Description, description, file, _REMEDY)
    ids, raw = set(range(len(read.classes))), {int(value) for value in read.values} or set(range(len(read.classes)))
    if read.values and set(read.values.values()) != ids:
        raise DataError(file, "has values that are not of its classes", _REMEDY)
    if max(raw) > MAX_VALUE or read.ignore in raw:
        raise DataError(file, "has values that no label can have, or that are its ignore value too", _REMEDY)
    inside = all({*each.classes, each.paints} <= ids for each in read.regions)
    if (read.task == REGION_TASK) != bool(read.regions) or not inside:
        raise DataError(file, "has regions that are not of its task or of its classes", _REMEDY)
    return description


def refuse_other_classes(file: Path, description: dict[str, Any], dataset: Dataset) -> None:
    """Raises DataError for a run that was trained on other classes than the data set's, or on the same in another order."""
    classes = description["classes"]
    if len(classes) != len(dataset.classes) or (classes != list(dataset.classes) and set(classes) == set(dataset.classes)):
        problem = f"was trained on the classes {', '.join(classes)}, the data set has {', '.join(dataset.classes)}"
        raise DataError(file, problem, "Give a run with the same classes in the same order.")


def task_name(description: dict[str, Any]) -> str:
    """What a run was trained for, of ``training.task.TASKS``; runs from before there was more than segmentation do not say
    it."""
    name: str = description.get("task", "segmentation")
    return name


def _difference(name: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        changed = [key for key in now if now[key] != before.get(key)]
        return f"{name} ({', '.join(f'{key}: {before.get(key)}, now {now[key]}' for key in changed)})"
    return name
