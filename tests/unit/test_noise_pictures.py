"""The charts and tables of what noise costs and what helps, against rows whose differences are known; and the page's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from benchmarks.audit.table import put_tables
from benchmarks.evidence.grids import BENCHMARKS
from benchmarks.evidence.paired import Difference
from benchmarks.evidence.remedies import OUTCOMES, costs, has_rate, ordered, outcome, remedies, tables, told
from benchmarks.evidence.report import Evidence, gather

from debride.bench.grid import read_grid
from debride.bench.grid_entries import MethodEntry

PAGE = Path(__file__).parents[2] / "docs" / "noise-and-remedies.md"
ENTRIES = {name: MethodEntry(method=name) for name in ("ce", "gsd-net", "gce", "svls", "debias")}
DICE = {"ce": 0.5, "gsd-net": 0.6, "gce": 0.02, "svls": 0.45, "debias": 0.7}
HOLLOW = "fill-opacity: 0"


def evidence(seeds: dict[str, int], lacking: tuple[str, ...] = ()) -> Evidence:
    """Rows of two noises, each method with as many seeds as said, and its own Dice in every case; noise costs a fifth."""
    rows: dict[Any, Any] = {}
    for noise in ("S_R", "clean"):
        for method, count in seeds.items():
            if noise == "clean" and method in lacking:
                continue
            value = DICE[method] + 0.2 * (noise == "clean")
            for seed in range(count):
                by_case = {patient: {patient: [[value], [1.0], [3.0], [4.0]]} for patient in "abc"}
                rows["toy", noise, method, seed] = {"by_case": by_case, "seed": seed}
    return Evidence("toy", "segmentation", (("toy", "S_R"), ("toy", "clean")), tuple(seeds), rows, 0, 0)


def test_methods_are_in_the_order_of_their_gains_and_last_where_rows_are_missing() -> None:
    core = evidence({"ce": 2, "svls": 2, "gsd-net": 2, "debias": 2}, lacking=("debias",))
    assert ordered(core, "toy", ["svls", "gsd-net", "debias", "gce"]) == ["gsd-net", "svls", "debias"]


def test_one_seed_is_hollow_and_what_is_out_of_range_has_its_value() -> None:
    filled = remedies(evidence({"ce": 2, "gsd-net": 2, "gce": 2}), "toy", ENTRIES).decode()
    hollow = remedies(evidence({"ce": 2, "gsd-net": 1, "gce": 2}), "toy", ENTRIES).decode()
    assert hollow.count(HOLLOW) > filled.count(HOLLOW)
    for chart in (filled, hollow):
        assert "-48.0" in chart and "told which ten labels are verified" in chart
        assert chart.index(">gsd-net<") < chart.index(">gce<")


def test_who_is_told_of_verified_labels_and_of_the_noise() -> None:
    entries = read_grid(BENCHMARKS / "core.yaml").methods
    knowing = {name for name, entry in entries.items() if told(name, entry)}
    assert {"alc", "debias", "ce fine-tuned", "ce held out", "trusted alone"} <= knowing
    assert not {"ce", "gce", "rce", "svls", "cdr", "meta-dcseg without meta"} & knowing
    assert told("ce, calibrated", entries["ce"])
    assert {name for name, entry in entries.items() if has_rate(entry)} == {"cdr", "co-teaching"}


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        (((1, 2), (1, 3)), OUTCOMES[0]),
        (((1, 2), (0, 2)), OUTCOMES[1]),
        (((0, 2), (0, 2)), OUTCOMES[2]),
        (((1, 2), (-1, 2)), OUTCOMES[3]),
        (((1, 1), (1, 2)), OUTCOMES[4]),
        (((1, 1), (-1, 2)), OUTCOMES[5]),
        ((None, (1, 2)), OUTCOMES[6]),
    ],
)
def test_outcomes(differences: tuple[tuple[int, int] | None, ...], text: str) -> None:
    known = [each and Difference(0.1 * each[0], 0.1 * each[0] - 0.05, 0.1 * each[0] + 0.05, each[1]) for each in differences]
    assert outcome(known) == text


def test_tables_say_what_noise_costs_and_who_ends_where() -> None:
    core = evidence({"ce": 2, "gsd-net": 2, "gce": 2, "svls": 1})
    made = tables(core)
    assert made["costs"][2].startswith("| all too small | 50.0 ± 0.0 (2) | -20.0 ") and "0.75 ± 0.00 (2)" in made["costs"][2]
    assert made["costs"][3].startswith("| right labels | 70.0 ± 0.0 (2) | – |")
    (line,) = [line for line in made["systems"] if line.startswith("| gsd-net |")]
    assert line.startswith("| gsd-net | +10.0 ") and line.endswith("| – |")
    assert f"| {OUTCOMES[0]} | gsd-net |" in made["outcomes"] and f"| {OUTCOMES[3]} | gce |" in made["outcomes"]
    assert f"| {OUTCOMES[5]} | svls |" in made["outcomes"]
    assert b">toy<" in costs(core)


def test_the_tables_of_the_page_are_those_of_the_rows() -> None:
    made, text = tables(gather(BENCHMARKS / "core.yaml", BENCHMARKS / "results")), PAGE.read_text()
    assert set(re.findall(r"<!-- table ([a-z]+) -->", text)) == set(made)
    assert put_tables(text, made) == text, (
        "run python -m benchmarks.noise_pictures --out docs/pictures --page docs/noise-and-remedies.md --charts"
    )
