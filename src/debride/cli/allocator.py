"""Memory that is freed stays with the program: a training asks for the same again in its next step."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``."""
_KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
"""The same two for processes that this one starts, which glibc reads as they begin."""


def keep_freed_memory() -> bool:
    """Has glibc keep freed memory, in this process and in those that it will start; says whether it does.

    Otherwise large blocks go back to the system at every step, which clears their pages before it gives them out again. An
    environment that sets one of the two itself is left as it is, and so is a system without glibc.
    """
    if any(name in os.environ for name in _KEEP):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, TypeError, ValueError):  # no glibc: macOS, Windows, musl
        return False
    if not (mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1)):
        return False
    os.environ.update(_KEEP)
    return True
