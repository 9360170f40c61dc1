"""What a person opens to look at findings one by one: points and maps for 3D Slicer and ITK-SNAP, and a table for all else.

Formats: 3D Slicer's markups JSON (schema 1.0.3; a list of fiducials in LPS coordinates, which are NIfTI's RAS coordinates with
the first two negated), NIfTI, and ITK-SNAP's label descriptions (a line ``IDX R G B A VIS MESH "LABEL"`` for each value).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.findings import Finding
from debride.audit.shown.charts import COLOURS
from debride.audit.shown.magnitude import magnitude
from debride.data.pixels.images import write_values
from debride.files import write_csv, write_json, write_text
from debride.types import Case, Geometry

SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"

FOLDER = "worklist"

WORKLIST_ENDINGS = (".mrk.json", ".nii.gz", ".txt")
"""Of the files that a case has in the folder."""

COLUMNS = (
    *("case", "image", "number", "kind", "class", "confidence", "severity", "volume", "area", "distance"),
    *("x", "y", "z", "r_mm", "a_mm", "s_mm"),
)
"""Of worklist.csv. ``volume`` is in ml, ``area`` in mm2, ``distance`` in mm or pixels (see ``Finding``). ``x y z`` is the voxel
or pixel index from 0, x along the last array axis; the mm are NIfTI's world coordinates (to the right, to the front, to the
head), empty for pictures without them."""


def write_worklist(
    audit: Path,
    case: Case,
    findings: Sequence[Finding],
    geometry: Geometry,
    number_map: npt.NDArray[np.uint16],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Write what viewers need for the findings of one case into ``worklist``, and return the case's lines of worklist.csv.

    ``number_map`` (*S) has the number of each finding in its voxels, on the grid of the label whose ``geometry`` is given.
    For volumes and NIfTI images of one slice these are ``CASE.mrk.json`` (a point inside each finding), ``CASE.nii.gz`` (the
    map, with the label's affine) and ``CASE.txt`` (a name for each number); for other pictures nothing but the lines.
    """
    affine = world(geometry) if geometry.affine is not None or number_map.ndim == 3 else None
    indices = [centre(finding, number_map) for finding in findings]
    names = [label(finding, classes) for finding in findings]
    points = [None if affine is None else (affine @ [*index, *[0] * (3 - len(index)), 1])[:3] for index in indices]
    if findings and affine is not None:
        folder = audit / FOLDER
        write_json(folder / f"{case.id}.mrk.json", markups(findings, names, [point for point in points if point is not None]))
        write_text(folder / f"{case.id}.txt", descriptions(findings, names))
        _write_map(folder / f"{case.id}.nii.gz", number_map, affine)
    return [
        {
            "case": case.id,
            "image": str(case.image[0]) if case.image else "",
            "number": finding.number,
            "kind": finding.kind,
            "class": _class(finding, classes),
            "confidence": f"{finding.confidence:.4f}",
            "severity": f"{finding.severity:.4f}",
            **{name: _number(getattr(finding, name)) for name in ("volume", "area", "distance")},
            **dict(zip("xyz", [*index, *[""] * (3 - len(index))], strict=True)),
            **dict(zip(COLUMNS[-3:], [""] * 3 if point is None else [f"{value:.3f}" for value in point], strict=True)),
        }
        for finding, index, point in zip(findings, indices, points, strict=True)
    ]


def write_table(audit: Path, lines: Iterable[dict[str, Any]]) -> Path:
    """Write worklist.csv, the lines of all cases in their order, and return its path."""
    path = audit / FOLDER / "worklist.csv"
    write_csv(path, COLUMNS, ([line[name] for name in COLUMNS] for line in lines))
    return path


def label(finding: Finding, classes: Sequence[str]) -> str:
    """What a viewer shows beside a finding: kind, class and confidence."""
    return f"{finding.kind} {_class(finding, classes)} {finding.confidence:.2f}"


def _number(value: float | None) -> str:
    """A number of a finding as a table has it; empty where it is not known."""
    return "" if value is None else f"{value:.4g}"


def world(geometry: Geometry) -> npt.NDArray[np.float64]:
    """The 4x4 matrix from voxel (x, y, z) to RAS coordinates in mm: the file's own, or as ITK's viewers place a file that says
    its spacing alone, to the left and to the back."""
    if geometry.affine is not None:
        return np.asarray(geometry.affine, np.float64)
    spacing = (geometry.spacing or (1.0, 1.0, 1.0))[::-1]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*spacing, *[1.0] * (4 - len(spacing))])


def centre(finding: Finding, number_map: npt.NDArray[np.uint16]) -> tuple[int, ...]:
    """The voxel (x, y, z) or pixel (x, y) of a finding nearest to its centre of mass, so that it never lies beside a ring.

    The middle of its box if no voxel has its number. Of a volume the slice is chosen first, then the voxel in it.
    """
    inside = number_map[tuple(slice(*side) for side in finding.box)] == finding.number
    offset = [first for first, _ in finding.box]
    if not inside.any():
        return tuple((first + past - 1) // 2 for first, past in reversed(finding.box))
    index: list[int] = []
    if inside.ndim == 3:
        counts = np.count_nonzero(inside, axis=(1, 2))
        filled = np.flatnonzero(counts)
        middle = np.average(np.arange(len(counts)), weights=counts)
        index = [int(filled[np.argmin(np.abs(filled - middle))])]
        inside = inside[index[0]]
    voxels = np.argwhere(inside)
    distance = np.square(voxels - voxels.mean(axis=0)).sum(axis=1)
    index += [int(place) for place in voxels[np.argmin(distance)]]
    return tuple(first + place for first, place in zip(offset, index, strict=True))[::-1]


def markups(findings: Sequence[Finding], names: Sequence[str], points: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
    """A list of fiducials for 3D Slicer; ``points`` are RAS coordinates in mm, written as LPS."""
    return {
        "@schema": SCHEMA,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": True,
                "labelFormat": "%N-%d",
                "lastUsedControlPointNumber": len(findings),
                "controlPoints": [
                    {
                        "id": str(finding.number),
                        "label": name,
                        "description": f"finding {finding.number}, severity {finding.severity:.2f}, {magnitude(finding)}",
                        "position": [round(float(value), 4) for value in point * (-1, -1, 1)],
                        "selected": True,
                        "locked": True,
                        "visibility": True,
                        "positionStatus": "defined",
                    }
                    for finding, name, point in zip(findings, names, points, strict=True)
                ],
                "display": {"visibility": True, "pointLabelsVisibility": True, "textScale": 2.5, "glyphScale": 2.0},
            }
        ],
    }


def descriptions(findings: Sequence[Finding], names: Sequence[str]) -> str:
    """Label descriptions for ITK-SNAP: a name and a colour for each number of the map."""
    named = sorted(zip(findings, names, strict=True), key=lambda pair: pair[0].number)
    return snap_descriptions((finding.number, f"{finding.number}: {name}") for finding, name in named)


def snap_descriptions(named: Iterable[tuple[int, str]]) -> str:
    """Label descriptions for ITK-SNAP of values that are named.

    A name ends at its quotation mark and its line, so quotation marks become single ones and line ends spaces.
    """
    lines = ["# ITK-SnAP Label Description File", "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL"]
    lines.append('    0     0    0    0        0  0  0    "Clear Label"')
    for value, name in named:
        colour = COLOURS[(value - 1) % len(COLOURS)]
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        text = " ".join(name.replace('"', "'").split())
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{text}"')
    return "\n".join(lines) + "\n"


def _write_map(path: Path, number_map: npt.NDArray[np.uint16], affine: npt.NDArray[np.float64]) -> None:
    rows = tuple(tuple(float(number) for number in row) for row in affine)
    write_values(path, number_map.astype(np.uint16, copy=False), Geometry(None, rows))


def _class(finding: Finding, classes: Sequence[str]) -> str:
    return classes[finding.class_id] if finding.class_id < len(classes) else f"class {finding.class_id}"
