"""Which images look alike, and which label the images most like one's own have: what is expected of its label.

Nobody says that the others' labels are right. So several vote, and a third of them may be wrong. An image is never compared
with itself, nor with another rater's label of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from debride.types import IGNORE

Doubles = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
Cells = npt.NDArray[np.uint8]

VOTERS = 7
"""Labels that vote on what is expected of another."""

SHARPNESS = 8.0
"""By how much the logarithm of a voter's weight grows with the correlation of the images."""

SAME = 0.9995
"""Correlation of two coarse pictures of images from which they are taken for the same image."""

BLOCK, ENTRIES = 256, 1 << 23
"""Images that are compared with all others at once; numbers of what is expected that are in memory at once."""


@dataclass(frozen=True)
class Neighbours:
    """For each of N cases the ``VOTERS`` with the most similar images, the most similar first: their ``rows`` (N, V) and how
    ``similar`` (N, V) they are, minus infinity where there is none."""

    rows: Rows
    similar: Singles


def neighbours(prints: npt.NDArray[np.int8], image: Rows) -> Neighbours:
    """The neighbours of cases with these fingerprints (N, D), compared in blocks; those of one ``image`` (N,) are none, and
    nor are images that show nothing, whose fingerprint is 0."""
    unit = prints.astype(np.float32)
    blank = np.asarray(~prints.any(axis=1))
    unit /= np.maximum(np.sqrt((unit**2).sum(axis=1, keepdims=True)), np.float32(1e-6))
    many = min(VOTERS, len(unit))
    rows, similar = np.zeros((len(unit), many), np.intp), np.zeros((len(unit), many), np.float32)
    for first in range(0, len(unit), BLOCK):
        block = slice(first, first + BLOCK)
        likeness = unit[block] @ unit.T
        likeness[(image[block, None] == image[None]) | blank[block, None] | blank[None]] = -np.inf
        best = np.argpartition(-likeness, many - 1, axis=1)[:, :many]
        order = np.lexsort((best, -np.take_along_axis(likeness, best, 1)), axis=1)
        rows[block] = np.take_along_axis(best, order, 1)
        similar[block] = np.take_along_axis(likeness, rows[block], 1)
    return Neighbours(rows, similar)


def votes(near: Neighbours, cells: Cells, classes: int, of: Rows) -> Singles:
    """The shares (n, K, cells) of the neighbours' labels that have each class in each cell, for some cases ``of`` (n,) all
    labels' coarse pictures (N, cells). More similar neighbours weigh more. All 0 where none says anything."""
    rows, weight = near.rows[of], _weights(near, of)
    shares = np.zeros((len(of), classes, cells.shape[1]), np.float32)
    for voter in range(rows.shape[1]):
        said = cells[rows[:, voter]]
        for value in range(classes):
            shares[:, value] += (said == value) * weight[:, voter, None].astype(np.float32)
    total = shares.sum(axis=1, keepdims=True)
    np.divide(shares, total, out=shares, where=total > 0)
    return shares


def having(near: Neighbours, has: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]) -> Doubles:
    """The share (N, F) of the neighbours that have something, of those in which it is counted (N, F); as if one of two more
    had it."""
    weight = _weights(near, np.arange(len(near.rows)))[:, :, None] * counted[near.rows]
    share: Doubles = ((weight * has[near.rows]).sum(axis=1) + 0.1) / (weight.sum(axis=1) + 0.2)
    return share


def against_votes(cells: Cells, shares: Singles, grid: tuple[int, ...], drawn: npt.NDArray[np.bool_]) -> dict[str, Doubles]:
    """What is expected says against n labels with these coarse pictures (n, cells) and votes (n, K, cells); each (n,).

    "unlike" is one less the mean Dice over the classes ``drawn`` (n, K) that either has; "turned", "exchanged" how much better
    it would be with the label mirrored, or two classes exchanged; "turn" along which axis, the last being 0; "moved" how far
    apart their middles lie, in images; "lost" and "added" the largest part of a class that is expected and not there, or there
    and not expected, in roots of cells; "size" how many times larger or smaller what is labelled is, as a logarithm.
    """
    classes = shares.shape[1]
    known = (cells != IGNORE) & (shares.sum(axis=1) > 0)
    shares = shares * (known[:, None] & drawn[:, :, None])
    has = np.stack([(cells == value) & known for value in range(classes)], axis=1) & drawn[:, :, None]
    given: Singles = has.astype(np.float32)
    own, expected = given[:, 1:].sum(axis=2), shares[:, 1:].sum(axis=2)
    involved = np.maximum(1, ((own > 0) | (expected >= 0.5)).sum(axis=1))
    overlap = np.einsum("nkc,njc->nkj", given[:, 1:], shares[:, 1:], optimize=True)
    dice = 2 * overlap / np.maximum(own[:, :, None] + expected[:, None], 1e-6)
    straight = np.einsum("nkk->nk", dice)
    fit = straight.sum(axis=1) / involved
    anything = ((own > 0) | (expected >= 0.5)).any(axis=1)
    swapped = dice + dice.transpose(0, 2, 1) - straight[:, :, None] - straight[:, None]
    mirrored = [_dice(_flipped(given[:, 1:], grid, axis), shares[:, 1:]).sum(axis=1) for axis in reversed(range(len(grid)))]
    lost = (shares[:, 1:] * (1 - given[:, 1:])).sum(axis=2) / np.sqrt(expected + 1)
    added = (given[:, 1:] * shares[:, :1]).sum(axis=2) / np.sqrt(own + 1)
    return {
        "unlike": np.where(anything, 1 - fit, 0.0),
        "turned": np.max(mirrored, axis=0) / involved - fit,
        "turn": np.argmax(mirrored, axis=0).astype(np.float64),
        "exchanged": swapped.max(axis=(1, 2)) / involved,
        "moved": _apart(given[:, 1:].sum(axis=1), shares[:, 1:].sum(axis=1), grid),
        "lost": lost.max(axis=1).astype(np.float64),
        "added": added.max(axis=1).astype(np.float64),
        "size": np.abs(np.log((own.sum(axis=1) + 1.0) / (expected.sum(axis=1) + 1.0))),
    }


def blocks(many: int, size: int) -> Iterator[slice]:
    """Runs of so ``many`` labels, each of which takes ``size`` numbers."""
    step = max(1, ENTRIES // size)
    return (slice(first, min(first + step, many)) for first in range(0, many, step))


def common(cells: Cells, others: Cells, classes: int) -> Doubles:
    """The mean Dice (n,) of coarse pictures (n, cells) with others, over the foreground classes that either has; 1 without."""
    known = (cells != IGNORE) & (others != IGNORE)
    total, count = np.zeros(len(cells)), np.zeros(len(cells))
    for value in range(1, classes):
        here, there = (cells == value) & known, (others == value) & known
        size = here.sum(axis=1) + there.sum(axis=1)
        total += 2 * (here & there).sum(axis=1) / np.maximum(size, 1)
        count += size > 0
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def surrounded(has: npt.NDArray[np.bool_], grid: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Whether each cell (n, cells) or one that touches it has something."""
    shaped = has.reshape(len(has), *grid)
    wide = np.pad(shaped, [(0, 0), *[(1, 1)] * len(grid)])
    found = np.zeros_like(shaped)
    for offset in product((0, 1, 2), repeat=len(grid)):
        found |= wide[(slice(None), *(slice(by, by + size) for by, size in zip(offset, grid, strict=True)))]
    return found.reshape(has.shape)


def _weights(near: Neighbours, of: Rows) -> Doubles:
    """How much the neighbours (n, V) of some cases (n,) weigh: the more similar the more, together 1, or 0 where none is."""
    weight: Doubles = np.exp(SHARPNESS * np.clip(near.similar[of], -1, 1).astype(np.float64)) * np.isfinite(near.similar[of])
    total = weight.sum(axis=1, keepdims=True)
    weight /= np.where(total > 0, total, 1.0)
    return weight


def _dice(given: Singles, shares: Singles) -> Singles:
    """The soft Dice (n, K - 1) of each class with itself."""
    both = np.einsum("nkc,nkc->nk", given, shares)
    dice: Singles = 2 * both / np.maximum(given.sum(axis=2) + shares.sum(axis=2), np.float32(1e-6))
    return dice


def _flipped(given: Singles, grid: tuple[int, ...], axis: int) -> Singles:
    return np.flip(given.reshape(*given.shape[:2], *grid), axis + 2).reshape(given.shape)


def _apart(given: Singles, expected: Singles, grid: tuple[int, ...]) -> Doubles:
    """How far apart the middles of two pictures (n, cells) lie, in lengths of the image; 0 where one is empty."""
    places = np.indices(grid).reshape(len(grid), -1) / np.array(grid)[:, None]
    middles = [(picture @ places.T) / np.maximum(picture.sum(axis=1, keepdims=True), 1e-6) for picture in (given, expected)]
    there = (given.sum(axis=1) > 0) & (expected.sum(axis=1) >= 0.5)
    return np.where(there, np.linalg.norm(middles[0] - middles[1], axis=1), 0.0)
