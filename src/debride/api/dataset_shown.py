"""A data set as a notebook shows it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from debride.api.check_result import described
from debride.api.notebook import html

if TYPE_CHECKING:
    from debride.types import Dataset, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def dataset_html(dataset: Dataset) -> str:
    """What a data set holds, and how many cases, patients and verified labels each split has."""
    return html([str(dataset.root), described(dataset)], rows(dataset))


def rows(dataset: Dataset) -> list[dict[str, object]]:
    """A row for each split that has cases."""
    cases = Counter(case.split for case in dataset.cases)
    return [
        {
            "split": split,
            "cases": cases[split],
            "patients": len({case.patient for case in dataset.of(split)}),
            "trusted": sum(case.trusted for case in dataset.of(split)),
            "unlabelled": sum(case.label is None and case.target is None for case in dataset.of(split)),
        }
        for split in SPLITS
        if cases[split]
    ]
