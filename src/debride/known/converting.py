"""From the files that a person downloaded to a folder of a data set, with a record of what it was made from."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.files import write_json
from debride.folders import atomic_folder, new_folder
from debride.known.archive import Archive
from debride.known.known_set import KnownFile, KnownSet
from debride.progress import track
from debride.types import DataError
from debride.version import __version__
from debride.words import gigabytes, listed

SOURCE = "source.json"
"""The file beside a converted data set that says what it was made from."""

_BLOCK = 1 << 20
_AGAIN = "Download it again from its page, which `debride datasets` names."


def convert_known(known: KnownSet, archives: Sequence[Path], out: Path, options: Mapping[str, object], jobs: int = 1) -> None:
    """Write the folder ``out`` of a known set from its files, or from folders that they were unpacked to; all of it or nothing.

    Checksums are compared where they are published. Raises DataError for a file that is missing or differs, for what the set's
    converter does not know, and for ``out`` where it has content.
    """
    if known.files and not archives:
        names = listed(file.name for file in known.files)
        raise DataError(known.name, "is made from files that you download", f"Get {names} from {known.where}, and give them.")
    if archives and not known.files:
        raise DataError(archives[0], f"is not needed: {known.name} is made here", "Leave it out.")
    chosen = known.chosen(options)
    target = new_folder(out, apart_from={str(path): path for path in archives if path.is_dir()})
    for path in archives:
        if not path.exists():
            raise DataError(path, "does not exist", f"Download it from {known.where}, and give the file or its folder.")
    files = [_checked(path, known) for path in archives]
    with atomic_folder(target) as folder:
        known.convert([Archive(path) for path in archives], folder, chosen, jobs)
        write_json(folder / SOURCE, _source(known, chosen, files))


@dataclass(frozen=True)
class _Given:
    """A file that was given, and whether its published checksum was compared; of a folder only the name is known."""

    name: str
    size: int | None = None
    sha256: str | None = None
    compared: bool = False


def _checked(path: Path, known: KnownSet) -> _Given:
    """What a file is, compared with what is published of it."""
    if path.is_dir():
        return _Given(path.resolve().name)
    published = next((file for file in known.files if file.name == path.name), KnownFile(path.name))
    size = path.stat().st_size
    if published.size is not None and size != published.size:
        raise DataError(path, f"has {size} bytes, and is published with {published.size}", _AGAIN)
    expected = published.checksum.split(" or ") if published.checksum else []
    digests = _digests(path, {"sha256", *(checksum.partition(":")[0] for checksum in expected)}, size)
    if expected and not set(expected) & {f"{kind}:{digest}" for kind, digest in digests.items()}:
        kind = expected[0].partition(":")[0]
        problem = f"is not the published file: its checksum is {kind}:{digests[kind]}, and should be {published.checksum}"
        raise DataError(path, problem, _AGAIN)
    return _Given(path.name, size, digests["sha256"], bool(expected))


def _digests(path: Path, kinds: set[str], size: int) -> dict[str, str]:
    """The checksums of a file, read once."""
    hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    try:
        with path.open("rb") as file, track(f"reading {path.name} (MB)", max(1, size // _BLOCK)) as show:
            done = 0
            while block := file.read(_BLOCK):
                done += len(block)
                show(done // _BLOCK)
                for each in hashes.values():
                    each.update(block)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check that the file is readable.") from None
    return {kind: each.hexdigest() for kind, each in hashes.items()}


def _source(known: KnownSet, options: Mapping[str, object], files: Sequence[_Given]) -> dict[str, Any]:
    """What a converted folder says of itself."""
    return {
        "set": known.name,
        "title": known.title,
        "licence": known.licence,
        "where": known.where,
        "cite": known.cite,
        "options": dict(options),
        "files": [
            {"name": file.name, "bytes": file.size, "sha256": file.sha256, "compared_with_published": file.compared}
            for file in files
        ],
        "debride": __version__,
    }


def files_in_words(known: KnownSet) -> list[str]:
    """A line for each file that a person downloads."""
    return [
        ", ".join(
            [
                file.name,
                *([gigabytes(file.size)] if file.size is not None else []),
                *([file.checksum] if file.checksum else ["no published checksum"]),
            ]
        )
        for file in known.files
    ]


def command_for(known: KnownSet) -> str:
    """The command that makes a set readable."""
    given = known.given or tuple(file.name for file in known.files)
    asked = [f"{option.name}={option.choices[0]}" for option in known.options if option.default == ""]
    words = ["debride", "datasets", known.name, *given, "--out", known.name, *(["--set", *asked] if asked else [])]
    return shlex.join(words)


def shown_value(value: object) -> str:
    """A value of an option as it is written on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
