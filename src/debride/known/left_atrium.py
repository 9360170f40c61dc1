"""The 2018 Atrial Segmentation Challenge (Xiong et al., Medical Image Analysis 2021): MRI of the left atrium, as volumes.

An archive holds ``Training Set`` and ``Testing Set`` with a folder for each scan: ``lgemri.nrrd`` and the cavity,
``laendo.nrrd``, in which 255 is the atrium. The wall, ``lawall.nrrd``, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from debride.known.archive import Archive
from debride.known.as_nnunet import RawCase, RawSet, write_cases
from debride.known.members import members_of, spoken_of
from debride.types import DataError

IMAGE, LABEL = "lgemri.nrrd", "laendo.nrrd"


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Any], *, jobs: int = 1) -> None:
    """Write the scans as NRRD with 1 for the atrium; those of a folder that is named testing are test cases.

    Raises DataError for an archive without a scan, training scans without a label, and values but 0 and 255.
    """
    known = {(member.archive, member.name): member for member in members_of(archives)}
    cases = []
    for image in known.values():
        if image.path.name != IMAGE:
            continue
        folders = [part.lower() for part in image.path.parts[:-1]]
        test = any(part.startswith("test") for part in folders)
        label = known.get((image.archive, str(image.path.with_name(LABEL))))
        if label is None and not test:
            raise DataError(
                spoken_of(archives, image), f"has no {LABEL} beside it", "Get the archive again: a label is missing."
            )
        name = image.path.parent.name
        if not name:
            raise DataError(spoken_of(archives, image), "lies in no folder of its own", "Give the folder that holds the scans.")
        cases.append(RawCase(name, name, (image,), label, {0: 0, 255: 1}, test))
    if not cases:
        raise DataError(archives[0].called, f"holds no {IMAGE}", "Give the archive of the 2018 challenge.")
    about = RawSet("LeftAtrium", ("LGE-MRI",), {"background": 0, "left_atrium": 1}, ".nrrd")
    write_cases(archives, out, about, sorted(cases, key=lambda case: case.id), jobs)
