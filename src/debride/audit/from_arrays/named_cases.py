"""What is said of cases beside their arrays: ids, patients, spacings, which classes were drawn, which labels are verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from debride.array_kinds import numpy_of, spacing_of
from debride.types import IGNORE, Case, DataError

Spacing = tuple[float, ...] | None


def cases_of(
    many: int,
    classes: int,
    *,
    ids: Sequence[str] | None = None,
    groups: Sequence[Any] | None = None,
    annotated: Sequence[Sequence[int] | None] | None = None,
    trusted: Any = None,
) -> tuple[Case, ...]:
    """So many cases. DataError for what is not said once for each."""
    names = [str(at) for at in range(many)] if ids is None else [str(id) for id in ids]
    _count("ids", len(names), many)
    if len(set(names)) < many:
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError("`ids`", f"have {twice!r} for two cases", "Give each case an id of its own.")
    people = names if groups is None else _people(groups, many)
    drawn = [None] * many if annotated is None else list(annotated)
    _count("annotated", len(drawn), many)
    verified = _verified(trusted, many)
    return tuple(
        Case(
            id=names[at],
            image=(),
            label=None,
            patient=people[at],
            trusted=bool(verified[at]),
            annotated=_annotated(drawn[at], at, classes),
        )
        for at in range(many)
    )


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """The names of classes, of which only the number may be known. DataError for fewer than two."""
    if isinstance(classes, str | float):
        raise DataError("`classes`", f"is {classes!r}", "Give the number of classes, or a list of their names.")
    names = tuple(map(str, range(int(classes)) if isinstance(classes, int | np.integer) else classes))
    if not 2 <= len(names) <= IGNORE or len(set(names)) < len(names):
        raise DataError("`classes`", f"are {names[:5]}", f"Give 2 to {IGNORE} classes of different names.")
    return names


def spacings_of(spacing: Any, many: int, ndim: int) -> list[Spacing]:
    """The spacing of each case, by that of all or one for each."""
    if spacing is None:
        return [None] * many
    each = list(spacing) if np.ndim(spacing) else [spacing]
    if each and np.ndim(each[0]) == 0 and each[0] is not None:
        return [spacing_of(each, ndim)] * many
    _count("spacing", len(each), many)
    return [spacing_of(one, ndim) for one in each]


def _people(groups: Sequence[Any], many: int) -> list[str]:
    """The name of each case's group. DataError where one has none: all of these would be one group."""
    if isinstance(groups, str):
        raise DataError("`groups`", f"is {groups!r}", "Give the patient of each case, as a list.")
    given = list(groups)
    _count("groups", len(given), many)
    for at, group in enumerate(given):
        if group is None or group != group or str(group) in ("<NA>", "NaT"):
            raise DataError(f"groups[{at}]", f"is {group}", "Give a case whose patient is not known a group of its own.")
    return [str(group) for group in given]


def _annotated(drawn: Sequence[int] | None, at: int, classes: int) -> tuple[int, ...] | None:
    if drawn is None:
        return None
    if np.ndim(drawn) != 1:
        raise DataError(f"annotated[{at}]", f"is {drawn}", "Give a list of class ids for each case, or None for all.")
    own = tuple(sorted({int(id) for id in drawn}))
    if not own or not 0 <= own[0] <= own[-1] < classes:
        raise DataError(f"annotated[{at}]", f"is {list(drawn)}", f"Give class ids from 0 to {classes - 1}, or None for all.")
    return own


def _verified(trusted: Any, many: int) -> Any:
    """Whether each of so many cases is verified (N,), by booleans or by places."""
    if trusted is None:
        return np.zeros(many, bool)
    given = numpy_of("`trusted`", trusted).reshape(-1)
    if given.dtype == np.bool_:
        _count("trusted", len(given), many)
        return given
    if given.size and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= many):
        raise DataError("`trusted`", "names cases that there are not", f"Give booleans, or places from 0 to {many - 1}.")
    if len(np.unique(given)) < len(given):
        raise DataError("`trusted`", "names a case twice", "Give booleans (N,), or each place once.")
    verified = np.zeros(many, bool)
    verified[given.astype(np.intp)] = True
    return verified


def _count(name: str, given: int, many: int) -> None:
    if given != many:
        raise DataError(f"`{name}`", f"are {given} for {many} labels", "Give one for each label.")
