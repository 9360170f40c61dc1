"""Settings as frozen dataclasses: one description serves the command line, the configuration file and the documentation.

A setting brings its default, what it is, and the range of its values. The range is checked where plain values become settings
(``from_mapping``), which knows where they come from, and once more where settings made in Python are used (``check_bounds``).
Rules between several settings are what a settings class yields from ``conflicts``.

Messages name a setting in backticks: `` `batch_size` ``. Where it came from a file or an option, its place is named instead.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from debride.types import DataError
from debride.words import short

T = TypeVar("T")

NAMED = re.compile(r"`([a-z]\w*)`")
"""A setting's name within a message."""

_SHOWN = 80
"""Characters of a value up to which a message shows it."""


@dataclass(frozen=True)
class Bounds:
    """The range of a number: larger than ``above``, at least ``least``, less than ``below``, at most ``most``."""

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    def hold(self, number: float) -> bool:
        """Whether a number is finite and in the range."""
        return (
            abs(number) <= sys.float_info.max
            and (self.above is None or number > self.above)
            and (self.least is None or number >= self.least)
            and (self.below is None or number < self.below)
            and (self.most is None or number <= self.most)
        )

    def __str__(self) -> str:
        """The range in words, as "above 0 and at most 1"."""
        if self.least is not None and self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        if self.least is not None and self.below is not None:
            return f"from {self.least:g} to below {self.below:g}"
        words = {"above": self.above, "at least": self.least, "below": self.below, "at most": self.most}
        return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)


@runtime_checkable
class HasRules(Protocol):
    """A settings class with rules between several settings."""

    def conflicts(self) -> Iterable[DataError]:
        """What does not fit together, each error with the name of the setting to change, in backticks, as its place."""


def setting(
    default: Any,
    about: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    paper: Any = MISSING,
) -> Any:
    """A dataclass field with a default and a sentence that says what it is and, for a method, where its value comes from.

    ``paper`` is the value of the method's paper, where the default is another one that works better (``paper_values``).

    With ``dataclasses.MISSING`` for a default the setting must be given. The bounds are those of a number, or of every entry of
    a tuple. None passes where a setting may be None. Neither NaN nor infinity passes a bound.
    """
    metadata: dict[str, Any] = {"about": about}
    bounds = Bounds(above, least, below, most)
    if bounds != Bounds():
        metadata["bounds"] = bounds
    if paper is not MISSING:
        metadata["paper"] = paper
    return dataclasses.field(default=default, metadata=metadata)


def paper_values(cls: type[Any]) -> dict[str, Any]:
    """What ``--preset paper`` sets of a settings class: the paper's value of each setting that has another default."""
    return {field.name: field.metadata["paper"] for field in dataclasses.fields(cls) if "paper" in field.metadata}


def bounds_of(field: dataclasses.Field[Any]) -> str:
    """The range of a setting in words; empty where it has none."""
    return str(field.metadata.get("bounds", ""))


def from_mapping(cls: type[T], values: Mapping[str, Any], where: object, given: Mapping[str, str] | None = None) -> T:
    """Builds a settings dataclass from plain values (YAML, JSON, command line).

    ``where`` names the source in messages; ``given`` names the values that come from elsewhere, such as options of the command
    line, each by its own place. Raises DataError for unknown names, wrong types, values out of range and settings that do not
    fit together.
    """
    given = given or {}
    if not isinstance(values, Mapping):
        raise DataError(where, f"is {_shown(values)}", "Write NAME: VALUE pairs.")
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise DataError(where, f"has no setting {_shown(name)}", f"Known settings: {', '.join(known) or 'none'}.")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            about = field.metadata.get("about", "which has no default")
            raise DataError(where, f"has no {name}", f"Give {name}, {about}.")
    settings = cls(
        **{
            name: read_setting(value, known[name], hints[name], given.get(name, f"{where}: {name}"))
            for name, value in values.items()
        }
    )
    for conflict in _conflicts(settings):
        raise _placed(conflict, values, where, given)
    return settings


def check_bounds(settings: Any, *, of_class: bool = True) -> None:
    """Raises DataError where settings made in Python hold a value out of range, a choice that does not exist, a word for true
    or false, or values that do not fit together. It names class and setting; with ``of_class`` off the setting alone."""
    cls = type(settings)
    hints = typing.get_type_hints(cls)

    def place(name: str) -> str:
        return f"{cls.__qualname__}.{name}" if of_class else f"`{name}`"

    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        kinds = _kinds(hint)
        if "bounds" in field.metadata or hint is bool or (typing.Literal in kinds and frozenset not in kinds):
            read_setting(getattr(settings, field.name), field, hint, place(field.name))
    for conflict in _conflicts(settings):
        where = NAMED.sub(lambda mention: place(mention[1]), conflict.where)
        raise DataError(where, conflict.problem, conflict.remedy)


def read_setting(value: Any, field: dataclasses.Field[Any], hint: Any, where: object) -> Any:
    """A plain value as a setting's own, of its type (see ``convert``) and within its bounds."""
    converted = convert(value, hint, where)
    bounds: Bounds | None = field.metadata.get("bounds")
    if bounds is not None and not all(bounds.hold(number) for number in _numbers(converted)):
        shown = _shown(converted)
        problem = f"is {shown}" if len(shown) < _SHOWN else "has an entry out of range"
        raise DataError(where, problem, f"Give {_wanted(hint, bounds)}.")
    return converted


def _shown(value: Any) -> str:
    """A value as a message shows it."""
    try:
        return short(repr(value), _SHOWN)
    except (ValueError, RecursionError):  # a number of thousands of digits; what nests too deep
        return f"a {type(value).__name__}"


def _numbers(value: Any) -> list[float]:
    """The numbers that a bound is of: none, one, or those of a tuple, within tuples too."""
    if isinstance(value, tuple):
        return [number for entry in value for number in _numbers(entry)]
    return [] if value is None else [value]


def _wanted(hint: Any, bounds: Bounds) -> str:
    """What a setting takes, in words, as "a whole number of at least 1, or none"."""
    kinds = set(_kinds(hint))
    several = tuple in kinds
    words = f"{'' if several else 'a '}{'whole ' if int in kinds else ''}number{'s' if several else ''}"
    of = "of " if str(bounds).startswith("at ") else ""
    return f"{words} {of}{bounds}{', each' if several else ''}{', or none' if type(None) in kinds else ''}"


def _kinds(hint: Any) -> list[Any]:
    """The types within a hint: itself or what it is made of."""
    inside = [kind for argument in typing.get_args(hint) for kind in _kinds(argument)]
    return [typing.get_origin(hint) or hint, *inside]


def _conflicts(settings: object) -> Iterable[DataError]:
    return settings.conflicts() if isinstance(settings, HasRules) else ()


def _placed(conflict: DataError, values: Mapping[str, Any], where: object, given: Mapping[str, str]) -> DataError:
    """A conflict with its settings named by where they come from. It is one of ``where``, unless the setting to change, or all
    that was set of those that it names, was given elsewhere."""
    parts = (conflict.where, conflict.problem, conflict.remedy)
    names = [name for part in parts for name in NAMED.findall(part)]
    from_where = any(name in values and name not in given for name in names) or not any(name in given for name in names)
    here = from_where and names[0] not in given

    def called(mention: re.Match[str]) -> str:
        name = mention[1]
        if name in given:
            return given[name]
        if here:
            return name
        return f"{name} of {where}" if name in values else mention[0]

    place, problem, remedy = (NAMED.sub(called, part) for part in parts)
    return DataError(f"{where}: {place}" if here else place, problem, remedy)


def convert(value: Any, hint: Any, where: object) -> Any:
    """A plain value as the type that a field asks for; text is parsed.

    "none" stands for None where that is allowed, and for no entries where any number is.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    none = value is None or (isinstance(value, str) and value.lower() == "none")
    if origin in (typing.Union, types.UnionType):
        if none and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        mappings = [option for option in options if typing.get_origin(option) is Mapping]
        return convert(value, (mappings if mappings and isinstance(value, Mapping) else options)[0], where)
    if origin is typing.Literal:
        text = value if value in arguments else str(value)
        if text not in arguments:
            raise DataError(where, f"is {_shown(value)}", f"Choose one of {', '.join(map(str, arguments))}.")
        return text
    if origin is Mapping:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise DataError(where, f"is {_shown(value)}", "Write NAME: VALUE pairs.")
        return {
            convert(key, arguments[0], where): convert(item, arguments[1], f"{where}: {key}") for key, item in value.items()
        }
    if hint is Any:
        return value
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return () if none else tuple(convert(item, arguments[0], where) for item in items)
        if len(items) != len(arguments):
            raise DataError(where, f"has {len(items)} entries", f"Give {len(arguments)}.")
        return tuple(convert(item, kind, where) for item, kind in zip(items, arguments, strict=True))
    return _scalar(value, hint, where)


def _scalar(value: Any, kind: type, where: object) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "on", "false", "no", "off"):
            return str(value).lower() in ("true", "yes", "on")
        raise DataError(where, f"is {_shown(value)}", "Give true or false.")
    if kind is str and isinstance(value, str):
        return value
    if kind in (int, float) and not isinstance(value, bool):
        number = _number(value, kind)
        if number == number and (kind is float or isinstance(number, int) or number.is_integer()):
            return kind(number)
    raise DataError(
        where, f"is {_shown(value)}", f"Give {'a whole number' if kind is int else 'a number' if kind is float else 'text'}."
    )


def _number(value: Any, kind: type) -> int | float:
    """A number or text as a number, whole ones exactly if they are wanted; NaN where it is none."""
    for parse in (int, float) if kind is int and not isinstance(value, float) else (float,):
        with suppress(TypeError, ValueError, OverflowError):
            return parse(value)
    return float("nan")
