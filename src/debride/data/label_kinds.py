"""What differs between data sets of masks and of classes when they are looked through: a table by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from debride.data.classes.check_classes import check_classes, class_counts, size_note
from debride.data.formats import Report
from debride.data.masks.check_masks import check_masks, mask_counts
from debride.types import Dataset


@dataclass(frozen=True)
class LabelKind:
    """The labels of one task: ``check`` reports what is wrong with them, looked at by so many processes, with their pixels or
    headers alone, and returns the voxels of each class of masks; ``images`` says in words what a data set has, ``counts`` how
    many; ``note`` what training will ask for (None: nothing)."""

    check: Callable[[Dataset, Report, Callable[[int, int], None], int, bool], Mapping[int, int]]
    images: Callable[[Dataset], str]
    counts: Callable[[Dataset], str]
    note: Callable[[Dataset], str | None]


LABEL_KINDS: dict[str, LabelKind] = {
    "segmentation": LabelKind(check_masks, lambda dataset: f"{dataset.ndim}D", mask_counts, lambda dataset: None),
    "classification": LabelKind(check_classes, lambda dataset: "images with a class each", class_counts, size_note),
}
