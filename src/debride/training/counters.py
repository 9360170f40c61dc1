"""What a resumed training reads back beside weights and ``metrics.jsonl``: ``state.json``, and the optimiser's entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from debride.files import read_json
from debride.records import Count, read_as
from debride.types import DataError


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
