"""``debride demo``: the whole program at work on generated images, in minutes, without a network connection."""

from __future__ import annotations

from pathlib import Path

from debride.bench.grid import make_grid, run_grid
from debride.bench.phantom import write_phantoms
from debride.data.check import find_problems
from debride.folders import new_folder
from debride.types import DataError

GRID = {
    "name": "demo: lesions with simulated label noise",
    "noises": {
        "clean": {},
        "S_R": {"noise": "markov", "parameters": {"preference": 0.2}, "dice": 0.7},
    },
    "methods": {"ce": {}, "sce": {}, "co-teaching": {"config": {"noise_rate": "measured"}}},
    "cells": [{"methods": ["ce"]}, {"noises": ["S_R"]}],
    "seeds": [0],
    "training": {
        "epochs": 24,
        "batch_size": 8,
        "optimiser": "adamw",
        "learning_rate": 0.003,
        "network": "unet-small",
        "width": 8,
        "device": "cpu",
    },
}
"""Small enough for two cores: four trainings of a network of width 8 on 64 images."""


def run_demo(out: Path) -> Path:
    """Generates lesions with known labels, checks them, corrupts, trains and compares; returns the folder of the results."""
    new_folder(out)
    dataset = out / "dataset"
    write_phantoms(dataset, 64, 16, 32, 64, 2, 0)
    problems = find_problems(dataset)
    assert not problems, problems
    grid = make_grid({**GRID, "datasets": {"lesions": {"path": str(dataset)}}}, "demo")
    if failed := [row["failed"] for row in run_grid(grid, out / "bench") if row["failed"]]:
        raise DataError(
            out / "bench", f"holds {len(failed)} failed cells, the first with: {failed[0]}", "Mend the cause, and start again."
        )
    return out / "bench"
