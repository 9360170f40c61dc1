"""Settings as frozen dataclasses: one description serves the command line, the configuration file and the documentation."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from debride.types import DataError

T = TypeVar("T")


def setting(default: Any, about: str) -> Any:
    """A dataclass field with a default and a sentence that says what it is and, for a method, where its value comes from."""
    return dataclasses.field(default=default, metadata={"about": about})


def from_mapping(cls: type[T], values: Mapping[str, Any], where: object) -> T:
    """Builds a settings dataclass from plain values (YAML, JSON, command line), refusing unknown names and wrong types.

    ``where`` names the source in messages.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise DataError(where, f"has no setting {name!r}", f"Known settings: {', '.join(known) or 'none'}.")
    return cls(**{name: convert(value, hints[name], f"{where}: {name}") for name, value in values.items()})


def convert(value: Any, hint: Any, where: object) -> Any:
    """A plain value as the type that a field asks for; text is parsed.

    "none" stands for None where that is allowed, and for no entries where any number is.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    none = value is None or (isinstance(value, str) and value.lower() == "none")
    if origin in (typing.Union, types.UnionType):
        if none:
            return None
        return convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is typing.Literal:
        text = value if value in arguments else str(value)
        if text not in arguments:
            raise DataError(where, f"is {value!r}", f"Choose one of {', '.join(map(str, arguments))}.")
        return text
    if origin is Mapping:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise DataError(where, f"is {value!r}", "Write NAME: VALUE pairs.")
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
        if str(value).lower() in ("true", "yes", "false", "no"):
            return str(value).lower() in ("true", "yes")
        raise DataError(where, f"is {value!r}", "Give true or false.")
    if kind is str and isinstance(value, str):
        return value
    if kind in (int, float) and not isinstance(value, bool):
        number = _number(value, kind)
        if number == number and (kind is float or isinstance(number, int) or number.is_integer()):
            return kind(number)
    raise DataError(
        where, f"is {value!r}", f"Give {'a whole number' if kind is int else 'a number' if kind is float else 'text'}."
    )


def _number(value: Any, kind: type) -> int | float:
    """A number or text as a number, whole ones exactly if they are wanted; NaN where it is none."""
    for parse in (int, float) if kind is int and not isinstance(value, float) else (float,):
        with suppress(TypeError, ValueError, OverflowError):
            return parse(value)
    return float("nan")
