"""Random views: a warp per image and intensity changes, for a whole batch at once.

Everything random is drawn per row from a seed, so a view depends on its case and the seed and never on the batch. Intensity
changes are elementwise for the same reason: a convolution may sum in another order when the batch has another size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from debride.data.augmentation import Augmentation
from debride.rng import derive, uniforms
from debride.warp import Warp

Strength = Literal["none", "weak", "strong"]
Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Index = Sequence[int] | npt.NDArray[np.integer[Any]] | Tensor

ANISOTROPY = 3.0
"""No rotation in a plane whose spacings differ by more than this factor (nnU-Net's threshold, Isensee et al. 2021)."""

_LOW = (1 << 32) - 1
_GOLDEN, _MIX1, _MIX2 = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))  # as int64


def draw_warp(
    augmentation: Augmentation,
    seed: int,
    index: Index,
    source_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    spacing: Numbers | None = None,
) -> Warp:
    """A random warp for each case of ``index`` (B,), which with ``seed`` determines it.

    Zooms are uniform on a logarithmic scale, all else is uniform. With ``spacing`` (B, d) in mm, rotations are rigid in space,
    and planes of very different spacings (``ANISOTROPY``) are not rotated.
    """
    d = len(source_shape)
    planes = list(itertools.combinations(range(d), 2))
    sizes = [d, len(planes), 3, len(planes), 1, d]
    draws = uniforms(derive(seed, "warp"), index, sum(sizes))
    flip, quarter, happens, angle, zoom, shift = np.split(draws, np.cumsum(sizes)[:-1], axis=1)
    rotated, zoomed, shifted = (happens < augmentation.spatial_probability).T[:, :, None]
    mm = np.ones((len(draws), d)) if spacing is None else spacing

    ratio = np.stack([mm[:, a] / mm[:, b] for a, b in planes], axis=1)
    rigid = np.maximum(ratio, 1 / ratio) <= ANISOTROPY
    angles = rotated * rigid * math.radians(augmentation.rotate) * (2 * angle - 1)
    if augmentation.quarter_turns:
        square = [source_shape[a] == source_shape[b] and out_shape[a] == out_shape[b] for a, b in planes]
        angles += np.isclose(ratio, 1) * square * np.floor(4 * quarter) * (math.pi / 2)
    return Warp.make(
        flips=torch.from_numpy((flip < 0.5) & np.isin(np.arange(d), augmentation.flip)),
        angles=torch.from_numpy(angles),
        zoom=torch.from_numpy(np.where(zoomed, _log_uniform(zoom, augmentation.zoom), 1.0)[:, 0]),
        translation=torch.from_numpy(shifted * augmentation.translate * (2 * shift - 1) * np.array(out_shape)),
        source_shape=source_shape,
        out_shape=out_shape,
        spacing=None if spacing is None else torch.from_numpy(mm),
    )


def apply_intensity(image: Tensor, strength: Strength, augmentation: Augmentation, seed: int, index: Index) -> Tensor:
    """Changes the intensities of z-scored images (B, C, *S), case by case as ``index`` (B,) and ``seed`` determine.

    Brightness is added and contrast multiplies, so contrast is about 0, the mean of the image. "strong" also adds Gaussian
    noise and blurs before, and corrects by gamma within each channel's range after: nnU-Net's order. "none" changes nothing.
    """
    if strength == "none":
        return image
    rows = np.asarray(index)
    draws = uniforms(derive(seed, "intensity", strength), rows, 10)
    chance = augmentation.weak_probability if strength == "weak" else augmentation.strong_probability
    happens, amount = draws[:, :5] < chance, draws[:, 5:]
    if strength == "weak":
        return _recolour(image, happens, amount, augmentation.weak_brightness, augmentation.weak_contrast)
    sigma, blur = augmentation.strong_noise * amount[:, 2], augmentation.strong_blur * amount[:, 3]
    gamma = _log_uniform(amount[:, 4], augmentation.strong_gamma)
    noise, radius = derive(seed, "noise"), math.ceil(3 * augmentation.strong_blur)
    image = _change(image, happens[:, 2], lambda part, at: part + _per_case(sigma[at], part) * _normals(noise, rows[at], part))
    image = _change(image, happens[:, 3], lambda part, at: _blur(part, blur[at], radius))
    image = _recolour(image, happens, amount, augmentation.strong_brightness, augmentation.strong_contrast)
    return _change(image, happens[:, 4], lambda part, at: _gamma(part, gamma[at]))


def _change(image: Tensor, chosen: Flags, change: Callable[[Tensor, Flags], Tensor]) -> Tensor:
    """The batch with ``change`` applied to the chosen cases."""
    if not chosen.any():
        return image
    at = torch.from_numpy(np.flatnonzero(chosen)).to(image.device)
    return image.index_copy(0, at, change(image[at], chosen))


def _recolour(image: Tensor, happens: Flags, amount: Numbers, brightness: float, contrast: float) -> Tensor:
    signed = happens[:, :2] * (2 * amount[:, :2] - 1)
    return image * _per_case(1 + contrast * signed[:, 1], image) + _per_case(brightness * signed[:, 0], image)


def _blur(image: Tensor, sigma: Numbers, radius: int) -> Tensor:
    """Separable Gaussian blur with a standard deviation per case, cut off at ``radius`` pixels; borders are repeated."""
    weights = [_per_case(np.exp(-0.5 * (t / np.maximum(sigma, 1e-3)) ** 2), image) for t in range(1, radius + 1)]
    total = 1 + 2 * sum(weights)
    for axis in range(2, image.ndim):
        pad = [0] * (2 * (image.ndim - 2))
        pad[2 * (image.ndim - 1 - axis)] = pad[2 * (image.ndim - 1 - axis) + 1] = radius
        padded, size = F.pad(image, pad, mode="replicate"), image.shape[axis]
        for t, weight in enumerate(weights, start=1):
            image = image + weight * (padded.narrow(axis, radius - t, size) + padded.narrow(axis, radius + t, size))
        image = image / total
    return image


def _gamma(image: Tensor, exponent: Numbers) -> Tensor:
    axes = tuple(range(2, image.ndim))
    low = image.amin(axes, keepdim=True)
    span = (image.amax(axes, keepdim=True) - low).clamp_min(1e-6)
    return ((image - low) / span) ** _per_case(exponent, image) * span + low


def _normals(seed: int, index: Index, like: Tensor) -> Tensor:
    """Standard normal numbers shaped as ``like`` and on its device: Box-Muller transforms of the halves of 64 random bits."""
    pairs = math.ceil(math.prod(like.shape[1:]) / 2)
    start = torch.from_numpy((uniforms(seed, index, 1) * 2.0**53).astype(np.int64)).to(like.device)
    bits = _split_mix(start + _GOLDEN * torch.arange(pairs, device=like.device))
    u, v = ((bits >> 32 & _LOW) + 0.5) * 2.0**-32, (bits & _LOW) * (2 * math.pi * 2.0**-32)
    radius = (-2 * u.log()).sqrt()
    normals = torch.cat((radius * v.cos(), radius * v.sin()), dim=1)
    return normals[:, : math.prod(like.shape[1:])].reshape(like.shape).to(like)


def _split_mix(z: Tensor) -> Tensor:
    """SplitMix64's output function (Steele et al. 2014) on int64: products wrap, and the masks make the shifts logical."""
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * _MIX1
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * _MIX2
    return z ^ (z >> 31 & (1 << 33) - 1)


def _log_uniform(u: Numbers, limits: tuple[float, float]) -> Numbers:
    """Numbers in [0, 1) as numbers between two limits, uniform on a logarithmic scale."""
    low, high = limits
    return low * (high / low) ** u


def _per_case(values: Numbers, image: Tensor) -> Tensor:
    """One value for each case, shaped to multiply the batch."""
    return torch.from_numpy(values).to(image).reshape(-1, *(1,) * (image.ndim - 1))
