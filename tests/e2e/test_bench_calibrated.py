"""Methods of a grid that are calibrated on the trusted cases: measured twice, shown twice, and trained once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, build_npz

from debride.bench import mask_cell
from debride.bench.calibrated import with_calibrated
from debride.bench.grid import make_grid, run_grid
from debride.calibration.correction import Calibration, no_change
from debride.types import DataError

TRAINING = {"epochs": 3, "network": "unet-small", "width": 4, "image_size": [32, 32], "batch_size": 4, "device": "cpu"}


def grid_of(root: Path, methods: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """18 small images, 8 of them to train on, half of these trusted."""
    if not (root / "data").exists():
        build_folder(root / "data", n=18)
    return {
        "datasets": {"toy": {"path": str(root / "data"), "limit": {"train": 8}, "trusted": 0.5}},
        "noises": {"S_DE": {"noise": "dilate-erode", "dice": 0.7}},
        "methods": methods,
        "training": TRAINING,
        "pictures": False,
        **changes,
    }


def rows_of(out: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {row["method"]: row for row in rows}


def test_a_calibration_changes_no_measure_without_it_and_stands_beside(tmp_path: Path) -> None:
    methods = {"ce": {"calibrate": True}, "plain": {"method": "ce"}}
    run_grid(make_grid(grid_of(tmp_path, methods), "grid"), tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert rows["ce"]["failed"] is None and rows["ce"]["last"] == rows["plain"]["last"]
    assert "calibrated" not in rows["plain"]
    found = rows["ce"]["calibrated"]
    assert found["kind"] in ("none", "offset", "shift", "both") and len(found["gain"]) == 3
    assert set(found["last_ten"]) == {"dice", "deviation", "per_rater"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| ce, calibrated |" in table and "plain, calibrated" not in table
    cell = next((tmp_path / "out" / "cells").glob("*/*/ce/*"))
    by_case, after = (json.loads((cell / name).read_text()) for name in ("by_case.json", "calibrated_by_case.json"))
    assert {person: set(cases) for person, cases in by_case.items()} == {person: set(cases) for person, cases in after.items()}


def test_what_is_chosen_is_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything offset to class 1 all pixels are predicted as that."""

    def everything(*_: Any) -> tuple[dict[int, Calibration], Any, float]:
        none = no_change(("background", "one"), "px")
        chosen = Calibration(classes=none.classes, offsets=(0.0, 1000.0), shifts=none.shifts, parents=none.parents, unit="px")
        return {3: chosen}, fitted, 0.5

    fitted = type("Fitted", (), {"kind": "offset", "calibration": no_change(("background", "one"), "px")})
    fitted.gain = type("Gain", (), {"mean": 0.1, "low": 0.0, "high": 0.2})
    monkeypatch.setattr(mask_cell, "calibrations", everything)
    raw = grid_of(tmp_path, {"ce": {"calibrate": True}}, last_ten=False, test_every=3)
    run_grid(make_grid(raw, "grid"), tmp_path / "out")
    cell = next((tmp_path / "out" / "cells").glob("*/*/ce/*"))
    after = json.loads((cell / "calibrated_by_case.json").read_text())
    areas = [measures[2] for cases in after.values() for measures in cases.values()]
    assert np.allclose(areas, 100)


def test_verified_cases_that_are_held_out_are_not_trained_on(tmp_path: Path) -> None:
    methods = {"ce": {"calibrate": True}, "held": {"method": "ce", "calibrate": True, "hold_out_trusted": 1.0}}
    methods["half"] = {"method": "alc", "calibrate": True, "hold_out_trusted": 0.5}
    run_grid(make_grid(grid_of(tmp_path, methods), "grid"), tmp_path / "out")
    runs = {file.parts[-4]: json.loads(file.read_text()) for file in (tmp_path / "out").glob("cells/*/*/*/*/run/run.json")}
    trained = {method: {name for name, *_ in run["train"]} for method, run in runs.items()}
    assert {method: len(names) for method, names in trained.items()} == {"ce": 8, "held": 4, "half": 6}
    assert not trained["held"] & set(runs["ce"]["trusted"]) and len(trained["half"] & set(runs["ce"]["trusted"])) == 2
    assert rows_of(tmp_path / "out")["held"]["calibrated"]["last"]["dice"] >= 0


@pytest.mark.parametrize(
    ("method", "about"),
    [({"method": "alc", "hold_out_trusted": 1.0}, "holds out"), ({"method": "ce", "calibrate": True}, "needs trusted cases")],
)
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path: Path, method: dict[str, Any], about: str) -> None:
    raw = grid_of(tmp_path, {"own": method})
    if method["method"] == "ce":
        del raw["datasets"]["toy"]["trusted"]
    with pytest.raises(DataError, match=about):
        make_grid(raw, "grid")


def test_classes_have_no_outlines_to_calibrate(tmp_path: Path) -> None:
    build_npz(tmp_path / "classes.npz")
    raw = {
        "task": "classification",
        "datasets": {"toy": {"path": str(tmp_path / "classes.npz"), "trusted": 0.5}},
        "noises": {"clean": None},
        "methods": {"ce": {"calibrate": True}},
    }
    with pytest.raises(DataError, match="is for grids of masks"):
        make_grid(raw, "grid")


def test_rows_without_a_calibration_stay_alone() -> None:
    rows = [{"method": "ce", "last": 1}, {"method": "alc", "last": 2, "calibrated": {"last": 3, "kind": "none"}}]
    assert [(row["method"], row["last"]) for row in with_calibrated(rows)] == [("ce", 1), ("alc", 2), ("alc, calibrated", 3)]
