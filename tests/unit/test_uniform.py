"""Uniform selection: divergences, the cut-off, and the same number of every class."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from debride.refine.uniform import cutoff, jensen_shannon, share_within, uniform_selection
from debride.types import IGNORE


def slow_divergence(p: list[float], label: int) -> float:
    """Half the Kullback-Leibler divergences of both from their mean, to base 2."""

    def kl(a: list[float], b: list[float]) -> float:
        return sum(x * math.log2(x / y) for x, y in zip(a, b, strict=True) if x > 0)

    y = [float(k == label) for k in range(len(p))]
    m = [(a + b) / 2 for a, b in zip(p, y, strict=True)]
    return (kl(p, m) + kl(y, m)) / 2


def test_divergence_equals_the_slow_version() -> None:
    generator = torch.Generator().manual_seed(0)
    p = (4 * torch.randn(40, 5, generator=generator, dtype=torch.float64)).softmax(dim=1)
    label = torch.randint(5, (40,), generator=generator)
    found = jensen_shannon(p, label)
    assert found.tolist() == pytest.approx([slow_divergence(p[i].tolist(), int(label[i])) for i in range(40)])
    assert ((found >= 0) & (found <= 1)).all()


def test_divergence_goes_from_none_to_one_and_is_zero_without_a_label() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    found = jensen_shannon(p, torch.tensor([0, 1, IGNORE]))
    assert found.tolist() == [0, 1, 0] and found.dtype == torch.float64


def test_the_cutoff_is_the_mean_and_lowered_where_that_is_large() -> None:
    d = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64)
    assert cutoff(d, mu=0.9, tau=5.0) == pytest.approx(0.8)
    assert cutoff(d, mu=0.7, tau=5.0) == pytest.approx(0.8 - (0.8 - 0.5) / 5)
    assert cutoff(d, mu=0.7, tau=1.0) == pytest.approx(0.5)


def test_the_share_counts_what_is_within_the_cutoff() -> None:
    d = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert share_within(d, 0.25) == 0.5
    equal = torch.full((7,), 0.1).double()
    assert share_within(equal, cutoff(equal, 0.7, 5.0)) == 1


def slow_selection(d: list[float], label: list[int], classes: int, count: int) -> set[int]:
    chosen: set[int] = set()
    for value in range(classes):
        rows = [row for row in range(len(d)) if label[row] == value]
        while rows and len([row for row in chosen if label[row] == value]) < count:
            best = rows[0]
            for row in rows:
                if d[row] < d[best]:
                    best = row
            chosen.add(best)
            rows.remove(best)
    return chosen


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 0, 0, 1, 2, IGNORE])), min_size=1, max_size=30),
    tenths=st.integers(0, 10),
)
def test_every_class_has_the_same_number_of_the_smallest(rows: list[tuple[int, int]], tenths: int) -> None:
    d, label = [value / 6 for value, _ in rows], [value for _, value in rows]
    labelled = sum(value != IGNORE for value in label)
    found: Tensor = uniform_selection(torch.tensor(d), torch.tensor(label), 3, tenths / 10)
    assert set(found.nonzero()[:, 0].tolist()) == slow_selection(d, label, 3, tenths * labelled // 30)


def test_a_small_class_is_selected_whole_and_what_has_no_label_never() -> None:
    label = torch.tensor([0] * 8 + [1] * 2 + [IGNORE] * 5)
    d = torch.cat((torch.linspace(0, 0.7, 8), torch.tensor([0.9, 1.0]), torch.zeros(5)))
    found = uniform_selection(d, label, 2, 0.6)
    assert found.nonzero()[:, 0].tolist() == [0, 1, 2, 8, 9]
    assert not uniform_selection(d, label, 2, 0.0).any()


@pytest.mark.parametrize("count", [3, 7, 10, 97, 298])
@pytest.mark.parametrize("value", [0.1, 0.3, 0.7])
def test_equal_divergences_are_all_within_the_cut_off(count: int, value: float) -> None:
    """However their mean rounds."""
    divergence = torch.full((count,), value, dtype=torch.float64)
    assert share_within(divergence, cutoff(divergence, 0.5, 1.0)) == 1
