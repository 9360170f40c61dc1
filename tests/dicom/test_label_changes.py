"""Labels of DICOM with other classes: what did not change stays as it was, segment by segment and bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from tests.dicom_label_handles import write_handles
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import Series, make_series, turned

from debride.data.dicom.label_arrays import label_values
from debride.data.dicom.label_changes import companions, copy_label, write_like
from debride.types import DataError

Array = npt.NDArray[Any]

SHAPE = (4, 14, 12)


def series(root: Path, **how: Any) -> Series:
    """A small oblique series."""
    return make_series(root / "mr", np.zeros(SHAPE, np.uint16), directions=turned(12, -8, 21), **how)


def box(*ends: tuple[int, int]) -> Array:
    """A mask of a box."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*each) for each in ends)] = True
    return mask


HEART, LESION, COUCH = box((0, 4), (2, 9), (2, 9)), box((1, 3), (4, 7), (9, 11)), box((2, 4), (12, 14), (0, 12))
FILLED = np.where(LESION, 2, HEART).astype(np.uint8)


def read(path: Path, made: Series, **options: Any) -> Array:
    """The segments of a SEG (K, D, H, W), as highdicom reads them by the images that they are of."""
    instances = [dataset.SOPInstanceUID for dataset in made.datasets]
    found = highdicom.seg.segread(path).get_pixels_by_source_instance(instances, **options)
    return np.moveaxis(found, -1, 0)


def test_segments_keep_what_did_not_change(tmp_path: Path) -> None:
    """Two classes, and a segment of none: it stays, and so do items, codes, colours, but for what says who drew it."""
    made, archived = series(tmp_path), tmp_path / "seg"
    make_seg(made, {"Heart": HEART, "Couch": COUCH, "Lesion": LESION}, archived)
    label = write_handles(tmp_path, made, {archived: {1: 1, 2: 0, 3: 2}})
    before = archived.read_bytes()
    assert (label_values(label) == FILLED).all()
    wanted = FILLED.copy()
    wanted[0, 0:2] = 1
    wanted[1, 4] = 0
    write_like(label, wanted, tmp_path / "new.dcm")
    heart, couch, lesion = read(tmp_path / "new.dcm", made)
    assert (heart == (wanted == 1)).all() and (lesion == (wanted == 2)).all() and (couch == COUCH).all()
    assert archived.read_bytes() == before
    old, new = pydicom.dcmread(archived), pydicom.dcmread(tmp_path / "new.dcm")
    for one, other, changed in zip(old.SegmentSequence, new.SegmentSequence, (True, False, True), strict=True):
        for keyword in ("SegmentLabel", "SegmentedPropertyTypeCodeSequence", "TrackingUID", "RecommendedDisplayCIELabValue"):
            assert one.get(keyword) == other.get(keyword)
        assert ("debride" in str(other.get("SegmentAlgorithmName", ""))) == changed
    assert new.SourceInstanceSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID != new.SOPInstanceUID
    again = write_handles(tmp_path, made, {tmp_path / "new.dcm": {1: 1, 3: 2}}, "mr-2")
    assert (label_values(again) == wanted).all()


def test_fractions_stay_where_nothing_changed(tmp_path: Path) -> None:
    made, archived = series(tmp_path), tmp_path / "seg"
    soft = np.random.default_rng(0).integers(0, 256, SHAPE) / 255
    make_seg(made, {"Heart": soft}, archived, kind="FRACTIONAL")
    stored = read(archived, made, rescale_fractional=False)[0]
    label = write_handles(tmp_path, made, {archived: {1: 1}}, names=("background", "heart"))
    wanted = label_values(label)
    assert 0 < wanted.mean() < 1
    change = box((1, 2), (0, 5), (0, 5))
    wanted = np.where(change, 1 - wanted, wanted)
    write_like(label, wanted, tmp_path / "new.dcm")
    found = read(tmp_path / "new.dcm", made, rescale_fractional=False)[0]
    assert (found[~change] == stored[~change]).all() and (found[change] == 255 * wanted[change]).all()
    old, new = (pydicom.dcmread(path) for path in (archived, tmp_path / "new.dcm"))
    for keyword in ("SegmentationType", "SegmentationFractionalType", "MaximumFractionalValue"):
        assert old.get(keyword) == new.get(keyword)


def test_pixels_that_enter_a_class_of_several_segments_go_to_the_nearest(tmp_path: Path) -> None:
    """By distances in mm, against a loop over all pixels of all segments."""
    made, archived = series(tmp_path), tmp_path / "seg"
    one, two = box((1, 2), (3, 5), (2, 4)), box((2, 3), (9, 11), (7, 10))
    make_seg(made, {"Lesion 1": one, "Lesion 2": two, "Lesion 3": np.zeros(SHAPE, bool)}, archived, sparse=False)
    label = write_handles(tmp_path, made, {archived: {1: 1, 2: 1, 3: 1}}, names=("background", "lesion"))
    entered = np.random.default_rng(0).random(SHAPE) < 0.05
    write_like(label, (label_values(label).astype(bool) | entered).astype(np.uint8), tmp_path / "new.dcm")
    found = read(tmp_path / "new.dcm", made)
    spacing = np.array([3.0, 1.25, 0.75])
    for pixel in np.argwhere(entered & ~one & ~two):
        far = [min(np.linalg.norm((pixel - other) * spacing) for other in np.argwhere(mask)) for mask in (one, two)]
        assert [bool(each[tuple(pixel)]) for each in found] == [far[0] <= far[1], far[1] < far[0], False]
    assert (found[0] >= one).all() and (found[1] >= two).all() and not found[2].any()


def test_several_objects_become_one_and_contours_a_segment(tmp_path: Path) -> None:
    """A SEG and an RT-STRUCT; of its regions one is of no class."""
    made, archived, outlined = series(tmp_path), tmp_path / "seg", tmp_path / "rtstruct"
    make_seg(made, {"Heart": HEART}, archived)
    make_rtstruct(made, {"Lesion": outlines(LESION), "Couch": outlines(COUCH)}, outlined)
    label = write_handles(tmp_path, made, {archived: {1: 1}, outlined: {1: 2, 2: 0}})
    before = label_values(label)
    wanted = before.copy()
    wanted[0] = 0
    write_like(label, wanted, tmp_path / "new.dcm")
    heart, lesion, couch = read(tmp_path / "new.dcm", made)
    assert (heart == (wanted == 1)).all() and (lesion == (wanted == 2)).all() and couch.any()
    new = pydicom.dcmread(tmp_path / "new.dcm")
    assert [item.SegmentLabel for item in new.SegmentSequence] == ["Heart", "Lesion", "Couch"]
    assert len(new.SourceInstanceSequence) == 2
    copy_label(label, tmp_path / "copy.dcm")
    assert [path.read_bytes() for path in companions(tmp_path / "copy.dcm")] == [archived.read_bytes(), outlined.read_bytes()]
    assert archived.stat().st_mtime_ns == (tmp_path / "copy.dcm").stat().st_mtime_ns


def test_overlapping_segments(tmp_path: Path) -> None:
    """A pixel of a combination is in both segments, and a change of one leaves the other."""
    made, archived = series(tmp_path), tmp_path / "seg"
    whole = HEART | LESION
    make_seg(made, {"Heart": whole, "Lesion": LESION}, archived)
    label = write_handles(tmp_path, made, {archived: {1: 1, 2: 2}}, combined=((1, 2),))
    before = label_values(label)
    assert set(np.unique(before)) == {0, 1, 3}
    wanted = before.copy()
    wanted[1, 4, 9:11] = (1, 2)
    wanted[0, 0, 0] = 3
    write_like(label, wanted, tmp_path / "new.dcm")
    heart, lesion = read(tmp_path / "new.dcm", made)
    assert (heart == np.isin(wanted, (1, 3))).all() and (lesion == np.isin(wanted, (2, 3))).all()
    assert pydicom.dcmread(tmp_path / "new.dcm").SegmentsOverlap == "YES"


def test_what_no_segment_can_say_is_refused(tmp_path: Path) -> None:
    made, archived = series(tmp_path), tmp_path / "seg"
    make_seg(made, {"Heart": HEART, "Lesion": LESION}, archived)
    label = write_handles(tmp_path, made, {archived: {1: 1, 2: 2}})
    with pytest.raises(DataError, match="255, which is none of its 3 classes"):
        write_like(label, np.full(SHAPE, 255, np.uint8), tmp_path / "new.dcm")
    with pytest.raises(DataError, match="outside of a data set of DICOM"):
        write_like(archived, FILLED, tmp_path / "new.dcm")
    archived.write_bytes(b"")
    with pytest.raises(DataError, match=r"mr-1\.dicom-label: has"):
        write_like(label, FILLED, tmp_path / "new.dcm")
    archived.unlink()
    with pytest.raises(DataError, match=r"mr-1\.dicom-label: has a file that is not there any more"):
        copy_label(label, tmp_path / "copy.dcm")
