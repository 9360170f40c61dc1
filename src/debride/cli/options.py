"""Command-line options made from settings dataclasses."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.settings import NAMED, bounds_of
from debride.types import DataError

Verbs = Any
"""The sub-parsers that verbs add theirs to: argparse's type of them is private."""


def add_settings(
    parser: argparse.ArgumentParser,
    cls: type[Any],
    title: str,
    prefix: str = "",
    dest: str = "",
    leave_out: tuple[str, ...] = (),
) -> None:
    """One option for each field of ``cls`` but those to ``leave_out``; an option that is not given leaves no trace in the
    namespace.

    ``prefix`` begins the options' names, ``dest`` their places in the namespace.
    """
    group = parser.add_argument_group(title)
    hints = typing.get_type_hints(cls)
    for field in (field for field in dataclasses.fields(cls) if field.name not in leave_out):
        hint = hints[field.name]
        option = flag(prefix + field.name)
        about = field.metadata.get("about", "")
        shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default).lower()
        bounds = bounds_of(field)
        text = f"{about} ({bounds}{'; ' if bounds else ''}default: {shown})".strip().replace("%", "%%")
        common: dict[str, Any] = {"dest": dest + prefix + field.name, "default": argparse.SUPPRESS, "help": text}
        choices = _choices(hint)
        if hint is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, **common)
        elif choices:
            group.add_argument(option, choices=choices, **common)
        elif _is_tuple(hint):
            group.add_argument(option, nargs="+", metavar=_metavar_of_entries(hint), **common)
        else:
            group.add_argument(option, metavar=_metavar(hint), **common)


def setting_values(arguments: argparse.Namespace, cls: type[Any], prefix: str = "", dest: str = "") -> dict[str, Any]:
    """The plain values that were given on the command line for the fields of ``cls``, by their names with the prefix."""
    values = vars(arguments)
    return {
        name: _single_none(values[dest + name])
        for field in dataclasses.fields(cls)
        if dest + (name := prefix + field.name) in values
    }


def add_trust(parser: argparse.ArgumentParser, named: bool = False) -> None:
    """The options by which a user trusts modules that files name; those to name them again where ``named``."""
    group = parser.add_argument_group("code of your own")
    group.add_argument(
        "--trust-code", action="store_true", help="import and run the modules that files name as package.module:name"
    )
    if named:
        group.add_argument("--method", metavar="PATH", help="trust this method of the run, as package.module:Class")
        group.add_argument("--network", metavar="PATH", help="trust this network of the run, as package.module:constructor")


def add_keep_going(parser: argparse.ArgumentParser) -> None:
    """The option of work that is done case by case."""
    parser.add_argument(
        "--keep-going", action="store_true", help="leave out cases that cannot be read, list them in left_out.csv, exit with 1"
    )


def add_verify(parser: argparse._ActionsContainer) -> None:
    """The option that trusts no date of a file."""
    about = "read all files of the data set again, also those whose size and dates are as they were when they were prepared"
    parser.add_argument("--verify", action="store_true", help=about)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """The option of work on cases that several processes share: ``arguments.jobs``."""
    about = "processes that work at once, with one thread each (default: the cores that this one may use)"
    parser.add_argument("--jobs", type=_jobs, default="all", metavar="N", help=about)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The options by which jobs of a cluster do the work, read by ``cluster_options``."""
    from debride.execute.cluster import CLUSTERS

    known = [{field.name for field in dataclasses.fields(cls)} for cls in CLUSTERS.values()]
    of_all = set.intersection(*known)
    names = {"any": of_all, **{name: own - of_all for name, own in zip(CLUSTERS, known, strict=True)}}
    listed = "; ".join(f"of {name}: {', '.join(_in_order(own))}" for name, own in names.items())
    group = parser.add_argument_group("jobs of a cluster", "The documentation, page cluster, says when to use them.")
    group.add_argument("--cluster", choices=tuple(CLUSTERS), help="have the work done by jobs of this cluster")
    group.add_argument(
        "--cluster-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help=f"what is asked of it, as partition=gpu gpus=1 ({listed})",
    )


def cluster_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given for the options of ``add_cluster``, as functions of debride take it."""
    return {
        "cluster": arguments.cluster,
        "cluster_option": dict(named_values("--cluster-option", arguments.cluster_option, "partition=gpu")),
    }


def named_values(option: str, words: Sequence[str], example: str) -> list[tuple[str, str]]:
    """Words NAME=VALUE of an option as pairs. Raises DataError for another word, and for a name that stands twice."""
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise DataError(option, f"{word!r} is not NAME=VALUE", f"Write it as {example}.")
        if name in pairs:
            raise DataError(option, f"gives {name} twice", "Keep one of the two.")
        pairs[name] = value
    return list(pairs.items())


def _in_order(names: set[str]) -> list[str]:
    """The names of options of clusters as they are declared."""
    from debride.execute.cluster import CLUSTERS

    declared = dict.fromkeys(field.name for cls in CLUSTERS.values() for field in dataclasses.fields(cls))
    return [name for name in declared if name in names]


def _jobs(text: str) -> int:
    if text == "all":
        from debride.execute import cores

        return cores()
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def tell_left_out(left_out: Sequence[DataError], out: Path, remedy: str) -> int:
    """Says on standard error which cases were left out, and what to do; returns the exit code."""
    for error in left_out:
        print(f"left out: {error}", file=sys.stderr)
    if left_out:
        many = f"{len(left_out)} case{'s were' if len(left_out) > 1 else ' was'} left out"
        print(f"debride: {many}, see {out / 'left_out.csv'}. {remedy}", file=sys.stderr)
    return 1 if left_out else 0


def flag(name: str) -> str:
    """A setting's option."""
    return f"--{name.replace('_', '-')}"


def with_flags(message: str, parser: argparse.ArgumentParser) -> str:
    """A message in which settings that are options of the parser are named by these: `` `batch_size` `` as --batch-size."""
    options = set(re.findall(r"^  (--[\w-]+)", parser.format_help(), re.MULTILINE))

    def named(mention: re.Match[str]) -> str:
        option = flag(mention[1])
        return option if option in options else mention[0]

    return NAMED.sub(named, message)


def all_flags(message: str) -> str:
    """A message in which every setting that it names is named by an option."""
    return NAMED.sub(lambda mention: flag(mention[1]), message)


def _single_none(value: Any) -> Any:
    return None if isinstance(value, list) and [str(item).lower() for item in value] == ["none"] else value


def _choices(hint: Any) -> tuple[str, ...]:
    return tuple(map(str, typing.get_args(hint))) if typing.get_origin(hint) is typing.Literal else ()


def _is_tuple(hint: Any) -> bool:
    return any(typing.get_origin(option) is tuple for option in (hint, *typing.get_args(hint)))


def _metavar_of_entries(hint: Any) -> str:
    named = [name for entry in typing.get_args(hint) for name in _choices(entry)]
    return f"{{{','.join((*named, 'none'))}}}" if named else "N"


def _metavar(hint: Any) -> str:
    kinds = [option for option in (hint, *typing.get_args(hint)) if option in (int, float, str)]
    return {int: "N", float: "X", str: "TEXT"}[kinds[0]] if kinds else "VALUE"
