"""Handles of series and labels that tests made, where no layout is needed to find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from debride.data.dicom.handles import FOLDER, LABELS, SERIES, LabelHandle, Part, SeriesHandle, Slice, write_handle
from tests.dicom_made import Series


def handle_of(made: Series, root: Path | None = None) -> SeriesHandle:
    """What the layout makes of a series below ``root`` (None: its files are named by their whole paths, below /)."""
    if len(made.files) > 1 or len(made.voxels) == 1:
        places = [(file, 0) for file in made.files]
    else:
        groups = pydicom.dcmread(made.files[0]).PerFrameFunctionalGroupsSequence
        depths = [made.affine[:3, 2] @ [float(x) for x in one.PlanePositionSequence[0].ImagePositionPatient] for one in groups]
        places = [(made.files[0], int(at) + 1) for at in np.argsort(depths)]
    uids = {file: str(pydicom.dcmread(file).SOPInstanceUID) for file in made.files}
    slices = tuple(Slice(_inside(file, root), uids[file], frame) for file, frame in places)
    spacing = tuple(float(np.linalg.norm(made.affine[:3, axis])) for axis in (2, 1, 0))
    affine = tuple(tuple(float(x) for x in row) for row in made.ras)
    return SeriesHandle(".", slices, made.voxels.shape, 1, spacing, affine, "MR")


def write_handles(root: Path, made: Series, files: dict[Path, dict[int, int]], case: str = "mr-1", **entries: Any) -> Path:
    """Writes the handles of a case below ``root``, and gives that of its label: ``files`` are the class ids of the segments of
    its objects by number (0: of no class)."""
    write_handle(root / FOLDER / SERIES / f"{case}.dicom-series", handle_of(made, root))
    parts = tuple(
        Part(_inside(file, root), number, class_id)
        for file, numbers in files.items()
        for number, class_id in numbers.items()
        if class_id
    )
    names = entries.pop("names", ("background", "heart", "lesion"))
    label = LabelHandle(
        ".",
        f"{case}.dicom-series",
        parts,
        len(names),
        names=names,
        files=tuple(_inside(file, root) for file in files),
        **entries,
    )
    write_handle(root / FOLDER / LABELS / f"{case}.dicom-label", label)
    return root / FOLDER / LABELS / f"{case}.dicom-label"


def _inside(file: Path, root: Path | None) -> str:
    return file.relative_to(root or file.anchor).as_posix()
