"""``debride datasets``: public data sets that are known, and downloaded archives made into folders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.cli.options import Verbs, add_jobs, named_values
from debride.types import DataError

if TYPE_CHECKING:
    from debride.known.known_set import KnownSet


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("datasets", help="public data sets: licences, places, archives made readable")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a set; without one all are listed")
    parser.add_argument(
        "archives", nargs="*", type=Path, metavar="ARCHIVE", help="its downloaded files, or folders that they were unpacked to"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the new folder to write the data set to")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="options of the set, as cases=30")
    parser.add_argument("--markdown", action="store_true", help="all sets as the page of the documentation")
    add_jobs(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Lists the sets, describes one, or makes one readable."""
    from debride.api.known_sets import convert_dataset, known_datasets
    from debride.known.registry import find_known

    if arguments.markdown:
        from debride.known.datasets_page import page

        print(page(), end="")
    elif arguments.name is None:
        _list(list(known_datasets().values()))
    elif arguments.out is None:
        known = find_known(arguments.name)
        if arguments.archives:
            raise DataError("--out", "is missing", f"Say where to write {known.name}: --out {known.name}.")
        _describe(known)
    else:
        converted = convert_dataset(
            arguments.name, arguments.archives, arguments.out, set=_values(arguments.set), jobs=arguments.jobs
        )
        print(f"{converted.out}: {converted.said()[0]}")
        print(f"Next: debride check {converted.out}")
    return 0


def _values(words: Sequence[str]) -> dict[str, Any]:
    from debride.strict_yaml import parse_yaml

    return {name: parse_yaml(value, f"--set {name}") for name, value in named_values("--set", words, "cases=30")}


def _list(sets: Sequence[KnownSet]) -> None:
    print("Known data sets (`debride datasets NAME` for one of them; nothing is ever downloaded)")
    for known in sets:
        print(f"  {known.name:16} {known.title}")
        print(f"  {'':16} {known.cases}; size: {known.size}; licence: {known.licence}")


def _describe(known: KnownSet) -> None:
    from debride.known.converting import command_for, files_in_words, shown_value

    pages = known.where.split() if known.where.startswith("http") else [known.where]
    print(f"{known.name}: {known.title}\n{known.task}: {known.cases}; size: {known.size}")
    print(f"Classes: {', '.join(known.classes)}")
    print(f"Licence: {known.licence}\nFrom: {' and '.join(pages)}\nCite: {known.cite}\nUsed by: {', '.join(known.used_by)}")
    if known.files:
        print("\nFiles to download (a folder that they were unpacked to will do as well)")
        for line in files_in_words(known):
            print(f"  {line}")
    if known.options:
        print("\nOptions (--set NAME=VALUE)")
    for option in known.options:
        choices = f" ({', '.join(map(shown_value, option.choices))})" if option.choices else ""
        default = "must be given" if option.default == "" else shown_value(option.default)
        print(f"  {option.name:16} {default:14} {option.about}{choices}")
    if known.remarks:
        print("\nHow it is read")
    for remark in known.remarks:
        print(f"  - {remark}")
    print(f"\nThen: {command_for(known)}")
