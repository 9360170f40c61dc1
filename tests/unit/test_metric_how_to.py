"""The example of docs/how-to/metric.md, as it stands there: a new metric shows in all that is written, without another line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder
from tests.unit.test_tables import row

from debride.bench.mask_cell import _score
from debride.bench.report import render
from debride.bench.tables import markdown
from debride.evaluation.evaluate import evaluate_folder
from debride.evaluation.metrics import METRICS, case_metrics
from debride.evaluation.summary import Row

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "metric.md"


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    """The names that the page's blocks of Python define, with its metric in the table."""
    before, names = dict(METRICS), {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    yield names
    METRICS.clear()
    METRICS.update(before)


def test_its_own_test_passes(example: dict[str, Any]) -> None:
    example["test_surface_dice"]()


def test_an_evaluation_shows_it(example: dict[str, Any], tmp_path: Path) -> None:
    build_folder(tmp_path / "data", n=12)
    shutil.copytree(tmp_path / "data" / "masks", tmp_path / "masks")
    evaluate_folder(tmp_path / "masks", tmp_path / "data", tmp_path / "out")
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["surface_dice"] for line in lines] == ["1.0", "1.0"] and list(lines[0])[-2:] == ["surface_dice", "unit"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["classes"][0]["metrics"]["surface_dice"]["mean"] == 1 and "NSD is the share of both" in summary["rules"]
    assert "| ASSD (px) | NSD | HD (px) |" in (tmp_path / "out" / "summary.md").read_text()


def test_a_bench_shows_it(example: dict[str, Any]) -> None:
    label = np.zeros((8, 8), np.uint8)
    label[2:5, 3:6] = 1
    rows = [Row("case", "patient", own) for own in case_metrics(label, label, 2)]
    score = _score(3, rows, {}, ("background", "lesion"))
    new, old = row(), row(method="gce")
    new["last"] = json.loads(json.dumps(score))
    page = markdown([new, old])
    assert "| method | Dice | Jaccard | HD95 | ASSD | NSD | minutes |" in page
    assert "| ce, S_R | 100.0 (1) | 100.0 (1) | 0.0 (1) | 0.00 (1) | 100.0 (1) | 1.5 (1) |" in page
    assert re.search(r"\| gce, S_R \| .* \| – \| 1\.5 \(1\) \|", page), page
    assert "Dice, Jaccard and NSD in %; HD95 and ASSD in mm" in page
    assert "<b>NSD</b> (the share of both surfaces within 2 mm" in render("demo", [new, old], [], CONTEXT)


def test_the_table_has_what_files_need() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name and re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert metric.title and metric.about and not metric.about.endswith(".")


CONTEXT: Any = {"date": "2024-01-01", "command": "debride bench", "versions": {"debride": "0"}}
