"""DAST: what the branches share, how noisy an image is, and which images have which loss."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping
from tests.two_networks import random_labels
from torch import Tensor, nn

from debride.losses.branches import branch_consistency, noisiness, supplement
from debride.losses.region import segmentation_loss
from debride.methods.dast import DAST, share_encoder
from debride.networks import Network, build
from debride.types import IGNORE


def method(ndim: int = 2, **config: Any) -> DAST:
    seeds = iter((1, 2))

    def network() -> Network:
        made = small_network(ndim, 3)
        generator = torch.Generator().manual_seed(next(seeds))
        for parameter in made.parameters():
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        return made

    return DAST(DAST.Config(**config), network, 3)


def waves(*size: int, rate: float) -> Tensor:
    """Numbers from -3 to 3 that anyone can make again."""
    return 3 * torch.sin(rate * torch.arange(math.prod(size), dtype=torch.float64)).reshape(size)


FIRST, SECOND = waves(3, 3, 4, 5, rate=1.7), waves(3, 3, 4, 5, rate=2.3)
SECOND[2] = FIRST[2]
LABEL = (torch.arange(60) % 3).reshape(3, 4, 5)
THEIRS = [
    (0.401972977507255, 0.41725980856386463, 2.386411038800147, 0.26880357122779563),
    (0.05332366618659477, 0.07540566447856996, 2.581535840476037, 0.31611261457772993),
    (2.6425242341761503, 2.6425242341761503, 0.0, 0.1330166847747679),
]
"""Of each image ``select_criterion``'s two scores, ``ConsistLoss`` and the loss of the supplementary training, by
HiLab-git/PyMIC at 8bcebd6, pymic/net_run/noisy_label/nll_dast.py, with FIRST as the clean branch."""


def test_scores_and_losses_are_those_of_pymic() -> None:
    valid = torch.ones_like(LABEL, dtype=torch.bool)
    scores = noisiness(FIRST, SECOND, LABEL)
    found = (scores[:, 0], scores[:, 1], branch_consistency(FIRST, SECOND, valid), supplement(FIRST, SECOND, LABEL))
    for ours, theirs in zip(found, zip(*THEIRS, strict=True), strict=True):
        assert ours.tolist() == pytest.approx(theirs, rel=1e-6, abs=1e-12)


def slow(first: Tensor, second: Tensor, label: Tensor) -> tuple[float, float, float, float]:
    """The same of one image (K, *S), pixel by pixel."""
    found = []
    for where in np.ndindex(*label.shape):
        if label[where] == IGNORE:
            continue
        p, q = ([float(each.softmax(dim=0)[(k, *where)]) for k in range(len(first))] for each in (first, second))
        d = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
        entropies = [-math.log(0.999 * each[int(label[where])] + 5e-4) * math.exp(-16 * d) for each in (p, q)]
        votes = [p.index(max(p)), q.index(max(q)), int(label[where])]
        share = [votes.count(k) / 3 for k in range(len(p))]
        target = [s**2 / (s**2 + (1 - s) ** 2) for s in share]
        found.append((*entropies, d, sum(abs(a - t) for a, t in zip(p, target, strict=True)) / len(p)))
    means = np.mean(found, axis=0)
    return float(means[0]), float(means[1]), float(means[2]), float(means[3])


@pytest.mark.parametrize("size", [(3, 5, 6), (2, 3, 4, 5)], ids=["2D", "3D"])
def test_what_has_no_label_takes_no_part(size: tuple[int, ...]) -> None:
    first, second, label = waves(size[0], 3, *size[1:], rate=1.1), waves(size[0], 3, *size[1:], rate=2.3), random_labels(*size)
    found = noisiness(first, second, label)
    losses = branch_consistency(first, second, label != IGNORE), supplement(first, second, label)
    for image in range(size[0]):
        expected = slow(first[image], second[image], label[image])
        ours = (*found[image].tolist(), losses[0][image].item(), losses[1][image].item())
        assert ours == pytest.approx(expected, rel=1e-9)
    nothing = torch.full_like(label, IGNORE)
    assert not noisiness(first, second, nothing).any() and not supplement(first, second, nothing).any()


def test_each_branch_moves_towards_the_other_as_it_stands() -> None:
    """The gradient to the first branch is that of half of KL(q || p), q without one."""
    p, q = FIRST[:1].clone().requires_grad_(), SECOND[:1]
    valid = torch.ones(1, 4, 5, dtype=torch.bool)
    (found,) = torch.autograd.grad(branch_consistency(p, q, valid).sum(), p)
    torch.testing.assert_close(found, (p.softmax(dim=1) - q.softmax(dim=1)).detach() / 2 / 20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(dtype: torch.dtype) -> None:
    first, second, valid = FIRST.to(dtype), SECOND.to(dtype), torch.ones_like(LABEL, dtype=torch.bool)
    for half, full in (
        (noisiness(first, second, LABEL), noisiness(first.double(), second.double(), LABEL)),
        (branch_consistency(first, second, valid), branch_consistency(first.double(), second.double(), valid)),
        (supplement(first, second, LABEL), supplement(first.double(), second.double(), LABEL)),
    ):
        assert half.dtype == torch.float32
        torch.testing.assert_close(half.double(), full, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["unet-small", "unet++", "residual-unet", "vnet", "vit-unet"])
def test_branches_share_their_encoder(name: str) -> None:
    first, second = (build(name, ndim=2, in_channels=2, classes=3, width=4) for _ in range(2))
    decoder = {id(parameter) for parameter in first.part("decoder").values()}
    total = len(list(first.parameters()))
    share_encoder(first, second)
    shared = {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    assert shared == {id(p) for p in first.parameters()} - decoder
    assert 0 < len(shared) < total
    image = torch.randn(2, 2, 32, 32)
    assert first(image).shape == second(image).shape == (2, 3, 32, 32)


def test_networks_without_a_known_decoder_share_nothing() -> None:
    first, second = (Network(nn.Conv2d(2, 3, 1)) for _ in range(2))
    share_encoder(first, second)
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


def batch_of(label: Tensor, trusted: list[bool]) -> Any:
    image = waves(len(label), 2, *label.shape[1:], rate=0.37)
    return SimpleNamespace(image=image, label=label, trusted=torch.tensor(trusted), index=torch.arange(len(label)))


def run_of(dast: DAST, label: Tensor, epoch: int, epochs: int) -> Any:
    trusted = (0, 3)
    return Sweeping(dast, label, waves(len(label), 3, *label.shape[1:], rate=2.3), trusted=trusted, epoch=epoch, epochs=epochs)


@pytest.mark.parametrize("selected", [0.2, 0.4, 0.9])
def test_the_losses_are_of_their_images(selected: float) -> None:
    dast = method(selected=selected, consistency=0.3, supplement=0.6)
    label = random_labels(6, 5, 6)
    trusted = [row in (0, 3) for row in range(6)]
    run, batch = run_of(dast, label, 4, 9), batch_of(label, trusted)
    clean, noisy = dast.clean(batch.image).detach(), dast.noisy(batch.image).detach()
    scores = [slow(clean[row], noisy[row], label[row])[:2] for row in range(6)]
    others = [row for row in range(6) if not trusted[row]]
    run.store.write("scores", others, torch.tensor(scores)[others])
    dast.start_epoch(run)
    kept = np.array(scores)[others]
    low, high = np.quantile(kept[:, 0], selected), np.quantile(kept[:, 1], 1 - selected)
    better = [row for row in others if scores[row][0] < scores[row][1]]
    slight = [row for row in better if scores[row][0] <= low]
    severe = [row for row in better if scores[row][1] >= high]
    terms = dast.loss(batch, run)
    ramp = math.exp(-5 * (1 - 4 / 8) ** 2)
    each = [slow(clean[row], noisy[row], label[row]) for row in range(6)]
    supervised = [segmentation_loss(logits, label) for logits in (clean, noisy)]
    assert terms["clean"].item() == pytest.approx(float(supervised[0][[0, 3]].mean()) / 2)
    assert terms["noisy"].item() == pytest.approx(float(supervised[1][others].mean()) / 2)
    assert terms["consistency"].item() == pytest.approx(0.3 * ramp * sum(each[row][2] for row in severe) / 4, rel=1e-6)
    assert terms["supplement"].item() == pytest.approx(0.6 * ramp * sum(each[row][3] for row in slight) / 4, rel=1e-6)
    doubt = dast.doubt(run).tolist()
    assert doubt == pytest.approx([0 if trusted[row] else scores[row][1] for row in range(6)], rel=1e-5)


def test_nothing_is_selected_in_the_first_epoch() -> None:
    dast, label = method(selected=1.0), random_labels(6, 5, 6)
    run = run_of(dast, label, 0, 9)
    dast.start_epoch(run)
    terms = dast.loss(batch_of(label, [row in (0, 3) for row in range(6)]), run)
    assert terms["consistency"] == 0 and terms["supplement"] == 0 and run.logged["slight"] == run.logged["severe"] == 0


def test_cases_that_were_not_seen_set_no_limit() -> None:
    dast, label = method(selected=0.5), random_labels(6, 5, 6)
    run = run_of(dast, label, 3, 9)
    dast.start_epoch(run)
    assert dast.limits.tolist() == [-math.inf, math.inf], "no case was seen"
    run.store.write("scores", [1, 2, 5], torch.tensor([[1.0, 5.0], [2.0, 6.0], [4.0, 7.0]]))
    dast.start_epoch(run)
    assert dast.limits.tolist() == [2, 6]


def test_scores_of_trusted_cases_are_not_kept() -> None:
    """They may come twice in an epoch, to two processes."""
    dast, label = method(), random_labels(6, 5, 6)
    run = run_of(dast, label, 0, 9)
    dast.loss(batch_of(label, [row in (0, 3) for row in range(6)]), run)
    assert (run.store.read("scores", range(6)) > 0).all(dim=1).tolist() == [False, True, True, False, True, True]


def test_predicts_from_both_branches() -> None:
    dast, image = method(), waves(2, 2, 5, 6, rate=0.9)
    mean = (dast.clean(image).float() + dast.noisy(image).float()) / 2
    torch.testing.assert_close(dast.predict(image), mean.softmax(dim=1))
    assert not torch.allclose(dast.clean(image), dast.noisy(image))
