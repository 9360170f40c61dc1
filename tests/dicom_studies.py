"""Whole archives: studies of several people with labels, and a ``segments.json`` of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.pseudonyms import KEY, make_key
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import PEOPLE, Series, localiser, make_series, turned

Array = npt.NDArray[Any]

SEGMENTS: dict[str, Any] = {
    "format": "dicom",
    "classes": [{"name": "heart", "segments": [{"label": "Heart"}]}, {"name": "lesion", "segments": [{"label": "Lesion"}]}],
}
"""What ``segments.json`` says of studies made here."""


@dataclass(frozen=True)
class Study:
    """One series with its right label (D, H, W), class ids: 1 heart, 2 lesion; ``file`` holds the label in the archive."""

    series: Series
    label: Array
    file: Path


def save_segments(root: Path, **entries: Any) -> Path:
    """Writes a ``segments.json``: that of studies made here, with other entries."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "segments.json"
    path.write_text(json.dumps({**SEGMENTS, **entries}))
    return path


def fix_key(root: Path) -> None:
    """Gives an archive the key that all archives of tests have: their cases have the same names in every run."""
    make_key(root)
    (root / FOLDER / KEY).write_text("5eed" * 16 + "\n")


def phantom(rng: np.random.Generator, shape: tuple[int, int, int] = (4, 32, 32)) -> tuple[Array, Array]:
    """Stored voxels (uint16, 12 bits) and a label (uint8): a bright ellipsoid (1) with a dark ball (2) inside."""
    z, y, x = (axis / (length - 1) * 2 - 1 for axis, length in zip(np.mgrid[tuple(map(slice, shape))], shape, strict=True))
    cy, cx = rng.uniform(-0.15, 0.15, 2)
    body = ((y - cy) / 0.55) ** 2 + ((x - cx) / 0.7) ** 2 + (z / 1.5) ** 2 < 1
    spot = ((y - cy) / 0.25) ** 2 + ((x - cx - 0.2) / 0.25) ** 2 + (z / 0.8) ** 2 < 1
    label = np.where(spot, 2, body).astype(np.uint8)
    bright = np.array([200, 900, 1700])[label] + rng.normal(0, 60, shape)
    return np.clip(bright, 0, 4095).astype(np.uint16), label


def make_study(root: Path, at: int, *, kind: str = "BINARY", shape: tuple[int, int, int] = (4, 32, 32), **series: Any) -> Study:
    """One person's series with a label: ``kind`` is that of a SEG, or RTSTRUCT. ``series`` goes to ``make_series``."""
    person = PEOPLE[at]
    folder = root / f"{person.name.replace('^', '_')}" / f"MRT_{person.studied}"
    voxels, label = phantom(np.random.default_rng(at), shape)
    made = make_series(folder / "serie1", voxels, person=person, stored=12, **series)
    kept = [k for k in range(len(voxels)) if k not in series.get("missing", ())]
    masks = {"Heart": label[kept] == 1, "Lesion": label[kept] == 2}
    file = folder / f"umrisse_{person.number}"
    if kind == "RTSTRUCT":
        make_rtstruct(made, {name: outlines(label == number) for number, name in ((1, "Heart"), (2, "Lesion"))}, file)
    else:
        shown = {name: mask.astype(float) for name, mask in masks.items()} if kind == "FRACTIONAL" else masks
        make_seg(made, shown, file, kind=kind)
    return Study(made, label[kept], file)


def make_archive(root: Path, count: int = 6, *, segments: bool = True, **made: Any) -> list[Study]:
    """Studies of ``count`` people below ``root``: binary SEG, but the third has an RT-STRUCT, and the fourth a fractional SEG.

    One is oblique, one has a tilted gantry; the first has a localiser as a series of its own beside it. ``segments`` makes a
    ``segments.json`` and a key.
    """
    kinds = {2: "RTSTRUCT", 3: "FRACTIONAL"}
    places = {1: {"directions": turned(12, -8, 21)}, 4: {"tilt": 11.0}}
    studies = [make_study(root, at, kind=kinds.get(at, "BINARY"), **{**places.get(at, {}), **made}) for at in range(count)]
    localiser(studies[0].series.files[0].parent.parent / "scout", studies[0].series, number=9)
    if segments:
        save_segments(root)
        fix_key(root)
    return studies
