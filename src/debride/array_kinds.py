"""Arrays of users: NumPy arrays, tensors and what is like them, taken as they are and given back as the same kind.

PyTorch is not imported here: a tensor is told by its class.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from debride.types import IGNORE, DataError

T = TypeVar("T")

SUM_TOLERANCE = 0.02
"""How far from one the probabilities of a case may sum up."""


def is_tensor(given: object) -> bool:
    """Whether something is a tensor of PyTorch."""
    return any(cls.__module__ == "torch" and cls.__name__ == "Tensor" for cls in type(given).__mro__)


def numpy_of(where: object, given: Any) -> npt.NDArray[Any]:
    """An array as NumPy has it: the same memory where that is possible. DataError, naming ``where``, for what is no array."""
    if is_tensor(given):
        tensor = given.detach().cpu()
        return np.asarray((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())
    try:
        array = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise DataError(where, f"is no array ({error})", "Give a NumPy array or a tensor.") from error
    if array.dtype.kind not in "buif":
        raise DataError(where, f"holds {array.dtype} of shape {array.shape}", "Give an array of numbers.")
    return array


def like(ids: npt.NDArray[np.uint8], given: T, ignore_index: int | None = IGNORE) -> T:
    """Class ids as the kind of array, of the type of numbers and on the device of another one, ``IGNORE`` as its
    ``ignore_index``. A list becomes a NumPy array."""
    tensor = is_tensor(given)
    values = ids
    if ignore_index not in (None, IGNORE):
        values = np.where(ids == IGNORE, np.int64(ignore_index), ids.astype(np.int64))
    made: Any = given.new_tensor(values) if tensor else values.astype(np.asarray(given).dtype)  # type: ignore[attr-defined]
    return made  # type: ignore[no-any-return]


def class_ids(
    where: object, given: Any, classes: int | None = None, ignore_index: int | None = IGNORE
) -> tuple[npt.NDArray[np.uint8], int]:
    """Class ids (*S) in ``uint8`` with ``IGNORE`` for ``ignore_index``, and the number of classes: with none given as many as
    the highest id says, two at least.

    Taken are integers and booleans. The memory is that of the array given where no number changes. Raises DataError, naming
    ``where``, for other numbers and for ids that are none of the classes.
    """
    values = numpy_of(where, given)
    if values.dtype.kind not in "bui":
        raise DataError(where, f"holds {values.dtype}", "Give class ids as integers, or a mask as booleans.")
    if classes is not None and not (isinstance(classes, int | np.integer) and 2 <= classes <= IGNORE):
        raise DataError("`classes`", f"is {classes}", f"Give the number of classes with the background, from 2 to {IGNORE}.")
    known = np.ones((), np.bool_) if ignore_index is None or values.dtype == np.bool_ else values != ignore_index
    low, high = int(values.min(where=known, initial=0)), int(values.max(where=known, initial=0))
    many = max(2, high + 1) if classes is None else classes
    if low < 0 or high >= min(many, IGNORE):
        others = "" if ignore_index is None else f", and {ignore_index} for pixels without a label"
        raise DataError(where, f"has class ids from {low} to {high}", f"Use 0 to {min(many, IGNORE) - 1}{others}.")
    if values.dtype == np.uint8 and ignore_index in (None, IGNORE):
        return values, many
    ids = values.astype(np.uint8)
    if known.ndim:
        ids[~known] = IGNORE
    return ids, many


def refuse_unscaled(where: object, ids: npt.NDArray[np.uint8]) -> None:
    """DataError for ids (*S) of nothing but background and ``IGNORE``: what a mask of 0 and 255 is taken for."""
    if (ids == IGNORE).any() and not ((ids > 0) & (ids < IGNORE)).any():
        problem = "has no class but the background, and pixels without a label"
        raise DataError(where, problem, f"Divide a mask of 0 and {IGNORE} by {IGNORE}; if it is none, say how many `classes`.")


def refuse_improper(where: str, shares: npt.NDArray[Any]) -> None:
    """DataError for rows (N, K) that are no probabilities, within ``SUM_TOLERANCE`` of a sum of one; it names the first."""
    sound = np.isfinite(shares).all(axis=1) & (shares >= 0).all(axis=1)
    sound &= np.abs(np.nan_to_num(shares.astype(np.float64)).sum(axis=1) - 1) <= SUM_TOLERANCE
    if not sound.all():
        problem = "are no probabilities: these lie in 0 to 1, and sum up to 1"
        raise DataError(f"{where}[{int(sound.argmin())}]", problem, "Give what comes out of the softmax, and no logits.")


def spacing_of(spacing: Any, ndim: int) -> tuple[float, ...] | None:
    """A spacing in mm along each of so many axes, as plain numbers. DataError for one that is none."""
    if spacing is None:
        return None
    lengths = tuple(float(length) for length in numpy_of("`spacing`", spacing).reshape(-1))
    if len(lengths) != ndim or not all(0 < length < float("inf") for length in lengths):
        raise DataError("`spacing`", f"is {lengths} for {ndim} axes", "Give one length in mm for each axis of the array.")
    return lengths
