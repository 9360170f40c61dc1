"""The pages of audits, from the templates of this folder: ``report.base.html`` is what all share, and the page of a review too.

``report.page.html`` is what reports share that have findings.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

ROOM = "debride.audit.shown"
"""Whose templates every page may use."""


def page(template: str, room: str = ROOM, **values: Any) -> str:
    """A page by the name of its template, which lies in the package ``room`` or in this one; every value is escaped."""

    def text(name: str) -> str | None:
        found = (files(each).joinpath(name) for each in dict.fromkeys((room, ROOM)))
        return next((file.read_text(encoding="utf-8") for file in found if file.is_file()), None)

    loader = FunctionLoader(text)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader)
    return environment.get_template(template).render(**values)
