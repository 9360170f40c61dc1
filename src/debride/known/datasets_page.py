"""The page of the documentation on known data sets, made from the registry."""

from __future__ import annotations

import textwrap

from debride.known.converting import command_for, files_in_words, shown_value
from debride.known.known_set import KnownSet, SetOption
from debride.known.registry import KNOWN

_HEAD = """# Known data sets

Public data sets of the papers and of the benchmarks, and how a downloaded archive becomes a folder that every verb reads.

Made by `debride datasets --markdown` from what the program knows of each set. Nothing is ever downloaded by debride.
You get the files from their page, under their licence, and give them to one command.
Good to begin with is `generated`, which needs no file, and of real images `kvasir-seg`, which is one small file.

- A checksum is compared where one is published. `source.json` in the folder says which files it was made from.
- A file that was unpacked by other means will do as well: give its folder in place of the archive.
- What a converter does not know, such as a missing mask or an unknown value, is refused with the file and a remedy.
- The folder appears whole or not at all. Parts that the publishers call test stay test.
- From Python it is `debride.convert_dataset(name, archives, out)`, and `debride.known_datasets()` lists the sets.
"""

WIDTH = 120
"""Characters in a line of a command, at most."""

MANY = 12
"""More files than this are counted, and not listed."""


def page() -> str:
    """The whole page."""
    rows = [
        f"| [`{known.name}`](#{known.name}) | {known.title} | {known.task} | {known.cases} | {known.size} | {known.licence} |"
        for known in KNOWN.values()
    ]
    table = ["| name | what | task | cases | download | licence |", "|---|---|---|---|---|---|", *rows]
    return "\n".join([_HEAD, *table, *(line for known in KNOWN.values() for line in _section(known))]) + "\n"


def _section(known: KnownSet) -> list[str]:
    lines = [
        *("", f"## `{known.name}`", "", f"{known.title}. Classes: {', '.join(known.classes)}.", ""),
        f"- Licence: {known.licence}",
        f"- From: {_linked(known.where)}",
        f"- Cite: {known.cite}",
        f"- Used by: {', '.join(known.used_by)}",
        *_files(known),
        *("", "```sh", _wrapped(command_for(known)), "```"),
    ]
    if known.options:
        lines += ["", "| option of `--set` | default | what it is |", "|---|---|---|"]
        lines += [f"| `{each.name}` | {_default(each.default)} | {_about(each)} |" for each in known.options]
    if known.remarks:
        lines += ["", *(f"- {remark}" for remark in known.remarks)]
    return lines


def _wrapped(command: str) -> str:
    """A command in lines of which none is long."""
    return " \\\n".join(textwrap.wrap(command, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))


def _linked(where: str) -> str:
    """The pages of a set, or words where it has none."""
    return " and ".join(f"<{page}>" for page in where.split()) if where.startswith("http") else where


def _files(known: KnownSet) -> list[str]:
    """Its files: a line each, or a few words where they are many and all have a checksum."""
    lines = files_in_words(known)
    if len(lines) <= MANY:
        return [f"- File: {line}" for line in lines]
    checked = "all with a published checksum" if all(file.checksum for file in known.files) else "some with a checksum"
    return [f"- Files: {len(lines)}, {checked}, from `{known.files[0].name}` on. `debride datasets {known.name}` lists them."]


def _default(value: object) -> str:
    return f"`{shown_value(value)}`" if value != "" else "none: give it"


def _about(option: SetOption) -> str:
    return f"{option.about} ({', '.join(map(shown_value, option.choices))})" if option.choices else option.about
