"""What is said beside an error: the verb or option that was meant, and the verb that lists all problems of a data set."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from debride.escapes import one_line
from debride.types import DataError


def refuse_misspelt(
    parser: argparse.ArgumentParser, verbs: Mapping[str, argparse.ArgumentParser], words: Sequence[str]
) -> None:
    """Ends as argparse does where a verb or an option is unknown, and names those that are nearly the same.

    argparse alone would blame what follows an unknown option too: it cannot know whether that is its value.
    """
    if not words or words[0].startswith("-"):
        return
    verb, own = words[0], verbs.get(words[0])
    if own is None:
        parser.error(f"{one_line(verb)} is no verb.{_meant([verb], list(verbs))} `{parser.prog} --help` lists them.")
    given = list(words[1 : words.index("--")] if "--" in words else words[1:])
    known = own._option_string_actions
    if {"-h", "--help"} & {*given}:
        return
    unknown = [word.partition("=")[0] for word in given if word.startswith("--") and " " not in word]
    unknown = [option for option in unknown if option not in known]
    if unknown:
        said = one_line(" ".join(unknown))
        hint = f"{_meant(unknown, list(known))} `{own.prog} --help` lists the options."
        parser.error(f"unrecognized arguments: {said}.{hint}")


def _meant(words: Sequence[str], known: Sequence[str]) -> str:
    near = dict.fromkeys(close for word in words for close in difflib.get_close_matches(word, known, n=1, cutoff=0.7))
    return f" Did you mean {' '.join(near)}?" if near else ""


def check_lists_all(error: DataError, arguments: argparse.Namespace) -> str:
    """A line that names `debride check` where what is wrong is a file of the data set; empty where it is anything else."""
    root = getattr(arguments, "dataset", None)
    if not isinstance(root, Path) or arguments.parser.prog.endswith(" check"):
        return ""
    written = [getattr(arguments, name, None) for name in ("out", "audit", "since", "run_folder", "run", "predictions")]
    others = [path.resolve() for path in written if isinstance(path, Path)]
    where, root_there = Path(error.where), root.resolve()
    if root_there not in where.parents or any(other == where or other in where.parents for other in others):
        return ""
    return f"\ndebride: {one_line(f'`debride check {shlex.quote(str(root))}` lists all problems of its files.')}"
