"""What came of reading a mutated input: with limits of time and memory, and judged against what the healthy one gave."""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from debride.cli import main
from debride.notes import take_notes
from debride.types import DataError
from tests.fuzz.mutations import Mutation, applied, drawn
from tests.fuzz.subject import Exercise, Subject

SECONDS = 20
"""More than this is a hang."""

MEGABYTES = 400
"""More than this, taken to read files of some kilobytes, is a header that was believed."""

BAD = ("mistake", "hang", "memory", "silent", "unnamed", "changed")
"""What must not come of a mutation: a mistake of debride's own, no end, memory for what is not there, other results without a
word, a refusal that does not name the file, another file that changed."""


class HangError(BaseException):
    """No ``except Exception`` holds it up."""


class RefusedError(Exception):
    """A verb ended with 1 or 2."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one exercise on one mutation."""

    outcome: str
    exercise: str
    detail: str
    mutation: Mutation

    def __str__(self) -> str:
        return f"{self.outcome}: {self.mutation}\n    {self.exercise}: {self.detail[:300]}"


def verb(*words: object) -> str:
    """What ``debride WORDS`` prints; RefusedError with what it says where it ends with 1 or 2."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    said = out.getvalue() + err.getvalue()
    if code in (1, 2):
        raise RefusedError(said)
    assert code == 0, f"exit code {code}: {said}"
    return out.getvalue()


def fuzzed(subject: Subject, seed: int) -> list[Finding]:
    """Every exercise of a subject on the mutation of a seed."""
    mutation = drawn(subject.name, seed, subject.files(), subject.structural)
    before = _stamps(subject.root)
    healthy = {name: _healthy(subject, exercise) for name, exercise in subject.exercises(mutation.file, seed).items()}
    findings = []
    for name, exercise in subject.exercises(mutation.file, seed).items():
        with applied(mutation):
            findings.append(_judged(subject, mutation, name, exercise, healthy[name]))
        after = _stamps(subject.root)
        if {path: at for path, at in after.items() if path != mutation.file} != {
            path: at for path, at in before.items() if path != mutation.file
        }:
            findings.append(Finding("changed", name, "other files of the input were written", mutation))
            before = after
    return findings


def _judged(subject: Subject, mutation: Mutation, name: str, exercise: Exercise, healthy: Any) -> Finding:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, detail = "same", ""
    take_notes()
    try:
        with _work() as work, _limited():
            now = exercise.run(work)
            notes = " ".join(take_notes())
            if not same(now, healthy):
                told = any(word in notes for word in _names(mutation))
                outcome = "told" if told else "other"
                if not told and not (exercise.may_differ and exercise.may_differ(mutation, now, healthy)):
                    outcome, detail = "silent", difference(now, healthy)
    except (DataError, RefusedError) as error:
        outcome, detail = "refused", str(error)
        if not any(word in detail for word in (*_names(mutation), *_joined(subject, mutation))):
            outcome = "unnamed"
        if "Unable to allocate" in detail or "MemoryError" in detail:
            outcome = "memory"
    except HangError:
        outcome, detail = "hang", f"did not end within {SECONDS} s"
    except MemoryError as error:
        outcome, detail = "memory", str(error)
    except Exception as error:
        outcome, detail = "mistake", f"{type(error).__name__}: {error} {_place(error)}"
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    if taken > MEGABYTES:
        outcome, detail = "memory", f"{taken:.0f} MB were taken; {outcome} {detail}"
    return Finding(outcome, name, detail, mutation)


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal, arrays by their numbers."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.shape(a) == np.shape(b) and np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))
    return bool(a == b)


def difference(a: Any, b: Any, at: str = "") -> str:
    """Where two results differ, in short."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in a.keys() | b.keys():
            if key not in a or key not in b:
                return f"{at}/{key} is in one of them"
            if not same(a[key], b[key]):
                return difference(a[key], b[key], f"{at}/{key}")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            if not same(x, y):
                return difference(x, y, f"{at}/{place}")
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
        return f"{at}: {np.count_nonzero(a != b)} of {a.size} numbers differ"
    return f"{at}: {str(a)[:100]}, was {str(b)[:100]}"


_known: dict[tuple[str, str], Any] = {}


def _healthy(subject: Subject, exercise: Exercise) -> Any:
    """What an exercise gives on the input as it was built, once."""
    key = str(subject.root), exercise.key
    if key not in _known:
        with _work() as work:
            _known[key] = exercise.run(work)
        take_notes()
    return _known[key]


def _joined(subject: Subject, mutation: Mutation) -> tuple[str, ...]:
    """Folders that a message may name where files are read together."""
    return (str(subject.root), f"{mutation.file.parent.name}/") if subject.joined else ()


def _names(mutation: Mutation) -> tuple[str, ...]:
    """What a message may call the file by: a file that its header names goes by its header, a file in a case's name by that."""
    name = mutation.file.name
    stem = name.split(".")[0]
    return name, stem, mutation.file.parent.name + "/" + name


@contextmanager
def _work() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _limited() -> Iterator[None]:
    def end(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stamps(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and date of every file below a folder."""
    stamps = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            stat = path.lstat()
            stamps[path] = stat.st_size, stat.st_mtime_ns
    return stamps


def _place(error: BaseException) -> str:
    """The last lines of debride's that an error passed."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/debride/" in code.co_filename:
            places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(places[::-1][:3])
