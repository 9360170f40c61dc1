"""What is said of a mistake of ours: without the words of errors where data of persons was read, for they may quote it."""

from __future__ import annotations

import threading
import traceback

_private = threading.Event()


def reads_of_persons() -> None:
    """Says that this process works on data whose headers, or paths, name persons: words of errors are left out from now on."""
    _private.set()


def words_of(error: BaseException) -> str:
    """The kind of an error, with what it says where that names nobody."""
    return type(error).__name__ if _private.is_set() else f"{type(error).__name__}: {error}"


def traceback_of(error: BaseException) -> str:
    """The traceback of an error and of those before it, with what they say where that names nobody."""
    if not _private.is_set():
        return "".join(traceback.format_exception(error))
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return "".join(line for one in reversed(chain) for line in (*traceback.format_tb(one.__traceback__), *_last_lines(one)))


def _last_lines(error: BaseException) -> list[str]:
    """The kind of an error, and what another process told of its own mistake, which it worded by itself."""
    return [f"{type(error).__name__}\n", *(error.__notes__ if getattr(error, "worded", False) else ())]
