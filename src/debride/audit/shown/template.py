"""The pages of audits, from the templates of this folder: ``report.page.html`` is what they share."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def page(template: str, **values: Any) -> str:
    """A page by the name of its template; every value is escaped."""
    loader = FunctionLoader(lambda name: files("debride.audit.shown").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader)
    return environment.get_template(template).render(**values)
