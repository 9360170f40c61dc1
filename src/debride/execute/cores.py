"""How many cores this process may use, and how many processes have room in the memory."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

PROCESS = 2**30
"""Bytes that a process takes that has PyTorch, MONAI and a network at work."""


def cores() -> int:
    """The cores that this process may use: as the system, a container's limit and the scheduler of a cluster say."""
    from joblib.externals.loky import cpu_count

    many: int = cpu_count()
    return many


def affordable(jobs: int, each: int) -> int:
    """As many of ``jobs`` processes, one at least, as fit into the memory that is free where each takes ``each`` bytes beside
    ``PROCESS``; all of them where the system does not say what is free."""
    with suppress(OSError):
        said = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if said:
            return max(1, min(jobs, 1024 * int(said[1]) // (PROCESS + each)))
    return jobs
