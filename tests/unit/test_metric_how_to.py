"""The example of docs/how-to/metric.md, as it stands there: a new metric shows in all that is written, without another line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
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
from debride.evaluation.mask_metrics import METRICS, case_metrics
from debride.evaluation.summary import Row

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "metric.md"


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    """The names that the page's blocks of Python define, with its metric at the end of the table."""
    before, names = dict(METRICS), {}
    METRICS.pop("surface_dice", None)
    exec("".join(blocks()[:2]), names)
    yield names
    METRICS.clear()
    METRICS.update(before)


def blocks() -> list[str]:
    """The page's Python: its metric, the test of it, and a script that uses it."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_its_own_test_passes(example: dict[str, Any]) -> None:
    example["test_surface_dice"]()


def masks(tmp_path: Path) -> None:
    """A data set, and perfect predictions of its test cases."""
    build_folder(tmp_path / "scans", n=12)
    shutil.copytree(tmp_path / "scans" / "masks", tmp_path / "predictions")


def test_an_evaluation_shows_it(example: dict[str, Any], tmp_path: Path) -> None:
    masks(tmp_path)
    evaluate_folder(tmp_path / "predictions", tmp_path / "scans", tmp_path / "out")
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["surface_dice"] for line in lines] == ["1.0", "1.0"] and list(lines[0])[-2:] == ["surface_dice", "unit"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["classes"][0]["metrics"]["surface_dice"]["mean"] == 1 and "NSD is the share of both" in summary["rules"]
    header = next(line for line in (tmp_path / "out" / "summary.md").read_text().splitlines() if line.startswith("| class"))
    titles = [title.removesuffix(" (px)") for title in cells(header)[2:-4]]
    in_benches = [metric.title for metric in METRICS.values() if metric.bench]
    assert titles[: len(in_benches)] == in_benches and in_benches[-1] == "NSD"
    assert titles[len(in_benches) :] == [metric.title for metric in METRICS.values() if not metric.bench]


def test_a_script_shows_it(example: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(blocks()[2], example)
    assert "NSD" in (tmp_path / "measured" / "summary.md").read_text()


def test_a_bench_shows_it(example: dict[str, Any]) -> None:
    label = np.zeros((8, 8), np.uint8)
    label[2:5, 3:6] = 1
    rows = [Row("case", "patient", own) for own in case_metrics(label, label, 2)]
    score = _score(3, rows, {}, ("background", "lesion"))
    new, old = row(), row(method="gce")
    new["last"] = json.loads(json.dumps(score))
    page = markdown([new, old])
    header, _, *lines = page[page.index("| method | Dice | Jaccard |") :].splitlines()
    ours, theirs = (
        dict(zip(cells(header), cells(line), strict=True))
        for start in ("| ce, S_R |", "| gce, S_R |")
        for line in lines[:2]
        if line.startswith(start)
    )
    assert list(ours) == ["method", *(metric.bench for metric in METRICS.values() if metric.bench), "minutes"]
    assert (ours["Dice"], ours["ASSD"], ours["NSD"], ours["minutes"]) == ("100.0 (1)", "0.00 (1)", "100.0 (1)", "1.5 (1)")
    assert (theirs["NSD"], theirs["minutes"]) == ("–", "1.5 (1)")
    assert re.search(r"Dice, Jaccard.* and NSD in %; HD95.* in mm", page)
    assert "<b>NSD</b> (the share of both surfaces within 2 mm" in render("demo", [new, old], [], CONTEXT)


def test_a_report_says_over_which_cases_it_is_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    for need, says in (("masks", ""), ("reference", "the reference holds"), ("surfaces", "both masks hold")):
        monkeypatch.setitem(METRICS, "iou", replace(METRICS["iou"], needs=need))
        cases = f", over the cases where {says} the class" if says else ""
        assert f"(intersection over union) is averaged as Dice is{cases}." in render("demo", [row()], [], CONTEXT)


def test_the_table_has_what_files_need() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name and re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert metric.title and metric.about and not metric.about.endswith(".")


CONTEXT: Any = {"date": "2024-01-01", "command": "debride bench", "versions": {"debride": "0"}}
