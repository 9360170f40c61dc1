"""What a repair changes beside labels: descriptions, lists and maps of weights, with the way back."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debride.files import content_hash, read_json, write_json
from debride.types import DataError

PLACE = Path("repairs", "files")
"""The folder in a repaired data set with the files that it has otherwise than its source."""

LIST = "files.json"
"""In it, what became of each file: the hash that it had before, None where there was none, and after."""

_RESTORE = "Restore it: without it the repair cannot be reversed."


def keep_files(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Notes which files of such names a copy in ``folder`` has otherwise than ``source``, and keeps those of the source."""
    said: dict[str, Any] = {}
    for name in sorted(names):
        before, after = _hash(source / name), _hash(folder / name)
        if before == after:
            continue
        said[name] = {"before": before, "after": after}
        if before:
            (folder / PLACE).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / PLACE / name)
    if said:
        (folder / PLACE).mkdir(parents=True, exist_ok=True)
        write_json(folder / PLACE / LIST, said)


def kept_files(root: Path) -> dict[str, Path | None]:
    """The kept files of a repaired data set by name, None for those that its source did not have.

    Raises DataError where a file, or the kept one, has changed since the repair.
    """
    if not (root / PLACE / LIST).is_file():
        return {}
    said = read_json(root / PLACE / LIST)
    if not isinstance(said, dict) or not all(_is_entry(name, hashes) for name, hashes in said.items()):
        raise DataError(root / PLACE / LIST, "is no list of files that a repair changed", _RESTORE)
    kept: dict[str, Path | None] = {}
    for name, hashes in said.items():
        if _hash(root / name) != hashes["after"]:
            remedy = "Take this change back, or go on from this data set without reversing."
            raise DataError(root / name, "has changed since the repair", remedy)
        if hashes["before"] and _hash(root / PLACE / name) != hashes["before"]:
            raise DataError(root / PLACE / name, f"is not the {name} that the source had", "Restore it from there.")
        kept[name] = root / PLACE / name if hashes["before"] else None
    return kept


def bring_back(kept: dict[str, Path | None], folder: Path) -> None:
    """Puts kept files into a copy in place of those that it has, and takes those away that there were not."""
    for name, path in kept.items():
        (folder / name).unlink(missing_ok=True)
        if path:
            shutil.copyfile(path, folder / name)


def _is_entry(name: str, hashes: Any) -> bool:
    """Whether an entry of ``LIST`` can be one: a name that leads out of the folder cannot."""
    fits = isinstance(hashes, dict) and hashes.keys() == {"before", "after"}
    return fits and Path(name).name == name and all(isinstance(text, str | None) for text in hashes.values())


def _hash(path: Path) -> str | None:
    return content_hash([path]) if path.is_file() else None
