"""What is known of a public data set, without reading any of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from debride.types import DataError, TaskName
from debride.words import listed

if TYPE_CHECKING:
    from debride.known.archive import Archive

NOT_KNOWN = "not known"
"""Stands where a source says nothing, or could not be asked."""

Value = str | int | float | bool
Convert = Callable[..., None]
"""``convert(archives, out, options, *, jobs)`` writes the folder of a data set into the empty folder ``out``.

``options`` has a value for each option of the set. It raises DataError, naming the file, for all that it does not know.
"""


@dataclass(frozen=True)
class SetOption:
    """A choice that a converter leaves to the user; the type of ``default`` is that of its values."""

    name: str
    default: Value
    about: str
    choices: tuple[Value, ...] = ()


@dataclass(frozen=True)
class KnownFile:
    """A file that a person downloads: its size in bytes and its checksum ("md5:…", "sha256:…") where they are published.

    Where it was published more than once, ``checksum`` has one for each time, with "or" between them.
    """

    name: str
    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class KnownSet:
    """One public data set.

    ``where`` is the page where a person gets it, under ``licence``. ``files`` are those that are converted; a folder that they
    were unpacked to will do as well. ``cases`` and ``size`` are words. ``used_by`` names papers and benchmarks.
    ``converter`` is a module of ``debride.known`` with a function ``convert``, or "module:function". ``remarks`` say what that
    does and refuses.
    ``given`` is what a command gives it, where that is not all of ``files`` by their names. An option with the default "" must
    be given.
    """

    name: str
    title: str
    task: TaskName
    classes: tuple[str, ...]
    licence: str
    where: str
    files: tuple[KnownFile, ...]
    cases: str
    size: str
    cite: str
    used_by: tuple[str, ...]
    converter: str
    options: tuple[SetOption, ...] = ()
    remarks: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    def convert(self, archives: Sequence[Archive], out: Path, options: Mapping[str, Value], jobs: int = 1) -> None:
        """Write the set's folder into the empty folder ``out``; ``options`` that are not given have their defaults."""
        module, _, function = self.converter.partition(":")
        convert: Convert = getattr(importlib.import_module(f"debride.known.{module}"), function or "convert")
        convert(archives, out, self.chosen(options), jobs=jobs)

    def chosen(self, options: Mapping[str, object]) -> dict[str, Value]:
        """The value of each option. DataError for one that there is not, or with a value that it cannot have."""
        known = {option.name: option for option in self.options}
        values = {option.name: option.default for option in self.options}
        for name, value in options.items():
            if name not in known:
                there = f"Its options are {listed(sorted(known))}." if known else "It has none."
                raise DataError(f"option {name}", f"is none of {self.name}", there)
            values[name] = _checked(self.name, known[name], value)
        for option in self.options:
            if values[option.name] == "":
                remedy = f"Give one of {listed(map(str, option.choices))}."
                raise DataError(f"option {option.name} of {self.name}", "is missing", remedy)
        return values


def _checked(of: str, option: SetOption, value: object) -> Value:
    kind = type(option.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
        raise DataError(f"option {option.name} of {of}", f"is {value!r}", f"Give {words}.")
    if option.choices and value not in option.choices:
        raise DataError(f"option {option.name} of {of}", f"is {value!r}", f"Choose of {listed(map(str, option.choices))}.")
    assert isinstance(value, str | int | float | bool)
    return value
