"""The folder in which jobs find what to do, and leave what became of it. Nobody else may look into it or change it.

token                 random; a job that sees another one, or none, does not see this folder
submitted.jsonl       the ids of jobs, for one who finds the folder after the submitting process was killed
map-0001/             one work
  work.json           what is done: {"path", "setup", "cwd", "threads", "processes"}
  items-0007.jsonl    the items of shard 7: [number, item] a line
  begun-0007-2.json   its job 2 began: {"host", "pid", "time"}
  done-0007-2.jsonl   what it did: {"number", "line"} a line, {"further"} where a long item has come further, or at last
                      what ended all work. A torn line does not count
logs/                 of the engine, and of each job: 0001-0007-2.log
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO, cast

from debride.files import read_jsonl, writing
from debride.folders import LOCK
from debride.types import DataError

TOKEN, SUBMITTED, LOGS, WORK = "token", "submitted.jsonl", "logs", "work.json"


def items_file(shard: int) -> str:
    """The file of a shard's items."""
    return f"items-{shard:04}.jsonl"


def begun_file(shard: int, attempt: int) -> str:
    """The file by which a job says that it began."""
    return f"begun-{shard:04}-{attempt}.json"


def begun_at(map_folder: Path, shard: int, attempt: int) -> float | None:
    """When a job began, in seconds since 1970; None where it did not."""
    try:
        return (map_folder / begun_file(shard, attempt)).stat().st_mtime
    except FileNotFoundError:
        return None


def any_begun(map_folder: Path) -> bool:
    """Whether a job has begun."""
    return any(map_folder.glob("begun-*.json"))


def done_file(shard: int, attempt: int) -> str:
    """The file of what a job did."""
    return f"done-{shard:04}-{attempt}.jsonl"


def log_of(map_folder: Path, shard: int, attempt: int) -> Path:
    """The file of what a job printed."""
    return map_folder.parent / LOGS / f"{map_folder.name.removeprefix('map-')}-{shard:04}-{attempt}.log"


def private(path: Path, mode: str) -> TextIO:
    """A text file that is opened, and that others cannot read if it is made now."""
    return cast(
        TextIO, open(path, mode, encoding="utf-8", newline="\n", opener=lambda name, flags: os.open(name, flags, 0o600))
    )


def refuse_foreign(folder: Path) -> None:
    """DataError for what may be no folder of jobs: not ours, one that others may write to, or one that holds other things."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(folder, f"cannot be read ({error.strerror})", _OTHER) from None
    problem = ""
    if not stat.S_ISDIR(found.st_mode):
        problem = "is to be the folder of jobs, and is no folder"
    elif found.st_uid != os.geteuid():
        problem = "is to be the folder of jobs, and belongs to another user"
    elif found.st_mode & 0o022:
        problem = "is to be the folder of jobs, and others may write to it"
    elif not (folder / SUBMITTED).exists() and any(entry.name != LOCK for entry in folder.iterdir()):
        problem = "is to be the folder of jobs, and holds other things"
    if problem:
        raise DataError(folder, problem, _OTHER)


_OTHER = "Name another by `cluster_option` folder=FOLDER, or remove this one."


def make_folder(folder: Path) -> None:
    """Makes a folder of jobs, which may be there if ``refuse_foreign`` lets it pass."""
    refuse_foreign(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        refuse_foreign(folder)
        folder.chmod(0o700)


def earlier_ids(folder: Path) -> list[str]:
    """The ids of jobs that were started from this folder before."""
    rows = read_jsonl(folder / SUBMITTED)
    return [id for row in rows if isinstance(row, list) for id in row if isinstance(id, str)]


def empty(folder: Path) -> None:
    """Removes what a folder of jobs holds, but for its lock, and last what says that it is one. That stays where a job that
    does not end still writes there."""
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name not in (LOCK, SUBMITTED):
            entry.unlink(missing_ok=True)
    if all(entry.name in (LOCK, SUBMITTED) for entry in folder.iterdir()):
        (folder / SUBMITTED).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Removes a folder of one work. What a lost job may still write there is left to the end."""
    shutil.rmtree(folder, ignore_errors=True)


def new_token(folder: Path) -> str:
    """Begins a folder of jobs: what it is told by, and its token."""
    token = secrets.token_hex(16)
    with writing(folder):
        private(folder / SUBMITTED, "w").close()
        (folder / LOGS).mkdir(mode=0o700, exist_ok=True)
        with private(folder / TOKEN, "w") as file:
            file.write(token)
    return token


def read_token(folder: Path) -> str:
    """The token; empty where there is none."""
    try:
        return (folder / TOKEN).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def printed(log: Path | None) -> str:
    """The end of a log; empty where there is none."""
    try:
        with log.open("rb") if log else nullcontext(BytesIO()) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 10000))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def read_done(path: Path, begin: int = 0) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The whole lines of a done file from byte ``begin`` on: where each begins and ends, and what it says.

    It stops at one that cannot be read yet: over a network the end of a file may be there before its middle.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                told = json.loads(line)
            except ValueError:
                return
            if not isinstance(told, dict):
                return
            yield begin, begin + len(line), told
            begin += len(line)
