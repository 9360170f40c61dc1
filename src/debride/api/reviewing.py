"""Reviews of audits in the browser, by several readers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from debride.api.datasets import DatasetOptions, Folder, library_options
from debride.api.result import Result
from debride.types import DataError, Dataset


@dataclass(frozen=True, repr=False)
class ReviewResult(Result):
    """A review, in the audit's folder ``out``."""

    lines: tuple[str, ...] = ()

    def said(self) -> Sequence[str]:
        """What was done, or what readers disagree on."""
        return self.lines


def review_audit(
    audit: Folder,
    *,
    reader: str | None = None,
    dataset: Dataset | Folder | None = None,
    browser: bool = True,
    port: int | None = None,
    round: int = 1,
    blind: bool = False,
    adjudicate: bool = False,
    cases: Folder | Collection[str] | None = None,
    **options: Unpack[DatasetOptions],
) -> ReviewResult:
    """Serves the page on which a ``reader`` decides the findings of an ``audit``, until Ctrl-C; prints its address.

    The address is of this machine, on a ``port`` (None: a free one), and is opened in the ``browser``. What is decided is in
    review.db in the audit's folder at once. The ``dataset`` is found by the audit; give it, with ``options``, where it moved. A
    later ``round`` overrides an earlier one. A ``blind`` reader sees nothing of others; ``adjudicate`` decides for all where
    they disagree. ``cases`` are ids, or a file of them, one a line, that are a worklist of their own.

    Raises DataError for an audit that cannot be reviewed, a data set that is not there, and without starlette and uvicorn.
    """
    opening, audit = library_options(options, review_audit), Path(audit)
    if isinstance(dataset, Dataset) and options:
        raise DataError(f"`{next(iter(options))}`", "is given beside a data set that is open", "Give it to open_dataset.")
    if reader is None:
        raise DataError("`reader`", "is missing", "Give the name of who decides.")
    if blind and adjudicate:
        raise DataError("`blind`", "hides what one who adjudicates decides on", "Leave out `blind` or `adjudicate`.")
    if not isinstance(dataset, Dataset):
        dataset = _opened(audit, None if dataset is None else Path(dataset), opening)
    chosen = Path(cases) if isinstance(cases, str | PathLike) else cases
    who = {"name": reader, "round": round, "blind": blind, "adjudicates": adjudicate}
    return _by_reader(audit, dataset, chosen, browser, port, who)


def _opened(audit: Path, dataset: Path | None, opening: dict[str, Any]) -> Dataset:
    """The data set of an audit, where it was or where it is now."""
    from debride.data.open import open_dataset
    from debride.review.opened import about_audit, root_of

    about_audit(audit)
    return open_dataset(root_of(audit) if dataset is None else dataset, **opening)


def _by_reader(
    audit: Path,
    dataset: Dataset,
    chosen: Path | Collection[str] | None,
    browser: bool,
    port: int | None,
    who: dict[str, Any],
) -> ReviewResult:
    """What a reader decides on the page."""
    from debride.review.opened import Reader, open_review
    from debride.review.server import refuse_without_extra, serve

    refuse_without_extra()
    serve(open_review(audit, dataset, Reader(**who), chosen), port=port, browser=browser)
    return ReviewResult(audit)
