"""The noises among classes of whole images as functions of the classes of many.

All take the same: ``labels`` (N,) as a NumPy array, a tensor or a list of whole numbers, with ``ignore_index`` where there is
none. With no number of ``classes`` given the highest label tells. ``seed`` is all that chance goes by, case by case: with the
``ids`` of the cases of a data set they become what ``debride corrupt`` makes of them, and else the cases are numbered.

The result is a copy, as the same kind of array. Every function raises DataError for what cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np
import numpy.typing as npt

from debride.array_kinds import class_ids, like, numpy_of
from debride.noise.by_name import make_class_noise
from debride.types import IGNORE, DataError

T = TypeVar("T")


class How(TypedDict, total=False):
    """What all functions take beside the labels, the classes, the seed and the noise's own parameters."""

    ids: Sequence[str] | None
    ignore_index: int | None


def symmetric(
    labels: T, classes: int | None = None, *, rate: float = 0.5, own: bool = True, seed: int = 0, **how: Unpack[How]
) -> T:
    """Exactly a share ``rate`` of the cases gets a class at random: ``class_noises.Symmetric``."""
    return _changed("symmetric", labels, classes, seed, how, rate=rate, own=own)


def asymmetric(
    labels: T,
    classes: int | None = None,
    *,
    rate: float = 0.4,
    map: str | Mapping[int, int] = "cifar10",
    seed: int = 0,
    **how: Unpack[How],
) -> T:
    """A share ``rate`` of each class in the ``map`` goes to the one class named there: ``class_noises.Asymmetric``."""
    return _changed("asymmetric", labels, classes, seed, how, rate=rate, map=map)


def transition(
    labels: T,
    classes: int | None = None,
    *,
    matrix: Sequence[Sequence[float]] = (),
    seed: int = 0,
    **how: Unpack[How],
) -> T:
    """Every case draws its class by the row of its own in a ``matrix`` (K, K): ``class_noises.Transition``."""
    shares = numpy_of("`matrix`", matrix)
    if shares.size and shares.ndim != 2:
        raise DataError("`matrix`", f"has shape {shares.shape}", "Give one row of probabilities for each class, (K, K).")
    rows = tuple(tuple(map(float, row)) for row in shares)
    return _changed("transition", labels, len(rows) if classes is None and rows else classes, seed, how, matrix=rows)


def instance(
    labels: T,
    classes: int | None = None,
    *,
    images: Any,
    rate: float = 0.4,
    spread: float = 0.1,
    seed: int = 0,
    **how: Unpack[How],
) -> T:
    """Noise that depends on the ``images`` (N, ...), from 0 to 1 or ``uint8``: ``class_noises.Instance``."""
    pixels = numpy_of("images", images)
    if pixels.ndim < 2 or len(pixels) != len(numpy_of("labels", labels)):
        raise DataError("images", f"have shape {pixels.shape}", "Give one image for each label, (N, ...).")
    return _changed("instance", labels, classes, seed, how, pixels.reshape(len(pixels), -1), rate=rate, spread=spread)


def _changed(
    name: str,
    labels: T,
    classes: int | None,
    seed: int,
    how: How,
    images: npt.NDArray[Any] | None = None,
    **parameters: Any,
) -> T:
    """Labels changed by the noise of a name."""
    ignore_index = how.get("ignore_index", IGNORE)
    unknown = sorted(set(how) - How.__annotations__.keys())
    if unknown:
        known = ", ".join(["classes", "seed", *How.__annotations__, *parameters])
        raise DataError(f"noise {name}", f"has no parameter {unknown[0]!r}", f"Choose among {known}.")
    noise = make_class_noise(name, **parameters)
    given, many = class_ids("labels", labels, classes, ignore_index)
    if given.ndim != 1:
        raise DataError("labels", f"have shape {given.shape}", "Give one class for each case, (N,).")
    ids = how.get("ids")
    ids = [str(number) for number in range(len(given))] if ids is None else list(ids)
    if len(ids) != len(given):
        raise DataError("`ids`", f"are {len(ids)} for {len(given)} labels", "Give one for each label.")
    noisy = noise(given.astype(np.int64), many, ids, seed, images)
    return like(noisy.astype(np.uint8), labels, ignore_index)
