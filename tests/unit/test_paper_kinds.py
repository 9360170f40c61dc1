"""Items of papers that are not whole trainings: costs beside the printed ones, and figures of trainings."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.datasets import build_folder

from debride.bench.papers import costs, run_item
from debride.bench.papers.costs import measure_cost
from debride.bench.papers.paper_items import read_paper
from debride.cli import main

GRID: dict[str, Any] = {
    "noises": {"S_R": {"noise": "markov", "dice": 0.8}},
    "methods": {"ce": None, "jocor": {"config": {"noise_rate": 0.1}}},
    "training": {"epochs": 20, "network": "unet-small", "width": 16, "device": "cpu", "image_size": [64, 64]},
}
COSTS = {
    "title": "What methods cost",
    "kind": "cost",
    "columns": ["GFLOPs", "Time (min)", "Dice"],
    "printed": {"CE": ["1.2", "4.42", "80.1"], "JoCoR": ["2.4", "6.2", "81.0"]},
    "rows": {"CE": "ce", "JoCoR": "jocor"},
    "cells": {"GFLOPs": ["polyps", "S_R", "step_gflops"], "Time (min)": ["polyps", "S_R", "training_min"]},
    "missing": {"Dice": "It needs whole trainings."},
}


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A paper with a table of costs and a curve, whose costs are measured in this process."""
    build_folder(tmp_path / "polyps", n=12)
    grid = {**copy.deepcopy(GRID), "datasets": {"polyps": {"path": str(tmp_path / "polyps")}}}
    curve = {"title": "Curves", "kind": "curve", "figure": "l_search", "grid": {**grid, "cells": [{"methods": ["jocor"]}]}}
    items = {"table-1": {**COSTS, "grid": grid}, "figure-1": curve}
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "paper.yaml").write_text(yaml.safe_dump({"title": "A paper", "items": items}, sort_keys=False))
    monkeypatch.setattr(run_item, "read_paper", lambda name: read_paper(name, tmp_path / "papers"))
    monkeypatch.setattr(costs, "apart", lambda cell: measure_cost(cell, 1))
    return tmp_path


def test_costs_stand_beside_the_printed_ones(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--paper", "paper", "table-1", "--size", "toy", "--out", str(paper / "out")]
    assert main(words) == 0
    assert str(paper / "out" / "paper.md") in capsys.readouterr().out
    text = (paper / "out" / "paper.md").read_text()
    lines = text.splitlines()
    printed = lines.index("| JoCoR | 2.4 | 6.2 | 81.0 |")
    name, flops, _, dice = (part.strip() for part in lines[printed + 1].strip("|").split("|"))
    assert name == "here: jocor" and float(flops) > 0 and dice == "–"
    assert "- Dice: It needs whole trainings." in text and "- size: 32 x 32\n- device: cpu" in text
    assert any(line.startswith("| polyps | jocor | 142,396 |") for line in lines)  # twice 71,198, at width 4
    rows = [json.loads(line) for line in (paper / "out" / "costs.jsonl").read_text().splitlines()]
    assert [row["method"] for row in rows] == ["ce", "jocor"] and f"{rows[1]['step_gflops']:.2f}" == flops
    assert main([*words, "--resume"]) == 0


def test_a_curve_is_drawn_and_shown(paper: Path) -> None:
    assert main(["bench", "--paper", "paper", "figure-1", "--size", "toy", "--out", str(paper / "out")]) == 0
    assert "![Curves](figure.svg)" in (paper / "out" / "paper.md").read_text()
    assert (paper / "out" / "figure.svg").exists() and (paper / "out" / "figure.json").exists()
