"""Labels as NIfTI with the values of the data set, and what these are called, for ITK-SNAP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from debride.audit.findings import Label, Numbers
from debride.audit.shown.worklist import snap_descriptions
from debride.data.pixels.images import raw_values, write_label, write_values
from debride.files import write_text
from debride.review.exchange.placing import as_volume
from debride.types import Dataset, Geometry

ENDING = ".nii.gz"

DESCRIPTIONS = "labels.txt"
"""The file to load under Segmentation, Import Label Descriptions."""


def write_snap_label(path: Path, ids: Label, dataset: Dataset, geometry: Geometry, source: Path) -> None:
    """Writes class ids (*S) where the label file ``source`` lies."""
    write_label(path, ids, dataset, geometry, like=source)


def write_names(folder: Path, dataset: Dataset) -> None:
    """Writes what the values are called."""
    named = [(value, name) for value, name in zip(raw_values(dataset), dataset.classes, strict=True) if value]
    named += [] if not dataset.ignore else [(dataset.ignore, "no label")]
    write_text(folder / DESCRIPTIONS, snap_descriptions(sorted(named)))


def write_snap_findings(path: Path, numbers: Numbers, geometry: Geometry, names: Mapping[int, str]) -> None:
    """Writes a map (*S) of findings by their numbers beside ``path``, with the ending of NIfTI, and their names as ``.txt``."""
    place = Geometry(None, tuple(tuple(row) for row in as_volume(geometry, numbers.ndim).tolist()))
    write_values(path.with_name(path.name + ENDING), numbers, place)
    write_text(path.with_name(f"{path.name}.txt"), snap_descriptions(sorted(names.items())))
