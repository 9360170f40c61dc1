"""Superpixels, and means over them (GSD-Net, section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import edt
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.geometry.pixel_map import relative
from debride.types import IGNORE

_LIGHTNESS = 100.0  # the range of L in CIELAB, in which a compactness of 10 is usual
_TAILS = (0.5, 99.5)  # percentiles that become black and white: a few extreme voxels do not flatten the rest


@dataclass(frozen=True)
class Superpixels:
    """SLIC superpixels of the working image, of about ``side`` ^ d pixels each and compact in mm (Achanta et al. 2012).

    A ``side`` of 8 asks for GSD-Net's 1024 segments at 256 x 256; None is found from the labels (``fitted``). Small pieces are
    merged: real images get a tenth fewer, speckle may get far fewer and larger ones, for which a larger ``compactness`` is the
    remedy. ``compactness`` is on the scale of CIELAB: 2D images of three channels are taken for colours and converted to it,
    all others have their channels stretched to its range of lightness.
    """

    side: int | None = 8
    compactness: float = 10.0

    source: ClassVar[Literal["image", "label"]] = "image"
    kind: ClassVar[Literal["length", "ids"]] = "ids"
    version: ClassVar[int] = 1

    def __call__(self, source: npt.NDArray[Any], spacing: tuple[float, ...] | None) -> npt.NDArray[np.int32]:
        """Segment ids from 0 (*S) of an image (C, *S)."""
        from skimage.segmentation import slic

        assert self.side is not None, "superpixels that are not fitted"
        channels, shape = source.shape[0], source.shape[1:]
        colour = channels == 3 and len(shape) == 2
        segments = slic(
            np.moveaxis(_stretched(source), 0, -1),
            n_segments=max(1, round(source[0].size / self.side ** len(shape))),
            compactness=self.compactness if colour else self.compactness / _LIGHTNESS * channels**0.5,
            convert2lab=colour,
            spacing=relative(spacing, len(shape)),
            start_label=0,
            channel_axis=-1,
        )
        return np.asarray(segments, np.int32)

    def fitted(self, labels: Iterable[npt.NDArray[np.uint8]]) -> Superpixels:
        """With a ``side`` that is given as it is; else a quarter of the thickness of the thinnest class, from 2 to 8 pixels."""
        if self.side is not None:
            return self
        thickness = min(thicknesses(labels).values(), default=math.inf)
        return replace(self, side=int(min(max(thickness / 4, 2), 8)))


def thicknesses(labels: Iterable[npt.NDArray[np.uint8]]) -> dict[int, float]:
    """Of each foreground class the thickness in pixels, twice the largest distance to another class: the median over labels
    (*S) that have it. A label's outer edge is no edge of its classes."""
    found: dict[int, list[float]] = {}
    for label in labels:
        inside = edt.edt(np.ascontiguousarray(label), black_border=False)
        for value in np.unique(label):
            if value not in (0, IGNORE):
                found.setdefault(int(value), []).append(2 * float(inside[label == value].max()))
    return {value: float(np.median(each)) for value, each in sorted(found.items())}


def superpixel_mean(values: Tensor, segments: Tensor) -> Tensor:
    """Every pixel's mean of ``values`` (B, K, *S) over its segment (GSD-Net, Eq. 12).

    ``segments`` (B, *S) are ids from -1, int64, each image's own. On a CUDA device the order of summation is not fixed.
    """
    flat = values.flatten(2)
    index = segments.flatten(1)[:, None] + 1
    bins = int(index.max()) + 1
    sums = flat.new_zeros(*flat.shape[:2], bins).scatter_add_(2, index.expand_as(flat), flat)
    sizes = flat.new_zeros(len(flat), 1, bins).scatter_add_(2, index, torch.ones_like(index, dtype=flat.dtype))
    return (sums / sizes.clamp(min=1)).gather(2, index.expand_as(flat)).reshape(values.shape)


def _stretched(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each channel of an image (C, *S) from 0 to 1, tails cut off where that leaves more than one value."""
    flat = image.reshape(len(image), -1).astype(np.float32)
    low, high = np.percentile(flat, _TAILS, axis=1).astype(np.float32)[:, :, None]
    flattened = high - low < 1e-3 * (flat.max(1, keepdims=True) - flat.min(1, keepdims=True))
    low, high = np.where(flattened, flat.min(1, keepdims=True), low), np.where(flattened, flat.max(1, keepdims=True), high)
    stretched: npt.NDArray[np.float32] = ((flat - low) / np.maximum(high - low, 1e-6)).clip(0, 1).reshape(image.shape)
    return stretched
