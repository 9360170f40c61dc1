"""What a file claims to hold, checked before memory is taken for it."""

from __future__ import annotations

import errno
import os

from debride.types import DataError

RESTORE = "Restore the file from its source, it is damaged."
"""The remedy for what is damaged."""

INFLATES = 1032
"""Times that deflate makes data smaller at most (zlib.net/zlib_tech.html)."""

WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of a disk that come from writing alone, and say nothing of the file that is read."""


def refuse_claim(path: object, size: int, stored: int, factor: int = INFLATES) -> None:
    """DataError where a header claims ``size`` bytes of pixels that ``stored`` bytes of the file cannot hold, compressed at
    most by ``factor``, or that no memory of this machine can; before any is taken."""
    if size > stored * factor:
        problem = f"claims {_megabytes(size)} of pixels, which its {_megabytes(stored)} of data cannot hold"
        raise DataError(path, problem, RESTORE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        problem = f"needs {_megabytes(size)} of memory for its pixels, this machine has {_megabytes(memory)}"
        raise DataError(path, problem, "Use a machine with more memory, or cut the image into parts.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"
