"""A paper's table of hyper-parameters beside the settings that they are here."""

from __future__ import annotations

import dataclasses
from typing import Any

from debride.bench.papers.paper_items import Item
from debride.bench.tabulate import Table
from debride.data.augmentation import Augmentation
from debride.methods import find_method
from debride.settings import paper_values
from debride.training.config import TrainConfig
from debride.types import DataError

OWN: dict[str, type[Any]] = {"training": TrainConfig, "augmentation": Augmentation}
"""Settings that are of no method, by what their names begin with."""

LINES = ("here", "default", "with preset paper")
"""What is said of each: its name, its default and, of a method's, the value with ``--preset paper``."""


def setting_table(item: Item, where: str) -> Table:
    """The printed table, and beside each printed setting, which may be a row or a column, what it is here; DataError for a
    name that is no setting."""
    ours = {printed: _setting(name, where) for printed, name in item.settings.items()}
    nothing = ("–",) * len(LINES)
    columns, lines = item.columns, [*item.printed.items()]
    if any(column in ours for column in columns):
        said = zip(*(ours.get(column, nothing) for column in columns), strict=True)
        lines += zip(LINES, said, strict=True)
    else:
        columns = (*columns, *LINES)
        lines = [(row, (*texts, *ours.get(row, nothing))) for row, texts in lines]
    return Table("", item.title, "", columns, tuple(lines))


def _setting(name: str, where: str) -> tuple[str, str, str]:
    owner, _, setting = name.rpartition(".")
    cls = OWN[owner] if owner in OWN else find_method(owner, where).Config
    known = {field.name: field for field in dataclasses.fields(cls)}
    if setting not in known:
        raise DataError(where, f"names the setting {name}, which does not exist", "Write METHOD.SETTING or training.SETTING.")
    papers = paper_values(cls)
    default = _text(known[setting].default)
    return f"{owner} {setting}", default, _text(papers[setting]) if setting in papers else default if owner not in OWN else "–"


def _text(value: Any) -> str:
    """As YAML and the command line write it."""
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
