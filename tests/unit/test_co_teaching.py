"""Co-teaching: who learns from which pixels; and the settings of the loss methods."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from debride.methods import METHODS
from debride.methods.co_teaching import CoTeaching
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.state import LabelState
from debride.types import IGNORE, DataError

LOG9 = math.log(9)


def confidence(logit: float) -> nn.Module:
    """A network of one parameter: logits (0, scale * image), so that pixels differ by their image value."""
    layer = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.0, logit]).reshape(2, 1, 1, 1))
    return layer


def batch(image: list[float], label: list[int]) -> Any:
    view = SimpleNamespace(image=torch.tensor(image).reshape(1, 1, 1, -1), label=torch.tensor(label).reshape(1, 1, -1))
    view.maps = {"distances": torch.ones(view.label.shape), "superpixels": torch.zeros_like(view.label)}
    return SimpleNamespace(
        **vars(view), views=(view, view), index=torch.zeros(1, dtype=torch.int64), trusted=torch.zeros(1, dtype=torch.bool)
    )


def method(networks: list[nn.Module], **config: Any) -> CoTeaching:
    waiting = iter(networks)
    return CoTeaching(CoTeaching.Config(**config), lambda: next(waiting), classes=2)


def at_epoch(epoch: int) -> Any:
    return SimpleNamespace(epoch=epoch, epochs=100, generator=torch.Generator(), log=lambda **values: None, trusted=[0, 1])


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_each_network_learns_from_what_the_other_finds_easy() -> None:
    teaching = method([confidence(1.0), confidence(-2.0)], noise_rate=0.5, ramp_epochs=1)
    given = batch([1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    terms = teaching.loss(given, at_epoch(1))
    # The first network's loss falls with the image value, the second's rises: they select opposite halves.
    assert terms["first"].item() == pytest.approx((softplus(-1) + softplus(-2)) / 2, rel=1e-5)
    assert terms["second"].item() == pytest.approx((softplus(6) + softplus(8)) / 2, rel=1e-5)


def test_every_labelled_pixel_is_kept_at_first_and_fewer_later() -> None:
    teaching = method([confidence(1.0), confidence(1.0)], noise_rate=0.5, ramp_epochs=10)
    values = [1.0, 2.0, 3.0, 4.0]
    given = batch(values, [1, 1, 1, 1])
    for epoch, kept in ((0, 4), (5, 3), (10, 2), (99, 2)):
        expected = sum(softplus(-value) for value in values[4 - kept :]) / kept
        assert teaching.loss(given, at_epoch(epoch))["first"].item() == pytest.approx(expected, rel=1e-5)


def test_ignored_pixels_are_never_selected() -> None:
    teaching = method([confidence(1.0), confidence(1.0)], noise_rate=0.5, ramp_epochs=1)
    given = batch([1.0, 2.0, 3.0, 4.0], [1, 1, IGNORE, IGNORE])
    assert teaching.loss(given, at_epoch(1))["first"].item() == pytest.approx(softplus(-2), rel=1e-5)
    nothing = teaching.loss(batch([1.0, 2.0], [IGNORE, IGNORE]), at_epoch(1))
    assert nothing["first"].item() == nothing["second"].item() == 0


def test_a_networks_gradient_comes_from_its_own_term_only() -> None:
    teaching = method([confidence(1.0), confidence(-2.0)])
    terms = teaching.loss(batch([1.0, 2.0], [1, 0]), at_epoch(0))
    for name, other in (("first", teaching.second), ("second", teaching.first)):
        gradients = torch.autograd.grad(terms[name], list(other.parameters()), retain_graph=True, allow_unused=True)
        assert [gradient for gradient in gradients if gradient is not None] == []


def test_an_unknown_rate_is_what_exceeds_the_trusted_cases_and_frees_one_class_alone() -> None:
    teaching = method([confidence(1.0), confidence(1.0)], noise_rate=None, search=0.0, ramp_epochs=1)
    given = batch([1.0, 2.0, -3.0, -4.0] * 4, [1, 0, 0, 0] * 4)  # one in three of class 0 is held for class 1
    given.label, given.image = given.label.reshape(4, 1, 4), given.image.reshape(4, 1, 1, 4)
    given.label[2:, 0, 1] = 1  # and none in trusted cases
    given.trusted = torch.tensor([False, False, True, True])
    run = at_epoch(1)
    run.summed = lambda values: values
    teaching.loss(given, run)
    teaching.end_epoch(run)
    assert teaching.small_loss.rates.tolist() == [[0, pytest.approx(1 / 3)], [0, 0]]
    expected = (softplus(-1) * 4 + softplus(-2) * 2 + (softplus(-3) + softplus(-4)) * 4) / 14  # without the two at 2
    assert teaching.loss(given, at_epoch(2))["first"].item() == pytest.approx(expected, rel=1e-5)


def test_predicts_the_mean_of_both_networks() -> None:
    teaching = method([confidence(LOG9), confidence(-LOG9)])
    probabilities = teaching.predict(torch.ones(1, 1, 1, 1))
    assert probabilities.flatten().tolist() == pytest.approx([0.5, 0.5])
    teaching = method([confidence(LOG9), confidence(0.0)])
    assert teaching.predict(torch.ones(1, 1, 1, 1)).flatten().tolist() == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("co-teaching", {"noise_rate": 1.0}, "noise_rate: is 1.0"),
        ("co-teaching", {"ramp_epochs": 0}, "ramp_epochs: is 0"),
        ("gce", {"q": 0.0}, "q: is 0.0"),
        ("sce", {"beta": -1.0}, "beta: is -1.0"),
        ("sce", {"log_zero": 0.0}, "log_zero: is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(METHODS[name].Config(**settings))


def one_network(name: str, network: nn.Module, **config: Any) -> Any:
    return METHODS[name](METHODS[name].Config(**config), lambda: network, 2)


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("ce", {}, -math.log(0.9) / 2 - math.log(0.1) / 2),
        ("ce", {"dice": True}, -math.log(0.09) / 4 + (1 - (1.8 + 1) / (1.8 + 1 + 1)) / 2),
        ("gce", {"q": 1.0}, 0.5),
        ("sce", {"alpha": 0.0}, 2.0),
        ("sce", {"alpha": 1.0, "beta": 0.5}, -math.log(0.09) / 2 + 1.0),
    ],
)
def test_the_methods_average_over_the_labelled_pixels(name: str, config: dict[str, Any], expected: float) -> None:
    terms = one_network(name, confidence(LOG9), **config).loss(batch([1.0, 1.0, 5.0], [1, 0, IGNORE]), at_epoch(0))
    assert sum(term.item() for term in terms.values()) == pytest.approx(expected, rel=1e-5)


def test_t_loss_learns_its_degrees_of_freedom_and_does_not_grow_with_the_image() -> None:
    robust = one_network("t-loss", confidence(LOG9), log_nu=0.0)
    (loss,) = robust.loss(batch([1.0, 5.0], [1, IGNORE]), at_epoch(0)).values()
    # One pixel with error -0.1 under a Cauchy distribution.
    assert loss.item() == pytest.approx(math.log(math.pi * (1 + 0.1**2)), rel=1e-5)
    loss.backward()
    assert robust.log_nu.grad is not None
    assert robust.log_nu.grad.item() != 0
    (wide,) = robust.loss(batch([1.0] * 4000, [1] * 4000), at_epoch(0)).values()
    (wider,) = robust.loss(batch([1.0] * 16000, [1] * 16000), at_epoch(0)).values()
    assert wider.item() == pytest.approx(wide.item(), abs=0.02)


PLAIN = [name for name, method in METHODS.items() if not method.paper.needs & {"trusted"} and "segmentation" in method.tasks]


@pytest.mark.parametrize("name", PLAIN)
def test_a_batch_without_labels_gives_zero_and_finite_gradients(name: str) -> None:
    trained = METHODS[name](METHODS[name].Config(), lambda: Network(nn.Identity(), confidence(1.0)), 2)
    run = at_epoch(0)
    run.store = LabelState(trained.fields(), [(1, 2)], None)
    given = batch([1.0, 2.0], [IGNORE, IGNORE])
    given.fields, given.cases = {}, {}
    for field in trained.fields():
        values = run.store.read(field.name, np.zeros(1, np.int64))
        (given.fields if field.per == "pixel" else given.cases)[field.name] = values.long() if field.ids else values
    total = torch.stack(list(trained.loss(given, run).values())).sum()
    total.backward()
    assert total.item() == 0
    gradients: list[Tensor] = [p.grad for p in trained.parameters() if p.grad is not None]
    assert all((gradient == 0).all() for gradient in gradients)
