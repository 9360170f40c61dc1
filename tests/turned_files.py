"""Image files stored anew in another orientation, by libraries of others: the same voxels at the same places in space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


def orientation(rng: np.random.Generator, ndim: int = 3) -> tuple[tuple[int, int], ...]:
    """A random order of the axes x, y, z with random signs, as nibabel writes orientations; never the one that changes
    nothing."""
    while True:
        order, signs = rng.permutation(ndim), rng.choice([-1, 1], ndim)
        if ndim == 2:
            order, signs = np.append(order, 2), np.append(signs, 1)
        if (order != np.arange(3)).any() or (signs < 0).any():
            return tuple((int(axis), int(sign)) for axis, sign in zip(order, signs, strict=True))


def store_turned(path: Path, to: tuple[tuple[int, int], ...], target: Path | None = None) -> None:
    """Store a NIfTI file in another orientation, in place or to another path; its qform and sform say so."""
    volume: Any = nib.load(path)
    plain = type(volume)(np.asarray(volume.dataobj), volume.affine, volume.header)
    nib.save(plain.as_reoriented(np.array(to)), target or path)


def oblique(spacing: tuple[float, float, float], angles: tuple[float, float, float], origin: Any = (0, 0, 0)) -> Numbers:
    """An affine with the spacing (x, y, z) in mm, turned by three angles in degrees about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix * spacing
    affine[:3, 3] = origin
    return affine


def save_volume(path: Path, array: Numbers, affine: Numbers, unit: str = "mm") -> None:
    """Write an array (D, H, W) or (H, W) as NIfTI whose qform and sform both say its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make: Any = nib.Nifti1Image
    volume = make((array if array.ndim == 3 else array[None]).T, affine)
    volume.set_qform(affine, 1)
    volume.set_sform(affine, 1)
    volume.header.set_xyzt_units(unit)
    nib.save(volume, path)
