"""Coarse noise: labels turned, grown or shrunk by square kernels, and replaced by ellipses, as if drawn in haste."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import ndimage

from debride.noise.per_class import Mask, bounding_box, per_class
from debride.noise.protocol import Label, Noise, Spacing
from debride.settings import setting
from debride.types import IGNORE, DataError

PERCENT = 0.01
"""Part of the given angle and kernel sizes between two strengths of ``with_strength``."""


@dataclass(frozen=True)
class Coarse(Noise):
    """Rotation, then erosion or dilation, then ellipses, each drawn once per case; a volume is changed slice by slice.

    The label is turned by up to ``angle`` degrees (0 to 180) to either side, about the centre of the ``image`` or of the
    ``object`` (the mean position of its foreground). With probability ``morph`` all classes are eroded or dilated, with equal
    chance, by one square kernel: the first of ``kernels`` (sides in pixels, at least 1) whose entry of ``thresholds``
    (ascending to 1) is above a number uniform in [0, 1). With probability ``ellipse`` each class becomes the ellipse of its
    bounding box in every slice where it has more than ``least`` (>= 0) pixels.

    Slices are the last two axes: an angle, a kernel or an ellipse never reaches into another slice. Sizes are in pixels; the
    paper's are for images of 256 x 256. The image border and ``IGNORE`` do not erode; what is turned in from outside or from
    ``IGNORE`` is background.

    Source: MetaDCSeg, A.2, Eq. 15 to 19; the defaults are the column "20% Corruption" of Table 9. The other column is
    ``kernels`` (7, 11, 13, 17, 21) with ``thresholds`` (0.4, 0.6, 0.8, 0.9, 1). The paper does not name the centre of the
    rotation; that of the image is what image libraries take. ``strength.calibrate`` finds the scale for a wanted Dice.
    """

    angle: float = setting(20.0, "largest rotation, in degrees", least=0, most=180)
    morph: float = setting(0.5, "chance that a label is eroded or dilated", least=0, most=1)
    kernels: tuple[int, ...] = setting((7, 14, 21, 28, 35), "sides of the square kernels, in pixels", least=1)
    thresholds: tuple[float, ...] = setting(
        (0.1, 0.2, 0.5, 0.7, 1.0), "a number drawn below one of them chooses its kernel", least=0, most=1
    )
    ellipse: float = setting(0.5, "chance that objects become ellipses", least=0, most=1)
    least: int = setting(300, "pixels of a slice above which its object becomes an ellipse", least=0)
    about: Literal["image", "object"] = setting(
        "image", "what a label is turned about: the centre of the image, or of its objects"
    )

    def conflicts(self) -> Iterator[DataError]:
        """Thresholds that do not choose one of the kernels for every number from 0 to below 1."""
        ascending = list(self.thresholds) == sorted(self.thresholds)
        if not ascending or self.thresholds[-1:] != (1,) or len(self.thresholds) != len(self.kernels):
            problem = f"are {self.thresholds} for `kernels` {self.kernels}"
            yield DataError("`thresholds`", problem, "Give one for each kernel, ascending, the last one 1.")

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A noisy copy of a label (S); the classes of the turned label are put together by ``base.per_class``.

        Five random numbers in [0, 1) are drawn, in this order and whatever the parameters: angle, whether to erode or dilate
        (below ``morph``), which of both (below one half: dilate), kernel, whether to replace by ellipses (below ``ellipse``).
        """
        turn, changes, grows, kernel, replaces = rng.random(5).tolist()
        change = dilate if grows < 0.5 else erode
        side = self.kernels[int(np.searchsorted(self.thresholds, kernel, side="right"))]

        def simulate(object_: Mask, valid: Mask) -> Mask:
            if changes < self.morph:
                object_ = change(object_, valid, side)
            return ellipses(object_, self.least) & valid if replaces < self.ellipse else object_

        return per_class(rotate(label, self.angle * (2 * turn - 1), self.about), classes, simulate)

    @property
    def sample(self) -> int:
        """Many labels: a few draws decide on each as a whole."""
        return 200

    def strongest(self, side: int) -> int:
        """The per cent at which the smallest kernel is twice as wide as the longest side."""
        return math.ceil(2 * side / min(self.kernels) / PERCENT)

    def with_strength(self, strength: int) -> Coarse:
        """The same noise with ``strength`` per cent of the angle (up to 180 degrees) and of the kernels (at least 1 pixel)."""
        scale = strength * PERCENT
        kernels = tuple(max(1, round(side * scale)) for side in self.kernels)
        return replace(self, angle=min(180.0, round(self.angle * scale, 3)), kernels=kernels)


def rotate(label: Label, degrees: float, about: Literal["image", "object"]) -> Label:
    """The label (S) turned counterclockwise in the plane of its last two axes, each pixel that of the nearest source (Eq. 15).

    A volume is turned about one axis through all slices. ``IGNORE`` keeps its place.
    """
    height, width = label.shape[-2:]
    centre = (height - 1) / 2, (width - 1) / 2
    if about == "object":
        *_, rows, columns = np.nonzero((label != 0) & (label != IGNORE))
        if not rows.size:
            return label.copy()
        centre = float(rows.mean()), float(columns.mean())
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    down, right = np.arange(height)[:, None] - centre[0], np.arange(width) - centre[1]
    row = np.floor(centre[0] + 0.5 + cosine * down + sine * right).clip(-1, height).astype(np.intp)
    column = np.floor(centre[1] + 0.5 - sine * down + cosine * right).clip(-1, width).astype(np.intp)
    framed = np.zeros((*label.shape[:-2], height + 2, width + 2), np.uint8)  # what lies outside is background
    framed[..., 1:-1, 1:-1] = np.where(label == IGNORE, np.uint8(0), label)
    turned = framed.reshape(*label.shape[:-2], -1)[..., (row + 1) * (width + 2) + column + 1]
    turned[label == IGNORE] = IGNORE
    return turned


def dilate(object_: Mask, valid: Mask, side: int) -> Mask:
    """The ``valid`` pixels (S) with object in the square of ``side`` pixels around them, in their slice (Eq. 17).

    A square of even side reaches one pixel farther towards the first row and column, as in OpenCV and SciPy.
    """
    return _near(object_, side) & valid


def erode(object_: Mask, valid: Mask, side: int) -> Mask:
    """The object pixels (S) without ``valid`` background in the square of ``side`` pixels around them (Eq. 16)."""
    return object_ & ~_near(valid & ~object_, side)


def ellipses(object_: Mask, least: int) -> Mask:
    """The mask (S) with the ellipse of the bounding box in each slice that has more than ``least`` pixels (Eq. 18)."""
    result = np.array(object_, order="C")
    for slice_ in result.reshape(-1, *object_.shape[-2:]):
        if np.count_nonzero(slice_) > least:
            box = bounding_box(slice_)
            slice_[:] = False
            slice_[box] = ellipse(*(part.stop - part.start for part in box))
    return result


def ellipse(height: int, width: int) -> Mask:
    """The ellipse in a box of ``height`` by ``width`` pixels, through the centres of the outermost ones (Eq. 19).

    In a box one pixel wide it is the whole box.
    """
    y, x = (np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in (height, width))
    inside: Mask = y[:, None] ** 2 + x**2 <= 1 + 1e-12  # pixels on the ellipse belong to it, despite rounding
    return inside


def _near(mask: Mask, side: int) -> Mask:
    """The pixels (S) with one of the mask in the square of ``side`` pixels around them, in their slice."""
    size = (1,) * (mask.ndim - 2) + (side, side)
    near: Mask = ndimage.maximum_filter(mask.view(np.uint8), size, mode="constant", cval=0).view(np.bool_)
    return near
