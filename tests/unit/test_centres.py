"""Dynamic centre distance, against the equations of MetaDCSeg written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from debride.losses.centres import (
    BACKGROUND,
    BOUNDARY,
    OBJECT,
    boundary_weights,
    centre_distance,
    decompose,
    doubt_of,
    weighted_centres,
)

TAU = 0.8
SIZES = [(2, 5, 6), (3, 3, 4, 5)]
"""B and S of an image and of a volume."""

Where = tuple[int, ...]


def random_case(
    *size: int, seed: int = 0, classes: int = 2, channels: int = 4
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features, foreground probabilities, edges, valid pixels and gamma of B images, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    count, *spatial = size
    features = torch.randn(count, channels, *spatial, generator=generator, dtype=torch.float64)
    probability = torch.rand(count, classes, *spatial, generator=generator, dtype=torch.float64)
    edges, ignored = (torch.rand(size, generator=generator) < 0.2 for _ in range(2))
    gamma = 2 * torch.rand(size, generator=generator, dtype=torch.float64)
    return features, probability, edges, ~ignored, gamma


def regions_by_hand(probability: Tensor, edges: Tensor, valid: Tensor, image: int, foreground: int) -> dict[int, list[Where]]:
    """Eq. 6 to 8 of one image and class."""
    found: dict[int, list[Where]] = {OBJECT: [], BACKGROUND: [], BOUNDARY: []}
    for where in np.ndindex(*valid.shape[1:]):
        if not valid[image][where]:
            continue
        p = float(probability[image, foreground][where])
        if p > TAU:
            found[OBJECT].append(where)
        if p < 1 - TAU:
            found[BACKGROUND].append(where)
        if 1 - TAU <= p <= TAU or edges[image][where]:
            found[BOUNDARY].append(where)
    return found


def feature(features: Tensor, image: int, where: Where) -> list[float]:
    return [float(channel[where]) for channel in features[image]]


def centre_by_hand(features: Tensor, gamma: Tensor, image: int, pixels: list[Where]) -> list[float]:
    """Eq. 10."""
    weights = [float(gamma[image][where]) for where in pixels]
    columns = zip(*(feature(features, image, where) for where in pixels), strict=True)
    return [sum(w * h for w, h in zip(weights, column, strict=True)) / sum(weights) for column in columns]


def distance_by_hand(h: list[float], centres: dict[int, list[float]], limit: float) -> float:
    """Eq. 11 and 46."""
    to = {region: math.dist(h, centre) for region, centre in centres.items()}
    return min(to[OBJECT] * to[BACKGROUND] / (to[BOUNDARY] + 1e-8), limit)


def weights_by_hand(distances: list[float], temperature: float) -> list[float]:
    """Eq. 12."""
    exponentials = [math.exp(distance / temperature) for distance in distances]
    return [each / sum(exponentials) for each in exponentials]


# Regions


@pytest.mark.parametrize("size", SIZES)
def test_regions_are_those_of_eq_6_to_8(size: Where) -> None:
    _, probability, edges, valid, _ = random_case(*size)
    regions = decompose(probability, edges, valid, 1 - TAU)
    assert regions.shape == (size[0], 2, 3, *size[1:]) and regions.dtype == torch.bool
    for image, foreground in np.ndindex(size[0], 2):
        expected = regions_by_hand(probability, edges, valid, image, foreground)
        for region, pixels in expected.items():
            assert [tuple(where) for where in regions[image, foreground, region].nonzero().tolist()] == pixels
            assert pixels, "each region occurs"


def test_limits_of_probability_are_boundary_and_edges_keep_their_region() -> None:
    """The last two pixels have no label; edges there count as little as anything."""
    probability = torch.tensor([[[0.1, 0.25, 0.5, 0.75, 0.9, 0.1, 0.9, 0.5, 0.9]]])
    edges = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 0, 1]]).bool()
    valid = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    certain, absent, between = decompose(probability, edges, valid, 0.25)[0, 0].int().tolist()
    assert certain == [0, 0, 0, 0, 1, 0, 1, 0, 0]
    assert absent == [1, 0, 0, 0, 0, 1, 0, 0, 0]
    assert between == [0, 1, 1, 1, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_the_boundary_holds_its_share_of_each_image(size: Where, share: float) -> None:
    """The least certain pixels of a class, whatever the network's confidence is; at least one."""
    _, probability, edges, valid, _ = random_case(*size)
    probability = probability**20
    found = decompose(probability, torch.zeros_like(edges), valid, doubt_of(probability, valid, share))[:, :, BOUNDARY]
    for image, kind in np.ndindex(size[0], 2):
        pixels = [where for where in np.ndindex(*size[1:]) if valid[image][where]]
        by_doubt = sorted(pixels, key=lambda where: abs(float(probability[image, kind][where]) - 0.5))
        expected = sorted(by_doubt[: max(1, math.ceil(round(share * len(pixels), 9)))])
        assert [tuple(where) for where in found[image, kind].nonzero().tolist()] == expected


def test_the_share_is_held_where_the_network_is_all_but_sure() -> None:
    """In float32, where 1 - p rounds to one, and without any label."""
    probability = torch.tensor([[[1e-20, 3e-20, 2e-20, 5e-20, 4e-20]]])
    valid, edges = torch.tensor([[True, True, True, True, False]]), torch.zeros(1, 5, dtype=torch.bool)
    regions = decompose(probability, edges, valid, doubt_of(probability, valid, 0.5))
    assert regions[0, 0].int().tolist() == [[0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0]]
    nothing = torch.zeros_like(valid)
    assert not decompose(probability, edges, nothing, doubt_of(probability, nothing, 0.5)).any()


# Centres


@pytest.mark.parametrize("size", SIZES)
def test_centres_are_weighted_means_of_their_regions(size: Where) -> None:
    features, probability, edges, valid, gamma = random_case(*size)
    centres, total = weighted_centres(features, decompose(probability, edges, valid, 1 - TAU), gamma)
    assert centres.shape == (size[0], 2, 3, 4) and total.shape == (size[0], 2, 3)
    for image, foreground in np.ndindex(size[0], 2):
        for region, pixels in regions_by_hand(probability, edges, valid, image, foreground).items():
            expected = centre_by_hand(features, gamma, image, pixels)
            np.testing.assert_allclose(centres[image, foreground, region], expected, rtol=1e-10, atol=1e-12)
            sum_of_weights = sum(float(gamma[image][where]) for where in pixels)
            assert float(total[image, foreground, region]) == pytest.approx(sum_of_weights, rel=1e-12)


def test_pixels_without_a_label_have_no_say() -> None:
    features, probability, edges, valid, gamma = random_case(2, 5, 6)
    changed = features.where(valid[:, None], 1e6)
    expected, found = (
        weighted_centres(h, decompose(probability, edges, valid, 1 - TAU), gamma)[0] for h in (features, changed)
    )
    assert torch.equal(expected, found)


def test_centres_by_hand() -> None:
    """Two pixels of the object with weights 1 and 3, a boundary of weight zero, and no background."""
    features = torch.tensor([[[0.0, 4.0, 7.0], [8.0, 0.0, 7.0]]])
    regions = torch.tensor([[[[1, 1, 0], [0, 0, 0], [0, 0, 1]]]]).bool()
    centres, total = weighted_centres(features, regions, torch.tensor([[1.0, 3.0, 0.0]]))
    assert centres.tolist() == [[[[3, 2], [0, 0], [0, 0]]]]
    assert total.tolist() == [[[4, 0, 0]]]


def test_a_region_without_weight_has_finite_gradients() -> None:
    features = torch.randn(1, 2, 3, requires_grad=True, generator=torch.Generator().manual_seed(0))
    centres, _ = weighted_centres(features, torch.zeros(1, 1, 3, 3, dtype=torch.bool), torch.ones(1, 3))
    (gradient,) = torch.autograd.grad(centres.sum(), features)
    assert (gradient == 0).all()


@given(
    size=st.sampled_from([(1, 7), (2, 3, 4), (2, 2, 3, 2)]),
    classes=st.integers(1, 3),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_centres_lie_among_the_features_of_their_region(size: Where, classes: int, scale: float, seed: int) -> None:
    features, probability, edges, valid, gamma = random_case(*size, seed=seed, classes=classes)
    features = scale * features
    regions = decompose(probability, edges, valid, 1 - TAU)
    centres, total = weighted_centres(features, regions, gamma)
    for image, foreground, region in np.ndindex(*total.shape):
        inside = features[image][:, regions[image, foreground, region]]
        centre = centres[image, foreground, region]
        assert (total[image, foreground, region] > 0) == (inside.shape[1] > 0)
        if inside.shape[1]:
            assert (centre >= inside.amin(dim=1) - 1e-9 * scale).all() and (centre <= inside.amax(dim=1) + 1e-9 * scale).all()
        else:
            assert (centre == 0).all()


# Distances


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("limit", [100.0, 2.0])
def test_distances_are_those_of_eq_11_cut_off_by_eq_46(size: Where, limit: float) -> None:
    features, probability, edges, valid, gamma = random_case(*size)
    centres, _ = weighted_centres(features, decompose(probability, edges, valid, 1 - TAU), gamma)
    found = centre_distance(features, centres, limit)
    assert found.shape == (size[0], 2, *size[1:])
    for image, foreground in np.ndindex(size[0], 2):
        of_regions = {region: centres[image, foreground, region].tolist() for region in (OBJECT, BACKGROUND, BOUNDARY)}
        for where in np.ndindex(*size[1:]):
            expected = distance_by_hand(feature(features, image, where), of_regions, limit)
            assert float(found[image, foreground][where]) == pytest.approx(expected, rel=1e-10)
    assert (found == limit).any() == (limit == 2.0)


def test_distance_by_hand() -> None:
    """Object at (0, 0), background at (8, 6), boundary at (4, 0): a pixel at (4, 3) is 5, 5 and 3 away."""
    features = torch.tensor([4.0, 3.0], dtype=torch.float64).reshape(1, 2, 1)
    centres = torch.tensor([[[[0.0, 0.0], [8.0, 6.0], [4.0, 0.0]]]], dtype=torch.float64)
    assert centre_distance(features, centres, 100.0).item() == pytest.approx(25 / (3 + 1e-8), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at", [OBJECT, BACKGROUND, BOUNDARY])
def test_a_pixel_at_a_centre_has_a_finite_distance_and_gradient(at: int, dtype: torch.dtype) -> None:
    centres = torch.tensor([[[[0.0, 0.0], [8.0, 6.0], [4.0, 0.0]]]], dtype=dtype)
    features = centres[0, 0, at].reshape(1, 2, 1).clone().requires_grad_()
    centres.requires_grad_()
    found = centre_distance(features, centres, 100.0)
    assert found.item() == (100.0 if at == BOUNDARY else 0.0)
    for gradient in torch.autograd.grad(found.sum(), (features, centres)):
        assert torch.isfinite(gradient).all()
        assert at != BOUNDARY or (gradient == 0).all(), "a distance that is cut off has no gradient"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_features_have_finite_gradients(dtype: torch.dtype) -> None:
    """All centres and all pixels in one point, as in a network whose last features are all zero."""
    _, probability, edges, valid, gamma = random_case(2, 5, 6)
    features = torch.zeros(2, 4, 5, 6, dtype=dtype, requires_grad=True)
    regions = decompose(probability, edges, valid, 1 - TAU)
    centres, _ = weighted_centres(features, regions, gamma.to(dtype))
    distance = centre_distance(features, centres, 100.0)
    weights = boundary_weights(distance, regions[:, :, BOUNDARY], 0.9)
    (gradient,) = torch.autograd.grad((weights * probability.to(dtype)).sum(), features)
    assert (distance == 0).all() and torch.isfinite(gradient).all()
    boundary = regions[:, :, BOUNDARY]
    uniform = boundary / boundary.flatten(2).sum(dim=2)[..., None, None]
    torch.testing.assert_close(weights, uniform.to(dtype))


def test_distances_have_the_gradient_of_eq_41() -> None:
    """For centres that are held: by each factor in turn, divided by |h - c_bd| + epsilon."""
    centres = torch.tensor([[[[0.0, 0.0], [8.0, 6.0], [4.0, 0.0]]]], dtype=torch.float64)
    features = torch.tensor([4.0, 3.0], dtype=torch.float64).reshape(1, 2, 1).requires_grad_()
    (found,) = torch.autograd.grad(centre_distance(features, centres, 100.0).sum(), features)
    # |h - c| is 5, 5 and 3, with unit vectors (0.8, 0.6), (-0.8, -0.6) and (0, 1): 0 - 25 / 9 (0, 1).
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, -25 / 9], dtype=torch.float64), rtol=1e-7, atol=1e-12)


# Weights


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [0.5, 0.9, 4.0])
def test_boundary_weights_are_the_softmax_of_eq_12(size: Where, temperature: float) -> None:
    features, probability, edges, valid, gamma = random_case(*size)
    regions = decompose(probability, edges, valid, 1 - TAU)
    distance = centre_distance(features, weighted_centres(features, regions, gamma)[0], 100.0)
    found = boundary_weights(distance, regions[:, :, BOUNDARY], temperature)
    assert found.shape == distance.shape
    for image, foreground in np.ndindex(size[0], 2):
        pixels = regions_by_hand(probability, edges, valid, image, foreground)[BOUNDARY]
        expected = weights_by_hand([float(distance[image, foreground][where]) for where in pixels], temperature)
        for where, weight in zip(pixels, expected, strict=True):
            assert float(found[image, foreground][where]) == pytest.approx(weight, rel=1e-9)
        assert float(found[image, foreground].sum()) == pytest.approx(1, rel=1e-12)
        assert int((found[image, foreground] > 0).sum()) == len(pixels)


def test_boundary_weights_by_hand() -> None:
    """Distances of log 1, log 3 and log 4 times the temperature; a far larger one is no boundary."""
    distance = 0.5 * torch.tensor([[[1.0, 3.0, 1e30, 4.0]]], dtype=torch.float64).log()
    found = boundary_weights(distance, torch.tensor([[[True, True, False, True]]]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[[0.125, 0.375, 0.0, 0.5]]], dtype=torch.float64))


def test_the_gradient_of_weights_is_that_of_eq_44() -> None:
    generator = torch.Generator().manual_seed(0)
    distance = torch.rand(1, 1, 6, generator=generator, dtype=torch.float64).requires_grad_()
    boundary = torch.tensor([[[1, 1, 0, 1, 0, 1]]]).bool()
    weights = boundary_weights(distance, boundary, 0.7)
    for i in boundary[0, 0].nonzero().flatten().tolist():
        (found,) = torch.autograd.grad(weights[0, 0, i], distance, retain_graph=True)
        w = weights[0, 0].tolist()
        expected = [w[i] / 0.7 * ((i == j) - w[j]) for j in range(6)]
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("size", SIZES)
def test_an_image_without_a_boundary_has_zero_weights_and_gradients(size: Where) -> None:
    """The first image is all object, the others have a boundary."""
    features, probability, edges, valid, gamma = random_case(*size)
    probability[0], edges[0] = 0.95, False
    features.requires_grad_()
    regions = decompose(probability, edges, valid, 1 - TAU)
    distance = centre_distance(features, weighted_centres(features, regions, gamma)[0], 100.0)
    weights = boundary_weights(distance, regions[:, :, BOUNDARY], 0.9)
    loss = torch.rand(weights.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * loss).sum(), features)
    assert (weights[0] == 0).all() and (weights[1:].flatten(2).sum(dim=2) > 0.99).all()
    assert torch.isfinite(gradient).all()
    assert (gradient[0] == 0).all() and (gradient[1:] != 0).any()


def test_the_whole_term_has_the_gradient_of_finite_differences() -> None:
    """Through centres, distances and weights at once."""
    features, probability, edges, valid, gamma = random_case(1, 4, 4, channels=2)
    regions = decompose(probability, edges, valid, 1 - TAU)
    loss = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def term(h: Tensor) -> Tensor:
        distance = centre_distance(h, weighted_centres(h, regions, gamma)[0], 100.0)
        return (boundary_weights(distance, regions[:, :, BOUNDARY], 0.9) * loss).sum()

    assert torch.autograd.gradcheck(term, features.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_full_precision_inside_autocast(dtype: torch.dtype) -> None:
    """Sums over an image would overflow in float16."""
    features, probability, edges, valid, gamma = (
        values.float() if values.is_floating_point() else values for values in random_case(1, 64, 64)
    )
    features = features + 100

    def all_of() -> tuple[Tensor, Tensor, Tensor]:
        regions = decompose(probability, edges, valid, 1 - TAU)
        centres, _ = weighted_centres(features, regions, gamma)
        distance = centre_distance(features, centres, 100.0)
        return centres, distance, boundary_weights(distance, regions[:, :, BOUNDARY], 0.9)

    expected = all_of()
    with torch.autocast("cpu", dtype):
        for found, exact in zip(all_of(), expected, strict=True):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
