"""Small-loss selection by two networks, its share given or found, and JoCoR on it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from tests.two_networks import Array, at, joint, probabilities, random_labels, run_at, small_losses, two_views
from torch import Tensor, nn

from debride.methods.jocor import JoCoR
from debride.methods.parts.selection import AgreementConfig, SelectionConfig, SmallLoss
from debride.refine.noise_rates import contradiction_sums
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

SIZE = (2, 6, 7)


def two_logits(seed: int = 0, classes: int = 3) -> tuple[Tensor, Tensor]:
    first, second = 2 * torch.randn(
        2, SIZE[0], classes, *SIZE[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return first, second


def selection(classes: int = 3, **config: Any) -> SmallLoss:
    return SmallLoss(SelectionConfig(**config), classes, agreement=0.5)


def untrusted(label: Tensor) -> Tensor:
    return torch.zeros(len(label), dtype=torch.bool)


def retention(epoch: int, tau: Fraction, ramp: int = 10) -> Fraction:
    """R(e) of Eq. 5, exactly."""
    return 1 - min(Fraction(epoch, ramp) * tau, tau)


def certain(contradictions: int, pixels: int = 10) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of two sure networks and labels of which they contradict the first so many; one more is ignored."""
    label = torch.ones(1, pixels + 1, dtype=torch.int64)
    logits = torch.tensor([0.0, 5.0]).reshape(1, 2, 1).repeat(1, 1, pixels + 1)
    logits[..., :contradictions] *= -1
    logits[..., -1] *= -1
    label[0, -1] = IGNORE
    return logits, logits, label, untrusted(label)


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(("epoch", "ramp"), [(0, 10), (3, 10), (10, 10), (40, 10), (10, 20)])
def test_keeps_the_smallest_joint_losses_as_many_as_the_equation_says(epoch: int, ramp: int, per_class: bool) -> None:
    (first, second), label = two_logits(), random_labels(*SIZE)
    run = run_at(epoch)
    small_loss = selection(noise_rate=0.4, ramp_epochs=ramp, per_class=per_class)
    loss, clean = small_loss(first, second, label, untrusted(label), run)
    expected = joint(probabilities(first), probabilities(second), label, 0.5)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-10)
    keep = retention(epoch, Fraction(4, 10), ramp)
    assert {tuple(where) for where in clean.nonzero().tolist()} == small_losses(expected, label, keep, per_class)
    valid = label != IGNORE
    assert run.logged["left_out"] == pytest.approx((valid & ~clean).sum().item() / valid.sum().item())
    foreground = valid & (label > 0)
    assert run.logged["left_out_of_foreground"] == pytest.approx((foreground & ~clean).sum().item() / foreground.sum().item())


def test_an_unknown_share_is_read_over_one_epoch_and_left_out_from_the_next_on() -> None:
    unknown = selection(2, found="contradicted", search=0.2, ramp_epochs=4)
    # The networks contradict 1 and 4 of 10 pixels before the epoch of reading, 2 and 3 in it: tau is 0.25.
    for epoch, counts in ((9, (1, 4)), (10, (2, 3)), (11, (9, 9)), (12, (9, 9)), (14, (0, 0)), (49, (0, 0))):
        run = run_at(epoch, epochs=50)
        for count in counts:
            _, clean = unknown(*certain(count), run)
            assert run.logged["contradicted"] == pytest.approx(count / 10)
            kept = math.ceil(retention(max(epoch - 10, 0), Fraction(1, 4) if epoch > 10 else Fraction(0), 4) * 10)
            assert clean.sum().item() == kept
            assert not clean[0, -1]
        unknown.end_epoch(run)
    assert unknown.tau.item() == 0.25
    assert not unknown.sums.any()
    assert clean.sum().item() == 8  # 7.5 of 10, rounded up


def test_every_batch_counts_with_its_labelled_pixels() -> None:
    unknown, run = selection(2, found="contradicted", search=0.0), run_at(1)
    unknown(*certain(1, pixels=2), run)
    unknown(*certain(2, pixels=18), run)
    unknown.end_epoch(run)
    assert unknown.tau.item() == pytest.approx(3 / 20)


def test_a_share_of_the_foreground_is_read_from_the_labels_of_the_first_epoch() -> None:
    raters, run = selection(foreground_share=0.15), run_at(0)
    first, second = two_logits()
    label = random_labels(*SIZE)
    _, clean = raters(first, second, label, untrusted(label), run)
    assert torch.equal(clean, label != IGNORE)
    raters(first, second, torch.zeros_like(label), untrusted(label), run)
    raters.end_epoch(run)
    valid = label != IGNORE
    share = ((label > 0) & valid).sum().item() / (valid.sum().item() + label.numel())
    assert raters.tau.item() == pytest.approx(0.15 * share)
    _, clean = raters(first, second, label, untrusted(label), run_at(10))
    expected = small_losses(
        joint(probabilities(first), probabilities(second), label, 0.5), label, 1 - Fraction(float(raters.tau)), False
    )
    assert {tuple(where) for where in clean.nonzero().tolist()} == expected


def test_a_given_rate_is_never_read() -> None:
    known = selection(2, noise_rate=0.3)
    for epoch in range(12):
        _, clean = known(*certain(9), run_at(epoch))
        known.end_epoch(run_at(epoch))
    assert known.tau.item() == pytest.approx(0.3)
    assert clean.sum().item() == 7


def test_a_given_rate_of_zero_keeps_all_and_is_never_read() -> None:
    none = selection(2, noise_rate=0.0, search=0.0)
    for epoch in range(12):
        _, clean = none(*certain(9), run_at(epoch))
        none.end_epoch(run_at(epoch))
        assert clean.sum().item() == 10


def test_what_was_read_and_what_was_counted_are_saved() -> None:
    run, whole, resumed, later = run_at(10), *(selection(2, found="contradicted", search=0.1) for _ in range(3))
    whole(*certain(2), run)
    resumed.load_state_dict(whole.state_dict())
    for part in (whole, resumed):
        part(*certain(3), run)
        part.end_epoch(run)
    assert resumed.tau.item() == whole.tau.item() == 0.25
    later.load_state_dict(whole.state_dict())
    masks = [part(*certain(3), run_at(20))[1] for part in (whole, later)]
    assert torch.equal(*masks) and masks[0].sum().item() == 8


def test_a_found_share_is_never_read_in_the_first_epoch_and_is_one_half_at_most() -> None:
    unknown = selection(2, found="contradicted", search=0.0)
    for epoch, expected in ((0, 0.0), (1, 0.5)):
        run = run_at(epoch)
        unknown(*certain(9, pixels=10), run)
        unknown.end_epoch(run)
        assert unknown.tau.item() == expected


def test_no_share_of_the_foreground_is_nothing() -> None:
    raters, run = selection(2, foreground_share=0.0), run_at(0)
    raters(*certain(9, pixels=10), run)
    raters.end_epoch(run)
    assert raters.tau.item() == 0


@pytest.mark.parametrize("found", ["excess", "contradicted"])
def test_an_epoch_without_labels_reads_zero(found: str) -> None:
    unknown, run = selection(found=found, search=0.0), run_at(1)
    first, second = two_logits()
    _, clean = unknown(first, second, torch.full(SIZE, IGNORE), torch.tensor([False, True]), run)
    unknown.end_epoch(run)
    assert not clean.any()
    assert unknown.tau.item() == run.logged["contradicted"] == 0
    assert not unknown.rates.any()


def test_no_class_is_lost_whose_pixels_are_all_hard() -> None:
    label = torch.zeros(1, 10, dtype=torch.int64)
    label[0, :3] = 1
    sure = torch.tensor([5.0, 0.0]).reshape(1, 2, 1).repeat(1, 1, 10)  # of class 0 everywhere
    for per_class, kept in ((False, {0: 7, 1: 0}), (True, {0: 5, 1: 3})):  # 70 % of 10, or of 7 and of 3, rounded up
        _, clean = selection(2, noise_rate=0.3, per_class=per_class)(sure, sure, label, untrusted(label), run_at(10))
        assert {number: int(clean[label == number].sum()) for number in (0, 1)} == kept


def slow_left_out(loss: Array, other: Tensor, label: Tensor, rates: Array, trusted: set[int]) -> set[tuple[int, ...]]:
    """For each pair of classes the largest losses, as many as its rate says of the pixels that bear the first."""
    left: set[tuple[int, ...]] = set()
    free = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE and where[0] not in trusted]
    for i, j in np.ndindex(*rates.shape):
        labelled = [where for where in free if int(label[where]) == i]
        group = sorted((where for where in labelled if int(other[where]) == j), key=lambda where: float(loss[where]))
        most = math.floor(Fraction(float(rates[i, j])).limit_denominator(1000) * len(labelled))
        left |= set(group[max(len(group) - most, 0) :])
    return left


@pytest.mark.parametrize("trusted", [0, 1])
def test_without_two_trusted_cases_one_share_of_what_is_contradicted_is_read(trusted: int) -> None:
    sides = {}
    for found in ("excess", "contradicted"):
        small_loss = selection(2, found=found)
        for epoch in (29, 30, 31):
            small_loss(*certain(3), run_at(epoch, trusted=trusted))
            small_loss.end_epoch(run_at(epoch, trusted=trusted))
        sides[found] = float(small_loss.tau), float(small_loss.rates.sum())
    assert sides["excess"] == sides["contradicted"] == (pytest.approx(0.3), 0)


@pytest.mark.parametrize("trusted", [set(), {1}])
@pytest.mark.parametrize(("epoch", "part"), [(9, 0.0), (10, 0.0), (12, 0.5), (14, 1.0), (49, 1.0)])
def test_what_is_left_out_of_a_class_is_what_belongs_to_the_other(epoch: int, part: float, trusted: set[int]) -> None:
    (first, second), label = two_logits(), random_labels(*SIZE)
    rates = np.array([[0.0, 0.2, 0.02], [0.0, 0.0, 0.3], [0.9, 0.0, 0.0]])
    small_loss = selection(search=0.2, ramp_epochs=4)
    small_loss.rates.copy_(torch.tensor(rates))
    is_trusted = torch.tensor([row in trusted for row in range(len(label))])
    _, clean = small_loss(first, second, label, is_trusted, run_at(epoch, epochs=50))
    p, q = probabilities(first), probabilities(second)
    other = torch.full_like(label, -1)
    for where in np.ndindex(*label.shape):
        product = [a * b for a, b in zip(at(p, where), at(q, where), strict=True)]
        other[where] = max((k for k in range(3) if k != int(label[where])), key=lambda k: product[k])
    left = slow_left_out(joint(p, q, label, 0.5), other, label, part * rates, trusted)
    assert bool(left) == (part > 0)
    valid = {where for where in np.ndindex(*label.shape) if label[where] != IGNORE}
    assert {tuple(where) for where in clean.nonzero().tolist()} == valid - left


@pytest.mark.parametrize("pairs", [1, 2])
def test_rates_are_read_anew_after_every_epoch_and_are_what_exceeds_the_trusted_cases(pairs: int) -> None:
    small_loss = SmallLoss(SelectionConfig(search=0.5), 2, pairs=pairs)
    sure, is_trusted = torch.tensor([9.0, 0.0]), torch.tensor([False, False, True, True])
    for epoch, (wrong, hard), expected in ((1, (4, 0), 0.0), (2, (4, 2), 0.2), (3, (3, 3), 0.0), (4, (6, 1), 0.5)):
        label = torch.zeros(4, 10, dtype=torch.int64)
        logits = sure.reshape(1, 2, 1).repeat(4, 1, 10)
        logits[:2, :, :wrong] *= -1
        logits[2:, :, :hard] *= -1
        run = run_at(epoch, epochs=4)
        for _ in range(pairs):
            small_loss(logits, logits, label, is_trusted, run)
        small_loss.end_epoch(run)
        # All cases of a kind are alike, so that nothing is unsure.
        np.testing.assert_allclose(small_loss.rates.numpy(), [[0, expected], [0, 0]], atol=1e-12)
        assert not small_loss.sums.any()


def test_sums_of_several_processes_are_added() -> None:
    small_loss, run = selection(2, search=0.0), run_at(1)
    label = torch.zeros(2, 10, dtype=torch.int64)
    right = contradiction_sums(label, label, torch.tensor([True, True]), 2)  # of another process: trusted cases, all learnt
    run.summed = lambda values: values + right.flatten(2)
    logits = torch.tensor([-9.0, 0.0]).reshape(1, 2, 1).repeat(2, 1, 10)
    small_loss(logits, logits, label, untrusted(label), run)
    small_loss.end_epoch(run)
    assert small_loss.rates.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("config", [{}, {"noise_rate": 0.9}, {"foreground_share": 0.5}])
def test_no_pixel_of_a_trusted_case_is_left_out(config: dict[str, Any], per_class: bool) -> None:
    small_loss = selection(2, per_class=per_class, **config)
    small_loss.rates.copy_(torch.tensor([[0.0, 0.9], [0.9, 0.0]]))
    small_loss.tau.fill_(0.9)
    first, second, label, _ = certain(9)
    both = [torch.cat((values, values)) for values in (first, second, label)]
    _, clean = small_loss(*both, torch.tensor([False, True]), run_at(99))
    assert clean[1].tolist() == (label[0] != IGNORE).tolist()
    assert clean[0].sum().item() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_rate": 1.0}, "noise_rate: is 1.0"),
        ({"noise_rate": -0.1}, "noise_rate: is -0.1"),
        ({"foreground_share": 1.5}, "foreground_share: is 1.5"),
        ({"noise_rate": 0.1, "foreground_share": 0.1}, "noise_rate: is given together with `foreground_share`"),
        ({"search": 1.0}, "search: is 1.0"),
        ({"ramp_epochs": 0}, "ramp_epochs: is 0"),
        ({"found": "somehow"}, "found: is 'somehow'"),
        ({"agreement": -1.0}, "agreement: is -1.0"),
        ({"agreement": float("nan")}, "agreement: is nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(AgreementConfig(**settings))


def jocor(classes: int = 3, **config: Any) -> JoCoR:
    torch.manual_seed(0)
    return JoCoR(JoCoR.Config(**config), lambda: nn.Conv2d(2, classes, 1).double(), classes)


@pytest.mark.parametrize("per_class", [False, True])
def test_jocor_averages_the_joint_loss_over_the_pixels_it_keeps(per_class: bool) -> None:
    method, batch = jocor(noise_rate=0.4, agreement=0.5, per_class=per_class), two_views(random_labels(*SIZE))
    (loss,) = method.loss(batch, run_at(5)).values()
    p, q = (
        probabilities(network(view.image))
        for network, view in zip((method.first, method.second), batch.views, strict=True)  # each network sees its own view
    )
    expected = joint(p, q, batch.label, 0.5)
    kept = small_losses(expected, batch.label, Fraction(8, 10), per_class)
    assert loss.item() == pytest.approx(sum(expected[where] for where in kept) / len(kept), rel=1e-10)


def test_jocor_reads_its_share_and_predicts_the_mean() -> None:
    method, batch = jocor(found="contradicted", search=0.0), two_views(random_labels(*SIZE))
    run = run_at(1, epochs=2)
    method.loss(batch, run)
    method.end_epoch(run)
    assert method.state_dict()["small_loss.tau"].item() == pytest.approx(min(run.logged["contradicted"], 0.5))
    image = batch.image
    mean = (probabilities(method.first(image)) + probabilities(method.second(image))) / 2
    np.testing.assert_allclose(method.predict(image).detach().numpy(), mean, rtol=1e-5)


def test_jocors_networks_share_their_geometry_and_both_learn() -> None:
    method = jocor()
    (phase,) = method.plan(run_at(0))
    assert [look.own_warp for look in phase.looks] == [False, False]
    (loss,) = method.loss(two_views(random_labels(*SIZE)), run_at(0)).values()
    torch.autograd.backward(loss)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in method.parameters())
