"""``debride methods``: what there is, and what one method is."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from debride.cli.options import Verbs, flag
from debride.settings import bounds_of


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("methods", help="what there is; one method's defaults and where each comes from")
    parser.add_argument("method", nargs="?")
    parser.add_argument("--markdown", action="store_true", help="all methods as the page of the documentation")
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Lists methods, networks and noise simulators, or describes one method."""
    from debride.methods import METHODS
    from debride.noise import NOISES
    from debride.noise.class_noises import CLASS_NOISES

    if arguments.markdown:
        from debride.methods.page import page

        print(page(), end="")
        return 0
    if arguments.method:
        _describe(arguments.method)
        return 0
    print("Methods (`debride methods METHOD` for one of them)")
    for name, cls in METHODS.items():
        print(f"  {name:14} {cls.paper.title} ({cls.paper.authors}, {cls.paper.year})")
    for title, noises in (("", NOISES), (" for classification", CLASS_NOISES)):
        print(f"\nLabel noise{title} (`debride corrupt --noise NAME --set PARAMETER=VALUE`)")
        for name, noise in noises.items():
            print(f"  {name:14} {', '.join(f'{f.name}={_default(f)}' for f in dataclasses.fields(noise))}")
    return 0


def _default(field: dataclasses.Field[Any]) -> object:
    return "(required)" if field.default is dataclasses.MISSING else field.default


def _describe(name: str) -> None:
    from debride.methods import find_method

    method = find_method(name)
    paper = method.paper
    print(f"{name}: {paper.title}\n{paper.authors}, {paper.year}. {paper.reference}\nImplements: {paper.sections}")
    print(f"For {' and '.join(sorted(method.tasks, reverse=True))}.")
    print(f"Needs: {', '.join(sorted(paper.needs)) or 'images and labels only'}. Trusted cases are {paper.trusted}.")
    print("\nOptions")
    for field in dataclasses.fields(method.Config):
        bounds = f" ({words})" if (words := bounds_of(field)) else ""
        print(f"  {flag(field.name):18} {field.default!s:8} {field.metadata.get('about', '')}{bounds}")
    print(
        "\nDepartures from the paper, and choices where it is silent" if paper.deviations else "\nNo departures from the paper."
    )
    for deviation in paper.deviations:
        print(f"  - {deviation}")
