"""Pseudonyms: names of cases, patients and sites that say nothing to who has not the key, which stays with the data."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from debride.data.dicom.handles import FOLDER
from debride.files import read_text, settle, writing
from debride.mistakes import reads_of_persons
from debride.temporaries import temporary_file
from debride.types import DataError

KEY = "key"
"""The file of the key in ``handles.FOLDER``."""

_DIGITS = 12
"""Hexadecimal digits of a pseudonym: among 100,000 cases two share one with a chance of 2e-5."""


def key_of(root: Path) -> bytes | None:
    """The key of a data set of DICOM, None where it has none yet. Raises DataError for a damaged one."""
    file = root / FOLDER / KEY
    if not file.exists():
        return None
    reads_of_persons()
    text = read_text(file).strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise DataError(file, "is no key of pseudonyms", "Restore it: with another one all cases would have other names.")
    return bytes.fromhex(text)


def make_key(root: Path) -> bytes:
    """The key of a data set, made and written, for its owner alone to read, where it has none. Raises DataError where it cannot
    be written."""
    if known := key_of(root):
        return known
    folder = root / FOLDER
    with writing(folder / KEY):
        folder.mkdir(mode=0o700, exist_ok=True)
        with temporary_file(folder / KEY) as whole:
            whole.chmod(0o600)
            whole.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
            settle(whole)
            _put(whole, folder / KEY)
    made = key_of(root)
    assert made is not None
    return made


def _put(whole: Path, target: Path) -> None:
    """Names a file, unless another process has put one there meanwhile: that one then counts."""
    with suppress(FileExistsError):
        try:
            target.hardlink_to(whole)
        except OSError as error:
            if isinstance(error, FileExistsError) or target.exists():
                raise FileExistsError from error
            whole.rename(target)  # a disk without hard links


def pseudonym(key: bytes, prefix: str, *identity: str) -> str:
    """A name such as ``ct-3f9a81c2d4e0`` of what ``identity`` says: the same for the same key, and nothing without it."""
    told = b"".join(len(part := text.encode()).to_bytes(4, "big") + part for text in (prefix, *identity))
    return f"{prefix}-{hmac.new(key, told, hashlib.sha256).hexdigest()[:_DIGITS]}"


def file_name(key: bytes, file: str) -> str:
    """The pseudonym of a file at that path below the studies."""
    return pseudonym(key, "file", os.fsencode(file).decode("utf-8", "backslashreplace"))


def shown_file(root: Path, file: Path) -> str:
    """A file of a data set as messages name it: by a pseudonym in an archive, whose names of files tell whose they are."""
    inside = root / FOLDER
    if not inside.is_dir() or file.parent == root or inside in file.parents or (key := key_of(root)) is None:
        return str(file)
    return file_name(key, os.path.relpath(file, root))
