"""Handles of series and labels that the makers of DICOM made, written down without an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from debride.data.dicom.handles import LabelHandle, Part, SeriesHandle, Slice
from tests.dicom_made import Series

WHERE = Path("pseudonyms/labels/mr-0123.dicom-label")
"""What errors name."""


def series_handle(series: Series, root: Path, **changes: Any) -> SeriesHandle:
    """The handle of a series: slices in the order of its voxels."""
    frames = "NumberOfFrames" in series.datasets[0]
    count = int(series.datasets[0].NumberOfFrames) if frames else len(series.datasets)
    slices = []
    for k in range(count):
        at, frame = (0, count - k) if frames else (k, 0)
        file = series.files[at].relative_to(root).as_posix()
        slices.append(Slice(file, str(series.datasets[at].SOPInstanceUID), frame))
    spacing = tuple(float(np.linalg.norm(series.affine[:3, axis])) for axis in (2, 1, 0))
    said: dict[str, Any] = {
        "studies": ".",
        "slices": tuple(slices),
        "shape": (count, *series.voxels.shape[1:]),
        "channels": 1,
        "spacing": spacing,
        "affine": tuple(map(tuple, series.ras.tolist())),
        "modality": "MR",
    }
    return SeriesHandle(**{**said, **changes})


def label_handle(file: Path, root: Path, *names: str, numbers: tuple[int, ...] = (), **changes: Any) -> LabelHandle:
    """The handle of a label in one file, whose segments 1, 2 ... are the classes of these names."""
    name = file.relative_to(root).as_posix()
    parts = tuple(Part(name, number, at + 1) for at, number in enumerate(numbers or range(1, len(names) + 1)))
    said: dict[str, Any] = {"parts": parts, "classes": len(names) + 1, "names": ("background", *names), "files": (name,)}
    return LabelHandle(".", "mr-0123.dicom-series", **{**said, **changes})
