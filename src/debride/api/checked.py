"""Values that the command line refuses by itself, checked where they come from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast, get_args

from debride.types import GROUPS, DataError, Split

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")


def one_of(name: str, value: T, known: Iterable[object]) -> T:
    """The value of an argument, None or one of those known; DataError, naming the argument, for any other."""
    if value is not None and value not in (known := tuple(known)):
        raise DataError(f"`{name}`", f"is {value!r}", f"Choose one of {', '.join(map(str, known))}.")
    return value


def group_of(name: str, value: str | None) -> str | None:
    """What groups cases, or None."""
    return one_of(name, value, GROUPS)


def splits_of(splits: str | Sequence[str]) -> tuple[Split, ...]:
    """One split or several; DataError for a name that is none."""
    return tuple(cast(Split, one_of("splits", split, get_args(Split))) for split in words_of(splits))


def words_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """One word or several."""
    return (words,) if isinstance(words, str) else tuple(words)
