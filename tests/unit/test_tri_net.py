"""Tri-network: which pixels each pair of networks gives to the third, and what the third makes of them."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.sweep_stubs import Sweeping
from tests.two_networks import Array, at, joint, probabilities, random_labels, run_at, small_losses
from torch import Tensor, nn

from debride.methods.tri_net import TriNet
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

FLAT, VOLUME = (3, 5, 6), (2, 3, 4, 3)
NAMES = ("first", "second", "third")
Pixels = set[tuple[int, ...]]


def tri_net(classes: int = 3, dims: int = 2, **config: Any) -> TriNet:
    torch.manual_seed(0)
    layer = nn.Conv2d if dims == 2 else nn.Conv3d
    return TriNet(TriNet.Config(**config), lambda: layer(2, classes, 1).double(), classes)


def batch_of(label: Tensor, trusted: tuple[int, ...] = (), seed: int = 0) -> Any:
    """Float64 images of two channels for labels (B, *S), and which of the cases are trusted."""
    size = (len(label), 2, *label.shape[1:])
    image = 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    flags = torch.zeros(len(label), dtype=torch.bool)
    flags[list(trusted)] = True
    return SimpleNamespace(image=image, label=label, trusted=flags)


def outputs(method: TriNet, image: Tensor) -> list[Array]:
    return [probabilities(getattr(method, name)(image)) for name in NAMES]


def given_away(found: list[Array], label: Tensor, keep: Fraction, rule: str, agreement: float, per_class: bool) -> list[Pixels]:
    """For each network the pixels that the other two select, from probabilities, one pixel at a time."""
    sets = []
    for number in range(3):
        one, other = (p for k, p in enumerate(found) if k != number)
        if rule == "joint":
            sets.append(small_losses(joint(one, other, label, agreement), label, keep, per_class))
        else:
            alone = [small_losses(joint(p, p, label, 0), label, keep, per_class) for p in (one, other)]
            sets.append(alone[0] & alone[1])
    return sets


def mean_loss(found: Array, label: Tensor, pixels: Pixels) -> float:
    return sum(-math.log(at(found, where)[int(label[where])]) for where in pixels) / len(pixels)


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("rule", ["joint", "both"])
@pytest.mark.parametrize("size", [FLAT, VOLUME])
def test_each_network_learns_from_what_the_other_two_select(size: tuple[int, ...], rule: str, per_class: bool) -> None:
    method = tri_net(dims=len(size) - 1, rule=rule, noise_rate=0.4, agreement=0.5, per_class=per_class)
    batch = batch_of(random_labels(*size))
    found = outputs(method, batch.image)
    for epoch, keep in ((0, Fraction(1)), (5, Fraction(8, 10)), (10, Fraction(6, 10)), (60, Fraction(6, 10))):
        expected = given_away(found, batch.label, keep, rule, 0.5, per_class)
        if epoch:
            assert expected[0] != expected[1] != expected[2] != expected[0], "a test that cannot tell the networks apart"
        terms = method.loss(batch, run_at(epoch))
        assert list(terms) == list(NAMES)
        for name, own, pixels in zip(NAMES, found, expected, strict=True):
            assert terms[name].item() == pytest.approx(mean_loss(own, batch.label, pixels), rel=1e-10)


@pytest.mark.parametrize("rule", ["joint", "both"])
def test_trusted_cases_are_learnt_from_unselected_and_are_not_compared_with_others(rule: str) -> None:
    method = tri_net(rule=rule, noise_rate=0.5, ramp_epochs=1)
    batch = batch_of(random_labels(*FLAT), trusted=(0,))
    found = outputs(method, batch.image)
    others = batch.label.clone()
    others[0] = IGNORE
    trusted = {where for where in np.ndindex(*FLAT) if where[0] == 0 and batch.label[where] != IGNORE}
    assert 0 < len(trusted) < FLAT[1] * FLAT[2]
    selected = given_away(found, others, Fraction(1, 2), rule, 1.0, per_class=True)
    terms = method.loss(batch, run_at(1))
    for name, own, pixels in zip(NAMES, found, selected, strict=True):
        assert terms[name].item() == pytest.approx(mean_loss(own, batch.label, pixels | trusted), rel=1e-10)


@pytest.mark.parametrize("rule", ["joint", "both"])
def test_a_batch_of_trusted_cases_is_learnt_from_whole(rule: str) -> None:
    method = tri_net(rule=rule, noise_rate=0.9, ramp_epochs=1)
    batch = batch_of(random_labels(*FLAT), trusted=(0, 1, 2))
    valid = {where for where in np.ndindex(*FLAT) if batch.label[where] != IGNORE}
    terms = method.loss(batch, run_at(9))
    for name, own in zip(NAMES, outputs(method, batch.image), strict=True):
        assert terms[name].item() == pytest.approx(mean_loss(own, batch.label, valid), rel=1e-10)


@pytest.mark.parametrize("rule", ["joint", "both"])
@pytest.mark.parametrize("trusted", [(), (1,)])
def test_pixels_without_a_label_change_nothing(rule: str, trusted: tuple[int, ...]) -> None:
    method = tri_net(rule=rule, noise_rate=0.3)
    batch = batch_of(random_labels(*FLAT), trusted)
    before = method.loss(batch, run_at(20))
    noise = torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batch.image = batch.image + 9 * noise * (batch.label == IGNORE)[:, None]
    after = method.loss(batch, run_at(20))
    assert [after[name].item() for name in NAMES] == pytest.approx([before[name].item() for name in NAMES], rel=1e-12)


@pytest.mark.parametrize("rule", ["joint", "both"])
def test_a_batch_without_labels_gives_zero_and_zero_gradients(rule: str) -> None:
    method = tri_net(rule=rule)
    terms = method.loss(batch_of(torch.full(FLAT, IGNORE), trusted=(1,)), run_at(3))
    total = torch.stack(list(terms.values())).sum()
    torch.autograd.backward(total)
    assert total.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in method.parameters())


@pytest.mark.parametrize("rule", ["joint", "both"])
def test_a_networks_gradient_comes_from_its_own_term_only(rule: str) -> None:
    method = tri_net(rule=rule, noise_rate=0.3)
    terms = method.loss(batch_of(random_labels(*FLAT)), run_at(20))
    for name in NAMES:
        for owner in NAMES:
            parameters = list(getattr(method, owner).parameters())
            gradients = torch.autograd.grad(terms[name], parameters, retain_graph=True, allow_unused=True)
            assert [gradient is not None and bool(gradient.any()) for gradient in gradients] == [name == owner] * 2


def sure_of(*classes: int) -> list[nn.Module]:
    """One network per class that is sure of it everywhere, of two."""
    networks = []
    for chosen in classes:
        network = nn.Conv2d(2, 2, 1).double()
        with torch.no_grad():
            network.weight.zero_()
            assert network.bias is not None
            network.bias.copy_(5.0 * nn.functional.one_hot(torch.tensor(chosen), 2))
        networks.append(network)
    return networks


def made_of(networks: list[nn.Module], **config: Any) -> TriNet:
    waiting = iter(networks)
    return TriNet(TriNet.Config(**config), lambda: next(waiting), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("both", (0.1 + 0.1 + 0.9) / 3),  # each network alone contradicts the labels of the other class
        ("joint", (0.0 + 0.0 + 0.1) / 3),  # networks of opposite opinion contradict nothing together; those that agree do
    ],
)
def test_an_unknown_share_is_what_is_contradicted_on_average(rule: str, found: float) -> None:
    method = made_of(sure_of(0, 0, 1), rule=rule, search=0.25)
    label = torch.zeros(1, 2, 10, dtype=torch.int64)
    label[0, :, 0] = 1
    cut_off = label.clone()
    cut_off[0, 0] = IGNORE
    for epoch in range(12):
        run = run_at(epoch, epochs=20)
        for given in (label, cut_off):
            method.loss(batch_of(given), run)
        method.end_epoch(run)
        if epoch < 5:
            assert method.small_loss.tau.item() == 0
    assert method.small_loss.tau.item() == pytest.approx(found)
    assert method.state_dict()["small_loss.tau"].item() == pytest.approx(found)


def test_trusted_cases_are_not_counted_in_an_unknown_share() -> None:
    method = made_of(sure_of(0, 0, 0), search=0.0)
    label = torch.ones(4, 2, 5, dtype=torch.int64)
    label[0] = 0
    run = run_at(1)
    method.loss(batch_of(label, trusted=(1, 2)), run)
    method.end_epoch(run)
    assert method.small_loss.tau.item() == pytest.approx(0.5)
    assert run.logged["contradicted"] == pytest.approx(0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_predicts_the_mean_of_the_three(dims: int) -> None:
    method = tri_net(dims=dims)
    image = torch.randn(2, 2, *(4, 5, 3)[:dims], dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = method.predict(image)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach().numpy(), sum(outputs(method, image)) / 3, rtol=1e-5)


def test_doubt_is_the_mean_loss_of_a_cases_labels() -> None:
    method = tri_net()
    label = random_labels(*FLAT)
    label[1] = IGNORE
    probability = torch.rand(3, 3, *FLAT[1:], generator=torch.Generator().manual_seed(3)).softmax(dim=1)
    expected = []
    for case in range(3):
        valid = {where for where in np.ndindex(*FLAT) if where[0] == case and label[where] != IGNORE}
        expected.append(mean_loss(probability.double().numpy(), label, valid) if valid else 0.0)
    found = method.doubt(Sweeping(method, label, probability, size=2))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_rate": 1.0}, "noise_rate: is 1.0"),
        ({"ramp_epochs": 0}, "ramp_epochs: is 0"),
        ({"agreement": -1.0}, "agreement: is -1.0"),
        ({"search": 1.0}, "search: is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(TriNet.Config(**settings))


def test_asks_for_nothing_beyond_images_and_labels_and_says_what_trusted_cases_are_for() -> None:
    assert not TriNet.paper.needs
    assert "unselected" in TriNet.paper.trusted
