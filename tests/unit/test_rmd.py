"""Reliable Mutual Distillation: selection and distillation against loops over pixels and against the public code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import Training, batch_of
from torch import Tensor, nn

from debride.methods.rmd import RMD, mutual_distillation
from debride.networks.network import Network
from debride.types import IGNORE

ROW, COLUMN = np.mgrid[:6, :7].astype(float)


def wave(a: float, b: float, c: float) -> Tensor:
    return torch.tensor(3 * np.sin(a * ROW + b * COLUMN + c))


WEAK = [torch.stack([wave(0.9, 0.7, 0.1), wave(0.5, 1.1, 0.4)]), torch.stack([wave(0.8, 0.6, 0.3), wave(0.7, 1.2, 0.1)])]
STRONG = [torch.stack([wave(1.0, 0.7, 0.2), wave(0.6, 1.1, 0.2)]), torch.stack([wave(0.8, 0.8, 0.3), wave(0.7, 1.0, 0.6)])]
LABEL = torch.stack([wave(1.1, 0.5, 0.2) > 0, wave(0.6, 1.0, 0.6) > 0]).long()


def two_classes(score: Tensor) -> Tensor:
    return torch.stack((torch.zeros_like(score), score), dim=1)


class Drawing(Training):
    """A training with random numbers."""

    def __init__(self, epoch: int = 9, epochs: int = 50) -> None:
        super().__init__(epoch=epoch, epochs=epochs)
        self.generator = torch.Generator().manual_seed(0)


def reading(channel: int) -> Network:
    """A network whose score of the foreground is one channel of the image."""
    head = nn.Conv2d(2, 2, 1, bias=False).double()
    with torch.no_grad():
        head.weight.zero_()
        head.weight[1, channel] = 1
    return Network(nn.Identity(), head)


def rmd(**config: Any) -> RMD:
    networks = iter([reading(0), reading(1)])
    return RMD(RMD.Config(**config), lambda: next(networks), 2)


PLAIN: dict[str, Any] = {
    "noise_rate": 0.25,
    "per_class": False,
    "ramp_epochs": 9,
    "dropout": 0.0,
    "noise": 0.0,
    "ramp": 10 / 49,
}


def test_a_step_is_that_of_the_public_code() -> None:
    """github.com/Amber-Believe/ReliableMutualDistillation at 3e52848: what ``Trainer.train_epoch`` of lib/train/p_train_our.py
    handed to its writer, and ``kl_loss_compute`` gave, in epoch 9 with a forget rate of 0.25, without mirroring."""
    batch = batch_of(LABEL, image=torch.stack(WEAK, dim=1))
    terms = rmd(**PLAIN).loss(batch, Drawing())  # type: ignore[arg-type]
    assert terms["first"].item() == pytest.approx(0.1691771275620929, rel=1e-9)
    assert terms["second"].item() == pytest.approx(0.21586822712284354, rel=1e-9)
    weak, strong = ([two_classes(score) for score in scores] for scores in (WEAK, STRONG))
    for grown, expected in (
        (math.exp(-5 * 0.5**2), [0.030983778478958578, 0.020022474742520967]),
        (math.exp(-5 * 0.1**2), [0.07707095648299896, 0.06714826796652411]),
    ):
        assert mutual_distillation(weak, strong, 0.8 * grown).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(2, 4, 5), (2, 3, 2, 4)])
def test_the_distillation_equals_the_slow_version(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weak, strong = (list(torch.randn(2, size[0], 3, *size[1:], dtype=torch.float64)) for _ in range(2))
    found = mutual_distillation(weak, [logits.requires_grad_() for logits in strong], 0.6)
    for student, teacher in ((0, 1), (1, 0)):
        values = []
        for image, *place in np.ndindex(*size):
            at = (image, slice(None), *place)
            own, other = weak[teacher][at], strong[teacher][at].detach()
            p, q = own.softmax(dim=0), strong[student][at].detach().softmax(dim=0)
            divergence = sum(float(p[k]) * math.log(float(p[k]) / float(q[k])) for k in range(3))
            values.append((float(((own - other) ** 2).sum()), divergence))
        kept = sorted(values)[: int(0.6 * len(values))]
        assert float(found[student].detach()) == pytest.approx(sum(value for _, value in kept) / len(kept), rel=1e-9)
    gradients = torch.autograd.grad(found[0], strong, materialize_grads=True)
    assert gradients[0].any() and not gradients[1].any()


def test_nothing_is_distilled_where_nothing_is_reliable() -> None:
    logits = [two_classes(score) for score in WEAK]
    assert mutual_distillation(logits, logits, 0.0).tolist() == [0, 0]


def test_the_terms_of_the_loss() -> None:
    """Both passes are the same here, mirrored or not: of every pixel the divergence of the other network counts."""
    batch, training = batch_of(LABEL, image=torch.stack(WEAK, dim=1)), Drawing(epoch=40)
    method = rmd(**{**PLAIN, "weight": 0.5, "reliable": 1.0})
    logs = [two_classes(score).log_softmax(dim=1) for score in WEAK]
    expected = sum((p.exp() * (p - q)).sum(dim=1).mean() for p, q in (logs, logs[::-1]))
    for _ in range(3):
        terms = method.loss(batch, training)  # type: ignore[arg-type]
        assert terms["consistency"].item() == pytest.approx(0.5 * float(expected), rel=1e-9)
    assert set(rmd(**{**PLAIN, "weight": 0.0}).loss(batch, training)) == {"first", "second"}  # type: ignore[arg-type]


def test_noise_comes_after_the_ramp_and_dropout_at_once() -> None:
    batch, found = batch_of(LABEL, image=torch.stack(WEAK, dim=1)), {}
    for name, changed in (("plain", {}), ("noise", {"noise": 0.5}), ("dropout", {"dropout": 0.5})):
        for epoch in (5, 20):
            torch.manual_seed(0)
            method = rmd(**{**PLAIN, "reliable": 1.0, **changed})
            terms = method.loss(batch, Drawing(epoch=epoch))  # type: ignore[arg-type]
            found[name, epoch] = terms["consistency"].item()
    assert found["noise", 5] == found["plain", 5] and found["noise", 20] != found["plain", 20]
    assert found["dropout", 5] != found["plain", 5]


def test_pixels_without_a_label_are_in_no_cross_entropy() -> None:
    label = LABEL.clone()
    label[:, :, :3] = IGNORE
    method = rmd(**{**PLAIN, "noise_rate": 0.0})
    terms = method.loss(batch_of(label, image=torch.stack(WEAK, dim=1)), Drawing())  # type: ignore[arg-type]
    for name, score in zip(("first", "second"), WEAK, strict=True):
        expected = nn.functional.cross_entropy(two_classes(score), label, ignore_index=IGNORE)
        assert terms[name].item() == pytest.approx(expected.item(), rel=1e-9)


def test_it_predicts_the_mean_of_both() -> None:
    image = torch.stack(WEAK, dim=1)
    expected = (two_classes(WEAK[0]).float().softmax(dim=1) + two_classes(WEAK[1]).float().softmax(dim=1)) / 2
    torch.testing.assert_close(rmd().predict(image), expected)
