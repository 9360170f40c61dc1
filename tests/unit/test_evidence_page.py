"""Paired differences against loops, ranks against published numbers, and the page of results against its rows."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import yaml
from benchmarks.evidence import report
from benchmarks.evidence.diagram import draw, groups
from benchmarks.evidence.grids import BENCHMARKS, planned
from benchmarks.evidence.in_words import answers, background, setup_of
from benchmarks.evidence.paired import RESAMPLES, Difference, difference, ranks, scores
from tests.datasets import build_folder, build_npz

from debride.bench.grid import read_grid
from debride.rng import generator

ROOT = Path(__file__).parents[2]
PATIENTS = {"a": ["a1", "a2"], "b": ["b1"], "c": ["c1", "c2", "c3"]}


def row(seed: int, shift: float = 0.0, **more: Any) -> dict[str, Any]:
    """Two classes, of which some cases lack the second."""
    rng = np.random.default_rng(seed)
    by_case: dict[str, dict[str, Any]] = {}
    for patient, cases in PATIENTS.items():
        for case in cases:
            dice = [round(float(value), 4) for value in rng.uniform(0, 0.5, 2) + shift]
            lacks = case in ("a2", "b1")
            true = [4.0, 0.0 if lacks else 2.0]
            by_case.setdefault(patient, {})[case] = [[dice[0], None if lacks else dice[1]], [3.0, None], [2.0, 3.0], true]
    return {"seed": seed, "by_case": by_case, **more}


def looped(ours: dict[int, Any], theirs: dict[int, Any], by_seed: Any, by_patient: Any) -> float:
    """The mean of class means of the differences, each as often as its seed and its patient are drawn."""
    means = []
    for class_row in range(2):
        total = count = 0.0
        for (place, seed), (number, patient) in itertools.product(enumerate(ours), enumerate(PATIENTS)):
            for case in PATIENTS[patient]:
                mine, other = (side[seed]["by_case"][patient][case] for side in (ours, theirs))
                if mine[3][class_row]:
                    weight = by_seed[place] * by_patient[number]
                    total += weight * (mine[0][class_row] - other[0][class_row])
                    count += weight
        if count:
            means.append(total / count)
    return fmean(means) if means else np.nan


def test_differences_are_those_of_loops_over_seeds_patients_and_classes() -> None:
    ours, theirs = {seed: row(seed, 0.1) for seed in (0, 1, 2)}, {seed: row(seed + 7) for seed in (0, 1, 2, 3)}
    found = difference([ours], [theirs])
    assert found is not None and found.seeds == 3
    assert found.mean == pytest.approx(looped(ours, theirs, [1] * 3, [1] * 3))
    draw_of = generator(0, "pigeonhole")
    by_seed, by_patient = (draw_of.multinomial(3, [1 / 3] * 3, RESAMPLES) for _ in range(2))
    drawn = [looped(ours, theirs, *weights) for weights in zip(by_seed, by_patient, strict=True)]
    assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(drawn, [0.025, 0.975])))
    assert difference([{0: row(0)}], [{1: row(1)}]) is None


def test_a_difference_of_one_class_and_one_that_is_the_same_everywhere() -> None:
    ours, theirs = ({seed: row(seed, shift) for seed in (0, 1)} for shift in (0.25, 0.0))
    found = difference([ours], [theirs], 1)
    assert found == Difference(pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25), 2) and found.sign == 1
    alone = difference([{0: ours[0]}], [theirs])
    assert alone is not None and alone.low > 0 and alone.sign == 0, "one seed says nothing of seeds"
    assert np.isnan(scores(row(0))).sum() == 2


def test_a_difference_over_noises_is_their_mean_over_the_seeds_that_all_have() -> None:
    first, second, base = ({seed: row(seed, shift) for seed in (0, 1)} for shift in (0.1, 0.3, 0.0))
    found = difference([first, {0: second[0]}], [base, base])
    assert found is not None and found.seeds == 1 and found.mean == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("signs", "outcome"),
    [
        ((1, 1), "holds"),
        ((1, 0), "holds on some"),
        ((0, 0), "fails"),
        ((1, -1), "fails"),
        ((1, None), "–"),
    ],
)
def test_a_claim_holds_where_intervals_exclude_zero(signs: tuple[int | None, ...], outcome: str) -> None:
    known = [None if sign is None else Difference(0.1 * sign, 0.1 * sign - 0.05, 0.1 * sign + 0.05, 3) for sign in signs]
    assert report.outcome(known) == outcome


def test_one_seed_decides_no_claim() -> None:
    assert report.outcome([Difference(0.1, 0.05, 0.15, 3), Difference(0.1, 0.05, 0.15, 1)]) == "one seed so far"


def test_the_critical_difference_is_that_of_the_paper() -> None:
    """Four classifiers on 14 data sets: 2.569 sqrt(4 5 / (6 14)) = 1.25 (Demsar 2006, section 3.2.2)."""
    table = np.random.default_rng(0).uniform(size=(4, 14))
    found = ranks(dict(zip("abcd", table, strict=True)))
    assert found is not None and found.critical == pytest.approx(1.25, abs=0.005)
    by_hand = [
        fmean(1 + sum(other > table[method][block] for other in table[:, block]) for block in range(14)) for method in range(4)
    ]
    assert [*found.mean.values()] == pytest.approx(by_hand)
    assert ranks({"a": [1.0, 2.0], "b": [2.0, 1.0]}) is None


def test_bars_join_the_largest_groups_that_do_not_differ() -> None:
    assert groups({"a": 1.0, "b": 1.8, "c": 2.5, "d": 4.0}, 1.0) == [(1.0, 1.8), (1.8, 2.5)]
    assert groups({"a": 1.0, "b": 3.0}, 1.0) == []


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Four methods with two noises, as a grid file."""
    build_folder(tmp_path / "data", n=18)
    content = {
        "seeds": [0, 1],
        "datasets": {"toy": {"path": str(tmp_path / "data"), "limit": {"train": 8}, "trusted": 0.3}},
        "noises": {"S_DE": {"noise": "dilate-erode"}, "clean": None},
        "methods": {"ce": None, "gsd-net": None, "jocor": None, "gce": None},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "toy.yaml"


def write(results: Path, lines: list[str]) -> None:
    """Rows in one file, as good as several."""
    (results / "toy").mkdir(exist_ok=True)
    (results / "toy" / "rows.jsonl").write_text("".join(lines))


def written(grid: Path, lacking: set[tuple[str, str, int]]) -> str:
    """The page made from rows of all cells but those that are lacking; GSD-Net is far better than others, GCE far worse."""
    shifts = {"gsd-net": 0.3, "gce": -0.3}
    lines = []
    for each in planned([grid], grid.parent, grid.parent):
        cell = each.cell
        if (cell.noise, cell.name, cell.seed) in lacking:
            continue
        made = row(cell.seed, 0.4 + shifts.get(cell.name, 0.0), dataset="toy", noise=cell.noise, method=cell.name)
        last = {"hd95": 3.0, "per_class": {"one": 0.5, "two": 0.5}}
        lines.append(
            json.dumps({**made, "made_by": each.made_by, "date": "2026-01-02", "cell_minutes": 0.5, "last": last}) + "\n"
        )
    write(grid.parent, lines)
    report.write([grid], grid.parent, grid.parent / "docs")
    return (grid.parent / "docs" / "results.md").read_text()


def test_the_page_says_what_is_better_by_how_much_and_beside_what(grid: Path) -> None:
    text = written(grid, set())
    assert "| toy | 16 | 16 | 2026-01-02 | 8 |" in text
    assert "| gsd-net | toy S_DE (+30.0), toy clean (+30.0) | never |" in text
    assert "| gce | never | toy S_DE (-30.0), toy clean (-30.0) |" in text
    assert "| jocor | never | never |" in text
    assert "more than a point below ce.\n\n- gce on toy (-30.0).\n" in text
    assert "### gsd-net and jocor" in text
    assert re.search(r"^\| gsd-net \| \+30.0 .* ↑ \| holds \| \+30.0 .* ↑ \| holds \|$", text, re.MULTILINE)
    (line,) = [line for line in text.splitlines() if line.startswith("| toy, clean |")]
    assert [cell.split()[0] for cell in line.split("|")[2:5]] == ["+30.0", "+0.0", "+30.0"]
    # two thirds of the reference's foreground: predicted 2 + 3 in each of 6 cases, true 4, and 2 in four of them
    assert "| 0.94 ± 0.00 (2) |" in text
    assert "| method | one Dice | one difference | one area ratio | two Dice |" in text
    assert (
        "Mean rank over 2 fields" in text and b"</svg>" in (grid.parent / "docs/pictures/critical_difference.svg").read_bytes()
    )


def test_the_page_begins_with_what_two_seeds_support(grid: Path) -> None:
    text = written(grid, {("clean", "gsd-net", 1)})
    assert "- **Outlines each too small or too large** (S_DE): use `gsd-net` (+30.0 on toy).\n" in text
    assert "- **Right labels** (clean): nothing is above `ce` on all sets.\n" in text, "of one seed nothing is said"
    core = report.gather(grid, grid.parent)
    assert report.mean_scores(core)["toy", "S_DE", "gsd-net"] > report.mean_scores(core)["toy", "S_DE", "ce"] + 0.29
    assert "What the rows support" not in written(grid, {(noise, "ce", 1) for noise in ("S_DE", "clean")})


def test_what_is_above_on_one_set_alone_is_told_apart(grid: Path) -> None:
    written(grid, set())
    core = report.gather(grid, grid.parent)
    fields = (("a", "S_R"), ("b", "S_R"))
    above, level, below = (Difference(mean, mean - 0.1, mean + 0.1, 2) for mean in (0.2, 0.0, -0.2))
    signs = {"gsd-net": (above, level), "jocor": (above, below), "gce": (level, level)}
    differences = {(field, name): found for name, pair in signs.items() for field, found in zip(fields, pair, strict=True)}
    object.__setattr__(core, "fields", fields)
    core.__dict__["differences"] = differences
    expected = "nothing is above `ce` on all sets. On some, and nowhere below: `gsd-net` on a."
    assert [*answers(core)] == [f"- **Outlines all too small** (S_R): {expected}"]


def test_networks_that_predict_background_alone_are_named(grid: Path) -> None:
    core = report.gather(grid, grid.parent)
    assert background(core, {("toy", "S_R", "gce"): 0.01}) == ""
    text = background(core, {("toy", "S_R", "gce"): 0.001, ("toy", "clean", "gce"): 0.0, ("toy", "clean", "ce"): 0.5})
    assert "below 0.5 %: `gce` on toy S_R, toy clean. " in text and "`ce`" not in text


def test_the_setup_is_that_of_the_grid() -> None:
    text = setup_of(read_grid(BENCHMARKS / "core.yaml"))
    assert "100 training images, 10 of them verified, of 64 x 64 pixels" in text
    assert "`unet-small` of width 8, and 60 epochs" in text and "mean Dice of 0.7" in text


def test_the_page_copes_with_rows_that_are_missing(grid: Path) -> None:
    text = written(grid, {("S_DE", "gce", 1), ("clean", "jocor", 0), ("clean", "jocor", 1)})
    assert "| toy | 16 | 13 |" in text
    assert "Left out, as rows are missing:\n\n- jocor" in text
    assert "| gce | never | toy clean (-30.0) |" in text, "of one seed nothing is said"
    assert "| gce | -30.0 \\[-30.0, -30.0\\] (1) | -30.0 \\[-30.0, -30.0\\] (2) ↓ |" in text
    everything = {
        (noise, name, seed) for noise in ("S_DE", "clean") for name in ("ce", "gsd-net", "jocor", "gce") for seed in (0, 1)
    }
    assert "There are no rows to compare yet." in written(grid, everything)


def test_rows_of_other_settings_are_left_out(grid: Path) -> None:
    written(grid, set())
    grid.write_text(grid.read_text().replace("limit:\n      train: 8", "limit:\n      train: 7"))
    report.write([grid], grid.parent, grid.parent / "docs")
    text = (grid.parent / "docs" / "results.md").read_text()
    assert "| toy | 16 | 0 | – | 0 |" in text and "16 rows of other settings are left out." in text


def test_classes_have_accuracy_alone(tmp_path: Path) -> None:
    build_npz(tmp_path / "data", n=30)
    content = {
        "task": "classification",
        "datasets": {"toy": {"path": str(tmp_path / "data" / "small.npz")}},
        "noises": {"half": {"noise": "symmetric"}},
        "methods": {"ce": None, "elr": None},
    }
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    lines = []
    for each, share in zip(planned([file], tmp_path, tmp_path), (0.25, 0.75), strict=True):
        dataset, noise, method, seed = each.key
        cell = {"dataset": dataset, "noise": noise, "method": method, "seed": seed, "made_by": each.made_by}
        by_case = {"a": {"a": [[share]]}, "b": {"b": [[share]]}}
        lines.append(json.dumps({**cell, "by_case": by_case, "date": "2026-01-02", "cell_minutes": 1, "last": {}}) + "\n")
    write(tmp_path, lines)
    text, _ = report.page([report.gather(file, tmp_path)])
    assert "| method | accuracy | difference to ce |" in text
    assert "| ce | 25.0 (1) | – |" in text and "| elr | 75.0 (1) | +50.0" in text


def test_a_diagram_can_be_drawn_of_few_methods() -> None:
    found = ranks({"a": [0.9, 0.8], "b": [0.5, 0.7], "c": [0.1, 0.2]})
    assert found is not None and b"critical difference" in draw(found)


def test_the_page_of_results_is_that_of_its_rows() -> None:
    text, _ = report.page([report.gather(file, BENCHMARKS / "results") for file in report.grid_files(report.GRIDS)])
    assert (ROOT / "docs" / "results.md").read_text() == text, "run python -m benchmarks.evidence.report"
