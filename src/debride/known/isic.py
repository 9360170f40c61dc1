"""ISIC 2018, task 1 (Codella et al., arXiv:1902.03368): skin lesions, in zips of pictures and of masks for each part.

``ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg`` has ``ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from debride.known.archive import Archive
from debride.known.known_set import Value
from debride.known.members import Member, spoken_of
from debride.known.picture_pairs import pairs_of, write_pairs
from debride.types import DataError, Split

IMAGE = re.compile(r"(?:.*/)?(?P<case>ISIC_\d+)\.jpe?g", re.IGNORECASE)
MASK = re.compile(r"(?:.*/)?(?P<case>ISIC_\d+)_segmentation\.png", re.IGNORECASE)
CLASSES = ("background", "lesion")

PARTS: dict[str, Split] = {"training": "train", "validation": "val", "test": "test"}
"""The parts of the set, as they are called in the names of folders and zips."""


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write the parts that are given, each with its pictures and masks, as the splits of the same name."""

    def split(image: Member) -> Split:
        places = [*image.path.parts[-2::-1], archives[image.archive].path.name]
        for place in places:
            for part, name in PARTS.items():
                if re.search(rf"(?<![a-z]){part}(?![a-z])", place.lower()):
                    return name
        remedy = "Keep the folders of the zip: their names say Training, Validation or Test."
        raise DataError(spoken_of(archives, image), "lies in no folder that says its part", remedy)

    write_pairs(archives, pairs_of(archives, IMAGE, MASK, split), out, CLASSES, jobs)
