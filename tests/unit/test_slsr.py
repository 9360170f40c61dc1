"""SLSR: which labels are softened, once, by the errors of all cases together; the loss against the authors' code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping, batch_of
from tests.two_networks import random_labels
from torch import Tensor

from debride.losses.soft_labels import cross_entropy_to, smoothed_where
from debride.methods.slsr import SLSR
from debride.refine.confident import label_errors
from debride.settings import check_bounds
from debride.types import IGNORE, DataError


def method(ndim: int = 2, **config: Any) -> SLSR:
    return SLSR(SLSR.Config(**config), lambda: small_network(ndim, 3), 3)


def noisy(*size: int) -> tuple[Tensor, Tensor]:
    """Labels (N, *S), and probabilities (N, 3, *S) that often say something else."""
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(size[0], 3, *size[1:], generator=generator, dtype=torch.float64)
    return random_labels(*size), logits.softmax(dim=1)


@pytest.mark.parametrize("prune", ["both", "class", "noise-rate"])
@pytest.mark.parametrize("size", [(7, 5, 6), (4, 3, 4, 5)], ids=["2D", "3D"])
def test_what_is_softened_are_the_errors_of_all_cases_together(size: tuple[int, ...], prune: Any) -> None:
    """``label_errors`` finds them in one batch; tests of its own compare it with cleanlab and with slow versions."""
    learning = method(len(size) - 1, warm_up=0.0, prune=prune)
    label, probability = noisy(*size)
    run: Any = Sweeping(learning, label, probability, trusted=[2])
    learning.start_epoch(run)
    errors = label_errors(probability, label, prune)
    assert errors[2].any() and not errors[label == IGNORE].any()
    errors[2] = False
    assert torch.equal(run.store.read("doubted", run.own), errors.float())
    share = errors.flatten(1).sum(dim=1) / (label != IGNORE).flatten(1).sum(dim=1)
    assert learning.doubt(run).tolist() == pytest.approx(share.tolist(), rel=1e-6)


@pytest.mark.parametrize(("warm_up", "epoch"), [(0.3, 6), (0.0, 0), (0.99, 19)])
def test_errors_are_looked_for_once(warm_up: float, epoch: int) -> None:
    learning = method(warm_up=warm_up)
    run: Any = Sweeping(learning, *noisy(2, 4, 4), epochs=20)
    for run.epoch in range(20):
        learning.start_epoch(run)
    assert run.asked == [(epoch, None)] * 3, "a sweep for thresholds and ranks, one for the joint, one for the errors"


@pytest.mark.parametrize("size", [(3, 5, 6), (2, 3, 4, 5)], ids=["2D", "3D"])
def test_the_loss_is_cross_entropy_to_softened_labels(size: tuple[int, ...]) -> None:
    learning, label = method(len(size) - 1, epsilon=0.3), random_labels(*size)
    doubted = (torch.rand(size, generator=torch.Generator().manual_seed(1)) < 0.5).long().where(label != IGNORE, IGNORE)
    image = torch.randn(size[0], 2, *size[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    probability = learning.network(image).softmax(dim=1).detach()
    total, count = 0.0, 0
    for row, *at in np.ndindex(*label.shape):
        if (own := int(label[(row, *at)])) == IGNORE:
            continue
        soft, count = doubted[(row, *at)] == 1, count + 1
        for k in range(3):
            share = (0.7 if k == own else 0.15) if soft else float(k == own)
            total -= share * float(probability[(row, k, *at)].log())
    run: Any = None
    (loss,) = learning.loss(batch_of(image, label, {"doubted": doubted.float()}), run).values()
    assert loss.item() == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "value", "slope"),
    [
        (0.25, 0.9562393, [[-0.00501125, -0.05914339, -0.00869713], [-0.03833989, -0.03099309, -0.02901768]]),
        (0.1, 0.9786994, [[-0.01749454, -0.05914339, -0.02118232], [-0.05082199, -0.04347900, -0.04150417]]),
    ],
)
def test_with_two_classes_it_is_the_loss_of_pymic(epsilon: float, value: float, slope: list[list[float]]) -> None:
    """Value and slope by the first image's logits of class 1 are what ``SLSRLoss`` of HiLab-git/PyMIC, commit 8bcebd62,
    pymic/loss/seg/slsr.py, gives for these numbers. It takes 0.999 p + 0.0005 for p, and so does this test."""
    logits = torch.tensor(
        [
            [[[-1.1, -1.2, -0.3], [-0.4, 0.8, 0.7]], [[-0.3, -2.1, 0.3], [-1.3, 0.3, 0.3]]],
            [[[0.6, 0.8, 0.4], [0.1, 0.6, 0.4]], [[-0.2, -0.7, 0.6], [0.3, 0.5, 2.3]]],
        ]
    ).requires_grad_()
    label = torch.tensor([[[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [1, 0, 0]]])
    doubted = torch.tensor([[[1, 0, 1], [1, 1, 1]], [[0, 0, 1], [1, 1, 1]]]) == 1
    target = smoothed_where(label, 2, doubted, epsilon=epsilon)
    loss = cross_entropy_to(target, (logits.softmax(dim=1) * 0.999 + 0.0005).log()).mean()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(gradient[0, 1], torch.tensor(slope), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("epsilon", 1.5), ("warm_up", 1.0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is {value}"):
        check_bounds(SLSR.Config(**{name: value}))
