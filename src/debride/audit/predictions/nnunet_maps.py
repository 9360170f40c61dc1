"""Probability maps in files: .npy as ``debride predict --probabilities`` writes them, .npz of nnU-Net, NIfTI of four axes.

nnU-Net v2 (``--save_probabilities``, and ``--npz`` in training) writes CASE.npz with the array "probabilities" (K, D, H, W),
for pictures (K, 1, H, W), in the array order of its reader, with transposition and cropping undone, and CASE.pkl, which is
never read. Version 1 names it "softmax" and leaves it cropped. Files are read without unpickling and checked block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from debride.audit.evidence import predicted_classes
from debride.audit.predictions.nnunet_results import MAPS
from debride.data.pixels import find_pixels, suffix
from debride.data.pixels.arrays import described, load, names
from debride.data.same_grid import Grid
from debride.types import IGNORE, DataError

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.uint8]

KEYS = ("probabilities", "softmax")
"""The array of a .npz file that holds the probabilities, in nnU-Net v2 and v1."""

SUM_TOLERANCE = 1e-2
"""How far the classes' probabilities of a pixel may be from one; they are divided by their sum from a tenth of it."""

CERTAIN = 0.02
"""What a mask, made a probability, leaves at least to the other classes together."""

SMOOTHING = 1.0
"""Standard deviation in pixels, in plane, of the Gaussian that makes a mask a probability."""

_REACH = 3
"""Pixels to either side that the Gaussian reaches."""

_BLOCK = 1 << 20
"""Numbers that are looked at together."""

_SOFTMAX = "Give what comes out of the softmax, one map for each class, background first."


def is_map(path: Path) -> bool:
    """Whether a file holds probabilities: arrays, or an image of several numbers per voxel; DataError if it is damaged."""
    return suffix(path) in MAPS or find_pixels(path).layers(path) > 1


def placed_map(path: Path) -> tuple[Array, Grid]:
    """The numbers of an image of probabilities and where it lies."""
    maps, geometry = find_pixels(path).maps(path)
    return maps, Grid(maps.shape[1:], geometry)


def read_map(path: Path, classes: int, shape: tuple[int, ...], stored: Array | None = None) -> tuple[Array, bool]:
    """The probabilities (K, *S) of a file, float32 or float16, summing to one, and whether they are a mask in disguise, nowhere
    between 0.01 and 0.99.

    Quantised maps (uint8, 255 for one) are taken too, and for two classes a map (*S) or (1, *S) of the foreground alone. A .npy
    file that needs no correction stays memory-mapped, read-only. Raises DataError for a file that is damaged or holds Python
    objects, another number of classes, another shape (which says how its axes lie where that is certain), and numbers that are
    no probabilities. ``stored`` are the file's numbers where they were read already.
    """
    return as_map(path, stored_maps(path, classes, shape) if stored is None else stored, classes, shape)


def as_map(where: object, stored: Array, classes: int, shape: tuple[int, ...]) -> tuple[Array, bool]:
    """``read_map`` of an array; messages name ``where`` it comes from."""
    quantised = stored.dtype == np.uint8
    refuse_type(where, stored.dtype)
    view = arranged(where, stored, classes, shape)
    if len(view) < classes:  # the foreground's alone
        whole = np.empty((2, *shape), np.float32 if len(shape) == 2 else np.float16)
        for at in blocks(shape, 2):
            part = view[0, at].astype(np.float32) / (255 if quantised else 1)
            whole[0, at], whole[1, at] = 1 - part, part
        view, quantised = whole, False
    return _checked(where, view, quantised)


def shape_error(path: object, given: tuple[int, ...], shape: tuple[int, ...], classes_first: bool = False) -> DataError:
    """What to say of a prediction whose spatial shape is not the label's; ``classes_first`` for a map (K, *given)."""
    problem = f"has shape {given}, its label {shape}"
    if len(given) != len(shape):
        return DataError(path, problem, "Export it on the label's grid.")
    orders = [order for order in permutations(range(len(given))) if tuple(given[axis] for axis in order) == shape]
    if orders:
        axes = (0, *(axis + 1 for axis in orders[0])) if classes_first else orders[0]
        remedy = f"Give numpy.transpose(array, {axes})." if len(orders) == 1 else "Give it in the order of the label's axes."
        return DataError(path, f"{problem}: its axes are in another order", remedy)
    if all(a <= b for a, b in zip(given, shape, strict=True)):
        remedy = "Export it on the label's grid; nnU-Net v1 leaves its .npz cropped: take them away, and its masks are used."
        return DataError(path, f"{problem}: it was cropped or resampled", remedy)
    return DataError(path, problem, "Export it on the label's grid.")


def soften(ids: Ids, classes: int) -> npt.NDArray[np.float32] | npt.NDArray[np.float16]:
    """A mask (*S) as probabilities (K, *S), float32 in 2D and float16 in 3D, in which its own class is always the largest.

    Its classes, one-hot, are smoothed by a Gaussian of ``SMOOTHING`` pixels in plane. Where less than 0.51 is left to a pixel's
    own class, as in structures of a few pixels, it gets 0.51 and the others the rest in proportion. Then all are drawn towards
    1/K, so that none is above 1 - ``CERTAIN`` or below ``CERTAIN`` / (K - 1). Pixels without a label (``IGNORE``) have 1/K.
    """
    share = CERTAIN * classes / (classes - 1)
    soft = np.full((classes, *ids.shape), share / classes, np.float32 if ids.ndim == 2 else np.float16)
    for plane, out in zip(ids[None], [soft], strict=True) if ids.ndim == 2 else zip(ids, soft.swapaxes(0, 1), strict=True):
        around = plane[0, 0]
        box = _box_of_others(plane, around, _REACH) if around != IGNORE else (slice(None), slice(None))
        if around != IGNORE:
            out[around] = 1 - CERTAIN
        if box is not None:
            out[:, *box] = (1 - share) * _smoothed(plane[box], classes) + share / classes
    return soft


def softened(probability: Array, hard: bool) -> Array:
    """Probabilities (K, *S) as they are, but for a mask in disguise (``hard``), which says nothing of how sure the network was:
    of that what ``soften`` makes of its classes."""
    return soften(predicted_classes(probability), len(probability)) if hard else probability


def mirrored(probability: Array, foreground: npt.NDArray[np.bool_]) -> str | None:
    """How a map (K, *S) must be turned to agree with the foreground (*S) of the mask written with it; None if it need not be.

    nnU-Net's NibabelIOWithReorient writes masks in the image's orientation, and probabilities in its own (RAS).
    """
    predicted = predicted_classes(probability) > 0
    best = upright = _overlap(predicted, foreground)
    turn = None
    if upright >= 0.98:
        return None
    axes = range(predicted.ndim)
    for order in permutations(axes):
        if tuple(predicted.shape[axis] for axis in order) != foreground.shape:
            continue
        for signs in product((1, -1), repeat=predicted.ndim):
            overlap = _overlap(predicted.transpose(order)[tuple(slice(None, None, sign) for sign in signs)], foreground)
            if overlap > best:
                best, turn = overlap, _turn(order, signs)
    return turn if best >= 0.9 and best >= upright + 0.02 else None


def _turn(order: tuple[int, ...], signs: tuple[int, ...]) -> str:
    moves = [f"transposed to the axes {order}"] if order != tuple(range(len(order))) else []
    flipped = [str(axis) for axis, sign in enumerate(signs) if sign < 0]
    moves += [f"mirrored along {'axis' if len(flipped) == 1 else 'axes'} {' and '.join(flipped)}"] if flipped else []
    return " and ".join(moves)


def _overlap(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Dice of two masks, 1 for two empty ones."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / both if both else 1.0


def maps_in(path: Path, shape: tuple[int, ...]) -> int:
    """How many maps a file has, by its header alone; DataError where it has not one axis more than the label (*S)."""
    _refuse_empty(path)
    length: tuple[int, ...] = load(path).shape if suffix(path) == ".npy" else described(path, _key(path))[0]
    if len(length) not in (len(shape) + 1, *([4] if len(shape) == 2 else ())):
        problem = f"has shape {length}, and its label {shape}"
        raise DataError(path, problem, "Give one map for each region: (region, *shape).")
    return length[0]


def stored_maps(path: Path, classes: int, shape: tuple[int, ...]) -> Array:
    """The array of a file as it is stored, memory-mapped where it can be; where not, its header was looked at before."""
    _refuse_empty(path)
    if suffix(path) not in MAPS:
        return find_pixels(path).maps(path)[0]
    if suffix(path) == ".npy":
        return load(path)
    key = _key(path)
    length, kind = described(path, key)
    refuse_type(path, kind)
    arranged(path, np.broadcast_to(np.zeros((), kind), length), classes, shape)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            loaded: Array = arrays[key]
    except Exception as error:  # of NumPy, zipfile and zlib, unrelated kinds
        raise DataError(path, f"cannot be read ({error})", "Predict this case again.") from error
    return loaded


def _refuse_empty(path: Path) -> None:
    if not path.is_file() or path.stat().st_size == 0:
        raise DataError(path, "is empty or no file", "Predict this case again.")


def _key(path: Path) -> str:
    """The name of the array in a .npz file that holds its maps."""
    keys = names(path)
    key = next((name for name in KEYS if name in keys), None)
    if key is None:
        problem = f"has no array {' or '.join(KEYS)}, but {', '.join(keys[:5]) or 'none at all'}"
        raise DataError(path, problem, "Save it as nnU-Net does: numpy.savez_compressed(file, probabilities=...).")
    return key


def refuse_type(path: object, kind: np.dtype[Any]) -> None:
    """Raises DataError for a type that holds no probabilities."""
    if kind.newbyteorder("=") not in (np.uint8, np.float16, np.float32, np.float64):
        remedy = "Give probabilities as float32 or float16, or a mask of class ids."
        raise DataError(path, f"holds numbers of type {kind}, not probabilities", remedy)


def arranged(path: object, stored: Array, classes: int, shape: tuple[int, ...]) -> Array:
    """The stored array as a view (K, *S), or (1, *S) where it has the foreground of two classes alone."""
    view = stored[:, 0] if stored.ndim == len(shape) + 2 and len(shape) == 2 and stored.shape[1] == 1 else stored
    if view.shape == shape and classes == 2:
        return view[None]
    if view.ndim == len(shape) + 1 and view.shape[1:] == shape and (len(view) == classes or (len(view) == 1 and classes == 2)):
        return view
    if view.shape == (*shape, classes):
        raise DataError(path, f"has shape {stored.shape}: its classes come last", "Give numpy.moveaxis(probabilities, -1, 0).")
    if view.ndim != len(shape) + 1:
        problem = f"has shape {stored.shape}, wanted are {classes} classes and the label's shape {shape}"
        raise DataError(path, problem, "Give one map for each class, background first: (class, *shape).")
    if len(view) != classes:
        problem = f"has {len(view)} maps, the data set {classes} classes with the background"
        raise DataError(path, problem, f"{_SOFTMAX} Maps of regions are for the data set that names them.")
    raise shape_error(path, view.shape[1:], shape, classes_first=True)


def _checked(path: object, view: Array, quantised: bool) -> tuple[Array, bool]:
    """The map (K, *S) with what rounding spoilt put right, and whether it is a mask in disguise."""
    classes, shape = len(view), view.shape[1:]
    unit = 255 if quantised else 1
    tolerance = max(SUM_TOLERANCE, classes / 255) if quantised else SUM_TOLERANCE
    fine = view.dtype in (np.float16, np.float32) and view.dtype.isnative
    soft = False
    for where in blocks(shape, classes):
        part = view[:, where].astype(np.float32) / unit
        low, high = refuse_range(path, part)
        total = part.sum(axis=0)
        off = float(np.abs(total - 1).max())
        if off > tolerance:
            worst = float(total.flat[int(np.abs(total - 1).argmax())])
            remedy = f"{_SOFTMAX} Sigmoids of several classes do not: divide them by their sum, or give masks."
            raise DataError(path, f"has pixels whose probabilities sum to {worst:.3g}, not to 1", remedy)
        fine = fine and low >= 0 and high <= 1 and off <= SUM_TOLERANCE / 10
        soft = soft or bool(((part > 0.01) & (part < 0.99)).any())
    if fine:
        return view, not soft
    put_right = np.empty(view.shape, np.float32 if len(shape) == 2 else np.float16)
    for where in blocks(shape, classes):
        part = (view[:, where].astype(np.float32) / unit).clip(0, 1)
        put_right[:, where] = part / part.sum(axis=0)
    return put_right, not soft


def refuse_range(path: object, part: Array, wanted: str = _SOFTMAX) -> tuple[float, float]:
    """The least and the largest of some numbers; DataError, with what is ``wanted``, where they are no probabilities."""
    low, high = float(part.min()), float(part.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(path, "holds numbers that are NaN or infinite", "Predict this case again.")
    if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
        problem = f"holds numbers from {low:.4g} to {high:.4g}, which are logits rather than probabilities"
        raise DataError(path, problem, wanted)
    return low, high


def sums_to_one(view: Array, unit: int) -> bool:
    """Whether maps (K, *S), in which ``unit`` stands for one, sum to one at every pixel, as far as they are rounded."""
    tolerance = max(SUM_TOLERANCE, len(view) / 255) if unit == 255 else SUM_TOLERANCE
    parts = (view[:, at].astype(np.float32).sum(axis=0) / unit for at in blocks(view.shape[1:], len(view)))
    return all(bool((np.abs(part - 1) <= tolerance).all()) for part in parts)


def blocks(shape: tuple[int, ...], classes: int) -> Iterator[slice]:
    """Slices of the first spatial axis, each of about ``_BLOCK`` numbers of all classes."""
    step = max(1, _BLOCK // max(1, classes * prod(shape[1:])))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _box_of_others(plane: Ids, value: int, margin: int) -> tuple[slice, slice] | None:
    """The part of a plane (H, W) that holds all that is not ``value``, with a margin; None if there is nothing."""
    differs = plane != value
    along = [np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0)]
    if not len(along[0]):
        return None
    rows, columns = (slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin) for at in along)
    return rows, columns


def _smoothed(plane: Ids, classes: int) -> npt.NDArray[np.float32]:
    """Probabilities (K, H, W) of a plane of class ids before they are drawn towards 1/K."""
    unknown = plane == IGNORE
    present = [value for value in np.unique(plane) if value != IGNORE]
    soft = np.zeros((classes, *plane.shape), np.float32)
    for value in present:
        gaussian_filter((plane == value).astype(np.float32), SMOOTHING, output=soft[value], mode="nearest", radius=_REACH)
    total = soft.sum(axis=0)
    soft /= np.where(total > 0, total, 1)
    own = np.take_along_axis(soft, np.where(unknown, 0, plane)[None].astype(np.intp), 0)[0]
    weak = (own < 0.51) & ~unknown
    scale = np.where(weak, 0.49 / np.maximum(1 - own, 1e-6), 1).astype(np.float32)
    soft *= scale
    for value in present:
        soft[value][weak & (plane == value)] = 0.51
    soft[:, unknown] = 1 / classes
    return soft
