"""Regions learnt as problems of two classes: losses and counts against plain loops over pixels and binary cross-entropy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.region_sets import KITS, REGIONS
from tests.two_networks import random_labels, run_at, two_views
from torch import Tensor, nn
from torch.nn import functional as F

from debride.data.label_regions import region_table
from debride.methods import METHODS
from debride.networks.network import Network, adapt
from debride.training.region_heads import RegionHeads, of_regions, region_counts, region_labels, two_classes
from debride.types import IGNORE, Region

LABEL = random_labels(2, 4, 5, classes=4)


def batch_and_method(name: str, **config: Any) -> tuple[Any, Any, Tensor]:
    """A batch of two images whose three regions are labelled, a method of one layer, and its logits (B, R, *S)."""
    table = torch.from_numpy(region_table(REGIONS))
    batch, cls = two_views(LABEL), METHODS[name]
    batch.label = region_labels(LABEL, table)
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 1).double()
    method = cls(cls.Config(**config), lambda: RegionHeads(Network(layer)), 2)
    return batch, method, layer(batch.image)


def samples(logits: Tensor) -> list[tuple[float, int]]:
    """The logit of every region of every labelled pixel, and whether the pixel is in it."""
    found = []
    for b, r, y, x in itertools.product(range(2), range(3), range(4), range(5)):
        value = int(LABEL[b, y, x])
        if value != IGNORE:
            found.append((float(logits[b, r, y, x].detach()), int(value in REGIONS[r].classes)))
    return found


def probability_of_label(z: float, inside: int) -> float:
    return 1 / (1 + math.exp(-z if inside else z))


def test_cross_entropy_of_regions_is_binary_cross_entropy() -> None:
    batch, method, logits = batch_and_method("ce")
    target = torch.stack([torch.isin(LABEL, torch.tensor(region.classes)) for region in REGIONS], dim=1).double()
    valid = (LABEL != IGNORE)[:, None].expand_as(target)
    expected = F.binary_cross_entropy_with_logits(logits[valid], target[valid])
    loss = method.loss(batch, run_at(0))["cross_entropy"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, [method.network.trunk.weight])
    (slow,) = torch.autograd.grad(expected, [method.network.trunk.weight])
    assert torch.allclose(gradient, slow, rtol=1e-9, atol=1e-15)


def test_robust_losses_of_regions_are_those_of_each_pixel() -> None:
    batch, method, logits = batch_and_method("gce", q=0.6)
    slow = [(1 - probability_of_label(*each) ** 0.6) / 0.6 for each in samples(logits)]
    assert method.loss(batch, run_at(0))["generalized_cross_entropy"].item() == pytest.approx(np.mean(slow), rel=1e-12)
    batch, method, logits = batch_and_method("sce", alpha=0.3, beta=0.8, log_zero=-5.0)
    slow = [-0.3 * math.log(p) + 0.8 * 5.0 * (1 - p) for p in itertools.starmap(probability_of_label, samples(logits))]
    assert method.loss(batch, run_at(0))["symmetric_cross_entropy"].item() == pytest.approx(np.mean(slow), rel=1e-12)


def test_t_loss_of_a_region_is_that_of_its_error_in_an_image() -> None:
    """The negative logarithm of Student's density of the error vector of D pixels, of each region of each image."""
    batch, method, logits = batch_and_method("t-loss", log_nu=0.4)
    nu, total, dimensions = math.exp(0.4) + 1e-8, 0.0, 0
    for b, r in itertools.product(range(2), range(3)):
        errors = []
        for y, x in itertools.product(range(4), range(5)):
            value = int(LABEL[b, y, x])
            if value != IGNORE:
                p = 1 / (1 + math.exp(-float(logits[b, r, y, x].detach())))
                errors.append(p - (value in REGIONS[r].classes))
        D = len(errors)
        total += (
            math.lgamma(nu / 2)
            - math.lgamma((nu + D) / 2)
            + D / 2 * math.log(math.pi * nu)
            + (nu + D) / 2 * math.log(1 + sum(error**2 for error in errors) / nu)
        )
        dimensions += D
    assert method.loss(batch, run_at(0))["t_loss"].item() == pytest.approx(total / dimensions, rel=1e-5)


def test_dice_beside_cross_entropy_is_that_of_each_region_of_each_image() -> None:
    batch, method, logits = batch_and_method("ce", dice=True)
    slow = []
    for b, r in itertools.product(range(2), range(3)):
        both = summed = 0.0
        for y, x in itertools.product(range(4), range(5)):
            value = int(LABEL[b, y, x])
            if value != IGNORE:
                p, inside = 1 / (1 + math.exp(-float(logits[b, r, y, x].detach()))), value in REGIONS[r].classes
                both, summed = both + p * inside, summed + p + inside
        slow.append(1 - (2 * both + 1) / (summed + 1))
    assert method.loss(batch, run_at(0))["dice"].item() == pytest.approx(np.mean(slow) / 2, rel=1e-6)


@pytest.mark.parametrize("regions", [REGIONS, KITS])
@pytest.mark.parametrize("size", [(2, 4, 5), (2, 2, 3, 3)])
def test_labels_of_regions_lie_as_their_logits(size: tuple[int, ...], regions: tuple[Region, ...]) -> None:
    label = random_labels(*size, classes=4)
    table = torch.from_numpy(region_table(regions))
    expanded = region_labels(label, table).reshape(2, 3, *size[1:])
    assert expanded.dtype == torch.int64
    logits = torch.randn(2, 3, *size[1:], generator=torch.Generator().manual_seed(0))
    two = two_classes(logits).softmax(dim=1)
    assert two.shape == (6, 2, *size[1:])
    torch.testing.assert_close(of_regions(two, 3), logits.sigmoid())
    counts = np.zeros((2, 3, 3))
    for at in itertools.product(*map(range, size)):
        for r, region in enumerate(regions):
            value, place = int(label[at]), (at[0], r, *at[1:])
            assert expanded[place] == (IGNORE if value == IGNORE else int(value in region.classes))
            if value != IGNORE:
                given, predicted = value in region.classes, bool(logits[place] > 0)
                counts[at[0], r] += [given and predicted, predicted, given]
    assert region_counts(logits.sigmoid(), label, table).tolist() == counts.tolist()


def test_half_precision_takes_the_same_way() -> None:
    batch, method, _ = batch_and_method("ce")
    method.float()
    batch.image = batch.image.float()
    full = method.loss(batch, run_at(0))["cross_entropy"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method.loss(batch, run_at(0))["cross_entropy"]
    assert half.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=2e-2)


class Doubled(Network):
    """A network that does more than its parts."""

    def forward(self, image: Tensor) -> Tensor:
        return 2 * super().forward(image)


def test_heads_keep_the_names_of_weights_and_what_a_network_does() -> None:
    image = torch.ones(1, 2, 4, 5)
    plain = adapt(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 1)), "1", 1, ("0",))
    heads = RegionHeads(plain)
    assert list(heads.state_dict()) == list(plain.state_dict()) and heads.decoder == ("0",)
    assert torch.equal(heads(image), two_classes(plain(image)))
    own = Doubled(nn.Conv2d(2, 3, 1))
    assert torch.equal(RegionHeads(own)(image), two_classes(own(image)))
