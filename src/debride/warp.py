"""One invertible affine map per image: forward by linear interpolation, label-wise by nearest neighbour, and its transpose.

Flips, quarter turns, rotation, zoom and translation are one matrix per image, so a view is interpolated once and label state
can return through the exact transpose of what carried it out. The source is padded with one layer of "outside" below and two
above; every corner of the interpolation then has a fixed distance in memory from the lowest one, and a gather or scatter per
corner, for all images at once, is all the work.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from debride.types import IGNORE

_BITS = 10
_STEP = 1 << _BITS  # coordinates are multiples of 1 / _STEP pixel: rounding errors vanish, lattice-preserving maps are exact


@dataclass(frozen=True, eq=False)
class Warp:
    """An affine map per image from output pixels to source pixels: ``source = matrix[:, :, :d] @ output + matrix[:, :, d]``.

    ``matrix`` (B, d, d + 1) float64, in pixels in array order with pixel centres at integers; d is 2 or 3. ``source_shape`` and
    ``out_shape`` have d entries. Coordinates are rounded to multiples of 2^-10 pixel, so that flips, quarter turns, integer
    translations and crops move values without changing a bit.
    """

    matrix: Tensor
    source_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    @classmethod
    def identity(cls, batch: int, shape: tuple[int, ...]) -> Warp:
        """The warp that leaves ``batch`` images of ``shape`` as they are."""
        d = len(shape)
        return cls(torch.eye(d, d + 1, dtype=torch.float64).repeat(batch, 1, 1), tuple(shape), tuple(shape))

    @classmethod
    def make(
        cls,
        *,
        flips: Tensor,
        angles: Tensor,
        zoom: Tensor,
        translation: Tensor,
        source_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        spacing: Tensor | None = None,
    ) -> Warp:
        """Mirror, rotate and zoom about the centre of the source, and look at a place ``translation`` away from that centre.

        ``flips`` (B, d) bool, the view's axes to mirror. ``angles`` (B, d(d-1)/2) radians, with the sense of ``torch.rot90``,
        in the planes (0, 1), (0, 2), (1, 2), in 2D the first. ``zoom`` (B,) output pixels per source pixel, above 0.
        ``translation`` (B, d) source pixels. ``spacing`` (B, d) mm: with it, rotation is rigid in space and not in the pixel
        grid. Where source and output sizes differ by an odd number, their centres lie half a pixel off each other's lattice.
        """
        d = len(source_shape)
        mirror = torch.where(flips, -1.0, 1.0).double()
        linear = _rotation(angles.double(), d) * mirror[:, None, :] / zoom.double()[:, None, None]
        if spacing is not None:
            mm = spacing.double()
            linear = linear * mm[:, None, :] / mm[:, :, None]
        centre = torch.tensor([(n - 1) / 2 for n in source_shape], dtype=torch.float64, device=linear.device)
        offset = centre + translation.double()
        for axis, n in enumerate(out_shape):
            offset = offset - linear[:, :, axis] * ((n - 1) / 2)
        return cls(torch.cat((linear, offset[:, :, None]), dim=2), tuple(source_shape), tuple(out_shape))

    def to(self, device: torch.device | str) -> Warp:
        """The same warp on another device (itself where it is already there)."""
        return self if self.matrix.device == torch.device(device) else replace(self, matrix=self.matrix.to(device))

    @property
    def zoom(self) -> Tensor:
        """Output pixels per source pixel along an axis (B,) float64: the d-th root of the ratio of areas or volumes."""
        d = len(self.source_shape)
        volume: Tensor = torch.linalg.det(self.matrix[:, :, :d])
        return volume.abs().pow(-1 / d)

    def sample(self, x: Tensor) -> Tensor:
        """Carry floating point maps (B, ..., *source_shape) to the view (B, ..., *out_shape): linear, 0 outside the source."""
        lowest, _ = self._lattice
        flat, channels = self._padded(x, 0.0)
        index = lowest[:, None, :].expand(-1, flat.shape[1], -1)
        parts = (flat[:, :, offset:].gather(2, index) * weight for offset, weight in self._corners(x.dtype))
        total = functools.reduce(operator.add, parts)
        return total.reshape(len(x), *channels, *self.out_shape)

    def adjoint(self, u: Tensor) -> Tensor:
        """Bring view maps (B, ..., *out_shape) back to the source (B, ..., *source_shape): the exact transpose of ``sample``.

        Every value is shared out over the source pixels that it was interpolated from; what comes from outside is dropped.
        On a CUDA device the order of summation, and so the last bits, are not fixed.
        """
        lowest, _ = self._lattice
        channels = u.shape[1 : u.ndim - len(self.out_shape)]
        flat = u.reshape(len(u), math.prod(channels), -1)
        index = lowest[:, None, :].expand(-1, flat.shape[1], -1)
        total = flat.new_zeros((*flat.shape[:2], math.prod(self._padded_shape)))
        for offset, weight in self._corners(u.dtype):
            total[:, :, offset:].scatter_add_(2, index, flat * weight)
        total = total.reshape(len(u), *channels, *self._padded_shape)
        for axis, n in enumerate(self.source_shape, start=1 + len(channels)):
            total = total.narrow(axis, 1, n)
        return total

    def sample_label(self, labels: Tensor) -> Tensor:
        """Carry class ids (B, *source_shape), of an integer type that holds 255, by nearest neighbour, ``IGNORE`` outside."""
        return self.sample_nearest(labels, IGNORE)

    def sample_nearest(self, x: Tensor, outside: float) -> Tensor:
        """Carry numbers (B, *source_shape) to the view (B, *out_shape) by nearest neighbour, ``outside`` beyond the source.

        Their type must hold ``outside``.
        """
        lowest, fraction = self._lattice
        nearest = lowest
        for axis, stride in enumerate(self._strides):
            nearest = nearest + (fraction[axis] >= 0.5) * stride
        flat, _ = self._padded(x, outside)
        return flat[:, 0].gather(1, nearest).reshape(len(x), *self.out_shape)

    def inside(self) -> Tensor:
        """Whether the nearest source pixel of each output pixel lies in the source (B, *out_shape) bool."""
        source = torch.zeros(len(self.matrix), *self.source_shape, dtype=torch.uint8, device=self.matrix.device)
        return self.sample_label(source) != IGNORE

    @property
    def _padded_shape(self) -> tuple[int, ...]:
        return tuple(n + 3 for n in self.source_shape)

    @property
    def _strides(self) -> tuple[int, ...]:
        shape = self._padded_shape
        return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

    def _padded(self, x: Tensor, value: float) -> tuple[Tensor, tuple[int, ...]]:
        """The source with its layer of outside, flattened to (B, channels, pixels), and the shape of its channels."""
        d = len(self.source_shape)
        channels = tuple(x.shape[1 : x.ndim - d])
        return F.pad(x, (1, 2) * d, value=value).reshape(len(x), math.prod(channels), -1), channels

    @functools.cached_property
    def _lattice(self) -> tuple[Tensor, Tensor]:
        """Each output pixel's lowest corner in the flat padded source (B, P), and the fractions beyond it (d, B, P)."""
        d, batch = len(self.source_shape), len(self.matrix)
        lowest = torch.zeros(batch, math.prod(self.out_shape), dtype=torch.int64, device=self.matrix.device)
        fractions = []
        for row, n, stride in zip((self.matrix * _STEP).unbind(1), self.source_shape, self._strides, strict=True):
            *slopes, place = row.reshape(batch, d + 1, *(1,) * d).unbind(1)
            for axis, (slope, size) in enumerate(zip(slopes, self.out_shape, strict=True)):
                pixel = torch.arange(size, dtype=torch.float64, device=row.device)
                place = place + slope * pixel.reshape(-1, *(1,) * (d - 1 - axis))
            # Everything beyond the first layer of outside reads the same value, so the coordinate can stop there.
            fixed = place.round().clamp(-_STEP, n * _STEP).to(torch.int32).flatten(1)
            fractions.append((fixed & (_STEP - 1)).float() / _STEP)
            lowest += ((fixed >> _BITS) + 1).long() * stride
        return lowest, torch.stack(fractions)

    @functools.cached_property
    def _between(self) -> tuple[bool, ...]:
        """Along which axes some output pixel of the batch lies between two source pixels."""
        return tuple(bool(fraction.any()) for fraction in self._lattice[1])

    def _corners(self, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        """Distance of each corner from the lowest one in the flat padded source, and its weights (B, 1, P)."""
        upper = self._lattice[1].to(dtype)[:, :, None]
        for bits in itertools.product(*((0, 1) if between else (0,) for between in self._between)):
            weight = torch.ones_like(upper[0])
            for bit, between, fraction in zip(bits, self._between, upper, strict=True):
                if between:
                    weight = weight * (fraction if bit else 1 - fraction)
            yield sum(bit * stride for bit, stride in zip(bits, self._strides, strict=True)), weight


def _rotation(angles: Tensor, d: int) -> Tensor:
    """The product of the rotations in the planes (0, 1), (0, 2), (1, 2) by ``angles`` (B, d(d-1)/2) as (B, d, d)."""
    columns = list(torch.eye(d, dtype=angles.dtype, device=angles.device).repeat(len(angles), 1, 1).unbind(2))
    for angle, (a, b) in zip(angles.unbind(1), itertools.combinations(range(d), 2), strict=True):
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        columns[a], columns[b] = columns[a] * cos - columns[b] * sin, columns[a] * sin + columns[b] * cos
    return torch.stack(columns, dim=2)
