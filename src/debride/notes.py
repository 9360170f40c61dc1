"""What a user should know of files that were read otherwise than they are stored: said once for each kind of thing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from debride.escapes import one_line

_noted: dict[str, tuple[str, set[int]]] = {}
"""By what is said: the first file, and hashes of all."""
_elsewhere: list[list[tuple[str, str]]] = []
"""Where notes go, the last one, while another process is to say them."""
_wordings: list[Callable[[str], str]] = [str]
"""How what is told is worded, the last one."""


def note(where: object, said: str) -> None:
    """Note something of a file or a case, to be said at the end of the work. ``said`` goes on the file's name, and is the same
    for all files of which the same is true: "is stored in another orientation than its image, and is read turned"."""
    if _elsewhere:
        _elsewhere[-1].append((str(where), said))
        return
    _noted.setdefault(said, (str(where), set()))[1].add(hash(str(where)))


@contextmanager
def noted_in(notes: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """While the block lasts, what is noted goes into a list, as what ``note`` was given."""
    _elsewhere.append(notes)
    try:
        yield notes
    finally:
        _elsewhere.pop()


def take_notes() -> list[str]:
    """What was noted since the last call, a sentence for each kind: its first file, and how many more there are."""
    sentences = [
        f"{first} {said}" + (f" (and {len(hashes) - 1} more like it)" if len(hashes) > 1 else "") + "."
        for said, (first, hashes) in _noted.items()
    ]
    _noted.clear()
    return sentences


def tell_notes() -> None:
    """Say on standard error what was noted."""
    for sentence in take_notes():
        tell(f"note: {sentence}")


def tell(said: str) -> None:
    """Say something on standard error at once, its settings named as the interface names them (``worded``)."""
    sys.stderr.write(f"debride: {one_line(_wordings[-1](said))}\n")


@contextmanager
def worded(wording: Callable[[str], str]) -> Iterator[None]:
    """While the block lasts, what is told is told as ``wording`` returns it: the command line makes options of settings."""
    _wordings.append(wording)
    try:
        yield
    finally:
        _wordings.pop()
