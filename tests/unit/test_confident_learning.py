"""Confident learning: which labels are corrected, once, and what the loss is before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping, batch_of, slow_soft_dice
from tests.two_networks import random_labels
from torch import Tensor

from debride.methods.confident_learning import ConfidentLearning
from debride.settings import check_bounds
from debride.types import IGNORE, DataError


def method(ndim: int = 2, **config: Any) -> ConfidentLearning:
    return ConfidentLearning(ConfidentLearning.Config(**config), lambda: small_network(ndim, 3), 3)


def noisy(*size: int) -> tuple[Tensor, Tensor]:
    """Labels (N, *S), and probabilities (N, 3, *S) that often say something else."""
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(size[0], 3, *size[1:], generator=generator, dtype=torch.float64)
    return random_labels(*size), logits.softmax(dim=1)


def slow_correction(label: Tensor, probability: Tensor, trusted: set[int]) -> Tensor:
    """Northcutt et al., section 3.1: a pixel counts as the likeliest class that is at least as likely as it is on average among
    the pixels, of all cases, that are labelled so. Trusted cases keep their labels."""
    labelled = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    limits = []
    for value in range(3):
        own = [float(probability[(where[0], value, *where[1:])]) for where in labelled if label[where] == value]
        limits.append(sum(own) / len(own))
    right = label.clone()
    for row, *where in labelled:
        reached = {k: float(probability[(row, k, *where)]) for k in range(3)}
        reached = {k: p for k, p in reached.items() if p >= limits[k]}
        if reached and row not in trusted:
            right[(row, *where)] = max(reached, key=lambda k: reached[k])
    return right


@pytest.mark.parametrize("size", [(7, 5, 6), (4, 3, 4, 5)], ids=["2D", "3D"])
def test_labels_are_corrected_by_the_thresholds_of_all_cases(size: tuple[int, ...]) -> None:
    learning = method(len(size) - 1, warm_up=0.0)
    label, probability = noisy(*size)
    run: Any = Sweeping(learning, label, probability, trusted=[2])
    learning.start_epoch(run)
    right = slow_correction(label, probability, {2})
    changed = (right != label).flatten(1).sum(dim=1)
    assert (changed > 0).tolist() == [row != 2 for row in range(size[0])]
    assert torch.equal(learning.cleansed(run.swept(run.own), run.store), right)
    share = changed / (label != IGNORE).flatten(1).sum(dim=1)
    assert learning.doubt(run).tolist() == pytest.approx(share.tolist(), rel=1e-6)


@pytest.mark.parametrize(("warm_up", "epoch"), [(0.1, 2), (0.0, 0), (0.5, 10)])
def test_labels_are_corrected_once(warm_up: float, epoch: int) -> None:
    learning = method(warm_up=warm_up)
    run: Any = Sweeping(learning, *noisy(2, 4, 4), epochs=20)
    for run.epoch in range(20):
        learning.start_epoch(run)
    assert run.asked == [(epoch, None)] * 2, "a sweep for the thresholds and one to apply them"


@pytest.mark.parametrize("epochs", [1, 4, 10])
def test_with_a_long_warm_up_no_label_is_made_up(epochs: int) -> None:
    """Where the warm-up is rounded to the whole training, labels are either corrected in time or the given ones."""
    learning = method(warm_up=0.97)
    label, probability = noisy(3, 4, 4)
    run: Any = Sweeping(learning, label, probability, epochs=epochs)
    for run.epoch in range(epochs):
        learning.start_epoch(run)
    right = slow_correction(label, probability, set()) if run.asked else label
    assert torch.equal(learning.cleansed(run.swept(run.own), run.store), right)


def test_the_loss_turns_to_the_corrected_labels() -> None:
    learning = method(warm_up=0.25)
    label, corrected = random_labels(3, 5, 6), random_labels(3, 5, 6, seed=1)
    corrected[corrected == IGNORE] = 1
    image = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    probability = learning.network(image).softmax(dim=1).detach()
    run: Any = Sweeping(learning, *noisy(3, 5, 6), epochs=20)
    for run.epoch, target in ((4, label), (5, corrected.where(label != IGNORE, IGNORE))):
        (loss,) = learning.loss(batch_of(image, label, {"corrected": corrected}), run).values()
        assert loss.item() == pytest.approx(slow_soft_dice(probability, target, True), rel=1e-9)


@pytest.mark.parametrize("warm_up", [-0.1, 1.0])
def test_a_warm_up_out_of_range_is_refused(warm_up: float) -> None:
    with pytest.raises(DataError, match=f"warm_up: is {warm_up}"):
        check_bounds(ConfidentLearning.Config(warm_up=warm_up))
