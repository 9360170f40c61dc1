"""What a resumed training reads back beside weights: ``state.json``, the optimiser's entries, and ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from debride.files import read_json, read_jsonl
from debride.records import Count, read_as
from debride.settings import Bounds
from debride.types import DataError

Epoch = Annotated[int, Bounds(least=1)]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What ``state.json`` holds after an ``epoch``: steps done, the ``best`` epoch and its measure (both None where there is
    none yet), the gradient scaler's state (empty where there is no scaler), and those entries of the optimiser that are no
    tensors."""

    epoch: Count
    step: Count
    best: Mapping[str, float | None]
    scaler: Mapping[str, float]
    optimiser: Mapping[str, float | bool | None]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What ``metrics.jsonl`` holds of an epoch that others read."""

    epoch: Epoch
    train: Mapping[str, float]
    val: Mapping[str, Any] | None = None
    best: Mapping[str, float | None]
    seconds: Annotated[float, Bounds(least=0)]


def read_counters(folder: Path) -> dict[str, Any]:
    """``state.json`` of a training state, as plain values; DataError where it is not of this state."""
    file, remedy = folder / "state.json", f"Restore it. Without the folder {folder} the training begins anew."
    state: dict[str, Any] = read_json(file)
    counters = read_as(Counters, state, file, remedy)
    if folder.name != f"epoch-{counters.epoch:04d}":
        raise DataError(file, f"is of epoch {counters.epoch}, and stands in {folder.name}", remedy)
    best = counters.best.get("epoch")
    if best is not None and not 1 <= best <= counters.epoch:
        raise DataError(file, f"names the best epoch {best}, after epoch {counters.epoch}", remedy)
    return state


def optimiser_entries(flat: Mapping[str, Any], optimiser: torch.optim.Optimizer, where: Path) -> dict[int, dict[str, Any]]:
    """The optimiser's state of each parameter by its number, from entries named NUMBER.KEY; DataError where they do not fit."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    entries: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        number, _, key = name.partition(".")
        fits = number.isascii() and number.isdecimal() and len(number) < 9 and int(number) < len(parameters) and bool(key)
        if fits and isinstance(value, torch.Tensor) and value.ndim:
            fits = value.shape == parameters[int(number)].shape
        if not fits:
            raise DataError(where, f"has the entry {name!r}, which does not fit the network", "Resume with the same settings.")
        entries.setdefault(int(number), {})[key] = value
    if len({frozenset(entry) for entry in entries.values()}) > 1:
        raise DataError(where, "lacks an entry of some parameters", "Restore it, or train again.")
    return entries


def read_metrics(file: Path, epochs: int) -> list[dict[str, Any]]:
    """The records of the first ``epochs`` in ``metrics.jsonl``, as plain values; DataError where one is missing or is none."""
    rows: list[dict[str, Any]] = read_jsonl(file, undefined=True)
    remedy = "Restore it, or train again in another folder."
    for number, row in enumerate(rows, start=1):
        if read_as(Recorded, row, f"{file}:{number}", remedy).epoch != number:
            raise DataError(f"{file}:{number}", f"is not the record of epoch {number}", remedy)
    if len(rows) < epochs:
        raise DataError(file, f"ends after epoch {len(rows)}, the training after epoch {epochs}", remedy)
    return rows[:epochs]
