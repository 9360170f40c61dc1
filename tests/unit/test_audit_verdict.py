"""What an audit says of its estimate: no sentence contradicts the numbers beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from debride.audit.evidence import CaseScore, ClassScore, Ranking
from debride.audit.verdict import are_same, kinds_in_words, plain_shares, share_in_words, suggestion, warnings_of

OTHER = {"a": CaseScore(0.8, 0.1, 0.9, (ClassScore(1, 10, 12, 0.9, 0.9, 0.1, 0.8, 0.1, 0.0),))}


def ranking(share: float, low: float, high: float, flagged: int = 0, told_apart: float = 0.9) -> Ranking:
    wrong = np.where(np.arange(100) < flagged, 0.9, 0.1)
    return Ranking(wrong, wrong, {}, share, (low, high), told_apart)


@pytest.mark.parametrize(
    ("estimate", "said", "advice"),
    [
        (ranking(0.3, 0.21, 0.41, 30), "about 30.0 % wrong (21.0 to 41.0 %)", "Many labels seem wrong"),
        (ranking(0.1, 0.05, 0.2, 8), "about 10.0 % wrong (5.0 to 20.0 %)", "Look at the flagged cases"),
        (ranking(0.0, 0.0, 0.015), "about 0.0 % wrong (0.0 to 1.5 %)", "Hardly any label seems wrong"),
        (ranking(0.02, 0.0, 0.12), "about 2.0 % wrong (0.0 to 12.0 %)", "No label is flagged, and up to 12.0 % may be wrong"),
        (ranking(0.2, 0.0, 0.5), "between 0.0 and 50.0 % wrong", "accept findings that are at least 0.4 sure"),
        (ranking(0.1, 0.02, 0.2), "about 10.0 % wrong", "none of them is more probably wrong than right"),
        (ranking(math.nan, 0.0, 1.0, 0, 0.5), "cannot be told", "Audit with better predictions"),
    ],
)
def test_words_go_with_the_numbers(estimate: Ranking, said: str, advice: str) -> None:
    words = suggestion(estimate, OTHER, {})
    assert said in share_in_words(estimate) and advice in words
    assert ("flagged cases" in words or "what is flagged" in words) == bool(estimate.flagged.any())
    assert bool(warnings_of(estimate, OTHER)) == estimate.blind


@pytest.mark.parametrize("flagged", [0, 8])
def test_without_predictions_nobody_is_sent_to_repair(flagged: int) -> None:
    words = suggestion(ranking(0.1, 0.05, 0.2, flagged), OTHER, {}, predicted=False)
    assert ("flagged" in words) == bool(flagged) and "debride repair" not in words and "Audit with predictions" in words
    (warning,) = warnings_of(ranking(math.nan, 0.0, 1.0, 0, 0.5), OTHER, predicted=False)
    assert "Train the networks longer" not in warning and "Audit with predictions" in warning


def test_none_is_flagged_where_the_interval_begins_at_0() -> None:
    assert not ranking(0.3, 0.0, 0.5, 30).flagged.any() and ranking(0.3, 0.01, 0.5, 30).flagged.sum() == 30


def test_predictions_that_are_the_labels_are_said_to_be() -> None:
    same = {"a": CaseScore(0.9, 0.0, 1.0, (ClassScore(1, 10, 10, 1.0, 0.9, 0.1, 0.8, 0.0, 0.0),))}
    empty = {"b": CaseScore(0.9, 0.0, math.nan, (ClassScore(1, 0, 0, math.nan, 1.0, 0.0, 0.8, 0.0, math.nan),))}
    assert are_same(same) and are_same(same | empty)
    assert not are_same(OTHER) and not are_same(same | OTHER) and not are_same(empty)
    untold = ranking(0.1, 0.05, 0.2, 8).untold()
    assert share_in_words(untold) == "how many are wrong cannot be told" and not untold.flagged.any()
    (warning,) = warnings_of(ranking(0.0, 0.0, 0.02), same)
    assert "the same as the labels" in warning and "other networks" in suggestion(ranking(0.0, 0.0, 0.02), same, {})


def test_kinds_that_cannot_be_told_have_no_share() -> None:
    kinds = {"missing": (math.nan, 0.0, 1.0)}
    assert plain_shares(kinds) == {"missing": [None, 0.0, 1.0]}
    assert kinds_in_words(kinds) == ["there may also be errors that hardly show: missing (up to 100.0 %)"]


def test_errors_that_show_in_few_cases_are_not_said_to_hardly_show() -> None:
    (line,) = kinds_in_words({"flip": (0.2, 0.0, 0.37)})
    assert "hardly" not in line and line.endswith("flip (about 20.0 %, 0.0 to 37.0 %)")
    assert "hardly show: flip (up to 37.0 %)" in kinds_in_words({"flip": (0.001, 0.0, 0.37)})[0]
