"""Labels as the functions of a step take them."""

from __future__ import annotations

from torch import Tensor

from debride.types import IGNORE


def class_ids(label: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Class ids (B, *S) int64 of labels (B, 1, *S) of any type, as MONAI has them, ``IGNORE`` where they are ``ignore_index``.

    What has no axis for channels is to be given as it is: ``label.long()``.
    """
    ids = label.squeeze(1).long()
    return ids if ignore_index == IGNORE else ids.masked_fill(ids == ignore_index, IGNORE)
