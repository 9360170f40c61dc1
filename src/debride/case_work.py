"""Work that writes one folder case by case: what was cut off goes on, and what cannot be read stops its own case alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from debride.files import append_jsonl, content_hash, growing_jsonl, read_jsonl, write_csv, writing
from debride.folders import exclusive, is_empty, removed_if_unused
from debride.records import Count, Name, read_as
from debride.types import DataError

T = TypeVar("T")

UNFINISHED, FINISHED = ".debride-unfinished.jsonl", ".debride-finished.jsonl"
"""The record of the work in its folder: what it is made by, then a line for each case that is done. Its name says whether the
work is finished, with no case left out."""

LEFT_OUT = "left_out.csv"
"""The table of the cases that were left out; absent where there are none."""


@dataclass
class DoneCase:
    """A case that is done: a ``stamp`` of its files, the sizes of the ``files`` that it became, in bytes, and its ``result`` as
    plain JSON where that is no file."""

    case: str
    stamp: str
    files: dict[Name, Count]
    result: Any = None


@dataclass
class CaseWork:
    """Work in a folder that this process alone writes. ``left_out`` says of cases why they were left out."""

    folder: Path
    keep_going: bool
    _record: Callable[[Any], None]
    left_out: dict[str, DataError] = field(default_factory=dict)
    _done: dict[str, DoneCase] = field(default_factory=dict)

    def attempt(self, case: str, do: Callable[[], T]) -> T | None:
        """What ``do`` returns; None where a DataError leaves the case out. Without ``keep_going`` that ends the work, and says
        how to go on."""
        try:
            return do()
        except DataError as error:
            if not self.keep_going:
                remedy = f"{error.remedy} Then go on with `resume`. With `keep_going` such cases are left out."
                raise DataError(error.where, error.problem, remedy) from error
            self.left_out[case] = error
            return None

    def knows(self, case: str) -> bool:
        """Whether a case was done, whatever became of its files since."""
        return case in self._done

    def is_done(self, case: str, stamp: str) -> bool:
        """Whether a case with this stamp was done, and all its files are there as they were written."""
        done = self._done.get(case)
        return done is not None and done.stamp == stamp and _sizes(self.folder, done.files) == done.files

    def result(self, case: str, stamp: str) -> Any:
        """What a case that is done came to; None if it is not."""
        return self._done[case].result if self.is_done(case, stamp) else None

    def done(self, case: str, stamp: str, files: Iterable[Path] = (), result: Any = None) -> None:
        """Records a case whose ``files`` are written, or that came to a ``result``."""
        self._done[case] = DoneCase(case, stamp, _sizes(self.folder, [file.name for file in files]), result)
        self._record(asdict(self._done[case]))


@contextmanager
def case_work(out: Path, made_by: Mapping[str, Any], *, resume: bool = False, keep_going: bool = False) -> Iterator[CaseWork]:
    """The folder ``out``, held by this process, with what was done in it before where ``resume`` says so.

    ``made_by``, plain values by the names of settings, is what the results depend on. Raises DataError if another process holds
    the folder, if it has content without ``resume``, and with it if that is no such work or was made by something else. A new
    folder in which no case was done before an error does not stay.
    """
    with removed_if_unused(out), exclusive(out):
        done = _begin(out, dict(made_by), resume)
        with growing_jsonl(out / UNFINISHED) as record:
            work = CaseWork(out, keep_going, record, _done=done)
            try:
                yield work
            except BaseException:
                if not work._done:  # nothing to go on with
                    (out / UNFINISHED).unlink(missing_ok=True)
                raise
        with writing(out):
            write_left_out(out, work.left_out)
            if not work.left_out:
                (out / UNFINISHED).replace(out / FINISHED)


def write_left_out(out: Path, left_out: Mapping[str, DataError]) -> None:
    """Writes left_out.csv, a line for each case that was left out, or removes it where there is none."""
    if left_out:
        rows = ((case, error.where, error.problem, error.remedy) for case, error in left_out.items())
        write_csv(out / LEFT_OUT, ("case", "file", "problem", "remedy"), rows)
    else:
        (out / LEFT_OUT).unlink(missing_ok=True)


def stamp_of(files: Iterable[Path]) -> str:
    """A hash of the names, sizes and dates of files, which tells whether they changed. DataError for one that is missing."""
    try:
        stats = [(file.name, file.stat()) for file in files]
    except OSError as error:
        raise DataError(error.filename, f"cannot be read ({error.strerror})", "Check that the file exists.") from None
    return content_hash([], *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def _begin(out: Path, made_by: dict[str, Any], resume: bool) -> dict[str, DoneCase]:
    """The cases that are done in a folder, whose record is there from now on."""
    record = out / UNFINISHED
    with writing(out):
        if (out / FINISHED).exists() and resume:
            (out / FINISHED).replace(record)
    if not record.exists():
        if not is_empty(out):
            problem = "holds nothing that could go on" if resume else "is not empty"
            raise DataError(out, problem, "Choose a new folder, or remove this one.")
        append_jsonl(record, made_by)
        return {}
    if not resume:
        raise DataError(out, "holds unfinished work", "Go on with it by `resume`, or choose a new folder.")
    remedy = "Choose a new folder, or remove this one."
    rows = read_jsonl(record, undefined=True)
    before = read_as(dict[str, Any], rows[0] if rows else {}, record, remedy)
    if other := [name for name in {**before, **made_by} if before.get(name) != made_by.get(name)]:
        problem = f"was made with another `{other[0]}` ({before.get(other[0])}, now {made_by.get(other[0])})"
        raise DataError(out, problem, "Give the same, or choose a new folder.")
    done = [read_as(DoneCase, row, record, remedy) for row in rows[1:]]
    return {case.case: case for case in done}


def _sizes(folder: Path, names: Iterable[str]) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}
