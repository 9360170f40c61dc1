"""Masks that are predicted for series of DICOM: ours by segments.json, and those of any other program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from tests.dicom_label_handles import write_handles
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import Series, make_series, turned
from tests.dicom_studies import save_segments

from debride.data.masks.predicted import read_predicted
from debride.data.pixels.images import label_path, map_ending, read_header, read_values, write_label
from debride.notes import take_notes
from debride.types import DataError, Dataset, Geometry

SHAPE = (4, 14, 12)
CODED = [
    {"name": "heart", "segments": [{"label": "Heart", "code": ["80891009", "SCT"]}]},
    {"name": "lesion", "segments": [{"label": "Lesion"}]},
]


def ids(seed: int = 0, classes: int = 3) -> npt.NDArray[np.uint8]:
    """A mask, one slice of which is empty."""
    found = np.random.default_rng(seed).integers(0, classes, SHAPE).astype(np.uint8)
    found[1] = 0
    return found


def archive(root: Path, **entries: Any) -> tuple[Series, Path, Dataset]:
    """A data set of one oblique series, its handle, and what its labels mean."""
    made = make_series(root / "mr", np.zeros(SHAPE, np.uint16), directions=turned(12, -8, 21))
    save_segments(root, **entries)
    label = write_handles(root, made, {})
    series = label.parents[1] / "series" / "mr-1.dicom-series"
    return made, series, Dataset(root, "dicom", ("background", "heart", "lesion"), (), 3)


def test_segments_are_called_and_coded_as_segments_json_says(tmp_path: Path) -> None:
    """They are read as the same classes, and by themselves as their numbers, on the grid of the series."""
    made, series, dataset = archive(tmp_path, classes=CODED)
    path = label_path(tmp_path, "case", series)
    assert path.name == "case.dcm" and map_ending(series) == ".nii.gz"
    write_label(path, ids(), dataset, Geometry(), series)
    first, second = pydicom.dcmread(path).SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("Heart", "Lesion")
    code = first.SegmentedPropertyTypeCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("80891009", "SCT")
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    read, place = read_predicted(path, dataset, series)
    alone, same = read_values(path)
    assert (read == ids()).all() and (alone == ids()).all() and read_header(path).shape == SHAPE
    assert np.allclose(place.affine or (), made.ras) and np.allclose(same.affine or (), made.ras)


def test_masks_of_other_programs(tmp_path: Path) -> None:
    """Segments in any order, some without frames, by names; contours too; by numbers where no name is known."""
    made, series, dataset = archive(tmp_path)
    make_seg(made, {"lesion": ids() == 2, "HEART": ids() == 1}, tmp_path / "a.dcm")
    assert (read_predicted(tmp_path / "a.dcm", dataset, series)[0] == ids()).all()
    make_seg(made, {"one": ids() == 1, "two": ids() == 2}, tmp_path / "b.dcm")
    take_notes()
    assert (read_predicted(tmp_path / "b.dcm", dataset, series)[0] == ids()).all()
    assert "numbers of segments are taken as class ids" in " ".join(take_notes())
    block = np.zeros(SHAPE, np.uint8)
    block[1:3, 4:9, 3:8] = 2
    make_rtstruct(made, {"Lesion": outlines(block == 2)}, tmp_path / "c.dcm")
    assert (read_predicted(tmp_path / "c.dcm", dataset, series)[0] == block).all()


def test_what_cannot_be_a_prediction_is_refused(tmp_path: Path) -> None:
    made, series, dataset = archive(tmp_path)
    make_seg(made, {"Heart": ids() == 1, "Couch": ids() == 2}, tmp_path / "a.dcm")
    with pytest.raises(DataError, match=r"has the segment 'Couch', which segments.json does not name"):
        read_predicted(tmp_path / "a.dcm", dataset, series)
    make_seg(made, {"Heart": ids() > 0, "Lesion": ids() == 2}, tmp_path / "b.dcm")
    with pytest.raises(DataError, match="overlap"):
        read_predicted(tmp_path / "b.dcm", dataset, series)
    ignoring = Dataset(tmp_path, "dicom", ("background", "heart"), (), 3, ignore=255)
    with pytest.raises(DataError, match="value 255, which is no class"):
        write_label(tmp_path / "c.dcm", np.full(SHAPE, 255, np.uint8), ignoring, Geometry(), series)
    with pytest.raises(DataError, match="its image is no DICOM"):
        write_label(tmp_path / "c.dcm", ids(), dataset, Geometry(), tmp_path / "image.nii.gz")
    with pytest.raises(DataError, match="is a label of DICOM, not an image"):
        read_predicted(tmp_path / "b.dcm", dataset, tmp_path / "b.dcm")
    assert not (tmp_path / "c.dcm").exists()
