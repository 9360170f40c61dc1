"""GSD-Net's parts: fused predictions, regions that change places and the loss on them, pixel by pixel."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gsd_net_stubs import draws, slow_mixed, slow_transfer, slow_transfer_of_code
from tests.two_networks import probabilities, random_labels

from debride.methods.parts.transfer import draw_regions, fuse, transfer_loss, transfer_loss_of_code, transplant
from debride.types import IGNORE

SIZE = (4, 6, 8)
CLASSES = 3


def test_fuse_mixes_each_image_with_its_own_alpha() -> None:
    first, second = torch.randn(2, *SIZE[:1], CLASSES, *SIZE[1:], generator=torch.Generator().manual_seed(1))
    fused = fuse(first, second, torch.Generator().manual_seed(5))
    alpha = draws(SIZE[0], 5)[0]
    assert len(set(alpha)) == SIZE[0]
    p, q = probabilities(first), probabilities(second)
    expected = np.stack([a * one + (1 - a) * other for a, one, other in zip(alpha, p, q, strict=True)])
    np.testing.assert_allclose(fused.numpy(), expected, rtol=1e-5)


@given(size=st.integers(1, 6), seed=st.integers(0, 10**6), classes=st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_regions_go_round_in_one_cycle_and_are_foreground_or_background(size: int, seed: int, classes: int) -> None:
    label = random_labels(size, 3, 4, classes=classes, seed=seed)
    donor, mask = draw_regions(label, torch.Generator().manual_seed(seed))
    seen, image = set(), 0
    while image not in seen:
        seen.add(image)
        image = int(donor[image])
    assert image == 0 and seen == set(range(size))
    for j, i in enumerate(donor.tolist()):
        regions = [{i for i, v in enumerate(label[i].flatten().tolist()) if v in kind} for kind in ({1, 2}, {0})]
        assert set(mask[j].flatten().nonzero().flatten().tolist()) in regions


@given(size=st.integers(2, 6), seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_one_class_is_moved_where_it_is_asked_for(size: int, seed: int) -> None:
    label = random_labels(size, 3, 4, classes=4, seed=seed)
    donor, mask = draw_regions(label, torch.Generator().manual_seed(seed), region="class")
    for j, i in enumerate(donor.tolist()):
        assert mask[j].tolist() in [(label[i] == value).tolist() for value in range(4)]


def test_every_class_is_moved_as_often() -> None:
    label = torch.zeros(2, 100, dtype=torch.int64)
    label[:, :9], label[:, 9] = 1, 3  # a class of one pixel beside one of nine
    masks = [draw_regions(label, torch.Generator().manual_seed(seed), region="class")[1] for seed in range(300)]
    moved = [tuple(sorted(set(label[0][row].tolist()))) for mask in masks for row in mask]
    assert {kind: moved.count(kind) / len(moved) for kind in set(moved)} == {
        kind: pytest.approx(share, abs=0.07) for kind, share in {(0,): 0.1, (1,): 0.45, (3,): 0.45}.items()
    }


def test_without_chance_the_background_is_moved_where_the_foreground_is_more_than_half() -> None:
    label = torch.zeros(2, 4, dtype=torch.int64)
    label[0, :2], label[1, :3] = 1, 1
    donor, mask = draw_regions(label, torch.Generator().manual_seed(0), by_chance=False)
    assert donor.tolist() == [1, 0]
    assert mask.tolist() == [[False, False, False, True], [True, True, False, False]]


def test_every_cycle_is_drawn() -> None:
    label = torch.zeros(4, 2, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    found = {tuple(draw_regions(label, generator)[0].tolist()) for _ in range(200)}
    cycles = set()
    for rest in itertools.permutations((1, 2, 3)):
        ring = (0, *rest)
        receives = {ring[i]: ring[i - 1] for i in range(4)}
        cycles.add(tuple(receives[j] for j in range(4)))
    assert found == cycles


def test_a_region_is_foreground_with_the_probability_of_what_is_not_foreground() -> None:
    label = torch.zeros(200, 8, dtype=torch.int64)
    label[:, :2] = 1
    label[:, 7] = IGNORE  # a share of 2 / 7
    foreground = sum(draw_regions(label, torch.Generator().manual_seed(seed))[1][:, 0].sum().item() for seed in range(30))
    assert foreground / 6000 == pytest.approx(5 / 7, abs=0.02)  # more than three standard deviations


@pytest.mark.parametrize("value", [0, 1, IGNORE])
def test_an_image_of_one_kind_moves_nothing(value: int) -> None:
    label = torch.full((3, 4, 4), value)
    for seed in range(20):
        assert not draw_regions(label, torch.Generator().manual_seed(seed))[1].any()


@pytest.mark.parametrize("spatial", [(3, 4), (2, 3, 2)])
def test_transplant_takes_the_donors_values_inside_the_mask(spatial: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    donor, mask = torch.tensor([2, 0, 1]), torch.rand(3, *spatial, generator=generator) < 0.5
    masks, donors = [one.numpy() for one in mask], dict(enumerate(donor.tolist()))
    for values in (torch.randn(3, 2, *spatial, generator=generator), torch.randint(5, (3, *spatial), generator=generator)):
        assert torch.equal(transplant(values, donor, mask), slow_mixed(values, donors, masks))


@pytest.mark.parametrize(("loss", "slow"), [(transfer_loss, slow_transfer), (transfer_loss_of_code, slow_transfer_of_code)])
def test_transfer_loss_equals_the_slow_version(loss: Any, slow: Any) -> None:
    logits = torch.randn(4, CLASSES, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label, weight = random_labels(*SIZE), 1 + torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    expected = slow(probabilities(logits), label, weight)
    assert loss(logits, label, weight).item() == pytest.approx(expected, rel=1e-6)


def test_ignored_pixels_of_a_donor_stay_where_they_are_and_those_of_a_receiver_may_be_covered() -> None:
    label = torch.tensor([[IGNORE, 1, 0, 0], [0, 0, IGNORE, 1]])
    for seed in range(10):
        donor, mask = draw_regions(label, torch.Generator().manual_seed(seed))
        moved = transplant(label, donor, mask)
        assert not mask[1, 0] and not mask[0, 2]
        assert moved[1, 0] == 0 and moved[0, 2] == 0
        assert (moved[0, 0] == IGNORE) == (not mask[0, 0])
