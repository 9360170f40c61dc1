"""Reviews of audits in the browser, by several readers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from debride.api.datasets import DatasetOptions, Folder, library_options
from debride.api.result import Result
from debride.types import DataError, Dataset

if TYPE_CHECKING:
    from debride.review.opened import Reader


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
    export: Folder | None = None,
    as_: str = "csv",
    import_: Folder | None = None,
    **options: Unpack[DatasetOptions],
) -> ReviewResult:
    """Serves the page on which a ``reader`` decides the findings of an ``audit``, until Ctrl-C; prints its address.

    The address is of this machine, on a ``port`` (None: a free one), and is opened in the ``browser``. What is decided is in
    review.db in the audit's folder at once. The ``dataset`` is found by the audit; give it, with ``options``, where it moved. A
    later ``round`` overrides an earlier one. A ``blind`` reader sees nothing of others; ``adjudicate`` decides for all where
    they disagree, and without a reader says where they do. ``cases`` are ids, or a file of them, one a line, that are a
    worklist of their own.

    With ``export``, a new folder, it writes files for another program there, ``as_`` "slicer", "itk-snap" or "coco", in place
    of serving; as "csv" what was decided, also to a new file .csv or .jsonl, and that without the data set. With ``import_`` it
    takes edited files, one or a folder of them, or a table of decisions, as the reader's.

    Raises DataError for an audit that cannot be reviewed, a data set that is not there, and without starlette and uvicorn.
    """
    from debride.review.opened import Reader, open_review
    from debride.review.server import refuse_without_extra, serve

    opening, audit = library_options(options, review_audit), Path(audit)
    if isinstance(dataset, Dataset) and options:
        raise DataError(f"`{next(iter(options))}`", "is given beside a data set that is open", "Give it to open_dataset.")
    if export is not None and (reader is not None or import_ is not None):
        raise DataError("`export`", "decides nothing", "Give it without `reader` and `import`.")
    if as_ != "csv" and export is None:
        raise DataError("`as`", "says for what program to export", "Give `export` too.")
    if import_ is not None and cases is not None:
        raise DataError("`cases`", "does not narrow what is imported", "Leave it out, or import a folder of these cases alone.")
    if reader is None and adjudicate and export is None and import_ is None:
        return _disagreed(audit)
    if reader is None and export is None:
        raise DataError("`reader`", "is missing", "Give the name of who decides.")
    if blind and adjudicate:
        raise DataError("`blind`", "hides what one who adjudicates decides on", "Leave out `blind` or `adjudicate`.")
    if export is not None and as_ == "csv":
        return _table(audit, Path(export), cases)
    if not isinstance(dataset, Dataset):
        dataset = _opened(audit, None if dataset is None else Path(dataset), opening)
    chosen = Path(cases) if isinstance(cases, str | PathLike) else cases
    if export is not None:
        return _exported(audit, dataset, Path(export), as_, chosen)
    who = Reader(reader or "", round, blind, adjudicate)
    if import_ is not None:
        return _imported(audit, dataset, Path(import_), who)
    refuse_without_extra()
    serve(open_review(audit, dataset, who, chosen), port=port, browser=browser)
    return ReviewResult(audit)


def _disagreed(audit: Path) -> ReviewResult:
    """What readers disagree on, and how well they agree otherwise."""
    from debride.audit.decided import DATABASE, ReviewDb
    from debride.review.opened import about_audit
    from debride.review.reader_agreement import conflict_lines

    about_audit(audit)
    with ReviewDb(audit, may_write=(audit / DATABASE).is_file()) as db:
        return ReviewResult(audit, tuple(conflict_lines(db)))


def _opened(audit: Path, dataset: Path | None, opening: dict[str, Any]) -> Dataset:
    """The data set of an audit, where it was or where it is now."""
    from debride.data.open import open_dataset
    from debride.review.opened import about_audit, root_of

    about_audit(audit)
    return open_dataset(root_of(audit) if dataset is None else dataset, **opening)


def _table(audit: Path, out: Path, cases: Any) -> ReviewResult:
    """A table of what was decided, for which nobody needs the data set."""
    from debride.review.exchange import export_table
    from debride.review.opened import about_audit

    about_audit(audit)
    return ReviewResult(out, (f"{out}: {export_table(audit, out, cases).findings} decisions",))


def _exported(audit: Path, dataset: Dataset, out: Path, program: str, chosen: Path | Collection[str] | None) -> ReviewResult:
    """Files for another program."""
    from debride.progress import track
    from debride.review.exchange import export_review
    from debride.review.opened import chosen_cases

    cases = None if chosen is None else chosen_cases(chosen, {case.id for case in dataset.cases})
    with track("exporting", None) as show:
        done = export_review(dataset, audit, out, program, cases, lambda count, _: show(count))
    return ReviewResult(out, (f"{out}: the labels of {done.cases} cases, and {done.findings} findings; see README.txt",))


def _imported(audit: Path, dataset: Dataset, source: Path, who: Reader) -> ReviewResult:
    """What a reader edited in another program, or a table of decisions."""
    from debride.review.exchange import import_review
    from debride.review.opened import check_reader

    check_reader(who)
    came = import_review(dataset, audit, source, who.name, who.round, who.adjudicates)
    edited = f", {len(came.edited)} of them by edited labels" if came.edited else ""
    unchanged = f"; labels that say nothing new: {came.unchanged}" if came.unchanged else ""
    return ReviewResult(audit, (f"{source}: {came.decisions} new decision{'s' * (came.decisions != 1)}{edited}{unchanged}",))
