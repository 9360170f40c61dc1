"""Warps against index operations, SciPy and autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from debride.types import IGNORE
from debride.warp import Warp


def make(source: tuple[int, ...], out: tuple[int, ...] | None = None, batch: int = 1, **given: object) -> Warp:
    d = len(source)
    neutral = {
        "flips": torch.zeros(batch, d, dtype=torch.bool),
        "angles": torch.zeros(batch, d * (d - 1) // 2),
        "zoom": torch.ones(batch),
        "translation": torch.zeros(batch, d),
    }
    values = {name: torch.as_tensor(value) for name, value in given.items()}
    return Warp.make(source_shape=source, out_shape=out or source, **(neutral | values))


def random_warp(source: tuple[int, ...], out: tuple[int, ...], batch: int, seed: int) -> Warp:
    rng = np.random.default_rng(seed)
    d = len(source)
    return make(
        source,
        out,
        flips=rng.random((batch, d)) < 0.5,
        angles=rng.uniform(-math.pi, math.pi, (batch, d * (d - 1) // 2)),
        zoom=rng.uniform(0.5, 2, batch),
        translation=rng.uniform(-3, 3, (batch, d)),
        spacing=rng.uniform(0.5, 3, (batch, d)),
    )


def places(warp: Warp) -> np.ndarray:
    """Source coordinates (B, d, *out) on the lattice of 2^-10 pixel, computed apart from the warp's own way."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in warp.out_shape), indexing="ij")).astype(float)
    matrix = warp.matrix.numpy()
    d = len(warp.out_shape)
    exact = np.einsum("bij,j...->bi...", matrix[:, :, :d], grid) + matrix[:, :, d].reshape(len(matrix), d, *(1,) * d)
    return np.round(exact * 1024) / 1024


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


shapes = st.one_of(
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.integers(1, 6)] * 3),
)


@given(source=shapes, seed=st.integers(0, 2**20), data=st.data())
@settings(max_examples=60, deadline=None)
def test_sample_is_linear_interpolation_with_zeros_outside(source: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    out = data.draw(st.tuples(*[st.integers(1, 7)] * len(source)))
    warp = random_warp(source, out, 2, seed)
    x = np.random.default_rng(seed).normal(size=(2, 3, *source))
    expected = [
        [ndimage.map_coordinates(channel, place, order=1, mode="grid-constant", cval=0.0) for channel in image]
        for image, place in zip(x, places(warp), strict=True)
    ]
    np.testing.assert_allclose(warp.sample(torch.from_numpy(x)).numpy(), expected, atol=1e-12)


def nearest_by_hand(x: np.ndarray, warp: Warp, outside: float) -> np.ndarray:
    """Numbers (B, *source) at the nearest source pixel of each output pixel, one by one."""
    nearest = np.floor(places(warp) + 0.5).astype(int)
    expected = np.full((len(x), *warp.out_shape), outside, x.dtype)
    for index in np.ndindex(expected.shape):
        place = tuple(nearest[index[0], :, *index[1:]])
        if all(0 <= at < n for at, n in zip(place, warp.source_shape, strict=True)):
            expected[index] = x[index[0]][place]
    return expected


@given(source=shapes, seed=st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_labels_are_the_nearest_ones_and_ignore_outside(source: tuple[int, ...], seed: int) -> None:
    warp = random_warp(source, tuple(n + 2 for n in source), 2, seed)
    labels = np.random.default_rng(seed).integers(0, 5, (2, *source))
    expected = nearest_by_hand(labels, warp, IGNORE)
    result = warp.sample_label(torch.from_numpy(labels))
    assert result.dtype == torch.int64
    np.testing.assert_array_equal(result.numpy(), expected)
    np.testing.assert_array_equal(warp.inside().numpy(), expected != IGNORE)
    small = warp.sample_label(torch.from_numpy(labels.astype(np.uint8)))
    assert small.dtype == torch.uint8
    np.testing.assert_array_equal(small.numpy(), expected)


@given(source=shapes, seed=st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize(
    ("dtype", "outside"),
    [(np.int32, -1), (np.int64, 2**40), (np.float32, 0.0), (np.float32, math.inf), (np.float64, -0.3), (np.bool_, False)],
)
def test_numbers_of_any_type_are_the_nearest_ones(dtype: type, outside: float, source: tuple[int, ...], seed: int) -> None:
    """No number is mixed with another: not with infinity, nor with what lies outside."""
    warp = random_warp(source, tuple(n + 2 for n in source), 2, seed)
    x = np.random.default_rng(seed).normal(0, 1e6, (2, *source)).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        x.flat[::3] = math.inf
    expected = nearest_by_hand(x, warp, outside)
    found = warp.sample_nearest(torch.from_numpy(x), outside).numpy()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@given(source=shapes, seed=st.integers(0, 2**20), channels=st.sampled_from([(), (2,), (2, 3)]))
@settings(max_examples=60, deadline=None)
def test_adjoint_is_the_transpose_of_sample(source: tuple[int, ...], seed: int, channels: tuple[int, ...]) -> None:
    warp = random_warp(source, tuple(reversed(source)), 3, seed)
    torch.manual_seed(seed)
    x = torch.randn(3, *channels, *source, dtype=torch.float64, requires_grad=True)
    u = torch.randn(3, *channels, *warp.out_shape, dtype=torch.float64)
    forward, back = warp.sample(x), warp.adjoint(u)
    assert forward.shape == u.shape
    assert back.shape == x.shape
    torch.testing.assert_close((forward * u).sum(), (x * back).sum(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(forward, x, u)[0], back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 6), (7, 7), (5, 5, 5), (4, 4, 4)])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, -1])
def test_flips_quarter_turns_and_shifts_do_not_change_a_bit(shape: tuple[int, ...], turns: int) -> None:
    d = len(shape)
    torch.manual_seed(0)
    x = torch.randn(1, 2, *shape)
    x[0, 0].flatten()[::3] = -0.0
    labels = torch.randint(0, 4, (1, *shape))
    for plane, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)][: d * (d - 1) // 2]):
        angles = torch.zeros(1, d * (d - 1) // 2, dtype=torch.float64)
        angles[0, plane] = turns * math.pi / 2
        for axis in range(d):
            warp = make(shape, angles=angles, flips=torch.eye(d, dtype=torch.bool)[axis : axis + 1])
            # The view is flipped last: output pixel p shows the turned image at the mirror of p.
            assert same_bits(warp.sample(x), x.rot90(turns, (a + 2, b + 2)).flip(axis + 2))
            assert torch.equal(warp.sample_label(labels), labels.rot90(turns, (a + 1, b + 1)).flip(axis + 1))
            assert same_bits(warp.adjoint(warp.sample(x)), x + 0.0)
            assert warp.inside().all()


def test_identity_is_exact() -> None:
    x = torch.randn(3, 2, 5, 7)
    warp = Warp.identity(3, (5, 7))
    assert same_bits(warp.sample(x), x)
    assert torch.equal(warp.zoom, torch.ones(3, dtype=torch.float64))


def test_translation_looks_further_along_the_axes_and_shows_zeros_beyond() -> None:
    x = torch.randn(1, 1, 6, 8)
    moved = make((6, 8), translation=[[2, -3]]).sample(x)
    expected = torch.zeros(1, 1, 6, 8)
    expected[..., :4, 3:] = x[..., 2:, :5]
    assert same_bits(moved, expected)
    half = make((6, 8), translation=[[0.5, 0]]).sample(x)
    torch.testing.assert_close(half[..., :-1, :], (x[..., :-1, :] + x[..., 1:, :]) / 2)
    torch.testing.assert_close(half[..., -1, :], x[..., -1, :] / 2)


def test_a_smaller_output_is_a_centred_crop() -> None:
    x = torch.randn(1, 1, 9, 10)
    assert same_bits(make((9, 10), (5, 4)).sample(x), x[..., 2:7, 3:7])


def test_zoom_counts_output_pixels_per_source_pixel() -> None:
    warp = make((61, 61), batch=2, zoom=[2.0, 0.5], angles=[[0.3], [0.0]], flips=[[True, False], [False, False]])
    torch.testing.assert_close(warp.zoom, torch.tensor([2.0, 0.5], dtype=torch.float64))
    disk = (torch.hypot(*torch.meshgrid(*[torch.arange(61.0) - 30] * 2, indexing="ij")) < 12).float().expand(2, 1, 61, 61)
    areas = warp.sample(disk).sum((1, 2, 3)) / disk[0].sum()
    torch.testing.assert_close(areas, torch.tensor([4.0, 0.25]), rtol=0.05, atol=0)


def test_rotation_is_rigid_in_space() -> None:
    spacing = [[3.0, 1.0, 1.0]]
    x = torch.randn(1, 1, 4, 6, 6)
    turned = make((4, 6, 6), angles=[[0.0, 0.0, math.pi / 2]], spacing=spacing)
    assert same_bits(turned.sample(x), x.rot90(1, (3, 4)))

    tilted = make((5, 15, 15), angles=[[math.pi / 2, 0.0, 0.0]], spacing=spacing)
    # 3 mm along axis 0 of the view are 3 mm, that is three pixels, along axis 1 of the source, and the other way round.
    expected = torch.tensor([[0, 1 / 3, 0], [-3, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(tilted.matrix[0, :, :3], expected)
    torch.testing.assert_close(tilted.zoom, torch.ones(1, dtype=torch.float64))

    free = make((9, 9, 9), angles=[[0.4, -0.7, 1.1]], spacing=[[2.0, 0.5, 1.5]]).matrix[0, :, :3]
    mm = torch.diag(torch.tensor([2.0, 0.5, 1.5], dtype=torch.float64))
    rotation = mm @ free @ mm.inverse()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))


def test_a_view_does_not_depend_on_the_rest_of_its_batch() -> None:
    shape = (4, 9, 8)
    together = random_warp(shape, shape, 5, seed=3)
    x = torch.randn(5, 2, *shape)
    alone = Warp(together.matrix[2:3], shape, shape)
    assert torch.equal(together.sample(x)[2:3], alone.sample(x[2:3]))
    assert torch.equal(together.adjoint(x)[2:3], alone.adjoint(x[2:3]))


def test_to_the_same_device_is_the_same_warp() -> None:
    warp = Warp.identity(1, (3, 3))
    assert warp.to("cpu") is warp
