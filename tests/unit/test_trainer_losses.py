"""Losses in the shapes of nnU-Net's trainers against loops over pixels, beside a Dice of the form that nnU-Net has."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from debride.losses import GeneralizedCrossEntropyLoss, SymmetricCrossEntropyLoss
from debride.nnunet.robust_losses import CrossEntropyLoss, LossBesideDice, RememberedLoss, split_target, with_weights

IGNORED = 3
EXACT = {"rtol": 1e-5, "atol": 1e-6}


class Dice(nn.Module):
    """Minus the mean Dice of the channels that it is told of, of the batch as one image; records what it is given."""

    def forward(self, output: Tensor, target: Tensor, loss_mask: Tensor | None = None) -> Tensor:
        self.given = (output, target, loss_mask)
        p = output.softmax(dim=1)
        y = target if target.shape == output.shape else torch.cat([target == k for k in range(output.shape[1])], dim=1)
        mask = torch.ones_like(p[:, :1]) if loss_mask is None else loss_mask.float()
        both, sums = (p * y * mask).sum(), ((p + y) * mask).sum()
        return -2 * both / sums


def numbers(axes: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Logits (2, 3, *S), and class ids (2, 1, *S) int16 of which some are the ignore label."""
    generator = torch.Generator().manual_seed(axes)
    shape = (4, 3, 2)[:axes]
    logits = 2 * torch.randn(2, channels, *shape, generator=generator)
    return logits, torch.randint(0, IGNORED + 1, (2, 1, *shape), generator=generator).to(torch.int16)


def slow(name: str, p: float) -> float:
    """The loss of one pixel whose labelled class has the probability p."""
    return {"gce": (1 - p**0.7) / 0.7, "sce": -0.1 * math.log(p) + 4 * (1 - p), "ce": -math.log(p)}[name]


LOSSES = {"gce": GeneralizedCrossEntropyLoss, "sce": SymmetricCrossEntropyLoss, "ce": CrossEntropyLoss}


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_classes_with_an_ignore_label(name: str, axes: int) -> None:
    logits, target = numbers(axes)
    p = logits.softmax(dim=1)
    each = [
        slow(name, float(p[(b, int(target[(b, 0, *place)]), *place)]))
        for b in range(2)
        for place in itertools.product(*map(range, logits.shape[2:]))
        if int(target[(b, 0, *place)]) != IGNORED
    ]
    loss = LossBesideDice(LOSSES[name](), Dice(), 0.0, regions=False, ignore=IGNORED)
    torch.testing.assert_close(float(loss(logits, target)), sum(each) / len(each), **EXACT)
    beside = LossBesideDice(LOSSES[name](), dice := Dice(), 0.5, regions=False, ignore=IGNORED)
    found = beside(logits, target)
    torch.testing.assert_close(float(found), sum(each) / len(each) + 0.5 * float(dice(*dice.given)), **EXACT)
    _, known, mask = dice.given
    assert mask is not None and torch.equal(mask, target != IGNORED) and int(known.max()) < IGNORED


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_regions(name: str, ignored: bool) -> None:
    logits, _ = numbers(2)
    generator = torch.Generator().manual_seed(9)
    target = torch.rand(2, 4 if ignored else 3, 4, 3, generator=generator) < 0.4
    each = []
    for b, r, i, j in itertools.product(range(2), range(3), range(4), range(3)):
        p = 1 / (1 + math.exp(-float(logits[b, r, i, j])))
        if not ignored or not target[b, 3, i, j]:
            each.append(slow(name, p if target[b, r, i, j] else 1 - p))
    loss = LossBesideDice(LOSSES[name](sigmoid=True), dice := Dice(), 1.0, regions=True, ignore=4 if ignored else None)
    found = loss(logits, target)
    assert dice.given[1].shape == logits.shape and (dice.given[2] is None) is not ignored
    torch.testing.assert_close(float(found), sum(each) / len(each) + float(dice(*dice.given)), **EXACT)


@pytest.mark.parametrize("regions", [False, True])
def test_weights_of_pixels(regions: bool) -> None:
    """All that count fully change nothing, and pixels that count nothing are as ignored."""
    logits, target = numbers(2)
    if regions:
        target = torch.cat([target == 1, target == 2, target == 0, target == IGNORED], dim=1)
    options = {"sigmoid": True} if regions else {}

    def loss(reduction: str, target: Tensor, pixels: Tensor | None = None) -> Tensor:
        robust = GeneralizedCrossEntropyLoss(reduction=reduction, **options)
        given = target if pixels is None else with_weights(target, pixels)
        return LossBesideDice(robust, Dice(), 1.0, regions=regions, ignore=IGNORED)(logits, given)

    full = torch.ones(2, 1, 4, 3)
    torch.testing.assert_close(loss("none", target, full), loss("mean", target), **EXACT)
    torch.testing.assert_close(loss("none", target), loss("mean", target), **EXACT)
    some = (torch.arange(12).reshape(1, 1, 4, 3) % 2 == 0).expand(2, 1, 4, 3)
    left_out = target.clone()
    if regions:
        left_out[:, -1:] |= ~some
    else:
        left_out = target.masked_fill(~some, IGNORED)
    torch.testing.assert_close(loss("none", target, some.float()), loss("mean", left_out), **EXACT)
    half = loss("none", target, full.where(some, 0.5))
    assert not torch.isclose(half, loss("mean", target)) and not torch.isclose(half, loss("mean", left_out))


def test_a_batch_without_labels_costs_nothing() -> None:
    logits, target = numbers(2)
    logits.requires_grad_()
    for reduction in ("mean", "none"):
        robust = GeneralizedCrossEntropyLoss(reduction=reduction)
        loss = LossBesideDice(robust, Dice(), 0.0, regions=False, ignore=IGNORED)(logits, torch.full_like(target, IGNORED))
        loss.backward()
        assert not loss.detach() and logits.grad is not None and not logits.grad.any()


def test_half_precision_is_raised() -> None:
    logits, target = numbers(2)
    loss = LossBesideDice(GeneralizedCrossEntropyLoss(), Dice(), 0.0, regions=False, ignore=IGNORED)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(logits.half(), target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(logits.half().float(), target))


def test_the_channel_of_the_ignore_label_is_the_last() -> None:
    target = torch.tensor([[1, 0], [1, 1], [0, 1]], dtype=torch.uint8).reshape(1, 3, 2)
    known, labelled = split_target(target, True, 5)
    assert labelled is not None and labelled.tolist() == [[[True, False]]] and known.tolist() == [[[1, 0], [1, 1]]]
    assert split_target(target, True, None)[0].shape == target.shape


class Given(nn.Module):
    """A loss that does not depend on the target."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return output.mean()


@pytest.mark.parametrize("ignore", [None, IGNORED])
def test_what_is_remembered_holds_predictions(ignore: int | None) -> None:
    """Against loops over pixels, at two scales: the coarser one is held to the mean of what the finer one predicted."""
    logits, target = numbers(2)
    target = target if ignore else target.clamp(max=2)
    before = torch.rand(2, 3, 4, 3, generator=torch.Generator().manual_seed(5)) / 3
    coarse, coarse_target = torch.randn(2, 3, 2, 3), target[:, :, ::2]
    loss = RememberedLoss(Given(), 3.0, 0.7, ignore)
    assert float(loss(logits, target)) == float(logits.mean())
    loss.before = before
    p = logits.softmax(dim=1)
    t = torch.zeros_like(before)
    for b, k, i, j in itertools.product(range(2), range(3), range(4), range(3)):
        t[b, k, i, j] = 0.7 * before[b, k, i, j] + 0.3 * p[b, k, i, j]

    def slow(p: Tensor, t: Tensor, label: Tensor) -> float:
        each = [
            math.log(1 - min(sum(float(p[b, k, i, j] * t[b, k, i, j]) for k in range(3)), 0.9999))
            for b, i, j in itertools.product(range(2), range(p.shape[2]), range(3))
            if ignore is None or int(label[b, 0, i, j]) != ignore
        ]
        return sum(each) / len(each)

    torch.testing.assert_close(float(loss(logits, target)), float(logits.mean()) + 3 * slow(p, t, target), **EXACT)
    torch.testing.assert_close(before + loss.change, t)
    halves = (t[:, :, ::2] + t[:, :, 1::2]) / 2
    expected = float(coarse.mean()) + 3 * slow(coarse.softmax(dim=1), halves, coarse_target)
    torch.testing.assert_close(float(loss(coarse, coarse_target)), expected, **EXACT)
    torch.testing.assert_close(before + loss.change, t)


def test_an_overflow_is_not_remembered() -> None:
    """What a pixel's NaN would leave in the mean of its predictions stays as it was; the others are brought up to date."""
    logits, target = numbers(2)
    logits[0, 1, 2, 1] = math.inf
    loss = RememberedLoss(Given(), 2.0, 0.5, None)
    loss.before = torch.full((2, 3, 4, 3), 0.2)
    loss(logits, target)
    assert loss.change.isfinite().all()
    assert not loss.change[0, :, 2, 1].any() and loss.change.count_nonzero() == 3 * (2 * 12 - 1)


def test_what_is_remembered_has_no_slope_of_its_own() -> None:
    """t is a number (Eq. 6): the slope is that of <p, t> with t as it stands."""
    logits, target = numbers(2)
    logits.requires_grad_()
    loss = RememberedLoss(Given(), 2.0, 0.5, None)
    loss.before = torch.full((2, 3, 4, 3), 0.2)
    loss(logits, target).backward()
    other = logits.detach().clone().requires_grad_()
    t = (loss.before + loss.change).detach()
    (other.mean() + 2 * torch.log(1 - (other.softmax(dim=1) * t).sum(dim=1)).mean()).backward()
    assert logits.grad is not None and other.grad is not None
    torch.testing.assert_close(logits.grad, other.grad)
