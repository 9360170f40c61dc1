"""What is done to each item, and what became of it, in words that pass between processes: plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from debride.mistakes import traceback_of, words_of
from debride.notes import note, noted_in
from debride.types import DataError

Do = Callable[[Any], Any]
"""What is done to one item: plain JSON in and out."""


@dataclass(frozen=True)
class Work:
    """What is done to items: ``begin``, a function at the top of a module of ours, makes of ``setup`` the function of one item.

    Setup, items and results are plain JSON. A result must depend on setup and item alone, whatever was done before.
    """

    begin: Callable[[Any], Do]
    setup: Any = None

    @property
    def path(self) -> str:
        """``begin`` as package.module:name."""
        return f"{self.begin.__module__}:{self.begin.__qualname__}"


@dataclass(frozen=True)
class Outcome:
    """What became of one item: its ``result``, or the ``error`` that it ended with."""

    result: Any = None
    error: DataError | None = None

    def value(self) -> Any:
        """The result; raises the error."""
        if self.error is not None:
            raise self.error
        return self.result


def perform(do: Do, item: Any) -> str:
    """Does an item, and says in one line of JSON what became of it and what was noted on the way."""
    with noted_in([]) as notes:
        try:
            told: dict[str, Any] = {"result": do(item)}
        except DataError as error:
            told = {"error": [error.where, error.problem, error.remedy]}
    return json.dumps({**told, "notes": notes} if notes else told)


_listeners: list[Callable[[], None]] = []


def came_further() -> None:
    """Says of the item that is being done, where it is long, that it goes on from here if its process is ended."""
    for listener in _listeners:
        listener()


@contextmanager
def hearing(listener: Callable[[], None]) -> Iterator[None]:
    """While the block lasts a function is called where ``came_further`` is."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def outcome_of(line: str) -> Outcome:
    """The outcome that ``perform`` told; what was noted is noted in this process."""
    told = json.loads(line)
    for where, said in told.get("notes", ()):
        note(where, said)
    return Outcome(error=DataError(*told["error"])) if "error" in told else Outcome(told["result"])


class WorkerError(RuntimeError):
    """A mistake of ours in another process; its traceback is among the notes."""

    worded = True


class EndedWorkerError(DataError):
    """Another process was ended from outside before it began."""


def ending(error: Exception) -> str:
    """What ends all work, in one line of JSON: a DataError of ``Work.begin``, too little memory, or a mistake of ours."""
    if isinstance(error, DataError):
        return json.dumps({"refused": [error.where, error.problem, error.remedy]})
    if isinstance(error, MemoryError):
        return json.dumps({"memory": str(error)})
    if isinstance(error, WorkerError):
        return json.dumps({"mistake": [str(error), "".join(error.__notes__)]})
    return json.dumps({"mistake": [words_of(error), traceback_of(error)]})


def ended_by(line: str) -> Exception | None:
    """The error that ends all work, where a line tells of one."""
    told = json.loads(line) if line else {}
    if "refused" in told:
        return DataError(*told["refused"])
    if "memory" in told:
        return MemoryError(told["memory"])
    if "mistake" in told:
        mistake = WorkerError(told["mistake"][0])
        mistake.add_note(told["mistake"][1])
        return mistake
    return None
