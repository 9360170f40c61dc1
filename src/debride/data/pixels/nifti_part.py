"""A box of the voxels of a NIfTI file, read without the rest: what is compressed is inflated slice by slice, up to the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from debride.data.pixels.kind import Array, Box
from debride.data.pixels.streamed import GZIP, read_streamed, unpacked


def read_box(path: Path, volume: Any, shape: tuple[int, ...], box: Box, packed: bool) -> Array:
    """The voxels of nibabel's ``volume`` of a file inside a box of its array ``shape`` (*S), scaled as the header says.

    Raises DataError for a ``packed`` file that ends before the box does, and what zlib raises for a damaged one.
    """
    proxy = volume.dataobj
    scaled = (proxy.slope, proxy.inter) != (1, 0)
    if not packed:
        ends = [slice(*pair) for pair in reversed(box)]
        found: Array = np.asarray(proxy[(*ends, *[0] * (len(volume.shape) - len(ends)))]).T
        return found.astype(np.float32) if scaled else found
    stored = read_streamed(unpacked(path, GZIP), proxy.offset, volume.get_data_dtype(), shape, box, path)
    if not scaled:
        return stored
    with np.errstate(over="ignore"):  # what becomes infinite is shown so
        values: Array = stored.astype(np.float64) * proxy.slope + proxy.inter
        return values.astype(np.float32)
