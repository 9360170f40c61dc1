"""Makes the reference of the command line: a page for each verb, from its parser."""

from __future__ import annotations

import argparse
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from debride.cli import make_parser

FOLDER = "reference/commands"
RANGE = re.compile(r" \((?:(?P<range>[^()]*?); )?default: (?P<default>[^()]*(?:\([^()]*\))?[^()]*)\)$")
"""What options say of themselves at the end: "(at least 1; default: 8)"."""


EXIT_CODES = "[Exit codes](../../architecture.md#exit-codes) are the same for all.\n"


def verbs() -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb."""
    return next(dict(action.choices) for action in make_parser()._actions if action.choices)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the verbs' pages into the navigation, where it has the folder's name."""
    pages = [f"{FOLDER}/index.md", *({f"debride {name}": f"{FOLDER}/{name}.md"} for name in verbs())]
    config.nav = _with(config.nav, pages)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each verb, and one that lists them."""
    about = {choice.dest: choice.help or "" for choice in _choices()}
    for name, parser in verbs().items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=page(name, about[name], parser)))
    files.append(File.generated(config, f"{FOLDER}/index.md", content=overview(about)))
    return files


def page(name: str, about: str, parser: argparse.ArgumentParser) -> str:
    """The page of one verb."""
    places = [action for action in parser._actions if not action.option_strings]
    lines = [f"# debride {name}", "", _sentence(parser.description or about), ""]
    words = " ".join(["debride", name, *map(_placed, places), *_required(parser), "[OPTIONS]"])
    lines += ["```text", words, "```", ""]
    lines += [_linked(parser.epilog), ""] if parser.epilog else []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        actions = [action for action in actions if action.option_strings[:1] != ["-h"]]
        if group.title == "positional arguments":
            actions = [action for action in actions if action.help]
        if actions:
            title = {"positional arguments": "Arguments", "options": "Options"}.get(group.title or "", group.title or "")
            lines += [f"## {title[0].upper()}{title[1:]}", ""]
            lines += [_linked(group.description), ""] if group.description else []
            lines += _table(actions)
    return "\n".join(lines) + "\n"


def overview(about: dict[str, str]) -> str:
    """The page that lists the verbs."""
    rows = [f"| [`debride {name}`]({name}.md) | {_cell(text)} |" for name, text in about.items()]
    return "\n".join(["# Commands", "", "| verb | what it does |", "|---|---|", *rows]) + "\n\n" + EXIT_CODES


def _table(actions: list[argparse.Action]) -> list[str]:
    """The options of one group as a table; without columns that would be empty."""
    rows = [_row(action) for action in actions]
    kept = [column for column in range(4) if any(row[column] for row in rows)]
    heads = ("option", "what it is", "default", "range")
    lines = ["| " + " | ".join(heads[column] for column in kept) + " |", "|" + "---|" * len(kept)]
    return [*lines, *("| " + " | ".join(row[column] for column in kept) + " |" for row in rows), ""]


def _row(action: argparse.Action) -> tuple[str, str, str, str]:
    """Option, what it is, default and range."""
    about = (action.help or "").replace("%%", "%").replace("%(default)s", str(action.default))
    default, bounds = "", ""
    if said := RANGE.search(about):
        about, default, bounds = about[: said.start()], said["default"], said["range"] or ""
    elif action.option_strings and action.default not in (None, False, [], argparse.SUPPRESS):
        default = " ".join(map(str, action.default)) if isinstance(action.default, list | tuple) else str(action.default)
    bounds = bounds or ", ".join(map(str, action.choices or ()))
    name = "<br>".join(f"`{_called(action, option)}`" for option in action.option_strings) or f"`{_placed(action)}`"
    about += " (required)" if action.required and action.option_strings else ""
    return name, _cell(about), _cell(default), _cell(bounds)


def _called(action: argparse.Action, option: str) -> str:
    """An option with what is to follow it."""
    if action.nargs == 0:
        return option
    several = " ..." if action.nargs in ("+", "*") else ""
    word = action.metavar if isinstance(action.metavar, str) else "WHICH" if action.choices else action.dest.upper()
    return f"{option} {word}{several}"


def _placed(action: argparse.Action) -> str:
    """An argument that is known by its place."""
    word = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    several = " ..." if action.nargs in ("+", "*") else ""
    return f"[{word}{several}]" if action.nargs in ("?", "*") else f"{word}{several}"


def _required(parser: argparse.ArgumentParser) -> list[str]:
    required = (action for action in parser._actions if action.required and action.option_strings)
    return [_called(action, action.option_strings[-1]) for action in required]


def _choices() -> list[argparse.Action]:
    """What ``debride --help`` says of each verb."""
    return next(action._choices_actions for action in make_parser()._actions if action.choices)  # type: ignore[attr-defined]


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return _linked(text).replace("|", "\\|").replace("<", "&lt;")


def _linked(text: str) -> str:
    """Text in which pages of the documentation are links."""
    text = text.replace("`debride methods METHOD`", "[methods](../../methods.md)")
    return re.sub(r"docs/([a-z-]+)\.md", r"[\1](../../\1.md)", text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _with(nav: object, pages: list[object]) -> object:
    """A navigation in which the folder's name is replaced by its pages."""
    if isinstance(nav, list):
        return [_with(entry, pages) for entry in nav]
    if isinstance(nav, dict):
        return {title: pages if entry == f"{FOLDER}/" else _with(entry, pages) for title, entry in nav.items()}
    return nav
