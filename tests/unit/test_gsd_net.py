"""GSD-Net: its parts and its whole loss against its equations written out pixel by pixel, its switches and its edges."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.two_networks import Array, at, divergence, joint, probabilities, random_labels, run_at, small_losses, two_views
from torch import Tensor, nn

from debride.geometry.distance import BoundaryDistance
from debride.geometry.superpixels import Superpixels
from debride.methods.gsd_net import GSDNet, draw_regions, fuse, transfer_loss, transplant
from debride.methods.jocor import JoCoR
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

SIZE = (4, 6, 8)
CLASSES = 3
CEILING = 3.0
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


def draws(size: int, seed: int) -> tuple[list[float], dict[int, int], list[float]]:
    """What a step draws: alpha of each image, the donor of each image, and a number that decides what it receives."""
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(size, generator=generator).tolist()
    order = torch.randperm(size, generator=generator).tolist()
    donors = {order[i]: order[i - 1] for i in range(size)}
    return alpha, donors, torch.rand(size, generator=generator).tolist()


def slow_refined(p: Array, q: Array, given: Any, clean: set[tuple[int, ...]], alpha: list[float], kind: str) -> Tensor:
    """Eq. 11 to 14."""
    fused = np.stack([a * one + (1 - a) * other for a, one, other in zip(alpha, p, q, strict=True)])
    label: Tensor = given.label.clone()
    segments = given.maps["superpixels"]
    for where in np.ndindex(*label.shape):
        if where in clean or label[where] == IGNORE:
            continue
        same = [where]
        if kind == "superpixels":
            others = np.ndindex(*label.shape[1:])
            same = [(where[0], *pixel) for pixel in others if segments[(where[0], *pixel)] == segments[where]]
        label[where] = int(np.argmax(np.mean([at(fused, pixel) for pixel in same], axis=0)))
    return label


def slow_mask(label: Tensor, number: float) -> npt.NDArray[np.bool_]:
    """The region that an image with this label gives."""
    values = [int(value) for value in label.flatten() if value != IGNORE]
    share = sum(value > 0 for value in values) / max(len(values), 1)
    background = number < share
    found = [int(value) != IGNORE and (int(value) == 0) == background for value in label.flatten()]
    return np.array(found).reshape(tuple(label.shape))


def slow_mixed(values: Tensor, donors: dict[int, int], masks: list[npt.NDArray[np.bool_]]) -> Tensor:
    """Eq. 15."""
    mixed = values.clone()
    for j, i in donors.items():
        for pixel in np.ndindex(*masks[j].shape):
            if masks[j][pixel]:
                mixed[(j, ..., *pixel)] = values[(i, ..., *pixel)]
    return mixed


def slow_transfer(p: Array, label: Tensor, weight: Tensor) -> float:
    """One network's part of Eq. 17, with means for sums over pixels and images."""
    valid = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    entropy = sum(-math.log(at(p, where)[int(label[where])]) * float(weight[where]) for where in valid) / max(len(valid), 1)
    dice = []
    for image in range(len(label)):
        hits = squares = 0.0
        for where in (where for where in valid if where[0] == image):
            hits += at(p, where)[int(label[where])]
            squares += 1 + sum(value**2 for value in at(p, where))
        dice.append(1 - (2 * hits + 1) / (squares + 1))
    return entropy + sum(dice) / len(dice)


def slow_loss(method: GSDNet, given: Any, run: Any, seed: int) -> dict[str, float]:
    """The terms of Eq. 19 for noise_rate 0.4 and ceiling 3."""
    config, label = method.config, given.label
    p, q = (probabilities(net(view.image)) for net, view in zip((method.first, method.second), given.views, strict=True))
    loss = joint(p, q, label, config.agreement)
    keep = 1 - min(Fraction(run.epoch, 10), Fraction(1)) * Fraction(4, 10)
    clean = small_losses(loss, label, keep, config.per_class)
    weight = torch.ones(label.shape, dtype=torch.float64)
    if config.distance_weights:
        for where in np.ndindex(*label.shape):
            weight[where] = max(min(float(given.maps["distances"][where]), CEILING) - run.epoch / run.epochs * CEILING, 1)
    terms = {"distance_aware": sum(loss[where] * float(weight[where]) for where in clean) / len(clean)}
    alpha, donors, numbers = draws(len(label), seed)
    refined = slow_refined(p, q, given, clean, alpha, config.refinement)
    images = [view.image for view in given.views]
    if config.transfer:
        masks = [slow_mask(refined[donors[j]], numbers[j]) for j in range(len(label))]
        images = [slow_mixed(image, donors, masks) for image in images]
        refined, weight = slow_mixed(refined, donors, masks), slow_mixed(weight, donors, masks)
        p, q = (probabilities(net(image)) for net, image in zip((method.first, method.second), images, strict=True))
        valid = [where for where in np.ndindex(*label.shape) if refined[where] != IGNORE]
        kl = [divergence(at(p, w), at(q, w)) + divergence(at(q, w), at(p, w)) for w in valid]
        weighted = sum(value * float(weight[where]) for value, where in zip(kl, valid, strict=True))
        terms["agreement"] = config.agreement * weighted / len(valid)
    terms["transfer" if config.transfer else "refined"] = slow_transfer(p, refined, weight) + slow_transfer(q, refined, weight)
    return terms


@pytest.mark.parametrize("distance_weights", [True, False])
@pytest.mark.parametrize("transfer", [True, False])
@pytest.mark.parametrize("refinement", ["superpixels", "pixels"])
@pytest.mark.parametrize("epoch", [33, 80])
def test_the_whole_loss_equals_the_slow_version(epoch: int, refinement: str, transfer: bool, distance_weights: bool) -> None:
    config: dict[str, Any] = {"refinement": refinement, "transfer": transfer, "distance_weights": distance_weights}
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


def test_fuse_mixes_each_image_with_its_own_alpha() -> None:
    first, second = torch.randn(2, *SIZE[:1], CLASSES, *SIZE[1:], generator=torch.Generator().manual_seed(1))
    fused = fuse(first, second, torch.Generator().manual_seed(5))
    alpha = draws(SIZE[0], 5)[0]
    assert len(set(alpha)) == SIZE[0]
    p, q = probabilities(first), probabilities(second)
    expected = np.stack([a * one + (1 - a) * other for a, one, other in zip(alpha, p, q, strict=True)])
    np.testing.assert_allclose(fused.numpy(), expected, rtol=1e-5)


@given(size=st.integers(1, 6), seed=st.integers(0, 10**6), classes=st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_regions_go_round_in_one_cycle_and_are_foreground_or_background(size: int, seed: int, classes: int) -> None:
    label = random_labels(size, 3, 4, classes=classes, seed=seed)
    donor, mask = draw_regions(label, torch.Generator().manual_seed(seed))
    seen, image = set(), 0
    while image not in seen:
        seen.add(image)
        image = int(donor[image])
    assert image == 0 and seen == set(range(size))
    for j, i in enumerate(donor.tolist()):
        regions = [{i for i, v in enumerate(label[i].flatten().tolist()) if v in kind} for kind in ({1, 2}, {0})]
        assert set(mask[j].flatten().nonzero().flatten().tolist()) in regions


def test_every_cycle_is_drawn() -> None:
    label = torch.zeros(4, 2, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    found = {tuple(draw_regions(label, generator)[0].tolist()) for _ in range(200)}
    cycles = set()
    for rest in itertools.permutations((1, 2, 3)):
        ring = (0, *rest)
        receives = {ring[i]: ring[i - 1] for i in range(4)}
        cycles.add(tuple(receives[j] for j in range(4)))
    assert found == cycles


def test_a_region_is_foreground_with_the_probability_of_what_is_not_foreground() -> None:
    label = torch.zeros(200, 8, dtype=torch.int64)
    label[:, :2] = 1
    label[:, 7] = IGNORE  # a share of 2 / 7
    foreground = sum(draw_regions(label, torch.Generator().manual_seed(seed))[1][:, 0].sum().item() for seed in range(30))
    assert foreground / 6000 == pytest.approx(5 / 7, abs=0.02)  # more than three standard deviations


@pytest.mark.parametrize("value", [0, 1, IGNORE])
def test_an_image_of_one_kind_moves_nothing(value: int) -> None:
    label = torch.full((3, 4, 4), value)
    for seed in range(20):
        assert not draw_regions(label, torch.Generator().manual_seed(seed))[1].any()


@pytest.mark.parametrize("spatial", [(3, 4), (2, 3, 2)])
def test_transplant_takes_the_donors_values_inside_the_mask(spatial: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    donor, mask = torch.tensor([2, 0, 1]), torch.rand(3, *spatial, generator=generator) < 0.5
    masks, donors = [one.numpy() for one in mask], dict(enumerate(donor.tolist()))
    for values in (torch.randn(3, 2, *spatial, generator=generator), torch.randint(5, (3, *spatial), generator=generator)):
        assert torch.equal(transplant(values, donor, mask), slow_mixed(values, donors, masks))


def test_transfer_loss_equals_the_slow_version() -> None:
    logits = torch.randn(4, CLASSES, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label, weight = random_labels(*SIZE), 1 + torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    expected = slow_transfer(probabilities(logits), label, weight)
    assert transfer_loss(logits, label, weight).item() == pytest.approx(expected, rel=1e-6)


def test_ignored_pixels_of_a_donor_stay_where_they_are_and_those_of_a_receiver_may_be_covered() -> None:
    label = torch.tensor([[IGNORE, 1, 0, 0], [0, 0, IGNORE, 1]])
    for seed in range(10):
        donor, mask = draw_regions(label, torch.Generator().manual_seed(seed))
        moved = transplant(label, donor, mask)
        assert not mask[1, 0] and not mask[0, 2]
        assert moved[1, 0] == 0 and moved[0, 2] == 0
        assert (moved[0, 0] == IGNORE) == (not mask[0, 0])


@pytest.mark.parametrize(("config", "terms", "maps"), TABLE_7)
def test_the_switches_give_the_rows_of_table_7(config: dict[str, Any], terms: set[str], maps: set[str]) -> None:
    method, given = gsd_net(noise_rate=0.2, **config), batch(*SIZE)
    given.maps = {name: values for name, values in given.maps.items() if name in method.maps()}
    assert set(method.maps()) == maps
    assert set(method.loss(given, run_at(50))) == terms


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
    method, given, run = gsd_net(), batch(*SIZE), run_at(1, epochs=2)
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
