"""Random views: their ranges, their independence of the batch, and each change of intensity against its formula."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from debride.data.augment import apply_intensity, draw_warp
from debride.data.augmentation import Augmentation
from debride.settings import check_bounds
from debride.types import DataError
from debride.warp import Warp

NONE = Augmentation.none()
STRONG = dataclasses.replace(NONE, strong_probability=1.0)


def angle(warp: Warp) -> np.ndarray:
    """Degrees by which a 2D warp without mirroring rotates."""
    matrix = warp.matrix.numpy()
    return np.degrees(np.arctan2(matrix[:, 0, 1], matrix[:, 0, 0]))


@pytest.mark.parametrize("shape", [(16, 16), (6, 8, 8)])
def test_no_augmentation_is_the_image_itself(shape: tuple[int, ...]) -> None:
    x = torch.randn(3, 2, *shape)
    assert torch.equal(draw_warp(NONE, 1, [0, 1, 2], shape, shape).sample(x), x)
    for strength in ("none", "weak", "strong"):
        assert torch.equal(apply_intensity(x, strength, NONE, 1, [0, 1, 2]), x)


@pytest.mark.parametrize("shape", [(32, 30), (8, 12, 10)])
def test_a_case_gets_the_same_view_in_every_batch(shape: tuple[int, ...]) -> None:
    augmentation = Augmentation(quarter_turns=True, spatial_probability=1.0, weak_probability=1.0, strong_probability=0.8)
    rows = np.arange(12)
    torch.manual_seed(0)
    x = torch.randn(12, 1, *shape)
    warp = draw_warp(augmentation, 5, rows, shape, shape)
    for order in ([7], [11, 7, 2], [7, 3]):
        chosen = torch.tensor(order)
        other = draw_warp(augmentation, 5, chosen, shape, shape)
        assert torch.equal(other.matrix, warp.matrix[order])
        assert torch.equal(other.sample(x[order]), warp.sample(x)[order])
        for strength in ("weak", "strong"):
            together = apply_intensity(x, strength, augmentation, 5, rows)
            assert torch.equal(apply_intensity(x[order], strength, augmentation, 5, order), together[order])


def test_views_differ_between_seeds_and_between_cases() -> None:
    x = torch.randn(1, 1, 8, 8).expand(2, 1, 8, 8)
    view = apply_intensity(x, "strong", dataclasses.replace(STRONG, strong_noise=1.0), 1, [0, 1])
    other = apply_intensity(x, "strong", dataclasses.replace(STRONG, strong_noise=1.0), 2, [0, 1])
    assert not torch.equal(view[0], view[1])
    assert not torch.equal(view[0], other[0])


def test_spatial_draws_keep_their_ranges_and_frequencies() -> None:
    augmentation = Augmentation(flip=(), rotate=20.0, zoom=(0.8, 1.25), translate=0.1, spatial_probability=0.4)
    warp = draw_warp(augmentation, 0, np.arange(4000), (40, 40), (40, 40))
    turned, zoom = angle(warp), warp.zoom.numpy()
    centre = (warp.matrix.numpy() @ np.array([19.5, 19.5, 1.0])) - 19.5
    assert np.abs(turned).max() <= 20 + 1e-9
    assert 0.8 - 1e-9 <= zoom.min() < 0.81
    assert 1.24 < zoom.max() <= 1.25 + 1e-9
    assert np.abs(np.log(zoom[~np.isclose(zoom, 1)]).mean()) < 0.02
    assert 3.9 < np.abs(centre).max() <= 4
    for happened in (np.abs(turned) > 1e-9, ~np.isclose(zoom, 1), np.abs(centre).max(axis=1) > 1e-9):
        assert abs(happened.mean() - 0.4) < 0.03


def test_only_the_given_axes_are_mirrored() -> None:
    warp = draw_warp(dataclasses.replace(NONE, flip=(1,)), 0, np.arange(1000), (8, 8), (8, 8))
    mirrored = torch.diagonal(warp.matrix[:, :, :2], dim1=1, dim2=2) < 0
    assert not mirrored[:, 0].any()
    assert abs(mirrored[:, 1].double().mean() - 0.5) < 0.05


def test_quarter_turns_are_exact_and_only_in_square_planes() -> None:
    augmentation = dataclasses.replace(NONE, quarter_turns=True)
    x = torch.randn(1, 1, 6, 6)
    warp = draw_warp(augmentation, 0, np.arange(64), (6, 6), (6, 6))
    views = warp.sample(x.expand(64, 1, 6, 6))
    seen = [next(k for k in range(4) if torch.equal(view, x[0].rot90(k, (1, 2)))) for view in views]
    assert set(seen) == {0, 1, 2, 3}
    assert draw_warp(augmentation, 0, np.arange(64), (6, 8), (6, 8)).matrix.unique(dim=0).shape[0] == 1
    volume = (4, 4, 4)
    in_plane = draw_warp(augmentation, 0, np.arange(64), volume, volume, np.tile([2.0, 1.0, 1.0], (64, 1)))
    assert torch.equal(in_plane.matrix[:, 0].round(decimals=9), torch.tensor([[1.0, 0, 0, 0]]).double().expand(64, 4))
    assert in_plane.matrix.round(decimals=6).unique(dim=0).shape[0] == 4


def test_thick_slices_are_rotated_in_their_plane_only() -> None:
    augmentation = dataclasses.replace(NONE, rotate=30.0, spatial_probability=1.0)
    shape, spacing = (6, 20, 20), np.array([[5.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    matrix = draw_warp(augmentation, 0, [0, 1], shape, shape, spacing).matrix[:, :, :3]
    assert torch.equal(matrix[0, 0], torch.tensor([1.0, 0, 0]).double())
    assert matrix[0, 1, 2].abs() > 1e-3
    assert matrix[1, 0, 1].abs() > 1e-3


@pytest.mark.parametrize("rotate", [10.0, 30.0, 180.0])
def test_a_region_as_wide_as_the_reach_holds_every_view(rotate: float) -> None:
    augmentation = Augmentation(rotate=rotate, zoom=(0.7, 0.7), translate=0.0, spatial_probability=1.0)
    wide = 32 + 2 * math.ceil(16 * (augmentation.reach - 1))
    rows = np.arange(2000)
    assert draw_warp(augmentation, 0, rows, (wide, wide), (32, 32)).inside().all()
    narrow = wide - 4
    assert not draw_warp(augmentation, 0, rows, (narrow, narrow), (32, 32)).inside().all()


def test_brightness_and_contrast_are_affine_about_the_mean_of_a_z_scored_image() -> None:
    augmentation = dataclasses.replace(NONE, weak_brightness=0.3, weak_contrast=0.2, weak_probability=1.0)
    x = torch.randn(200, 2, 8, 8)
    view = apply_intensity(x, "weak", augmentation, 3, np.arange(200))
    zero = apply_intensity(torch.zeros_like(x), "weak", augmentation, 3, np.arange(200))
    shift = zero[:, 0, 0, 0]
    assert torch.equal(zero, shift.reshape(-1, 1, 1, 1).expand_as(zero))
    factor = ((view - zero) / x).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-3, atol=1e-3)
    assert 0.25 < shift.abs().max() <= 0.3
    assert 0.15 < (factor.median(1).values - 1).abs().max() <= 0.2 + 1e-4


@pytest.mark.parametrize("shape", [(64, 64), (16, 16, 17)])
def test_noise_is_white_normal_and_its_level_differs_between_cases(shape: tuple[int, ...]) -> None:
    view = apply_intensity(
        torch.zeros(40, 1, *shape), "strong", dataclasses.replace(STRONG, strong_noise=0.5), 0, np.arange(40)
    )
    level = view.flatten(1).std(1)
    assert 0.4 < level.max() < 0.55
    assert level.min() < 0.1
    unit = (view.flatten(1) / level[:, None]).numpy()
    assert stats.kstest(unit[:20].ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(unit[:, 1:].ravel(), unit[:, :-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(unit)[np.triu_indices(40, 1)]).max() < 0.1


@pytest.mark.parametrize("shape", [(20, 24), (10, 12, 9)])
def test_blur_is_gaussian(shape: tuple[int, ...]) -> None:
    augmentation = dataclasses.replace(STRONG, strong_blur=1.5)
    torch.manual_seed(0)
    x = torch.randn(8, 2, *shape)
    view = apply_intensity(x, "strong", augmentation, 4, np.arange(8)).numpy()
    # A case's standard deviation is found from its first channel; the second must then agree.
    for image, blurred in zip(x.numpy(), view, strict=True):
        candidates = np.linspace(0.01, 1.5, 746)
        errors = [np.abs(ndimage.gaussian_filter(image[0], s, mode="nearest", radius=5) - blurred[0]).max() for s in candidates]
        best = candidates[int(np.argmin(errors))]
        np.testing.assert_allclose(ndimage.gaussian_filter(image[1], best, mode="nearest", radius=5), blurred[1], atol=0.01)
    assert np.all(view.std(axis=tuple(range(1, view.ndim))) <= x.numpy().std(axis=tuple(range(1, view.ndim))) + 1e-6)
    flat = torch.full((3, 1, *shape), 2.0)
    torch.testing.assert_close(apply_intensity(flat, "strong", augmentation, 4, [0, 1, 2]), flat)


def test_gamma_keeps_each_channels_range() -> None:
    augmentation = dataclasses.replace(STRONG, strong_gamma=(0.5, 2.0))
    x = torch.randn(100, 2, 9, 9)
    view = apply_intensity(x, "strong", augmentation, 0, np.arange(100))
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    torch.testing.assert_close(view.amin((2, 3), keepdim=True), low)
    torch.testing.assert_close(view.amax((2, 3), keepdim=True), high)
    inner = ((x - low) / (high - low)).clamp(0.01, 0.99)
    exponent = (((view - low) / (high - low)).log() / inner.log())[(x > low + 0.5) & (x < high - 0.5)]
    assert 0.5 - 1e-2 < exponent.min() < 0.55
    assert 1.9 < exponent.max() < 2 + 1e-2
    constant = torch.ones(1, 1, 4, 4)
    assert torch.equal(apply_intensity(constant, "strong", augmentation, 0, [0]), constant)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flip", (3,)),
        ("rotate", -1.0),
        ("rotate", math.nan),
        ("zoom", (1.2, 0.8)),
        ("zoom", (0.0, 1.0)),
        ("translate", 1.5),
        ("spatial_probability", 1.1),
        ("strong_gamma", (0.5, math.inf)),
        ("strong_blur", 100.0),
        ("weak_contrast", 2.0),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"Augmentation\.{name}"):
        check_bounds(Augmentation(**{name: value}))
