"""``--show-identity``: what is printed names, beside a pseudonym, whom it stands for. Nothing else ever does."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from debride.escapes import Shown, beneath, one_line

_PSEUDONYM = re.compile(r"\b([a-z]+-[0-9a-f]{12})(?![0-9a-f])(@r-[0-9a-f]{12})?(\.dicom-series|\.dicom-label|\.dcm)?")
"""One, with what may stand right behind it in the name of a case or a file."""

WITHOUT = ("datasets", "methods", "nnunet-path", "demo", "completions")
"""Verbs that work on no data of the user's."""


def add_show_identity(parser: argparse.ArgumentParser) -> None:
    """The option, which leaves no trace in the namespace where it is not given."""
    about = (
        "name patients, series and files of the archive beside their pseudonyms in what is printed, and in identities.csv "
        "in the folder that is written: for the owner of DICOM data alone"
    )
    parser.add_argument("--show-identity", action="store_true", default=argparse.SUPPRESS, help=about)


class Naming(Shown):
    """A stream that writes whom a pseudonym stands for behind it, once in each line."""

    def __init__(self, stream: TextIO, known: Known) -> None:
        super().__init__(stream)
        self._known = known

    def write(self, text: str) -> int:
        """Writes text as ``shown``, with names behind pseudonyms."""
        super().write("".join(self._named(line) for line in text.splitlines(keepends=True)))
        return len(text)

    def _named(self, line: str) -> str:
        said: set[str] = set()

        def behind(found: re.Match[str]) -> str:
            name = found[1]
            known = self._known.of(name)
            if known is None or name in said:
                return found[0]
            said.add(name)
            return f"{found[0]} [{', '.join(one_line(value) for value in known.values() if value)}]"

        return _PSEUDONYM.sub(behind, line)


class Known:
    """Whom pseudonyms stand for in the data sets that the arguments name; read when one is first printed, and again when one
    is not known, as a verb may have made it meanwhile."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._paths = list(_paths(arguments))
        self._read: dict[str, dict[str, str]] = {}
        self._missed: set[str] = set()

    def of(self, pseudonym: str) -> dict[str, str] | None:
        """What is known of one; None: nothing."""
        if pseudonym not in self._read and pseudonym not in self._missed:
            self.all()
            if pseudonym.startswith("file-"):
                self._files()
            if pseudonym not in self._read:
                self._missed.add(pseudonym)
        return self._read.get(pseudonym)

    def _files(self) -> None:
        from debride.data.dicom.identities import read_files, roots_of

        for root in roots_of(self._paths):
            self._read.update({name: row for name, row in read_files(root).items() if name not in self._read})

    def all(self) -> dict[str, dict[str, str]]:
        """All that is known."""
        from debride.data.dicom.identities import read_identities, roots_of

        for root in roots_of(self._paths):
            self._read |= read_identities(root)
        return self._read


def name_identities(arguments: argparse.Namespace) -> Known | None:
    """Has standard output and standard error name whom pseudonyms stand for, if that was asked for. They stay so until the
    block of ``shown_output`` puts them back."""
    if not getattr(arguments, "show_identity", False):
        return None
    known = Known(arguments)
    sys.stdout, sys.stderr = (cast(TextIO, Naming(beneath(stream), known)) for stream in (sys.stdout, sys.stderr))
    return known


def list_identities(arguments: argparse.Namespace, known: Known | None) -> None:
    """Writes ``identities.csv`` into the folder that a verb wrote, if that was asked for. Raises DataError where it cannot."""
    if known is None:
        return
    from debride.data.dicom.identities import write_identities

    for name in ("out", "export"):
        folder = getattr(arguments, name, None)
        if isinstance(folder, Path) and folder.is_dir() and (all_known := known.all()):
            print(f"{write_identities(folder, all_known)}: whom the pseudonyms stand for; keep it to yourself.")


def _paths(arguments: argparse.Namespace) -> Iterator[Path]:
    for value in vars(arguments).values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Path):
                yield one
