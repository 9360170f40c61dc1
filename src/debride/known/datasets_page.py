"""The page of the documentation on known data sets, made from the registry."""

from __future__ import annotations

from debride.escapes import markdown
from debride.known.converting import command_for, files_in_words
from debride.known.known_set import KnownSet, SetOption
from debride.known.registry import KNOWN

_HEAD = """# Known data sets

Public data sets of the papers and of the benchmarks, and how a downloaded archive becomes a folder that every verb reads.

Made by `debride datasets --markdown` from what the program knows of each set. Nothing is ever downloaded by debride.
You get the files from their page, under their licence, and give them to one command.

- A checksum is compared where one is published. `source.json` in the folder says which files it was made from.
- A file that was unpacked by other means will do as well: give its folder in place of the archive.
- What a converter does not know, such as a missing mask or an unknown value, is refused with the file and a remedy.
- The folder appears whole or not at all. Parts that the publishers call test stay test.
- From Python it is `debride.convert_dataset(name, archives, out)`, and `debride.known_datasets()` lists the sets.
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| [`{known.name}`](#{known.name}) | {markdown(known.title)} | {known.task} | {markdown(known.cases)} "
        f"| {markdown(known.size)} | {markdown(known.licence)} |"
        for known in KNOWN.values()
    ]
    table = ["| name | what | task | cases | download | licence |", "|---|---|---|---|---|---|", *rows]
    return "\n".join([_HEAD, *table, *(line for known in KNOWN.values() for line in _section(known))]) + "\n"


def _section(known: KnownSet) -> list[str]:
    lines = [
        *("", f"## `{known.name}`", "", f"{markdown(known.title)}. Classes: {markdown(', '.join(known.classes))}.", ""),
        f"- Licence: {markdown(known.licence)}",
        f"- From: {f'<{known.where}>' if known.where.startswith('http') else markdown(known.where)}",
        f"- Cite: {markdown(known.cite)}",
        f"- Used by: {markdown(', '.join(known.used_by))}",
        *(f"- File: {markdown(line)}" for line in files_in_words(known)),
        *("", "```sh", command_for(known), "```"),
    ]
    if known.options:
        lines += ["", "| option of `--set` | default | what it is |", "|---|---|---|"]
        lines += [f"| `{each.name}` | {_default(each.default)} | {markdown(_about(each))} |" for each in known.options]
    if known.remarks:
        lines += ["", *(f"- {markdown(remark)}" for remark in known.remarks)]
    return lines


def _default(value: object) -> str:
    return f"`{value}`" if value != "" else "none: give it"


def _about(option: SetOption) -> str:
    return f"{option.about} ({', '.join(map(str, option.choices))})" if option.choices else option.about
