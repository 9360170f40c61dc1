"""The documentation's page on methods, from what the methods say of themselves."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Literal, get_args, get_origin, get_type_hints

from debride.methods import METHODS
from debride.methods.base import Method
from debride.settings import bounds_of


def page() -> str:
    """All methods as Markdown: paper, needs, settings with their sources, departures."""
    head = "# Methods\n\nMade by `debride methods --markdown` from what the methods say of themselves.\n"
    return head + "".join(_section(name, method) for name, method in METHODS.items())


def _section(name: str, method: type[Method]) -> str:
    paper, hints = method.paper, get_type_hints(method.Config)
    lines = [
        f"\n## `{name}`\n",
        f"{inspect.getdoc(method)}\n",
        f"{paper.authors}: *{paper.title}*, {paper.year}. {paper.reference}. Implements: {paper.sections}.\n",
        f"For {' and '.join(sorted(method.tasks, reverse=True))}. Needs "
        f"{', '.join(sorted(paper.needs)) or 'images and labels only'}. Trusted cases are {paper.trusted}.\n",
        "| option | default | range | what it is |\n|---|---|---|---|",
        *(
            f"| `--{field.name.replace('_', '-')}` | {field.default} | {_range(field, hints[field.name])} "
            f"| {field.metadata['about']} |"
            for field in dataclasses.fields(method.Config)
        ),
    ]
    if paper.deviations:
        lines += [
            "\nDepartures from the paper, and choices where it is silent:\n",
            *(f"- {deviation}" for deviation in paper.deviations),
        ]
    return "\n".join(lines) + "\n"


def _range(field: dataclasses.Field[Any], hint: Any) -> str:
    """The values that a setting takes, in words: a range, or choices."""
    choices = map(str, get_args(hint)) if get_origin(hint) is Literal else ()
    return bounds_of(field) or ", ".join(choices)
