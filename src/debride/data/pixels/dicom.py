"""DICOM: series and labels of an archive, which handles stand for, and single files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from debride.data.dicom.dicom_files import REOPEN, refusing
from debride.data.dicom.extra import require_dicom
from debride.data.dicom.handles import (
    LABEL_ENDING,
    SERIES_ENDING,
    SeriesHandle,
    read_label,
    read_series,
    series_of,
    studies_of,
)
from debride.data.dicom.quiet import quiet
from debride.data.pixels.kind import Array, Box, Header, Pixels, decoding
from debride.types import DataError, Geometry

DCM = ".dcm"


class Dicom(Pixels):
    """Handles of series and labels, and files ``.dcm``: pictures, volumes of many frames, and segmentations.

    Numbers of a label are class ids; of a segmentation by itself, those of its segments. Masks are written as DICOM SEG.
    """

    name = "dicom"
    endings = (SERIES_ENDING, LABEL_ENDING, DCM)
    contents = ("dicom", "dicom handle")
    partial = True

    def header(self, path: Path) -> Header:
        """As for all kinds: of a label that of its series, with one channel."""
        series, channels = self._described(path)
        return Header(series.shape, channels, series.geometry)

    def image(self, path: Path) -> tuple[Array, Geometry]:
        """All channels in modality units."""
        from debride.data.dicom.image_arrays import image_values

        studies, series = self._series(path)
        with _reading(path):
            return image_values(studies, series, path), series.geometry

    def image_part(self, path: Path, box: Box) -> Array:
        """As for all kinds: of a volume the slices of the box alone are read."""
        from debride.data.dicom.image_arrays import image_values

        studies, series = self._series(path)
        inside = tuple(slice(*ends) for ends in box)
        with _reading(path):
            if len(inside) == 2:
                return image_values(studies, series, path)[(slice(None), *inside)]
            return image_values(studies, series, path, inside[0])[(slice(None), slice(None), *inside[1:])]

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds."""
        from debride.data.dicom.label_arrays import label_values, paint
        from debride.data.dicom.single_file import single_label

        with _reading(path):
            if path.name.endswith(LABEL_ENDING):
                return label_values(path), self._described(path)[0].geometry
            self._refuse_series(path)
            label, series = single_label(path)
            return paint(label, path.parent, series, path), series.geometry

    def values_part(self, path: Path, box: Box) -> Array:
        """As for all kinds: of a volume the slices of the box alone are read."""
        from debride.data.dicom.label_arrays import label_part

        if not path.name.endswith(LABEL_ENDING):
            return super().values_part(path, box)
        with _reading(path):
            return label_part(path, box)

    def predicted(self, path: Path, image: Path) -> tuple[Array, Geometry]:
        """By segments.json of the image's data set; a handle of a label is read as such."""
        from debride.data.dicom.named_segments import predicted

        if path.name.endswith(LABEL_ENDING) or not image.name.lower().endswith(self.endings):
            return self.values(path)
        with _reading(path):
            return predicted(path, image)

    def write(self, path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
        """A segmentation of the image ``like``, whose segments are called by their numbers."""
        from debride.data.dicom.named_segments import write_numbers

        require_dicom(path)
        write_numbers(path, values, like)

    def write_classes(
        self, path: Path, values: Array, classes: Mapping[int, str], geometry: Geometry, like: Path | None = None
    ) -> None:
        """A segmentation of the image ``like``, whose segments are called and coded as segments.json of its data set says."""
        from debride.data.dicom.named_segments import write_classes

        require_dicom(path)
        write_classes(path, values, classes, like)

    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """A segmentation with all that the objects of a label say of their segments, and new UIDs."""
        from debride.data.dicom.label_changes import write_like

        require_dicom(source)
        write_like(source, values, target)

    def label_ending(self, ending: str) -> str:
        """Masks are DICOM SEG."""
        return DCM

    def copy_ending(self, ending: str) -> str:
        """Copies are files of DICOM, and no handles."""
        return DCM if ending.lower() in (SERIES_ENDING, LABEL_ENDING) else ending

    def map_ending(self, path: Path, ending: str) -> str:
        """Maps of numbers are NIfTI, or PNG beside pictures that have no place."""
        series = self._described(path)[0]
        return ".png" if len(series.shape) == 2 and series.affine is None else ".nii.gz"

    def files(self, path: Path) -> tuple[Path, ...]:
        """A handle with the files that it names, each once; a file with those of further objects of its label."""
        from debride.data.dicom.label_changes import companions
        from debride.data.dicom.label_sources import files_of

        if path.name.endswith(SERIES_ENDING):
            handle = read_series(path)
            named, studies = dict.fromkeys(each.file for each in handle.slices), studies_of(path, handle)
        elif path.name.endswith(LABEL_ENDING):
            label = read_label(path)
            named, studies = dict.fromkeys(files_of(label)), studies_of(path, label)
        else:
            return companions(path)
        files = [studies / file for file in named]
        if not all(os.access(file, os.R_OK) for file in files):  # whoever reads them would name the file of the archive
            raise DataError(path, "has a file that is not there any more, or may not be read", REOPEN)
        return path, *files

    def copy(self, source: Path, target: Path) -> None:
        """Copy all files byte for byte, with their dates: those of a series as 00001.dcm and on, beside ``target``."""
        from debride.data.dicom.label_changes import companion, companions, copy_label

        if source.name.endswith(LABEL_ENDING):
            copy_label(source, target)
            return
        if source.name.endswith(SERIES_ENDING):
            files = self.files(source)[1:]
            targets = [target.with_name(f"{number:05d}{DCM}") for number in range(1, len(files) + 1)]
        else:
            files = companions(source)
            targets = [target, *(companion(target, number) for number in range(2, len(files) + 1))]
        with refusing(source):
            for file, own in zip(files, targets, strict=True):
                shutil.copyfile(file, own)
                shutil.copystat(file, own)

    def _series(self, path: Path) -> tuple[Path, SeriesHandle]:
        """The folder of an image's files, and its handle."""
        from debride.data.dicom.single_file import single_series

        with _reading(path):
            if path.name.endswith(SERIES_ENDING):
                handle = read_series(path)
                return studies_of(path, handle), handle
            if path.name.endswith(LABEL_ENDING):
                raise DataError(path, "is a label, not an image", "Give the image.")
            return path.parent, single_series(path)

    def _described(self, path: Path) -> tuple[SeriesHandle, int]:
        """The series on whose grid a file lies, and the channels that it has itself."""
        from debride.data.dicom.single_file import is_segmentation, single_label

        with _reading(path):
            if path.name.endswith(LABEL_ENDING):
                return read_series(series_of(path, read_label(path))), 1
            if not path.name.endswith(SERIES_ENDING) and is_segmentation(path):
                return single_label(path)[1], 1
        series = self._series(path)[1]
        return series, series.channels

    def _refuse_series(self, path: Path) -> None:
        if path.name.endswith(SERIES_ENDING):
            raise DataError(path, "is an image, not a label", "Give the label.")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """As for all kinds, but without the words of what raises, and with the package that it needs."""
    require_dicom(path)
    with decoding(path), refusing(path), quiet():
        yield
