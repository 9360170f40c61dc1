"""The content hashes of image files, made by several processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debride.data.pixels import outside_pixels, use_pixels
from debride.data.pixels.images import hash_of
from debride.execute import Work, spread
from debride.execute.work import Do


def hashes_of(files: Iterable[Path], jobs: int = 1) -> list[str]:
    """``hash_of`` of each file, with all files that belong to it. DataError for the first that cannot be read."""
    with spread(Work(hashing, outside_pixels()), map(str, files), jobs=jobs) as outcomes:
        return [outcome.value() for outcome in outcomes]


def hashing(setup: Any) -> Do:
    """The hash of a file; ``setup`` names kinds of files from outside."""
    for name in setup:
        use_pixels(name)
    return lambda path: hash_of([Path(path)])
