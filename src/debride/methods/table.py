"""What methods and noises say of themselves, as a table: listing them needs neither torch nor their modules.

``table.json`` beside this module holds it. ``python -m debride.methods.table`` writes it anew from the code; a test compares.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from debride.plugins import load, load_registered, registered
from debride.settings import bounds_of
from debride.types import DataError

if TYPE_CHECKING:
    from debride.methods.base import Method

FILE = Path(__file__).with_name("table.json")


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting: its default, the paper's value where that is another, the values that it takes (a range or choices), and
    what it is, all as text."""

    name: str
    default: str
    paper: str
    range: str
    about: str

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """A method: what its class, its paper and its settings say."""

    about: str
    title: str
    authors: str
    year: int
    reference: str
    sections: str
    tasks: tuple[str, ...]
    needs: tuple[str, ...]
    trusted: str
    unlabelled: str
    deviations: tuple[str, ...]
    settings: tuple[SettingRow, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The methods, and the parameters of the noises for masks and for classes, each by name."""

    methods: dict[str, MethodRow]
    noises: dict[str, tuple[SettingRow, ...]]
    class_noises: dict[str, tuple[SettingRow, ...]]


def read_table() -> Table:
    """The table of the built-in methods and noises, as it was written last."""
    raw = json.loads(FILE.read_text(encoding="utf-8"))

    def rows(settings: list[dict[str, str]]) -> tuple[SettingRow, ...]:
        return tuple(SettingRow(**setting) for setting in settings)

    def method(entry: Mapping[str, Any]) -> MethodRow:
        texts = {name: tuple(entry[name]) for name in ("tasks", "needs", "deviations")}
        return MethodRow(**{**entry, **texts, "settings": rows(entry["settings"])})

    return Table(
        methods={name: method(entry) for name, entry in raw["methods"].items()},
        noises={name: rows(entry) for name, entry in raw["noises"].items()},
        class_noises={name: rows(entry) for name, entry in raw["class_noises"].items()},
    )


def make_table() -> Table:
    """The table as the code says it: imports every method and every noise."""
    from debride.methods import METHODS
    from debride.noise import CLASS_NOISES, NOISES

    return Table(
        methods={name: describe(method) for name, method in METHODS.items()},
        noises={name: setting_rows(noise) for name, noise in NOISES.items()},
        class_noises={name: setting_rows(noise) for name, noise in CLASS_NOISES.items()},
    )


def find_row(name: str) -> MethodRow | tuple[SettingRow, ...]:
    """What a method says of itself, or the parameters of a noise: from the table, else from the class that the name stands for.

    That is ``package.module:Class``, what an installed package registers, or what was added since the table was written.
    DataError for a name that does not exist, and for what is neither a method nor a noise.
    """
    table = read_table()
    for rows in (table.methods, table.noises, table.class_noises):
        if name in rows:
            return rows[name]
    return _row_of_code(name)


def _row_of_code(name: str) -> MethodRow | tuple[SettingRow, ...]:
    from debride.methods import METHODS
    from debride.noise import CLASS_NOISES, NOISES, ClassNoise, Noise

    if name in METHODS:
        return describe(METHODS[name])
    for noises in (NOISES, CLASS_NOISES):
        if name in noises:
            return setting_rows(noises[name])
    thing = _outside(name)
    for noises, protocol in ((NOISES, Noise), (CLASS_NOISES, ClassNoise)):
        if protocol in getattr(thing, "__mro__", ()) or not noises.lacks(thing):
            return setting_rows(noises.find(name))
    from debride.methods.base import Method  # asks for torch, which what comes before does not

    if Method in getattr(thing, "__mro__", ()):
        return describe(METHODS.find(name))
    remedy = "See docs/how-to/method.md and docs/how-to/noise.md for what they are made of."
    raise DataError(name, "is neither a method nor a noise", remedy)


def _outside(name: str) -> object:
    from debride.methods import METHODS
    from debride.noise import CLASS_NOISES, NOISES

    place, groups = f"method or noise {name}", (METHODS.group, NOISES.group)
    if ":" in name:
        return load(name, place)
    for group in groups:
        if (thing := load_registered(group, name, place)) is not None:
            return thing
    outside = ", ".join(other for group in groups for other in registered(group))
    installed = f"; installed: {outside}" if outside else ""
    remedy = (
        f"Choose one of {', '.join(METHODS)}, or one of the noises {', '.join((*NOISES, *CLASS_NOISES))}{installed}; "
        "or name your own as package.module:name."
    )
    raise DataError(place, "does not exist", remedy)


def write_table(table: Table, file: Path) -> None:
    """Writes a table as ``read_table`` reads it."""
    file.write_text(json.dumps(dataclasses.asdict(table), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(method: type[Method]) -> MethodRow:
    """What a method says of itself."""
    paper = method.paper
    return MethodRow(
        about=inspect.getdoc(method) or "",
        title=paper.title,
        authors=paper.authors,
        year=paper.year,
        reference=paper.reference,
        sections=paper.sections,
        tasks=tuple(sorted(method.tasks, reverse=True)),
        needs=tuple(sorted(paper.needs)),
        trusted=paper.trusted,
        unlabelled=paper.unlabelled,
        deviations=paper.deviations,
        settings=setting_rows(method.Config),
    )


def setting_rows(cls: type[Any]) -> tuple[SettingRow, ...]:
    """What the fields of a settings class say."""
    hints = get_type_hints(cls)
    return tuple(
        SettingRow(
            name=field.name,
            default="(required)" if field.default is dataclasses.MISSING else str(field.default),
            paper=str(field.metadata["paper"]) if "paper" in field.metadata else "",
            range=bounds_of(field) or ", ".join(_choices(hints[field.name])),
            about=field.metadata.get("about", ""),
        )
        for field in dataclasses.fields(cls)
    )


def _choices(hint: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else ()


if __name__ == "__main__":
    write_table(make_table(), FILE)
