"""Losses that are modules beside ``monai.losses`` and torch where they coincide, and beside what public code gives."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss
from tests.loss_stubs import numbers, soft
from torch import Tensor
from torch.nn import functional as F

from debride.losses import (
    BootstrappingLoss,
    EarlyLearningRegularizationLoss,
    GeneralizedCrossEntropyLoss,
    MeanAbsoluteErrorLoss,
    NoiseRobustDiceLoss,
    SpatiallyVaryingLabelSmoothingLoss,
    SymmetricCrossEntropyLoss,
    TLoss,
)
from debride.losses.soft_labels import cross_entropy_to, smoothed_towards_neighbours
from debride.types import IGNORE

LOGITS = [[2.0, -1.0, 0.5], [-0.3, 0.8, 1.9], [0.1, 3.0, -2.0], [1.2, -0.7, 0.0]]
CLASSES = [0, 1, 1, 2]
CROSS_ENTROPY = {"alpha": 1.0, "beta": 0.0}


def slope(loss: Tensor, logits: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_that_of_torch(reduction: str) -> None:
    logits, label = numbers(4)
    loss = SymmetricCrossEntropyLoss(**CROSS_ENTROPY, reduction=reduction)
    torch.testing.assert_close(loss(logits, label), F.cross_entropy(logits, label, ignore_index=IGNORE, reduction=reduction))
    target = soft(label.where(label != IGNORE, 0))
    expected = F.cross_entropy(logits, target, reduction=reduction)
    found = loss(logits, target)
    torch.testing.assert_close(found[:, 0] if reduction == "none" else found, expected)
    near = GeneralizedCrossEntropyLoss(1e-9, reduction=reduction)(logits, label)
    torch.testing.assert_close(near, loss(logits, label), rtol=1e-6, atol=1e-6)
    region = SymmetricCrossEntropyLoss(**CROSS_ENTROPY, reduction=reduction, sigmoid=True)(logits, target)
    torch.testing.assert_close(region, F.binary_cross_entropy_with_logits(logits, target, reduction=reduction))


def test_cross_entropy_is_monai_s_focal_loss_without_focus() -> None:
    logits, label = numbers(5)
    known = label[:1, None]
    softmax = FocalLoss(gamma=0.0, use_softmax=True, to_onehot_y=True, reduction="none")(logits[:1].float(), known)
    found = SymmetricCrossEntropyLoss(**CROSS_ENTROPY, reduction="none")(logits[:1].float(), known)
    torch.testing.assert_close(found, softmax.sum(dim=1, keepdim=True))
    regions = FocalLoss(gamma=0.0, to_onehot_y=True, include_background=False)(logits[:1].float(), known)
    options = {"sigmoid": True, "to_onehot_y": True, "include_background": False}
    torch.testing.assert_close(SymmetricCrossEntropyLoss(**CROSS_ENTROPY, **options)(logits[:1].float(), known), regions)


@pytest.mark.parametrize("form", ["ids", "soft"])
def test_absolute_error_is_torch_s_times_the_classes(form: str) -> None:
    logits, label = numbers(4)
    label = label.where(label != IGNORE, 1)
    hard = F.one_hot(label, 3).movedim(-1, 1).double()
    target = soft(label) if form == "soft" else hard
    found = MeanAbsoluteErrorLoss()(logits, target if form == "soft" else label)
    torch.testing.assert_close(found, 3 * F.l1_loss(logits.softmax(dim=1), target))
    if form == "ids":
        torch.testing.assert_close(found, 2 * GeneralizedCrossEntropyLoss(1.0)(logits, label))


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_squared_noise_robust_dice_of_two_is_monai_s_dice(activation: str, background: bool, batch: bool) -> None:
    """1 - 2 sum p y / (sum p^2 + sum y^2) = sum (p - y)^2 / (sum p^2 + sum y^2); both add 1e-5 below the line alone."""
    logits, label = numbers(5)
    target = F.one_hot(label.where(label != IGNORE, 0), 3).movedim(-1, 1).double()
    shared = {"include_background": background, "batch": batch, "reduction": "none", activation: True}
    expected = DiceLoss(squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5, **shared)(logits, target)
    found = NoiseRobustDiceLoss(2.0, squared_pred=True, **shared)(logits, target)
    torch.testing.assert_close(found.flatten(), expected.flatten())


def test_both_together_are_monai_s_dice_and_cross_entropy() -> None:
    logits, label = numbers(5)
    target = label.where(label != IGNORE, 0)[:, None]
    both = {"softmax": True, "include_background": False, "batch": True}
    expected = DiceCELoss(to_onehot_y=True, squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5, **both)(logits, target)
    dice = NoiseRobustDiceLoss(2.0, squared_pred=True, **both)(logits, target)
    torch.testing.assert_close(dice + SymmetricCrossEntropyLoss(**CROSS_ENTROPY)(logits, target), expected)


def test_shapes_of_none_are_monai_s() -> None:
    logits, label = numbers(4)
    target = label.where(label != IGNORE, 0)[:, None]
    dice = DiceLoss(softmax=True, to_onehot_y=True, reduction="none")(logits, target)
    assert NoiseRobustDiceLoss(batch=False, reduction="none")(logits, target).shape == dice.shape == (2, 3, 1, 1)
    focal = FocalLoss(to_onehot_y=True, reduction="none")(logits, target)
    regions = SymmetricCrossEntropyLoss(sigmoid=True, to_onehot_y=True, reduction="none")(logits, target)
    assert regions.shape == focal.shape == (2, 3, 3, 4)
    both = DiceFocalLoss(softmax=True, to_onehot_y=True, reduction="none")(logits, target)
    assert torch.broadcast_shapes(both.shape, GeneralizedCrossEntropyLoss(reduction="none")(logits, target).shape)


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_beta_of_one_is_cross_entropy(mode: str) -> None:
    logits, label = numbers(4)
    found = BootstrappingLoss(mode, 1.0)(logits, label)
    torch.testing.assert_close(found, F.cross_entropy(logits, label, ignore_index=IGNORE))


PUBLISHED: dict[str, tuple[torch.nn.Module, float, list[list[float]]]] = {
    "symmetric": (
        SymmetricCrossEntropyLoss(0.1, 1.0, -9.210340371976182),
        4.3073487,
        [
            [-0.393194, 0.071729, 0.321466],
            [0.042667, -0.427734, 0.385068],
            [0.11368, -0.127601, 0.013921],
            [0.346743, 0.051862, -0.398605],
        ],
    ),
    "soft": (
        BootstrappingLoss(),
        0.8242526,
        [
            [-0.054655, 0.01057, 0.044085],
            [0.019934, -0.180786, 0.160853],
            [0.014069, -0.015958, 0.001889],
            [0.159873, 0.02636, -0.186233],
        ],
    ),
    "hard": (
        BootstrappingLoss("hard"),
        0.7201303,
        [
            [-0.053601, 0.009778, 0.043823],
            [0.019188, -0.142357, 0.123169],
            [0.012956, -0.014542, 0.001587],
            [0.122323, 0.025774, -0.148097],
        ],
    ),
}
"""A loss, and the value and the slope that public code gives."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_symmetric_and_bootstrapping_are_public_code(name: str) -> None:
    """``SCELoss`` of HanxunH/SCELoss-Reproduce, commit c81fb336, loss.py, with alpha 0.1 and beta 1; ``SoftBootstrappingLoss``
    with ``as_pseudo_label`` False and ``HardBootstrappingLoss`` of vfdev-5/BootstrappingLoss, commit a072e4a2, loss.py."""
    loss, value, gradient = PUBLISHED[name]
    logits = torch.tensor(LOGITS, requires_grad=True)
    found = loss(logits, torch.tensor(CLASSES))
    assert found.item() == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(slope(found, logits), torch.tensor(gradient), rtol=0, atol=2e-6)


def test_early_learning_is_public_code_in_two_steps() -> None:
    """Values, slopes and targets of ``elr_loss`` of shengliu66/ELR, commit 934af534, ELR/model/loss.py, with a lambda of 3 and
    a beta of 0.7. It keeps probabilities between 0.0001 and 0.9999 and divides them by their sum, so that digits differ."""
    loss = EarlyLearningRegularizationLoss(6, 3, lam=3.0, beta=0.7)
    index = torch.tensor([5, 0, 2, 1])
    steps = [
        (1.0, False, 0.1779082, [-0.083496, 0.016449, 0.067047]),
        (1.5, True, -0.0833241, [-0.105068, 0.029447, 0.075621]),
    ]
    for scale, turned, value, first in steps:
        logits = scale * torch.tensor(LOGITS)
        logits = (logits.flip(0) if turned else logits).requires_grad_()
        found = loss(logits, torch.tensor(CLASSES), index)
        assert found.item() == pytest.approx(value, abs=2e-4)
        torch.testing.assert_close(slope(found, logits)[0], torch.tensor(first), rtol=0, atol=2e-4)
    expected = [
        [0.0199, 0.3444, 0.1456],
        [0.4134, 0.0246, 0.0719],
        [0.0199, 0.2447, 0.2454],
        *[[0.0, 0.0, 0.0]] * 2,
        [0.4102, 0.0224, 0.0774],
    ]
    torch.testing.assert_close(loss.remembered, torch.tensor(expected), rtol=0, atol=2e-4)


def test_t_loss_is_public_code_with_its_precision_set_to_the_identity() -> None:
    """``TLoss`` of Digital-Dermatology/t-loss, commit f132e876, tloss.py, with ``lambdas`` 0 where the code starts at 1."""
    first = [[2.0, -1.0, 0.5], [-0.3, 0.8, 1.9], [0.1, 3.0, -2.0]]
    second = [[-1.2, 0.7, 0.0], [0.4, -0.9, 2.2], [1.1, -3.0, 0.6]]
    logits = torch.tensor([[first], [second]], requires_grad=True)
    region = torch.tensor([[[[1, 0, 1], [0, 1, 1], [0, 0, 0]]], [[[0, 1, 0], [1, 0, 0], [1, 0, 1]]]])
    loss = TLoss(sigmoid=True, reduction="none")
    found = loss(logits, region)
    assert found.flatten().tolist() == pytest.approx([7.85918, 7.7774], abs=1e-4)
    by_logits, by_nu = torch.autograd.grad(found.sum(), [logits, loss.log_nu])
    expected = [[-0.033041, 0.139597, -0.234232], [0.274644, -0.175079, -0.038876], [0.345624, 0.113611, 0.033041]]
    torch.testing.assert_close(by_logits[0, 0], torch.tensor(expected), rtol=0, atol=1e-5)
    assert by_nu.item() == pytest.approx(0.972014, abs=1e-4)


def test_label_smoothing_takes_several_raters() -> None:
    """mSVLS: the mean of the raters' smoothed labels is the smoothed mean of their labels."""
    logits, label = numbers(4)
    raters = [
        F.one_hot(each.where(each != IGNORE, 0), 3).movedim(-1, 1).double() for each in (label, label.flip(1), label.flip(2))
    ]
    loss = SpatiallyVaryingLabelSmoothingLoss(reduction="none")
    expected = torch.stack([loss(logits, each) for each in raters]).mean(dim=0)
    torch.testing.assert_close(loss(logits, torch.stack(raters).mean(dim=0)), expected)


@pytest.mark.parametrize("axes", [4, 5])
def test_label_smoothing_is_what_is_compared_with_public_code(axes: int) -> None:
    """``test_soft_labels`` has the values of mobarakol/SVLS for these two functions."""
    logits, label = numbers(axes)
    each = cross_entropy_to(smoothed_towards_neighbours(label, 3, sigma=2.0), logits)
    found = SpatiallyVaryingLabelSmoothingLoss(2.0)(logits, label)
    torch.testing.assert_close(found, each[label != IGNORE].mean(), rtol=1e-6, atol=0)
