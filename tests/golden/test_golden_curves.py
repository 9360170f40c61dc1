"""Frozen loss curves: what a method, the loader, the warps or the optimiser do is not changed by accident.

After a change that is meant, record them anew: ``DEBRIDE_RECORD_CURVES=1 pytest tests/golden/test_golden_curves.py``, and say
why in the commit.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.training_jobs import TEST_METHODS, small_class_job, small_job

from debride.files import read_jsonl, write_json
from debride.methods import METHODS
from debride.training.fit import fit

CURVES = Path(__file__).parent / "curves.json"
NAMES = [
    *(name for name, method in METHODS.items() if name not in TEST_METHODS and "segmentation" in method.tasks),
    *(f"{name} (classes)" for name, method in METHODS.items() if "classification" in method.tasks),
]


def curve(name: str, root: Path) -> list[float]:
    """The mean training loss of each epoch."""
    method, _, classes = name.partition(" ")
    job = small_class_job(root, method, seed=0) if classes else small_job(root, method, seed=0, epochs=2)
    fit(job)
    return [row["train"]["loss"] for row in read_jsonl(job.out / "metrics.jsonl")]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_loss_curve(name: str, tmp_path: Path) -> None:
    found = curve(name, tmp_path)
    golden = json.loads(CURVES.read_text()) if CURVES.exists() else {}
    if os.environ.get("DEBRIDE_RECORD_CURVES"):
        write_json(CURVES, dict(sorted({**golden, name: found}.items())))
        return
    assert found == pytest.approx(golden[name], rel=1e-3)


def test_every_curve_is_of_a_method() -> None:
    assert set(json.loads(CURVES.read_text())) == set(NAMES)
