"""Shenzhen (Jaeger et al., 2014): chest radiographs ``CXR_png/CHNCXR_0001_0.png``, and lungs by other hands (Stirenko et al.,
2018), ``mask/CHNCXR_0001_0_mask.png``, for 566 of the 662.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from debride.known.archive import Archive
from debride.known.known_set import Value
from debride.known.picture_pairs import pairs_of, write_pairs

IMAGE = re.compile(r"(?:.*/)?(?P<case>CHNCXR_\d+_[01])\.png", re.IGNORECASE)
MASK = re.compile(r"(?:.*/)?(?P<case>CHNCXR_\d+_[01])_mask\.png", re.IGNORECASE)
CLASSES = ("background", "lung")


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write the radiographs that have a mask; the set has no official split."""
    write_pairs(archives, pairs_of(archives, IMAGE, MASK, unlabelled=True), out, CLASSES, jobs)
