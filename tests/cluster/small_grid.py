"""A small grid, what one process makes of it, and what is compared with that: times of the clock are left out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.slurm_jobs import DEBRIDE
from tests.datasets import build_folder

EPOCHS = 20
TIMES = ("minutes", "seconds", "train_seconds", "test_seconds", "date", "host", "memory")


def build_grid(root: Path) -> Path:
    """Writes ``grid.yaml``, four cells, and ``whole``: what one process of this machine makes of it."""
    build_folder(root / "data", n=18, size=32)
    grid = {
        "datasets": {"toy": {"path": str(root / "data")}},
        "noises": {"clean": None, "S_DE": {"noise": "dilate-erode", "dice": 0.8}},
        "methods": {"ce": None, "co": {"method": "co-teaching", "config": {"noise_rate": "measured"}}},
        "training": {
            "epochs": EPOCHS, "network": "unet-small", "width": 4, "image_size": [32, 32], "batch_size": 4, "device": "cpu"
        },
        "pictures": False,
    }  # fmt: skip
    (root / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    subprocess.run([*map(str, words_of(root)), "--out", str(root / "whole")], check=True)
    return root


def words_of(root: Path) -> list[object]:
    """The command that runs the grid, but for where to."""
    return [*DEBRIDE, "bench", root / "grid.yaml"]


def under_way(out: Path) -> list[Path]:
    """Cells with some epochs that are not finished."""
    lines = {file: len(file.read_text().splitlines()) for file in out.glob("cells/*/*/*/*/run/metrics.jsonl")}
    return [file for file, count in lines.items() if 2 <= count < EPOCHS]


def ended_well(process: subprocess.Popen[str], root: Path, out: Path) -> str:
    """What it said, once it has ended; its rows and weights are those of one process, and no folder of jobs is left."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert rows_of(out) == rows_of(root / "whole"), said
    assert weights_of(out) == weights_of(root / "whole")
    assert not out.with_name(f"{out.name}.jobs").exists()
    return said


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The rows of a grid without what a clock says."""
    return [without_times(json.loads(line)) for line in (out / "results.jsonl").read_text().splitlines()]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(entry) for name, entry in value.items() if name not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def weights_of(out: Path) -> dict[str, bytes]:
    """The weights of all cells by their place."""
    files = sorted(out.glob("cells/**/weights/*.safetensors"))
    assert files
    return {str(file.relative_to(out)): file.read_bytes() for file in files}
