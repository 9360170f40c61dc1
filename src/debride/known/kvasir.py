"""Kvasir-SEG (Jha et al., MMM 2020): polyps of colonoscopies, ``Kvasir-SEG/images/ID.jpg`` and ``Kvasir-SEG/masks/ID.jpg``.

The masks are JPEG, which blurs their edges: they are cut at 128, where it is certain that black and white was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from debride.known.archive import Archive
from debride.known.known_set import Value
from debride.known.picture_pairs import pairs_of, write_pairs

IMAGE = re.compile(r"(?:.*/)?images/(?P<case>[^/]+)\.(?:jpe?g|png)", re.IGNORECASE)
MASK = re.compile(r"(?:.*/)?masks/(?P<case>[^/]+)\.(?:jpe?g|png)", re.IGNORECASE)
CLASSES = ("background", "polyp")


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write every picture with its mask; the set has no official split."""
    write_pairs(archives, pairs_of(archives, IMAGE, MASK), out, CLASSES, jobs)
