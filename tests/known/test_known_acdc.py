"""ACDC: frames of patients, as volumes and as slices."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.known_archives import SPACING, acdc_archive, converted, described, heart, nifti, patient, unpacked, zipped

from debride.data.pixels.images import read_header
from debride.known.acdc import around, convert, middle_of
from debride.notes import take_notes
from debride.types import DataError


def test_frames_become_cases_of_their_patients(tmp_path: Path) -> None:
    cases = converted(convert, tmp_path / "out", acdc_archive(tmp_path), jobs=2)
    assert sorted(cases) == [f"patient{number}_frame{frame}" for number in ("001", "002", "101") for frame in ("01", "10")]
    image, label, case = cases["patient001_frame10"]
    own, drawn = heart(110)
    assert (image[0] == own.T).all() and (label == drawn.T).all()
    assert case.patient == "patient001"
    assert {case.split for _, _, case in (cases["patient001_frame01"], cases["patient001_frame10"])} == {case.split}
    assert cases["patient101_frame01"][2].split == "test"
    said = described(tmp_path / "out")
    assert said["labels"] == {"background": 0, "right_ventricle": 1, "myocardium": 2, "left_ventricle": 3}
    assert said["diagnosis"]["patient002"] == "NOR" and said["phase"]["patient002_frame10"] == "ES"
    assert said["numTraining"] == 4


def test_slices_are_pictures_of_the_same_numbers(tmp_path: Path) -> None:
    cases = converted(convert, tmp_path / "out", acdc_archive(tmp_path), slices=True)
    assert len(cases) == 6 * 3
    image, label, case = cases["patient002_frame01_slice02"]
    own, drawn = heart(201)
    assert (image[0] == own.T[2]).all() and (label == drawn.T[2]).all() and case.patient == "patient002"
    assert case.image[0].name == "patient002_frame01_slice02_0000.png"


def test_squares_lie_around_the_heart_of_the_volume(tmp_path: Path) -> None:
    cases = converted(convert, tmp_path / "out", acdc_archive(tmp_path), slices=True, size=8)
    image, label, _ = cases["patient001_frame01_slice01"]
    own, drawn = heart(101)
    # the heart lies at x 2 to 8 and y 3 to 7, so that its middle is x 5 and y 5
    assert (image[0] == own.T[1, 1:9, 1:9]).all() and (label == drawn.T[1, 1:9, 1:9]).all()


def test_a_square_goes_on_in_zeros_beyond_the_image() -> None:
    volume = np.arange(1, 13).reshape(1, 3, 4)
    cut = around(volume, (0, 3), 4)[0]
    slow = [[int(volume[0, y, x]) if 0 <= y < 3 and 0 <= x < 4 else 0 for x in range(1, 5)] for y in range(-2, 2)]
    assert cut.tolist() == slow
    assert middle_of(np.zeros((2, 6, 8), np.uint8)) == (3, 4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("patient002_frame10_gt.nii.gz", None, "has no patient002_frame10_gt.nii.gz"),
        ("patient002_frame01_gt.nii.gz", nifti(np.full((12, 10, 3), 7, np.uint8)), "label value 7"),
        ("patient002_frame01_gt.nii.gz", nifti(np.zeros((12, 10, 2), np.uint8)), "grid of its image"),
        ("patient002_frame01.nii.gz", b"damaged", "patient002_frame01.nii.gz"),
        ("Info.cfg", b"ED: first\nES: 10\nGroup: DCM\n", "says no ED"),
        ("Info.cfg", b"ED: 1\nES: 10\nGroup: other\n", "says no Group"),
    ],
)
def test_what_is_not_as_published_is_refused_by_its_file(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    files = patient(1, "training") | patient(2, "training")
    place = f"ACDC/database/training/patient002/{name}"
    if content is None:
        del files[place]
    else:
        files[place] = content
    with pytest.raises(DataError, match=said) as raised:
        converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files))
    assert "patient002" in raised.value.where and "a.zip" in raised.value.where


def test_a_label_whose_header_says_another_place_is_written_on_its_image(tmp_path: Path) -> None:
    """Labels of known sets are drawn voxel by voxel, whatever their headers say."""
    files = patient(1, "training") | patient(2, "training")
    _, label = heart(201)
    files["ACDC/database/training/patient002/patient002_frame01_gt.nii.gz"] = nifti(label, origin=(90.0, 0.0, 0.0))
    archive = zipped(tmp_path / "a.zip", files)
    cases = converted(convert, tmp_path / "out", archive)
    assert (cases["patient002_frame01"][1] == label.T).all()
    (said,) = [note for note in take_notes() if "another place" in note]
    assert "patient002_frame01_gt" in said and "more" not in said
    sliced = converted(convert, tmp_path / "slices", archive, slices=True)
    assert (sliced["patient002_frame01_slice01"][1] == label.T[1]).all()


def test_an_sform_of_one_millimetre_is_left_out(tmp_path: Path) -> None:
    """Many files of ACDC say their spacing by pixdim and qform alone, and 1 mm by their sform."""

    def wrongly_placed(values: np.ndarray) -> bytes:
        image = nibabel.Nifti1Image(values, np.eye(4))
        image.set_qform(np.diag([-1.5, -1.25, 10.0, 1.0]), 1)
        image.set_sform(np.diag([-1.0, -1.0, 1.0, 1.0]), 2)
        return gzip.compress(image.to_bytes())

    files = patient(1, "training") | patient(2, "training")
    image, label = heart(201)
    place = "ACDC/database/training/patient002/patient002_frame01"
    files |= {f"{place}.nii.gz": wrongly_placed(image), f"{place}_gt.nii.gz": wrongly_placed(label)}
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files))
    found, drawn, case = cases["patient002_frame01"]
    assert (found[0] == image.T).all() and (drawn == label.T).all()
    assert read_header(case.image[0]).geometry.spacing == (10.0, 1.25, 1.5)
    assert any("contradicts its qform" in note and "1 more" in note for note in take_notes())


def test_a_label_that_is_stored_mirrored_lies_as_its_image(tmp_path: Path) -> None:
    files = patient(1, "training") | patient(2, "training")
    _, label = heart(201)
    affine = np.diag([-SPACING[0], *SPACING[1:], 1.0])
    affine[:3, 3] = (-7.0 + SPACING[0] * (len(label) - 1), 11.0, 3.5)
    mirrored = gzip.compress(nibabel.Nifti1Image(label[::-1], affine).to_bytes())
    files["ACDC/database/training/patient002/patient002_frame01_gt.nii.gz"] = mirrored
    archive = zipped(tmp_path / "a.zip", files)
    assert (converted(convert, tmp_path / "out", archive)["patient002_frame01"][1] == label.T).all()
    sliced = converted(convert, tmp_path / "slices", archive, slices=True)
    assert (sliced["patient002_frame01_slice01"][1] == label.T[1]).all()


@pytest.mark.parametrize("options", [{"size": 8}, {"slices": True, "size": -1}])
def test_a_size_is_one_of_slices(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(DataError, match="size"):
        converted(convert, tmp_path / "out", acdc_archive(tmp_path), **options)


def test_an_archive_and_its_folder_are_not_taken_together(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "folder", patient(1, "training") | patient(2, "training"))
    with pytest.raises(DataError, match="more than once"):
        converted(convert, tmp_path / "out", folder, zipped(tmp_path / "a.zip", patient(1, "training")))


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder patient001"):
        converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", {"x.txt": b"x"}))


def test_spacing_stays(tmp_path: Path) -> None:
    _, _, case = converted(convert, tmp_path / "out", acdc_archive(tmp_path))["patient001_frame01"]
    assert read_header(case.image[0]).geometry.spacing == SPACING[::-1]
