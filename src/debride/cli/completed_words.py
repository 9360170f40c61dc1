"""The words that a command line may hold: verbs, their options, and what may follow each."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.methods.table import SettingRow, read_table
from debride.plugins import registered


@dataclass(frozen=True)
class Option:
    """An option: its flags, what it does, and what follows it.

    ``values`` are words to choose from, None for names of files; ``takes`` of them follow: "none", "one" or "some".
    """

    flags: tuple[str, ...]
    about: str
    takes: str
    values: tuple[str, ...] | None = ()


@dataclass(frozen=True)
class VerbWords:
    """A verb: what it does, its options, and the ``words`` that may stand beside names of files."""

    about: str
    options: tuple[Option, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownWords:
    """All verbs by name, and the options of ``train`` that each method brings."""

    verbs: Mapping[str, VerbWords]
    methods: Mapping[str, tuple[Option, ...]]


def known_words(parser: argparse.ArgumentParser) -> KnownWords:
    """What a parser of all verbs knows, with the methods and noises of the table and those that packages registered."""
    table = read_table()
    methods = {name: tuple(map(_setting, row.settings)) for name, row in table.methods.items()}
    methods |= dict.fromkeys(registered("debride.methods"), ())
    noises = [*table.noises, *table.class_noises, *registered("debride.noises")]
    named = {"method": tuple(methods), "noise": tuple(dict.fromkeys(noises))}
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    abouts = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    return KnownWords({name: _verb(name, abouts[name], one, named) for name, one in verbs.choices.items()}, methods)


def _verb(name: str, about: str, parser: argparse.ArgumentParser, named: Mapping[str, tuple[str, ...]]) -> VerbWords:
    options = [_option(action, named) for action in parser._actions if action.option_strings]
    words: list[str] = []
    for action in parser._actions:
        if not action.option_strings:
            words += map(str, action.choices or named.get(action.dest, ()))
    if name == "methods":
        words += named["noise"]
    if name == "datasets":
        from debride.known.registry import KNOWN

        words += KNOWN
    return VerbWords(about, tuple(options), tuple(words))


def _option(action: argparse.Action, named: Mapping[str, tuple[str, ...]]) -> Option:
    takes = "none" if action.nargs == 0 else "some" if action.nargs in ("+", "*") else "one"
    values: Iterable[Any] | None = action.choices or named.get(action.dest, ())
    if not values and (action.type is Path or action.metavar in ("DIR", "FILE", "RUN", "AUDIT", "FOLDER", "PATH")):
        values = None
    return Option(tuple(action.option_strings), _plain(action.help), takes, None if values is None else tuple(map(str, values)))


def _setting(row: SettingRow) -> Option:
    if row.default in ("True", "False", "true", "false"):
        return Option((row.flag, f"--no-{row.flag[2:]}"), _plain(row.about), "none")
    choices = () if any(letter.isdigit() for letter in row.range) else tuple(row.range.split(", ")) if row.range else ()
    return Option((row.flag,), _plain(row.about), "one", choices if len(choices) > 1 else ())


def _plain(text: str | None) -> str:
    """The beginning of a help text, on one line and without what means something to a shell."""
    words = " ".join((text or "").replace("%%", "%").split()).split(" (default")[0]
    return "".join(letter for letter in words if letter not in "'\"\\`$")[:70]
