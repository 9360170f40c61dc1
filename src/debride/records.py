"""Records that are read back, each described by a dataclass or TypedDict beside what writes it, and checked against that.

Unlike a setting, which a person writes, a value is never parsed: "3" is no number. Entries that a description does not know
are left alone: another version may have written them. An ``Annotated`` type adds rules: ``Bounds`` of numbers, or functions
that say what is wrong with a value, empty where nothing is.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from debride.settings import Bounds
from debride.types import DataError
from debride.words import short

T = TypeVar("T")

LONGEST_NAME = 239
"""Bytes of a name that becomes a file's, which may have 255: what is added to it must fit too."""


def not_a_name(text: str) -> str:
    """Why a text can be no name of a file or folder; empty if it can."""
    if not text or text in (".", "..") or set(text) & set("/\\"):
        return "which is no name of a file"
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text):
        return "which has a control character: no name of a file"
    try:
        return "which is too long for the name of a file" if len(text.encode()) > LONGEST_NAME else ""
    except UnicodeEncodeError:
        return "which is not UTF-8: no name of a file"


def not_decimal(text: str) -> str:
    """Why a text is no whole number from 0 of at most nine digits; empty if it is one."""
    return "" if text.isascii() and text.isdecimal() and len(text) < 10 else "which is no whole number"


def not_different(values: Iterable[Any]) -> str:
    """Why values do not differ from each other; empty if they do."""
    listed = list(values)
    return "which has an entry twice" if len(set(listed)) < len(listed) else ""


Name = Annotated[str, not_a_name]
"""Text that may be the name of a file or folder."""

Decimal = Annotated[str, not_decimal]
"""A whole number as the key of an object."""

Count = Annotated[int, Bounds(least=0)]
"""A whole number from 0."""


def read_as(kind: type[T], value: Any, where: object, remedy: str) -> T:
    """A value, as JSON gives it, as a dataclass, a TypedDict or any type made of such; lists become tuples where asked
    for. DataError naming ``where`` it stands, the entry, and the ``remedy``."""

    def refuse(place: str, problem: str) -> typing.NoReturn:
        raise DataError(where, f"{place or 'what it holds'} {problem}", remedy)

    made: T = _made(value, kind, "", refuse)
    return made


Refuse = Callable[[str, str], typing.NoReturn]


def _made(value: Any, hint: Any, place: str, refuse: Refuse) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        made = _made(value, arguments[0], place, refuse)
        for rule in arguments[1:]:
            if isinstance(rule, Bounds):
                if not rule.hold(made):
                    refuse(place, f"is {_shown(value)}, not {rule}")
            elif problem := rule(made):
                refuse(place, f"is {_shown(value)}, {problem}")
        return made
    if origin in (typing.Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        if value is None and len(options) < len(arguments):
            return None
        return _made(value, next((option for option in options if _alike(value, option)), options[0]), place, refuse)
    if not _alike(value, hint):
        refuse(place, f"is {_shown(value)}, not {_called(hint)}")
    if origin in (Mapping, dict):
        keys, inside = arguments
        return {
            _made(key, keys, _key(place, key), refuse): _made(item, inside, _key(place, key), refuse)
            for key, item in value.items()
        }
    if origin in (tuple, list):
        kinds = [arguments[0]] * len(value) if origin is list or arguments[1:] == (Ellipsis,) else list(arguments)
        if len(kinds) != len(value):
            refuse(place, f"has {len(value)} entries, not {len(kinds)}")
        return origin(
            _made(item, kind, f"{place}[{at}]", refuse) for at, (item, kind) in enumerate(zip(value, kinds, strict=True))
        )
    if typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return _entries(value, hint, place, refuse)
    return float(value) if hint is float else value


def _entries(value: dict[str, Any], kind: Any, place: str, refuse: Refuse) -> Any:
    hints, needed = _described(kind)
    for name in hints:
        if name in needed and name not in value:
            refuse(_key(place, name), "is missing")
    made = {name: _made(value[name], hint, _key(place, name), refuse) for name, hint in hints.items() if name in value}
    return {**value, **made} if typing.is_typeddict(kind) else kind(**made)


@functools.cache
def _described(kind: Any) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The types of the entries of a dataclass or TypedDict by name, and those without a default; found once."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if typing.is_typeddict(kind):
        return hints, frozenset(kind.__required_keys__)
    fields = dataclasses.fields(kind)
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    return hints, frozenset(needed)


def _alike(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, but for what it holds."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _alike(value, typing.get_args(hint)[0])
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(hint))
    if origin in (Mapping, dict) or typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if origin in (tuple, list):
        return isinstance(value, list)
    if hint is float:
        return type(value) in (int, float)
    return hint is Any or type(value) is hint


def _called(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if origin in (tuple, list):
        return "a list"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, "an object of entries")


def _key(place: str, name: object) -> str:
    return f"{place}.{short(str(name))}" if place else short(str(name))


def _shown(value: Any) -> str:
    return short(repr(value))
