"""The benchmarks of classification on tiny data: what they print, and figures that are worked out again in plain loops."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import class_selection, class_step_cost
from benchmarks.audit import classes as audit_classes
from tests.datasets import build_npz

from debride.methods import METHODS
from debride.methods.parts.semi_supervised import Division
from debride.types import Case, Dataset

CLEAN = (0, 1, 2, 0, 1, 2, 0, 1)
GIVEN = (0, 1, 2, 1, 1, 0, 0, 1)
SELECTED = (True, True, False, True, False, True, True, True)
TRUSTED = 7
DISTANCE = (0.3, 0.1, 0.9, 0.5, 0.2, 0.4, 0.7, 0.8)


def run_main(module: Any, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def pairs(score: list[float], flags: list[bool]) -> float:
    """The AUROC, pair by pair."""
    won = [
        (a > b) + (a == b) / 2
        for a, x in zip(score, flags, strict=True)
        if x
        for b, y in zip(score, flags, strict=True)
        if not y
    ]
    return sum(won) / len(won)


def probability(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), len(CLEAN))


def dataset(targets: tuple[int, ...]) -> Dataset:
    cases = tuple(
        Case(f"train_{row}", (), None, f"train_{row}", trusted=row == TRUSTED, target=target, row=row, array="train_images")
        for row, target in enumerate(targets)
    )
    return Dataset(Path(), "npz", ("a", "b", "c"), cases, 2, task="classification")


def looked(divided: bool = True, distance: bool = True) -> tuple[class_selection.Judge, str]:
    """A judge that has seen the last of four epochs, and what it printed."""
    out = io.StringIO()
    judge = class_selection.Judge(dataset(CLEAN), dataset(GIVEN), probability(596), out)
    division = Division(torch.tensor(SELECTED), torch.ones(len(SELECTED)))
    method = SimpleNamespace(
        divisions={"first": division, "second": Division(~division.selected, division.trust)} if divided else {},
        fields=lambda: [SimpleNamespace(name="distance")] if distance else [],
    )
    values = torch.stack((torch.tensor(DISTANCE), torch.zeros(len(DISTANCE))), dim=1)
    run = SimpleNamespace(
        epoch=3,
        epochs=4,
        cases=len(CLEAN),
        store=SimpleNamespace(read=lambda name, rows: values[rows]),
        sweep=lambda rows: iter([SimpleNamespace(probability=torch.from_numpy(probability(2)[rows]))]),
    )
    judge.look(method, run)
    return judge, out.getvalue()


def hard_cases() -> list[bool]:
    """Where the reference is wrong, or less sure than for half of the judged cases."""
    margin = []
    for row, label in enumerate(CLEAN):
        chance = probability(596)[row]
        margin.append(math.log(chance[label]) - max(math.log(chance[k]) for k in range(3) if k != label))
    ordered = sorted(margin[row] for row in range(len(CLEAN)) if row != TRUSTED)
    return [value < 0 or value < ordered[len(ordered) // 2] for value in margin]


def test_selection_is_judged_as_a_detector_of_clean_labels() -> None:
    judge, _ = looked()
    rows = [row for row in range(len(CLEAN)) if row != TRUSTED]
    chosen = [row for row in rows if SELECTED[row]]
    right = [row for row in rows if CLEAN[row] == GIVEN[row]]
    both = [row for row in chosen if row in right]
    ((epoch, precision, recall, area),) = judge.rows
    assert epoch == 4
    assert precision == pytest.approx(len(both) / len(chosen))
    assert recall == pytest.approx(len(both) / len(right))
    chances = [probability(2)[row, GIVEN[row]] for row in rows]  # the divergence falls as the label's probability grows
    assert area == pytest.approx(pairs(chances, [row in right for row in rows]))
    assert 0 < area < 1


def test_distances_are_told_by_group() -> None:
    judge, printed = looked()
    hard, groups = hard_cases(), {name: [] for name in class_selection.GROUPS}
    for row in range(len(CLEAN)):
        if row != TRUSTED and SELECTED[row]:
            name = "noisy" if CLEAN[row] != GIVEN[row] else "clean, hard" if hard[row] else "clean, easy"
            groups[name].append(row)
    assert all(groups.values())
    for name, rows in groups.items():
        assert judge.distances[name].tolist() == pytest.approx([DISTANCE[row] for row in rows])
        line = next(line for line in printed.splitlines() if line.strip().startswith(name))
        given, clean = (np.mean([-math.log(probability(2)[row, labels[row]]) for row in rows]) for labels in (GIVEN, CLEAN))
        figures = [float(word) for word in line.strip().removeprefix(name).split()]
        assert figures == pytest.approx([len(rows), np.mean([DISTANCE[row] for row in rows]), given, clean], abs=6e-4)
    chosen, sound = [row for rows in groups.values() for row in rows], groups["clean, easy"] + groups["clean, hard"]
    scores = {"DCD": list(DISTANCE), "loss given": [-math.log(probability(2)[row, GIVEN[row]]) for row in range(len(CLEAN))]}
    for name, score in scores.items():
        line = next(line for line in printed.splitlines() if line.startswith(f"  {name}"))
        noisy = pairs([score[row] for row in chosen], [row in groups["noisy"] for row in chosen])
        difficult = pairs([score[row] for row in sound], [hard[row] for row in sound])
        assert [float(word) for word in line.removeprefix(f"  {name}").split()] == pytest.approx([noisy, difficult], abs=6e-4)


def test_no_distances_without_a_selection_or_a_field() -> None:
    judge, printed = looked(divided=False)
    assert printed.split() == ["4", "-", "-", "-", f"{judge.rows[0][3]:.3f}"]
    assert len(looked(distance=False)[1].splitlines()) == 1


def test_rank_correlation_is_that_of_ranks() -> None:
    one, other = np.array([1.0, 2.0, 10.0, 3.0]), np.array([5.0, -1.0, 7.0, 6.0])
    ranks = [sorted(values).index(value) for values in (one, other) for value in values]
    squares = sum((a - b) ** 2 for a, b in zip(ranks[:4], ranks[4:], strict=True))
    assert class_selection.rank_correlation(one, other) == pytest.approx(1 - 6 * squares / (4 * 15))
    assert math.isnan(class_selection.rank_correlation(one, np.ones(4)))


@pytest.mark.parametrize("method", ["dcd", "unicon"])
def test_class_selection(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, picture = build_npz(tmp_path / "data"), tmp_path / "out", tmp_path / "plot.svg"
    words = ["--method", method, "--rate", 0.5, "--data", data, "--trusted", 0.1, "--epochs", 2, "--width", 4]
    run_main(class_selection, monkeypatch, *words, "--batch-size", 8, "--out", out, "--plot", picture)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    with np.load(out / "data" / "small.npz") as noisy, np.load(data / "small.npz") as clean:
        wrong = int((noisy["train_labels"] != clean["train_labels"]).sum())
    assert lines[0].startswith(f"{method}, symmetric noise of rate 0.5: 43 cases judged, {wrong / 43:.1%} wrong; the reference")
    assert lines[1].split() == ["epoch", "selected", "precision", "recall", "AUROC"]
    assert lines[2].split()[:4] == ["1", "-", "-", "-"]
    epoch, selected, *figures = lines[3].split()
    assert epoch == "2"
    assert 0 < int(selected) <= 43
    assert all(0 <= float(figure) <= 1 for figure in [*figures, lines[2].split()[4]])
    assert "watched" not in METHODS
    assert "<svg" in picture.read_text()
    assert (out / "reference" / "run.json").exists()
    assert ("selected in epoch 2" in printed) == ("Spearman of DCD" in printed) == (method == "dcd")
    if method == "dcd":
        counts = [int(line.split()[-4]) for name in class_selection.GROUPS for line in lines if line.startswith(f"  {name}")]
        assert sum(counts) == int(selected)
        assert counts[2] == pytest.approx(int(selected) * (1 - float(figures[0])), abs=0.05)


def test_class_step_cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(class_step_cost, "WARM_UP", 1)
    words = ["--width", 4, "--batch-size", 4, "--image-size", 12, "--images", 30, "--rounds", 1]
    run_main(class_step_cost, monkeypatch, *words)
    first, _, heads, rule, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("cnn of width 4, batches of 4, images of 12^2, 2 steps; cpu, 1 thread, torch")
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines}
    assert list(rows) == list(class_step_cost.SETTINGS)
    assert {len(row) for row in rows.values()} == {heads.count("|") - 2} == {rule.count("---:")}
    assert (rows["ce"][1], rows["unicon"][2]) == ("1.00", "1.00")
    for name, row in rows.items():
        shares = [float(cell.removesuffix("%")) for cell in row[3:7]]
        assert sum(shares) == pytest.approx(100, abs=0.3)
        assert all(0 <= share <= 100 for share in shares)
        assert (row[7] == "-") == (name in ("ce", "elr", "sop"))


def test_a_part_within_another_counts_for_the_outer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = class_step_cost.Stopwatch(torch.device("cpu"))
    clock = iter(range(100))
    monkeypatch.setattr(watch, "now", lambda: float(next(clock) ** 2))
    inner = watch.timed("networks", lambda value: value + 1)
    assert watch.timed("batch", inner)(1) == 2
    assert not watch.spent
    watch.on = True
    assert watch.timed("batch", inner)(1) == 2  # from 0 to 1
    assert inner(2) == 3  # from 4 to 9
    assert watch.spent == {"batch": 1, "networks": 5}


def test_table_has_medians_ratios_of_rounds_and_shares_of_sums() -> None:
    def rows(steps: list[float], networks: float) -> list[dict[str, float]]:
        parts = [{"step": ms, "parted": 10.0, "batch": 2.0, "networks": networks, "optimiser": 1.0} for ms in steps]
        return [{"sweep": 500.0}, {"sweep": 100.0}, {"sweep": 300.0}, *parts]

    found = {"ce": rows([1, 2, 4], 5), "unicon": rows([3, 8, 8], 6), "dcd, head": rows([9, 8, 20], 7)}
    lines = class_step_cost.table(found, 200)[2:]
    assert lines[0] == "| ce | 2.0 | 1.00 | 0.33 | 20.0% | 50.0% | 10.0% | 20.0% | - |"
    assert lines[1] == "| unicon | 8.0 | 3.00 | 1.00 | 20.0% | 60.0% | 10.0% | 10.0% | 1.500 |"
    assert lines[2] == "| dcd, head | 9.0 | 5.00 | 2.50 | 20.0% | 70.0% | 10.0% | 0.0% | 1.500 |"


def test_the_benchmark_of_audits_counts_what_it_says() -> None:
    """On predictions whose errors are known; the table has a line for each noise, with means over the seeds."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 150)
    given = np.where(rng.random(150) < 0.2, (true + 1) % 3, true)
    logits = 6 * np.eye(3)[true] + rng.normal(size=(150, 3))
    probability = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    row = audit_classes.measured(probability, given, true, range(150), 0)
    assert row["wrong"] == np.mean(given != true) and row["cases"] == 150
    assert row["interval"][0] <= row["wrong"] <= row["interval"][1]
    assert len(row["average_precision"]) == 6 and min(row["average_precision"].values()) > 0.9
    about = {"set": "toy", "noise": "asymmetric", "share": 0.2}
    lines = audit_classes.table([{**about, "seed": seed, **row} for seed in (0, 1)]).splitlines()
    assert len(lines) == 3 and "(2 of 2)" in lines[2] and f"{row['accuracy']:.2f}" in lines[2]
