"""Labels as the functions of a step take them."""

from __future__ import annotations

from torch import Tensor

from debride.types import IGNORE, DataError


def class_ids(label: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Class ids (B, *S) int64 of labels (B, 1, *S) of any type, as MONAI has them, ``IGNORE`` where they are ``ignore_index``.

    Raises DataError for labels with another second axis: one-hot labels, and those that have no axis for channels.
    """
    if label.ndim < 2 or label.shape[1] != 1:
        remedy = "Of one-hot labels take `label.argmax(dim=1)`; what has no axis for channels needs `label.long()` alone."
        raise DataError("label", f"is {tuple(label.shape)}, not (B, 1, *S)", remedy)
    ids = label.squeeze(1).long()
    return ids if ignore_index == IGNORE else ids.masked_fill(ids == ignore_index, IGNORE)


def need_pixels(name: str, given: Tensor, like: Tensor) -> None:
    """Raises DataError where what is ``given`` is not (B, *S) for something ``like`` (B, K, *S)."""
    wanted = (len(like), *like.shape[2:])
    if tuple(given.shape) != wanted:
        raise DataError(name, f"is {tuple(given.shape)}", f"Give {wanted}; `class_ids` takes out an axis of one channel.")
