"""GSD-Net: its parts and its whole loss against its equations written out pixel by pixel, its switches and its edges."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.gsd_net_stubs import CEILING, draws, slow_loss, slow_refined
from tests.two_networks import joint, probabilities, random_labels, run_at, small_losses, two_views
from torch import nn

from debride.geometry.distance import BoundaryDistance
from debride.geometry.superpixels import Superpixels
from debride.methods.gsd_net import GSDNet
from debride.methods.jocor import JoCoR
from debride.methods.parts.transfer import transfer_loss
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

SIZE = (4, 6, 8)
CLASSES = 3
OFF: dict[str, Any] = {"distance_weights": False, "refinement": "none", "transfer": False}
TABLE_7: list[tuple[dict[str, Any], set[str], set[str]]] = [
    (OFF, {"distance_aware"}, set()),
    (OFF | {"distance_weights": True}, {"distance_aware"}, {"distances"}),
    ({"refinement": "pixels", "transfer": False}, {"distance_aware", "refined"}, {"distances"}),
    ({"transfer": False}, {"distance_aware", "refined"}, {"distances", "superpixels"}),
    ({"refinement": "pixels"}, {"distance_aware", "transfer", "agreement"}, {"distances"}),
    ({}, {"distance_aware", "transfer", "agreement"}, {"distances", "superpixels"}),
]


def gsd_net(dimensions: int = 2, **config: Any) -> GSDNet:
    """Two linear networks of float64 with large weights, so that classes differ from pixel to pixel."""
    torch.manual_seed(0)
    layer = (nn.Conv2d, nn.Conv3d)[dimensions - 2]

    def network() -> nn.Module:
        made = layer(2, CLASSES, 1).double()
        with torch.no_grad():
            made.weight *= 3
        return made

    return GSDNet(GSDNet.Config(**config), network, CLASSES)


def batch(*size: int, seed: int = 0) -> Any:
    """Two views with labels, distances and superpixels (some pixels outside of the image) of the given size."""
    generator = torch.Generator().manual_seed(seed + 1)
    distances = 6 * torch.rand(size, generator=generator)
    segments = torch.randint(-1, 5, size, generator=generator)
    return two_views(random_labels(*size, seed=seed), seed=seed, distances=distances, superpixels=segments)


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("distance_weights", [True, False])
@pytest.mark.parametrize("transfer", ["class", "foreground", None])
@pytest.mark.parametrize("refinement", ["superpixels", "pixels"])
@pytest.mark.parametrize("epoch", [33, 80])
def test_the_whole_loss_equals_the_slow_version(
    epoch: int, refinement: str, transfer: str | None, distance_weights: bool, variant: str
) -> None:
    config: dict[str, Any] = {"refinement": refinement, "distance_weights": distance_weights, "variant": variant}
    config |= {"transfer": transfer is not None, "transfer_of": transfer or "class"}
    method, given = gsd_net(noise_rate=0.4, ceiling=CEILING, agreement=0.5, warm_up=0.3, **config), batch(*SIZE)
    terms = method.loss(given, run_at(epoch, seed=7))
    expected = slow_loss(method, given, run_at(epoch), seed=7)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_volumes_equals_the_slow_version() -> None:
    method, given = gsd_net(3, noise_rate=0.4, ceiling=CEILING), batch(2, 3, 4, 3)
    terms = method.loss(given, run_at(50, seed=3))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        slow_loss(method, given, run_at(50), seed=3), rel=1e-6
    )


@pytest.mark.parametrize(("config", "terms", "maps"), TABLE_7)
def test_the_switches_give_the_rows_of_table_7(config: dict[str, Any], terms: set[str], maps: set[str]) -> None:
    method, given = gsd_net(noise_rate=0.2, **config), batch(*SIZE)
    given.maps = {name: values for name, values in given.maps.items() if name in method.maps()}
    assert set(method.maps()) == maps
    assert set(method.loss(given, run_at(50))) == terms


def test_the_code_takes_distances_for_superpixels() -> None:
    assert set(gsd_net(variant="code").maps()) == set(gsd_net(variant="code", distance_weights=False).maps()) == {"distances"}
    assert not gsd_net(variant="code", distance_weights=False, refinement="pixels").maps()


def test_the_code_changes_the_intensity_of_one_view_and_adds_logits() -> None:
    method, given = gsd_net(variant="code"), batch(*SIZE)
    (phase,) = method.plan(run_at(0))
    assert [(look.intensity, look.own_warp) for look in phase.looks] == [("none", False), ("weak", False)]
    summed = probabilities(method.first(given.image) + method.second(given.image))
    np.testing.assert_allclose(method.predict(given.image).detach().numpy(), summed, rtol=1e-5)


def test_the_maps_are_made_as_configured() -> None:
    maps = gsd_net(superpixel_side=5, compactness=3.0).maps()
    assert maps == {"distances": BoundaryDistance(), "superpixels": Superpixels(5, 3.0)}


@pytest.mark.parametrize("noise_rate", [None, 0.3])
@pytest.mark.parametrize("epoch", [0, 50])
def test_with_everything_off_it_is_jocor_bit_for_bit(epoch: int, noise_rate: float | None) -> None:
    ours, given = gsd_net(noise_rate=noise_rate, **OFF), batch(*SIZE)
    networks = iter((ours.first, ours.second))
    theirs = JoCoR(JoCoR.Config(noise_rate=noise_rate), lambda: next(networks), CLASSES)
    found = [torch.stack(list(method.loss(given, run_at(epoch)).values())).sum() for method in (ours, theirs)]
    assert torch.equal(*found)
    gradients = [torch.autograd.grad(loss, list(ours.parameters())) for loss in found]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_nothing_is_refined_or_moved_or_drawn_before_the_warm_up_ends() -> None:
    method, given = gsd_net(warm_up=0.25), batch(*SIZE)
    for epoch, terms in ((0, 1), (4, 1), (5, 3), (19, 3)):
        run = run_at(epoch, epochs=20)
        before = run.generator.get_state()
        assert len(method.loss(given, run)) == terms
        assert torch.equal(run.generator.get_state(), before) == (terms == 1)
    assert len(gsd_net(warm_up=1.0).loss(given, run_at(19, epochs=20))) == 1


@pytest.mark.parametrize(
    ("size", "ceiling", "epoch", "weight"),
    [
        ((256, 256), None, 0, 10),
        ((128, 128), None, 0, 5),
        ((128, 128), None, 50, 2.5),
        ((128, 128), None, 90, 1),
        ((64, 64), 7.0, 0, 7),
        ((32, 64, 32), None, 0, 1.57490131),
        ((16, 16), None, 0, 1),
    ],
)
def test_an_image_without_an_outline_has_the_highest_weight(
    size: tuple[int, ...], ceiling: float | None, epoch: int, weight: float
) -> None:
    """T is 10 at 256 and 5 at 128 (section 4.2), by the geometric mean of the sides, and decays (Eq. 9)."""
    method = gsd_net(len(size), ceiling=ceiling, noise_rate=0.0, warm_up=1.0)
    for parameter in method.parameters():
        torch.nn.init.zeros_(parameter)  # all classes are equally likely: a loss of 2 log 3 everywhere
    label = torch.zeros(1, *size, dtype=torch.int64)
    given = two_views(label, distances=torch.full(label.shape, math.inf))
    (loss,) = method.loss(given, run_at(epoch)).values()
    assert loss.item() == pytest.approx(weight * 2 * math.log(CLASSES), rel=1e-5)


def test_one_image_alone_is_not_mixed() -> None:
    method, given = gsd_net(noise_rate=0.4, ceiling=CEILING), batch(1, 5, 6)
    terms = method.loss(given, run_at(50, seed=2))
    alone = gsd_net(noise_rate=0.4, ceiling=CEILING, transfer=False).loss(given, run_at(50, seed=2))
    assert [term.item() for term in terms.values()] == [term.item() for term in alone.values()]


@pytest.mark.parametrize("term", ["distance_aware", "transfer", "agreement"])
def test_every_term_reaches_both_networks(term: str) -> None:
    method = gsd_net(noise_rate=0.4)
    gradients = torch.autograd.grad(method.loss(batch(*SIZE), run_at(50))[term], list(method.parameters()))
    assert len(gradients) == 4
    assert all(gradient.any() for gradient in gradients)


def test_refined_labels_are_constants_to_the_gradient() -> None:
    method, given = gsd_net(noise_rate=0.4, ceiling=CEILING, transfer=False), batch(*SIZE)
    found = torch.autograd.grad(method.loss(given, run_at(90, seed=4))["refined"], list(method.parameters()))
    logits = method.first(given.views[0].image), method.second(given.views[1].image)
    p, q = (probabilities(one) for one in logits)
    clean = small_losses(joint(p, q, given.label, 1.0), given.label, Fraction(6, 10), method.config.per_class)
    refined = slow_refined(p, q, given, clean, draws(SIZE[0], 4)[0], "superpixels")
    weight = torch.ones(SIZE)  # at nine tenths of the training only 1 is left of a ceiling of 3
    fixed = sum(transfer_loss(one, refined, weight) for one in logits)
    for ours, expected in zip(found, torch.autograd.grad(fixed, list(method.parameters())), strict=True):  # type: ignore[arg-type]
        assert torch.allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("config", [row[0] for row in TABLE_7])
def test_a_batch_without_labels_gives_zero_and_no_gradient(config: dict[str, Any]) -> None:
    method, given = gsd_net(noise_rate=0.4, **config), batch(*SIZE)
    given.label.fill_(IGNORE)
    total = torch.stack(list(method.loss(given, run_at(50)).values())).sum()
    torch.autograd.backward(total)
    assert total.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in method.parameters())


def test_half_precision_gives_the_loss_in_float32() -> None:
    method, given = gsd_net(noise_rate=0.4, refinement="none").float(), batch(*SIZE)
    views = tuple(SimpleNamespace(image=view.image.float()) for view in given.views)
    given.views = views
    full = method.loss(given, run_at(50))
    with torch.autocast("cpu", torch.bfloat16):
        half = method.loss(given, run_at(50))
    assert all(term.dtype == torch.float32 for term in half.values())
    expected = {name: term.item() for name, term in full.items()}
    assert {name: term.item() for name, term in half.items()} == pytest.approx(expected, rel=0.02)
    refining = gsd_net(noise_rate=0.4).float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.stack(list(refining.loss(given, run_at(50)).values())).sum()
    torch.autograd.backward(loss)
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in refining.parameters())


def test_reads_its_share_and_predicts_the_mean() -> None:
    method, given, run = gsd_net(found="contradicted"), batch(*SIZE), run_at(1, epochs=2)
    method.loss(given, run)
    method.end_epoch(run)
    assert method.state_dict()["small_loss.tau"].item() == pytest.approx(min(run.logged["contradicted"], 0.5))
    mean = (probabilities(method.first(given.image)) + probabilities(method.second(given.image))) / 2
    np.testing.assert_allclose(method.predict(given.image).detach().numpy(), mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ceiling": 0.0}, "ceiling: is 0.0"),
        ({"compactness": -1.0}, "compactness: is -1.0"),
        ({"superpixel_side": 0}, "superpixel_side: is 0"),
        ({"warm_up": 1.5}, "warm_up: is 1.5"),
        ({"noise_rate": 2.0}, "noise_rate: is 2.0"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(GSDNet.Config(**config))
