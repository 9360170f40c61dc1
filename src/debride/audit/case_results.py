"""What an audit came to for each case, kept as it comes: lines of JSON, each with a stamp of all that it depends on.

One mechanism serves an audit that was cut off, one in parts, and one of a data set that grew: a result is asked for by case,
step and stamp, and is there or not, whoever found it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from debride.audit.evidence import CaseScore
from debride.audit.findings import Finding
from debride.audit.peers import Measured, Sight
from debride.files import atomic_path, content_hash, growing_jsonl, json_line, read_jsonl
from debride.records import read_as
from debride.types import DataError

T = TypeVar("T")

AGAIN = "Remove this file, or audit without `since`: what it held is found again."


@dataclass(frozen=True)
class Line:
    """A result of one case: of which ``step``, by which ``stamp``, as plain JSON; ``check`` is a hash of all this."""

    case: str
    step: str
    stamp: str
    result: Any
    check: str


def sealed(case: str, step: str, stamp: str, result: Any) -> Line:
    """A line with its check."""
    return Line(case, step, stamp, result, content_hash([], json_line([case, step, stamp, result])))


@dataclass(frozen=True)
class Looked:
    """The first look at a label: the ``evidence`` against it; its ``agreement`` with the prediction, None where it is empty;
    what it adds to the ``sums`` (2, K) of ``ThresholdSums``; and what can be seen without a prediction. Where there is none
    the evidence is empty, and the sums are 0."""

    evidence: dict[str, float]
    agreement: float | None
    sums: tuple[tuple[float, ...], tuple[float, ...]]
    sight: Sight


@dataclass(frozen=True)
class Planted:
    """The evidence against a label with a planted error, by kind, and what such labels are by themselves."""

    evidence: dict[str, dict[str, float]]
    measured: dict[str, Measured]


@dataclass(frozen=True)
class Found:
    """The findings of a case, its lines of worklist.csv, hashes of the ``files`` written for it, by their names, and how many
    findings were ``dropped``, as readers had decided them."""

    findings: tuple[Finding, ...] = ()
    worklist: tuple[dict[str, Any], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True)
class Label:
    """A hash of the content of a label file."""

    content: str


@dataclass(frozen=True)
class Drawn:
    """Hashes of the pictures of a case's findings, by their names."""

    files: dict[str, str]


KINDS: dict[type[Any], str] = {
    Label: "label",
    Looked: "looked",
    Planted: "planted",
    CaseScore: "scores",
    Found: "found",
    Drawn: "drawn",
}
"""The step that each kind of result comes from."""

LASTING = (Label, Looked, Planted, CaseScore)
"""What a later audit may take over: it depends on the case alone, or on thresholds that are taken over too."""


class CaseResults:
    """Results by case, step and stamp, as plain JSON: what files hold and what is ``known``, and what is added by ``add``."""

    def __init__(
        self, files: Iterable[Path], add: Callable[[Any], None] | None = None, known: CaseResults | None = None
    ) -> None:
        self._add = add
        self._plain: dict[tuple[str, str], dict[str, Any]] = (
            {key: dict(by) for key, by in known._plain.items()} if known else {}
        )
        for path in files:
            for number, row in enumerate(read_jsonl(path, undefined=True), start=1):
                line = read_as(Line, row, f"{path}:{number}", AGAIN)
                if line != sealed(line.case, line.step, line.stamp, line.result):
                    raise DataError(f"{path}:{number}", "was changed since it was written", AGAIN)
                self._take(line)

    def get(self, kind: type[T], case: str, stamp: str) -> T | None:
        """A case's result, None where there is none with this stamp."""
        plain = self._plain.get((KINDS[kind], case), {}).get(stamp)
        return None if plain is None else read_as(kind, plain, f"results of {case}", AGAIN)

    def has(self, kind: type[Any], case: str, stamp: str) -> bool:
        """Whether there is a result with this stamp."""
        return stamp in self._plain.get((KINDS[kind], case), {})

    def has_any(self, kind: type[Any], case: str) -> bool:
        """Whether there is a result of a case, with whatever stamp."""
        return (KINDS[kind], case) in self._plain

    def put(self, kind: type[Any], case: str, stamp: str, plain: Any) -> None:
        """Keeps a result, plain JSON that ``kind`` is made of."""
        line = sealed(case, KINDS[kind], stamp, plain)
        self._take(line)
        if self._add is not None:
            self._add(asdict(line))

    def lines(self, wanted: Iterable[tuple[type[Any], str, str]]) -> Iterator[Line]:
        """The results of these kinds, cases and stamps that there are, sorted by case and step."""
        order = list(KINDS)
        for kind, case, stamp in sorted(wanted, key=lambda key: (key[1], order.index(key[0]))):
            plain = self._plain.get((KINDS[kind], case), {}).get(stamp)
            if plain is not None:
                yield sealed(case, KINDS[kind], stamp, plain)

    def _take(self, line: Line) -> None:
        self._plain.setdefault((line.step, line.case), {})[line.stamp] = line.result


def hashes(out: Path, files: Iterable[Path]) -> dict[str, str]:
    """Hashes of files in a folder, or in those within it, by their names there."""
    return {file.relative_to(out).as_posix(): content_hash([file]) for file in files}


def are_there(out: Path, files: Mapping[str, str]) -> bool:
    """Whether files are in a folder as they were when ``hashes`` saw them."""
    return all((out / name).is_file() and content_hash([out / name]) == known for name, known in files.items())


@contextmanager
def growing(path: Path, others: Iterable[Path], known: CaseResults | None = None) -> Iterator[CaseResults]:
    """Results that are added to the file ``path``, with what it and ``others`` hold and what is ``known``."""
    with growing_jsonl(path) as add:
        yield CaseResults((*others, path), add, known)


def write_results(path: Path, lines: Iterable[Line]) -> None:
    """Writes a file of results."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.writelines(json_line(asdict(line)) for line in lines)
