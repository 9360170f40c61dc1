"""Whether the disk will hold what is made case by case, told after the first cases."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from debride.words import gigabytes

FIRST = 5
"""Cases of which something was made before anything is said."""


class Room:
    """Warns once on standard error where a folder's disk has less left than what comes will take, as the first cases go."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        self._begun = time.time()
        self._seen = self._made = self._bytes = 0

    def case(self, files: Iterable[Path], left: int) -> None:
        """After each case: the files that hold what was made of it, now or at another time, and how many cases follow."""
        if self._made >= FIRST:
            return
        stats = [file.stat() for file in files]
        new = sum(stat.st_size for stat in stats if stat.st_mtime >= self._begun)
        self._seen, self._bytes, self._made = self._seen + 1, self._bytes + new, self._made + bool(new)
        if self._made < FIRST:
            return
        needed, free = self._bytes // self._seen * left, shutil.disk_usage(self._folder).free
        if needed > free:
            sys.stderr.write(
                f"debride: warning: {self._what} will need about {gigabytes(needed)} more in {self._folder}, and the disk has "
                f"{gigabytes(free)} left.\n"
            )
            sys.stderr.flush()
