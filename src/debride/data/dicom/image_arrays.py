"""The pixels of a series, read slice by slice, in modality units: ``decoding`` says what a value is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.claims import refuse_claim
from debride.data.dicom.decoding import frame_values
from debride.data.dicom.dicom_files import REOPEN, RESTORE, opened
from debride.data.dicom.handles import SeriesHandle, Slice
from debride.data.dicom.quiet import quiet
from debride.types import DataError

Array = npt.NDArray[Any]


def image_values(studies: Path, series: SeriesHandle, where: Path, planes: slice | None = None) -> Array:
    """The channels (C, *S, or of the ``planes`` alone) of a series; whole numbers stay such.

    Raises DataError, naming ``where``, for a file that is not the one that was indexed, is damaged, needs a codec that is not
    installed, or claims more pixels than it can hold.
    """
    rows, columns = series.shape[-2:]
    volume = len(series.shape) == 3
    wanted = series.slices[planes] if planes is not None and volume else series.slices
    _refuse_size(series, len(wanted), where)
    result: Array | None = None
    reader = _Reader(studies, where)
    for at, place in enumerate(wanted):
        pixels = reader.pixels(place)
        if pixels.shape[1:] != (rows, columns) or pixels.shape[0] != series.channels:
            raise DataError(where, f"has a slice of the shape {pixels.shape}, not {(series.channels, rows, columns)}", REOPEN)
        if result is None:
            result = np.empty((series.channels, len(wanted), rows, columns), pixels.dtype)
        elif (kind := np.promote_types(result.dtype, pixels.dtype)) != result.dtype:
            result = result.astype(np.float32 if kind.kind == "f" else kind)
        result[:, at] = pixels
    if result is None:
        raise DataError(where, "has no slices", REOPEN)
    return result if volume else result[:, 0]


class _Reader:
    """Reads frames; a file of several is read once."""

    def __init__(self, studies: Path, where: Path) -> None:
        self._studies, self._where = studies, where
        self._file = ""
        self._dataset: Any = None

    def pixels(self, place: Slice) -> Array:
        """The channels (C, H, W) of a slice."""
        if place.file != self._file or self._dataset is None:
            self._dataset, self._file = opened(self._studies / place.file, self._where), place.file
        with quiet():
            instance = str(self._dataset.get("SOPInstanceUID", "")).strip()
        if not instance:
            raise DataError(self._where, "has a file that is cut off", RESTORE)
        if instance != place.instance:
            raise DataError(self._where, "has another file where one of its slices was found", REOPEN)
        return frame_values(self._dataset, place.frame, self._where)


def _refuse_size(series: SeriesHandle, planes: int, where: Path) -> None:
    """DataError for an image that no memory of this machine holds."""
    rows, columns = series.shape[-2:]
    if min(rows, columns, series.channels) < 1 or max(rows, columns) > 0xFFFF or series.channels > 4:
        raise DataError(where, "has a handle that contradicts itself", "Delete it: it is made again.")
    refuse_claim(where, rows * columns * planes * series.channels, rows * columns * planes * series.channels)
