"""Markov boundary noise: an outline that grows and shrinks at random, pixel by pixel (S_R, S_E)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy import ndimage

from debride.noise.per_class import Mask, bounding_box, per_class
from debride.noise.protocol import Label, Noise, Spacing
from debride.settings import setting

MOST_STEPS = 4096
"""Where the search for a strength ends."""

_BLOCK = 32  # steps between two crops: long enough to pay for the crop, short enough for a narrow margin
_SIGMA, _RADIUS = 2.0, 2  # the 5-tap Gaussian at the end


@dataclass(frozen=True)
class Markov(Noise):
    """Boundary noise M(T, P, V): ``steps`` T, ``preference`` P and ``variance`` V.

    Each of T steps grows the object with probability P, else shrinks it. A growing step turns every background pixel that
    touches the object (4 neighbours in 2D, 6 in 3D) into object with probability V; a shrinking step does the opposite. At the
    end the mask is smoothed (``smooth``). The image border and ``IGNORE`` are no boundary. A class that vanishes stays away.

    The process counts pixels: the resolution at which it is drawn decides how strong it is. The presets ``S_R`` (foreground
    reduced) and ``S_E`` (foreground expanded) are for 2D masks; the paper takes M(200, 0.4, 0.05) and M(50, 0.6, 0.05) for
    volumes of BraTS. ``strength.calibrate`` finds T for a wanted Dice instead.

    Source: GSD-Net, section 4.3 and Table 3, after Yao et al., Learning to Segment from Noisy Annotations, ICLR 2023.
    """

    steps: int = setting(200, "steps of growing or shrinking, T", least=0)
    preference: float = setting(0.2, "chance that a step grows the object, P", least=0, most=1)
    variance: float = setting(0.05, "chance of each pixel at the outline to change in a step, V", least=0, most=1)

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A noisy copy of a label (S); classes are processed and put together by ``base.per_class``."""

        def simulate(object_: Mask, valid: Mask) -> Mask:
            return smooth(boundary_process(object_, valid, self.steps, self.preference, self.variance, rng), valid)

        return per_class(label, classes, simulate)

    def strongest(self, side: int) -> int:
        """Beyond these steps hardly any label changes further."""
        return MOST_STEPS

    def with_strength(self, strength: int) -> Markov:
        """The same noise with another number of steps."""
        return replace(self, steps=strength)


S_R = Markov(200, 0.2, 0.05)
S_E = Markov(200, 0.8, 0.05)


def boundary_process(
    object_: Mask, valid: Mask, steps: int, preference: float, variance: float, rng: np.random.Generator
) -> Mask:
    """The mask (S) after ``steps`` random steps, without the smoothing; pixels that are not ``valid`` never change.

    Random numbers in [0, 1) are drawn in this order: one per step for all directions (below ``preference``: grow); then in each
    step one per boundary pixel in raster order (below ``variance``: the pixel changes).
    """
    grow = rng.random(steps) < preference
    noisy = object_.copy()
    for first in range(0, steps, _BLOCK):
        if not noisy.any():
            break
        block = grow[first : first + _BLOCK]
        # A step moves the outline by one pixel at most; one more lets the outermost pixels see their neighbours.
        window = bounding_box(noisy, margin=int(np.count_nonzero(block)) + 1)
        noisy[window] = _walk(noisy[window], valid[window], block, variance, rng)
    return noisy


def smooth(object_: Mask, valid: Mask) -> Mask:
    """The pixels (S) where a Gaussian of sigma 2, cut to 5 taps per axis, finds more than half object.

    At the image border the pixels are reflected (the outermost one repeated). Only ``valid`` pixels count, on both sides of the
    half; others are never object.
    """
    smoothed = np.zeros_like(object_)
    if object_.any():
        window = bounding_box(object_, margin=2 * _RADIUS)  # twice: within reach of the object all neighbours are seen
        inside, seen = (
            ndimage.gaussian_filter(mask[window].astype(np.float64), _SIGMA, radius=_RADIUS, mode="reflect")
            for mask in (object_, valid)
        )
        smoothed[window] = (inside > 0.5 * seen) & valid[window]
    return smoothed


def _walk(object_: Mask, valid: Mask, grow: Mask, variance: float, rng: np.random.Generator) -> Mask:
    """Grow or shrink a mask once per entry of ``grow``.

    Object and background are two flat masks framed by one pixel of neither, so that a neighbour is a fixed offset away and
    growing and shrinking are the same step with the masks exchanged.
    """
    shape = tuple(size + 2 for size in object_.shape)
    offsets = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    inside, outside = (np.pad(mask, 1).ravel() for mask in (object_, valid & ~object_))
    start, stop = offsets[0], inside.size - offsets[0]
    boundary = np.empty(stop - start, dtype=np.bool_)
    for grows in grow.tolist():
        source, target = (inside, outside) if grows else (outside, inside)
        boundary[:] = False
        for offset in offsets:
            boundary |= source[start - offset : stop - offset]
            boundary |= source[start + offset : stop + offset]
        boundary &= target[start:stop]
        at = np.flatnonzero(boundary)
        at = at[rng.random(at.size) < variance] + start
        source[at], target[at] = True, False
    return inside.reshape(shape)[(slice(1, -1),) * object_.ndim]
