"""Where accepted findings go: into the labels, to pixels without a label, or into maps of weights; and who is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from debride.audit.repair.decisions import Acceptance
from debride.data.formats import find_format
from debride.files import write_json
from debride.settings import setting
from debride.types import DataError, Dataset

LABELS, IGNORED, WEIGHTS = "labels", "ignore", "weights"

TO = (LABELS, IGNORED, WEIGHTS)
"""What may become of the pixels of an accepted finding: the class proposed, no label, or less weight."""

FLAGGED, UNREPAIRED = "flagged", "unrepaired"

LEAVE_OUT = (FLAGGED, UNREPAIRED)
"""Which cases may leave the folds: all flagged ones, or those of them of which no finding was applied."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """What is written of accepted findings.

    ``to`` is one of ``TO``. ``weight`` is that of all their pixels, 0 to 1 (None: 1 less the finding's confidence).
    ``leave_out`` says which cases leave all lists of all folds, one of ``LEAVE_OUT`` (None: no case does).
    """

    to: str = LABELS
    weight: float | None = setting(None, "the weight of pixels of accepted findings", least=0, most=1)
    leave_out: str | None = None

    def conflicts(self) -> Iterator[DataError]:
        """Words that are none, and a weight where no map of weights is written."""
        if self.to not in TO:
            yield DataError("`to`", f"is {self.to!r}", f"Choose one of {', '.join(TO)}.")
        if self.leave_out not in (None, *LEAVE_OUT):
            yield DataError("`leave_out`", f"is {self.leave_out!r}", f"Choose one of {', '.join(LEAVE_OUT)}.")
        if self.weight is not None and self.to != WEIGHTS:
            yield DataError("`weight`", f"is for `to` weights, and `to` is {self.to}", "Leave it out.")

    def refuse(self, accept: Acceptance) -> None:
        """DataError for what means nothing where no label changes its class."""
        if self.to == LABELS:
            return
        names = {"allow_removal": accept.allow_removal, "rare": accept.rare is not None}
        for name in (name for name, given in names.items() if given):
            raise DataError(f"`{name}`", f"guards what is removed, and `to` {self.to} removes nothing", "Leave it out.")
        if accept.unbias:
            raise DataError("`unbias`", f"moves outlines, which `to` {self.to} leaves as they are", "Leave out one of the two.")

    @property
    def spares(self) -> bool:
        """Whether cases in which a finding was applied stay in the folds."""
        return self.leave_out == UNREPAIRED


PLAIN = Destination()
"""Into the labels, with all folds as they are."""


def without(dataset: Dataset, destination: Destination, doubted: Collection[str]) -> tuple[str, Any] | None:
    """The name and content of a data set's file of lists without ``doubted`` cases; None where no case is to leave them."""
    return find_format(dataset.format).lists_without(dataset, doubted) if destination.leave_out else None


def change_lists(dataset: Dataset, folder: Path, destination: Destination, doubted: Collection[str]) -> dict[str, Any]:
    """Writes the lists without ``doubted`` cases into a copy, and says for a summary where pixels went, and which cases have
    left the lists."""
    lists = without(dataset, destination, doubted)
    if lists:
        write_json(folder / lists[0], lists[1])
    said: dict[str, Any] = {} if destination.to == LABELS else {"to": destination.to}
    listed = {case.id for case in (*dataset.of("train", "val"), *(dataset.rest or ()))}
    left = {"left_out": sorted(listed & set(doubted)), "lists": lists[0], "folds": len(lists[1])} if lists else {}
    return {**said, **left}


def with_ignore(dataset: Dataset) -> Dataset:
    """The data set, with a value for pixels without a label: its own, or one that its layout can add.

    Raises DataError where none can be added.
    """
    if dataset.ignore is not None:
        return dataset
    return replace(dataset, ignore=find_format(dataset.format).new_ignore(dataset))
