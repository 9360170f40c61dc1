"""Segmentations that are written: the same voxels by four independent readers, the identity of the images, no errors."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from tests.dicom_label_handles import handle_of
from tests.dicom_made import HILDEGARD, Series, make_picture, make_series, turned

from debride.data.dicom.handles import SeriesHandle, Slice
from debride.data.dicom.items import Code
from debride.data.dicom.seg_frames import Kind
from debride.data.dicom.seg_writing import Segment, write_seg
from debride.types import DataError

Array = npt.NDArray[Any]

HEART: Code = ("80891009", "SCT", "Heart")
ANATOMY: Code = ("123037004", "SCT", "Anatomical Structure")


def written(made: Series, path: Path, segments: list[Segment], volumes: list[Array], **options: Any) -> Any:
    """The object that was written, read again by pydicom."""
    write_seg(path, Path("/"), handle_of(made), segments, lambda at: volumes[at], Path("the series"), **options)
    return pydicom.dcmread(path)


def voxels(count: int = 2, shape: tuple[int, int, int] = (4, 13, 11)) -> list[Array]:
    """Masks that overlap, the second of them in two planes alone."""
    rng = np.random.default_rng(0)
    masks = [(rng.random(shape) < 0.3).astype(np.uint8) for _ in range(count)]
    if count > 1:
        masks[1][[0, 3]] = 0
    return masks


def series(folder: Path, shape: tuple[int, int, int] = (4, 13, 11), **how: Any) -> Series:
    """A small series, oblique unless said otherwise."""
    return make_series(folder, np.zeros(shape, np.uint16), **{"directions": turned(12, -8, 21), **how})


def errors(path: Path) -> list[str]:
    """What dciodvfy says of a file; the test is skipped where it is not installed."""
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy, of Debian's dicom3tools, is not installed")
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("how", [{}, {"tilt": 11.0}, {"enhanced": True}, {"modality": "CT"}])
def test_every_frame_is_that_of_its_plane(how: dict[str, Any], tmp_path: Path) -> None:
    """Read frame by frame, as the standard says it, by positions that are the texts of the images."""
    made, masks = series(tmp_path / "mr", **how), voxels()
    read = written(made, tmp_path / "seg.dcm", [Segment("Heart", ANATOMY, HEART), Segment("Herz, größer")], masks)
    frames = read.pixel_array
    assert read.SegmentsOverlap == "YES" and [item.SegmentNumber for item in read.SegmentSequence] == [1, 2]
    found, numbers = [np.zeros_like(mask) for mask in masks], []
    for plane, group in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        at = [float(number) for number in group.PlanePositionSequence[0].ImagePositionPatient]
        distances = [np.abs(made.affine[:3] @ (0, 0, k, 1) - at).max() for k in range(len(made.voxels))]
        assert min(distances) < 1e-6
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        own = made.datasets[0 if how.get("enhanced") else int(np.argmin(distances))]
        assert source.ReferencedSOPInstanceUID == own.SOPInstanceUID and source.SpatialLocationsPreserved == "YES"
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        numbers.append(number)
        found[number - 1][int(np.argmin(distances))] = plane
    assert all((one == other).all() for one, other in zip(found, masks, strict=True))
    assert numbers == [1, 1, 1, 1, 2, 2]
    assert errors(tmp_path / "seg.dcm") == []


def test_highdicom_dcmqi_and_simpleitk_read_the_same_voxels(tmp_path: Path) -> None:
    """In the patient's space: dcmqi and SimpleITK by their own geometry, highdicom by the images that a frame is of."""
    made, masks = series(tmp_path / "mr"), voxels()
    path = tmp_path / "seg.dcm"
    written(made, path, [Segment("Heart", colour=(30000, 40000, 20000)), Segment("Lesion")], masks)
    read = highdicom.seg.segread(path)
    instances = [dataset.SOPInstanceUID for dataset in made.datasets]
    pixels = read.get_pixels_by_source_instance(instances, assert_missing_frames_are_empty=True)
    assert all((pixels[..., at] == mask).all() for at, mask in enumerate(masks))
    (tmp_path / "itk").mkdir()
    tool = Path(sys.executable).with_name("segimage2itkimage")
    asked = ["--inputDICOM", path, "--outputDirectory", tmp_path / "itk", "--outputType", "nrrd"]
    subprocess.run([tool, *asked], check=True, capture_output=True)
    for number, mask in enumerate(masks, start=1):
        image = sitk.ReadImage(str(tmp_path / "itk" / f"{number}.nrrd"))
        filled = np.argwhere(sitk.GetArrayFromImage(image))
        assert len(filled) == mask.sum()
        places = {tuple(np.round(image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]), 3)) for index in filled}
        ours = (made.affine @ np.c_[np.argwhere(mask)[:, ::-1], np.ones(mask.sum())].T).T[:, :3]
        assert places == {tuple(np.round(place, 3)) for place in ours}
    first = sitk.ReadImage(str(path))
    assert np.allclose(first.GetOrigin(), made.affine[:3, 3]) and first.GetSize()[:2] == (11, 13)


def test_it_is_of_the_same_patient_study_and_place(tmp_path: Path) -> None:
    made = series(tmp_path / "mr")
    read = written(made, tmp_path / "seg.dcm", [Segment("Heart", ANATOMY, HEART, (1, 2, 3))], voxels(1))
    image = made.datasets[0]
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert read[keyword].value == image[keyword].value, keyword
    assert str(read.PatientName) == HILDEGARD.name and read.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert read.SeriesInstanceUID != image.SeriesInstanceUID and read.SOPInstanceUID.startswith("2.25.")
    (referenced,) = read.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == image.SeriesInstanceUID and len(referenced.ReferencedInstanceSequence) == 4
    (item,) = read.SegmentSequence
    assert (item.SegmentLabel, item.SegmentAlgorithmType) == ("Heart", "AUTOMATIC")
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "80891009"
    assert list(item.RecommendedDisplayCIELabValue) == [1, 2, 3]
    assert errors(tmp_path / "seg.dcm") == []


def test_what_came_before_is_kept_and_referred_to(tmp_path: Path) -> None:
    made = series(tmp_path / "mr")
    before = written(made, tmp_path / "first.dcm", [Segment("Heart"), Segment("Lesion")], voxels())
    before.Manufacturer, before.ContentCreatorName, before.SeriesDescription = "Workstation", "Reader^One", "Outlines"
    for item, algorithm in zip(before.SegmentSequence, ("MANUAL", "AUTOMATIC"), strict=True):
        item.SegmentAlgorithmType, item.TrackingID, item.TrackingUID = algorithm, "t1", "2.25.7"
    del before.SegmentSequence[0].SegmentAlgorithmName
    items = list(before.SegmentSequence)
    segments = [Segment("", item=item, changed=True) for item in (items[1], items[0])]
    read = written(made, tmp_path / "second.dcm", segments, voxels(), predecessors=[before])
    first, second = read.SegmentSequence
    assert (first.SegmentLabel, first.SegmentNumber, first.SegmentAlgorithmType) == ("Lesion", 1, "AUTOMATIC")
    assert (second.SegmentAlgorithmType, second.TrackingUID) == ("SEMIAUTOMATIC", "2.25.7")
    assert second.SegmentAlgorithmName.startswith("debride")
    assert read.SourceInstanceSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert [len(series.ReferencedInstanceSequence) for series in read.ReferencedSeriesSequence] == [4, 1]
    assert [item.Manufacturer for item in read.ContributingEquipmentSequence] == ["debride", "Workstation", "debride"]
    assert str(read.ContentCreatorName) == "Reader^One" and read.SeriesDescription.startswith("Outlines")
    assert {read.SOPInstanceUID, read.SeriesInstanceUID}.isdisjoint({before.SOPInstanceUID, before.SeriesInstanceUID})
    assert errors(tmp_path / "second.dcm") == []


def test_fractions_are_stored_as_they_are(tmp_path: Path) -> None:
    made = series(tmp_path / "mr")
    fractions = [np.random.default_rng(at).integers(0, 201, (4, 13, 11)).astype(np.uint8) for at in (1, 2)]
    path = tmp_path / "seg.dcm"
    read = written(made, path, [Segment("a"), Segment("b")], fractions, kind=Kind(200, "OCCUPANCY"))
    assert (read.SegmentationType, read.SegmentationFractionalType, read.MaximumFractionalValue) == (
        "FRACTIONAL",
        "OCCUPANCY",
        200,
    )
    instances = [dataset.SOPInstanceUID for dataset in made.datasets]
    pixels = highdicom.seg.segread(path).get_pixels_by_source_instance(instances, rescale_fractional=False)
    assert all((pixels[..., at] == fraction).all() for at, fraction in enumerate(fractions))
    assert errors(path) == []


def test_a_picture_without_a_place(tmp_path: Path) -> None:
    path, mask = tmp_path / "us.dcm", voxels(1)[0][0]
    make_picture(path, np.zeros(mask.shape, np.uint8), modality="US")
    uid = str(pydicom.dcmread(path).SOPInstanceUID)
    handle = SeriesHandle(".", (Slice("us.dcm", uid),), mask.shape, 1, None, None, "US")
    for count in (1, 2):
        segments = [Segment("Cyst"), Segment("Wall")][:count]
        write_seg(tmp_path / "seg.dcm", tmp_path, handle, segments, lambda at: mask, Path("the series"))
        pixels = highdicom.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance([uid])
        assert (pixels[0] == mask[..., None]).all() and pixels.shape[-1] == count
        assert errors(tmp_path / "seg.dcm") == []


def test_the_same_labels_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, masks = series(tmp_path / "mr"), voxels()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    segments = [Segment("Heart"), Segment("Lesion")]
    one, two = (written(made, tmp_path / name, segments, masks) for name in ("1.dcm", "2.dcm"))
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()
    assert (one.ContentDate, one.ContentTime) == ("20231114", "221320") and two.SOPInstanceUID == one.SOPInstanceUID
    masks[0][0, 0, 0] ^= 1
    other = written(made, tmp_path / "3.dcm", segments, masks)
    assert other.SOPInstanceUID != one.SOPInstanceUID and other.SeriesInstanceUID != one.SeriesInstanceUID


def test_what_cannot_be_written_is_refused_without_names_of_persons(tmp_path: Path) -> None:
    made = series(tmp_path / "mr")
    for name in ("x" * 65, "a\\b"):
        with pytest.raises(DataError, match="a name that DICOM does not hold"):
            written(made, tmp_path / "seg.dcm", [Segment(name)], voxels(1))
    handle = handle_of(made)
    for content in (made.files[1].read_bytes(), b"no file of DICOM", b""):
        made.files[2].write_bytes(content)
        with pytest.raises(DataError, match=r"the series: has (another file|a file whose header)"):
            write_seg(tmp_path / "seg.dcm", Path("/"), handle, [Segment("Heart")], lambda at: made.voxels, Path("the series"))
    assert not (tmp_path / "seg.dcm").exists()


def test_a_single_slice_that_says_no_thickness(tmp_path: Path) -> None:
    def change(dataset: Any, k: int) -> None:
        del dataset.SliceThickness

    made = series(tmp_path / "mr", (1, 13, 11), change=change)
    mask = voxels(1, (1, 13, 11))[0]
    assert (written(made, tmp_path / "seg.dcm", [Segment("Heart")], [mask]).pixel_array == mask[0]).all()
    assert errors(tmp_path / "seg.dcm") == []
