"""Where the voxels of a NIfTI file lie: what its header says, in mm, and headers that say it.

A header may say it three times: as pixdim, qform and sform. Where sform and qform have a code, nibabel and we go by the sform.
Without any code it says nothing but pixdim.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.same_grid import TOLERANCE, Grid, compare
from debride.notes import note
from debride.types import DataError, Geometry
from debride.words import numbers

_MM = {1: 1000.0, 3: 0.001}
"""Millimetres of the spatial units that are none, by their code: metres and micrometres."""

_PLACE = ("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_PLACES = (*_PLACE, "sform_code", "srow_x", "srow_y", "srow_z")

Reals = npt.NDArray[np.float64]


def geometry_of(path: Path, header: Any, shape: tuple[int, ...]) -> Geometry:
    """The geometry of voxels (x, y) or (x, y, z), in mm whatever the header's unit.

    Of a header that contradicts itself the sform counts, and it is noted. Raises DataError for a spacing or affine that is no
    place: zeros, NaN, axes in one direction.
    """
    scale, zooms = _scale(header), _zooms(header, len(shape))
    affine = _affine(header)
    if affine is None:
        if not (np.isfinite(zooms) & (zooms > 0)).all():
            raise DataError(path, f"has the voxel spacing {_tuple(zooms)}", "Export it again with its true spacing.")
        return Geometry(_tuple(zooms * scale)[::-1])
    columns = affine[:3, : len(shape)]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(columns / np.where(lengths > 0, lengths, 1)) < len(shape):
        remedy = "Export it again with its true place, or set qform_code and sform_code to 0."
        raise DataError(path, f"has an affine that places no voxels ({_rows(affine)})", remedy)
    if any(_contradictions(header, shape)):
        note(path, "has a header that contradicts itself, and is read by its sform")
    spacing = zooms if np.allclose(zooms, lengths, rtol=1e-3, atol=0) else lengths
    affine[:3] *= scale
    return Geometry(_tuple(spacing * scale)[::-1], tuple(_tuple(row) for row in affine))


def contradictions(path: Path, header: Any, shape: tuple[int, ...]) -> tuple[DataError, ...]:
    """What a header says in two ways, with both; voxels are (x, y) or (x, y, z)."""
    remedy = "Say it once: save nibabel.Nifti1Image(numpy.asarray(image.dataobj), image.affine), if the sform is right."
    return tuple(DataError(path, problem, remedy) for problem in _contradictions(header, shape))


def placed_as(header: Any) -> Any:
    """A new header that says of its place what this one says, in the same units."""
    made = type(header)()
    for name in _PLACES:
        made[name] = header[name]
    made["pixdim"][:4] = header["pixdim"][:4]
    made["xyzt_units"] = int(header["xyzt_units"]) & 7
    if not made["pixdim"][3] > 0:  # of an image of two axes: the mask gets a third
        made["pixdim"][3] = 1
    return made


def header_at(geometry: Geometry, shape: tuple[int, ...]) -> Any:
    """A new header for an array (*S) that lies where ``geometry`` says, by qform and sform alike; by the sform alone where a
    qform cannot say it."""
    import nibabel as nib

    made: Any = nib.Nifti1Header()
    made.set_xyzt_units("mm")
    if geometry.affine is None:
        spacing = (geometry.spacing or (1.0,) * len(shape))[::-1]
        made["pixdim"][1:4] = [*spacing, *[1.0] * (3 - len(spacing))]
        return made
    affine = np.asarray(geometry.affine, np.float64)
    made.set_qform(affine, "aligned")
    made.set_sform(affine, "aligned")
    if any(_contradictions(made, shape[::-1])):
        made["qform_code"] = 0
        made["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    return made


def _contradictions(header: Any, shape: tuple[int, ...]) -> Iterator[str]:
    affine = _affine(header)
    if affine is None or not int(header["sform_code"]):
        return
    zooms, lengths = _zooms(header, len(shape)), np.linalg.norm(affine[:3, : len(shape)], axis=0)
    if not (np.abs(zooms / lengths - 1) * (np.asarray(shape) - 1) <= TOLERANCE).all():
        yield f"has the voxel spacing ({numbers(zooms)}) by its pixdim, and ({numbers(lengths)}) by its sform"
    if not int(header["qform_code"]):
        return
    try:
        other = np.asarray(header.get_qform(), np.float64)
    except Exception:  # of nibabel, unrelated kinds
        yield "has a qform that is no rotation, beside its sform"
        return
    places = [Grid(shape[::-1], Geometry(None, tuple(_tuple(row) for row in place))) for place in (other, affine)]
    how = compare(*places)
    if isinstance(how, str) or how.changes:
        yield f"lies at {_rows(affine)} by its sform, and at {_rows(other)} by its qform"


def _affine(header: Any) -> Reals | None:
    """The affine that counts, in the header's unit; None if it has none."""
    if not (int(header["sform_code"]) or int(header["qform_code"])):
        return None
    return np.array(header.get_best_affine(), np.float64)


def _zooms(header: Any, ndim: int) -> Reals:
    return np.asarray(header["pixdim"][1 : 1 + ndim], np.float64)


def _scale(header: Any) -> float:
    return _MM.get(int(header["xyzt_units"]) & 7, 1.0)


def _tuple(numbers: Reals) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)


def _rows(affine: Reals) -> str:
    return "; ".join(" ".join(f"{number:.4g}" for number in row) for row in affine[:3])
