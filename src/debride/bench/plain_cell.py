"""Cells of a grid as plain JSON, for jobs of a cluster that run them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from debride.bench.cell_base import Cell
from debride.bench.cell_kinds import CELL_KINDS
from debride.noise import name_of, parameters
from debride.settings import from_mapping
from debride.training.task import TASKS


def plain_cell(cell: Cell) -> dict[str, Any]:
    """A cell; values that JSON has not become text, as they do in its ``settings``."""
    named = {field.name: getattr(cell, field.name) for field in fields(cell)}
    noise = cell.simulator
    named["simulator"] = None if noise is None else [name_of(noise), parameters(noise)]
    named["augmentation"] = asdict(cell.augmentation)
    plain: dict[str, Any] = json.loads(json.dumps(named, default=str))
    return plain


def cell_of(plain: dict[str, Any]) -> Cell:
    """The cell of what ``plain_cell`` gave."""
    task = plain["task"]
    simulator = None
    if plain["simulator"] is not None:
        simulator = CELL_KINDS[task].simulator(*plain["simulator"])
    augmentation = from_mapping(TASKS[task].augmentation, plain["augmentation"], "augmentation")
    places = {name: Path(plain[name]) for name in ("path", "out")}
    return Cell(**{**plain, **places, "simulator": simulator, "augmentation": augmentation})
