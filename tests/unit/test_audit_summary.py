"""What an audit says of a data set as a whole, against loops over its cases."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debride.audit.evidence import Interval
from debride.audit.evidence.ranking import Ranking
from debride.audit.evidence.scores import CaseScore, ClassScore
from debride.audit.overview import summarise_audit
from debride.types import Case, Dataset

NAN = math.nan


def score(*bias: float) -> CaseScore:
    classes = tuple(ClassScore(at, 10, 10, 0.9, 0.9, 0.1, 0.8, 0.1, value) for at, value in enumerate(bias, start=1))
    return CaseScore(0.8, 0.1, 0.9, classes)


def summarised(
    wrong: Sequence[float],
    kinds: Sequence[str],
    bias: Sequence[tuple[float, ...]],
    patients: Sequence[str] | None = None,
    share: float = 0.1,
    trusted: Sequence[int] = (),
    shares: Mapping[str, Interval] | None = None,
) -> dict[str, Any]:
    n = len(wrong)
    patients = patients or [f"p{row}" for row in range(n)]
    cases = tuple(Case(f"c{row}", (Path("i.png"),), Path("l.png"), patients[row], trusted=row in trusted) for row in range(n))
    classes = ("background", *(f"part {at}" for at in range(1, len(bias[0]) + 1)))
    values = np.asarray(wrong, float)
    ranking = Ranking(values, values, {}, share, (share / 2, min(1.0, 2 * share)), 0.9, dict(shares or {}))
    scores = {case.id: score(*each) for case, each in zip(cases, bias, strict=True)}
    named = {case.id: kind for case, kind in zip(cases, kinds, strict=True)}
    summary = summarise_audit(cases, ranking, scores, named, Dataset(Path("d"), "folder", classes, cases, 2))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    return summary


def many(seed: int, n: int = 60) -> tuple[list[float], list[str], list[tuple[float, ...]], list[str]]:
    rng = np.random.default_rng(seed)
    wrong = [float(value) for value in rng.random(n) ** 3]
    kinds = [str(rng.choice(["", "missing", "boundary", "flip"])) for _ in range(n)]
    bias: list[tuple[float, ...]] = [
        (float(rng.normal(1, 0.5)), NAN if rng.random() < 0.3 else float(rng.normal(-2, 0.5))) for _ in range(n)
    ]
    return wrong, kinds, bias, [f"p{row // 3}" for row in range(n)]


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_means_are_those_of_loops(seed: int) -> None:
    wrong, kinds, bias, patients = many(seed)
    summary = summarised(wrong, kinds, bias, patients)
    counts: dict[str, int] = {}
    for value, kind in zip(wrong, kinds, strict=True):
        if value > 0.5 and kind:
            counts[kind] = counts.get(kind, 0) + 1
    assert summary["kinds"] == counts
    assert (summary["cases"], summary["flagged"]) == (len(wrong), sum(value > 0.5 for value in wrong))
    assert (summary["share_wrong"], summary["share_wrong_interval"]) == (0.1, [0.05, 0.2])
    for at, name in enumerate(summary["bias"]["classes"]):
        assert name == f"part {at + 1}"
        of_patient: dict[str, list[float]] = {}
        for value, kind, each, patient in zip(wrong, kinds, bias, patients, strict=True):
            if (value <= 0.5 or kind in ("", "boundary")) and not math.isnan(each[at]):
                of_patient.setdefault(patient, []).append(each[at])
        means = sorted(float(np.median(values)) for values in of_patient.values())
        cut = len(means) // 5
        kept = means[cut : len(means) - cut]
        mean, low, high = summary["bias"]["classes"][name]["mean"]
        assert mean == pytest.approx(sum(kept) / len(kept))
        assert low < mean < high and summary["bias"]["classes"][name]["patients"] == len(means)


def test_trusted_cases_are_counted_apart() -> None:
    summary = summarised([0.9, 0.7, 0.0, 0.0, 0.0], ["flip", "flip", "", "", ""], [(1.0,)] * 5, trusted=(2, 4))
    assert (summary["cases"], summary["trusted"], summary["kinds"]) == (5, 2, {"flip": 2})


def test_one_case_and_one_patient() -> None:
    for n in (1, 4):
        summary = summarised([0.9] * n, ["boundary"] * n, [(1.5,)] * n, ["p"] * n)
        assert summary["bias"]["classes"] == {"part 1": {"mean": [1.5, None, None], "patients": 1}}


def test_a_class_that_no_case_has_is_left_unsaid() -> None:
    summary = summarised([0.1, 0.2], ["", ""], [(1.0, NAN), (2.0, NAN)])
    assert summary["bias"]["classes"]["part 2"] == {"mean": [None] * 3, "patients": 0}
    assert summary["kinds"] == {}
    assert [line for line in summary["noise"] if "part 2" in line] == []


def test_flagged_for_another_reason_is_no_bias() -> None:
    wrong, bias = [0.9, 0.9, 0.1], [(10.0,), (2.0,), (1.0,)]
    assert summarised(wrong, ["shift", "boundary", "shift"], bias)["bias"]["classes"]["part 1"]["mean"][0] == pytest.approx(1.5)
    assert summarised([0.9] * 2, ["flip"] * 2, [(1.0,)] * 2)["bias"]["classes"]["part 1"]["mean"] == [None] * 3


def test_noise_in_words() -> None:
    wrong = [0.9] * 2 + [0.8] * 6 + [0.0] * 12
    kinds = ["flip"] * 2 + ["missing"] * 6 + [""] * 12
    spread = [0.01 * (row % 3 - 1) for row in range(20)]
    shares = {"flip": (0.09, 0.02, 0.2), "missing": (0.24, 0.1, 0.4), "extra": (0.0, 0.0, 0.04), "boundary": (0.1, 0.0, 0.3)}
    summary = summarised(wrong, kinds, [(1 + by, -2 + by, 100 * by) for by in spread], shares=shares)
    assert summary["kind_shares"] == {kind: list(share) for kind, share in shares.items()}
    first, second, third, *outlines = summary["noise"]
    assert first == "missing: 24.0 % of the labels (10.0 to 40.0 %)" and second == "flip: 9.0 % of the labels (2.0 to 20.0 %)"
    assert (
        third == "there are perhaps errors, of which these cases alone do not make sure: boundary (about 10.0 %, 0.0 to 30.0 %)"
    )
    wanted = ("1.00 px outside what", "2.00 px inside what", "on average where")
    assert [part in line for part, line in zip(wanted, outlines, strict=True)] == [True] * 3
    assert [f"part {at}" in line for at, line in enumerate(outlines, start=1)] == [True] * 3


@pytest.mark.parametrize(
    ("share", "kind", "words"),
    [
        (0.1, "flip", "repair them"),
        (0.4, "missing", "self-cleansing on the given ones"),
        (0.4, "boundary", "self-cleansing on the given ones"),
        (0.4, "flip", "gsd-net"),
        (0.4, "", "gsd-net"),
    ],
)
def test_a_suggestion_by_share_and_kind(share: float, kind: str, words: str) -> None:
    summary = summarised([0.9, 0.9, 0.8, 0.1], [kind, kind, "swap" if kind else "", ""], [(1.0,)] * 4, share=share)
    assert words in summary["suggestion"] and re.search(r"\bce\b", summary["suggestion"])
