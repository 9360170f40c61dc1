"""Masks as COCO's run lengths (cocodataset.org/#format-data): pixels by columns, runs of 0 and of 1 in turn, 0 first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def run_lengths(mask: Mask) -> list[int]:
    """The lengths of the runs of a mask (H, W)."""
    flat = np.concatenate(([False], mask.T.ravel(), [not mask[-1, -1]])) if mask.size else np.zeros(1, bool)
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    return [int(length) for length in ends - starts]


def mask_of(lengths: Sequence[int], height: int, width: int) -> Mask:
    """The mask (H, W) of runs that add up to its pixels."""
    values = np.arange(len(lengths)) % 2 == 1
    mask: Mask = np.repeat(values, lengths).reshape(width, height).T
    return mask


def unpacked(text: str) -> list[int]:
    """The lengths that a string of COCO's compressed form holds: five bits a character from "0" on, the lowest first, a sixth
    bit where more follow; from the fourth length on each is told as its difference to the one two before.

    Raises ValueError for what is no such string.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"has the character {letter!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:  # the sign
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("ends within a length")
    return lengths
