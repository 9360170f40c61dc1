"""From an archive and back: volumes as oblique and tilted series with SEG and RT-STRUCT, through all verbs, out as SEG again.

What comes out lies voxel by voxel where it lay, in the patient's space, as a plain reading of the frames by pydicom and dcmqi's
say, and dciodvfy finds no error in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from scipy.ndimage import distance_transform_edt
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import PEOPLE, Series, localiser, make_series, turned
from tests.dicom_studies import fix_key, phantom, save_segments
from tests.dicom_workflow import Workflow, write_right_labels

from debride.api.datasets import open_dataset
from debride.audit.repair.signed_off import changed_labels
from debride.data.dicom.handles import read_series, studies_of
from debride.data.pixels.images import read_image, read_label
from debride.types import Case

pytestmark = pytest.mark.slow

Array = npt.NDArray[Any]
Places = set[tuple[float, ...]]

SHAPE = (5, 24, 24)
NAMES = ("Heart", "Lesion")

HOW: tuple[dict[str, Any], ...] = (
    {"order": lambda k: 100 - k},
    {"directions": turned(14, -9, 33)},
    {"tilt": 12.0},
    {"directions": turned(-20, 5, 8)},
    {"enhanced": True, "directions": turned(0, 7, 0)},
    {"missing": (2,)},
    {"syntax": "1.2.840.10008.1.2.5", "directions": turned(90, 0, 0)},
)
"""How each person's series lies and is stored; the fourth has an RT-STRUCT, and one has a gap."""

RTSTRUCT = 3

LONGER = ("--epochs", "12", "--network", "unet-small", "--width", "8", "--batch-size", "2")
"""A training after which both classes are found."""


@dataclass(frozen=True)
class Made:
    """A series with the label (D, H, W) that it was given, and the file of that."""

    series: Series
    label: Array
    file: Path


def volumes_at_hand() -> list[tuple[Array, Array]]:
    """Voxels and labels (1 heart muscle, 2 cavity): slices of ACDC where there are some, phantoms otherwise."""
    folder = Path(os.environ.get("DEBRIDE_DATA", "/nowhere")) / "nnUNet_raw" / "Dataset102_ACDC"
    if not folder.is_dir():
        return [phantom(np.random.default_rng(at), SHAPE) for at in range(len(HOW) + 1)]
    stacks: dict[str, list[Path]] = {}
    for path in sorted((folder / "labelsTr").glob("*_frame01_slice*.png")):
        stacks.setdefault(path.name[:10], []).append(path)
    result = []
    for paths in (own for own in stacks.values() if len(own) >= SHAPE[0] + 1):
        chosen = paths[1 : SHAPE[0] + 1]
        labels = np.stack([np.asarray(Image.open(path)) for path in chosen])
        images = [folder / "imagesTr" / f"{path.stem}_0000.png" for path in chosen]
        voxels = np.stack([np.asarray(Image.open(path)) for path in images])
        top, left = ((length - 3 * side) // 2 for length, side in zip(labels.shape[1:], SHAPE[1:], strict=True))
        cut = (slice(None), slice(top, top + 3 * SHAPE[1], 3), slice(left, left + 3 * SHAPE[2], 3))
        ids = np.array([0, 0, 1, 2])[labels[cut]].astype(np.uint8)
        if all((ids == number).any() for number in (1, 2)):
            result.append((voxels[cut].astype(np.uint16) * 10, ids))
        if len(result) > len(HOW):
            break
    return result


def make(root: Path) -> list[Made]:
    """The archive: one study a person, and a second series, with a label of its own, in the first one's."""
    made = []
    volumes = volumes_at_hand()
    for at, (voxels, label) in enumerate(volumes):
        second = at == len(HOW)
        how: dict[str, Any] = {"name": "T2 axial", "number": 2} if second else HOW[at]
        folder = root / PEOPLE[0 if second else at].name / ("second" if second else "first")
        label[-1] = 0  # a SEG has no frame there
        series = make_series(folder, voxels, person=PEOPLE[0 if second else at], stored=12, **how)
        kept = [k for k in range(len(voxels)) if k not in how.get("missing", ())]
        masks = {name: label[kept] == number for number, name in enumerate(NAMES, 1)}
        file = folder.parent / f"label {folder.name}"
        if at == RTSTRUCT:
            make_rtstruct(series, {name: outlines(mask) for name, mask in masks.items()}, file)
        else:
            make_seg(series, masks, file)
        made.append(Made(series, label, file))
    localiser(root / "scouts", made[1].series, number=7)
    fix_key(root)
    save_segments(root)
    return made


@dataclass
class Trip:
    """The archive that was made, the work on it, and the bytes that it had."""

    work: Workflow
    made: list[Made]
    before: dict[Path, bytes]

    def of(self, case: Case) -> Made:
        """What a case of the archive was made of."""
        handle = read_series(case.image[0])
        file = studies_of(case.image[0], handle) / handle.slices[0].file
        uid = str(pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID)
        return next(each for each in self.made if each.series.uid == uid)


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    """Through all verbs: checked, audited, corrected by a reader, repaired, trained and predicted."""
    work = Workflow(tmp_path_factory.mktemp("trip"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEBRIDE_CACHE", str(work / "cache"))
        made = make(work / "studies")
        before = {path: path.read_bytes() for path in (work / "studies").rglob("*") if path.is_file()}
        said = work.run("check", work / "studies", code=1)
        (gap,) = [line for line in said.splitlines() if "lacks 1 slice" in line]
        save_segments(work / "studies", left_out=[gap.split("series ")[1].split(":")[0]])
        work.run("check", work / "studies", "--depth", "all")
        noise = ("--noise", "shift", "--share", "0.6", "--set", "smallest=4", "largest=6")
        work.run("corrupt", work / "studies", work / "noisy", *noise)
        work.run("audit", work / "noisy", "--without-predictions", "--out", work / "audit")
        correct(work)
        decisions = work / "audit" / "review.db"
        work.run("repair", work / "noisy", work / "audit", "--out", work / "repaired", "--decisions", decisions)
        work.run("repair", work / "repaired", "--reverse", "--out", work / "reversed")
        work.run("train", "ce", work / "repaired", "--out", work / "run", *LONGER)
        work.run("predict", work / "run", work / "studies", "--out", work / "predicted", "--splits", "train", "val")
        work.run("evaluate", work / "predicted", work / "studies", "--out", work / "evaluated", "--splits", "train", "val")
        yield Trip(work, made, before)


def correct(work: Workflow, source: str = "noisy", audit: str = "audit", by: str = "studies") -> None:
    """What a reader does: exports the labels, corrects all that are wrong in another program, and imports them."""
    cases = open_dataset(work / source).cases
    (work / "ids.txt").write_text("".join(f"{case.id}\n" for case in cases))
    snap = work / f"snap of {source}"
    work.run("review", work / audit, "--export", snap, "--as", "itk-snap", "--cases", work / "ids.txt")
    write_right_labels(work / by, work / f"right of {source}")
    for case in cases:
        file = snap / f"{case.id}.nii.gz"
        given, right = nib.load(file), nib.load(work / f"right of {source}" / file.name)  # type: ignore[attr-defined]
        edited = np.asarray(right.dataobj).astype(np.uint8)
        nib.save(nib.Nifti1Image(edited, given.affine, given.header), file)  # type: ignore[attr-defined]
    work.run("review", work / audit, "--reader", "ada", "--import", snap)


def test_the_archive_is_read_right(trip: Trip) -> None:
    """Every series and label is what it was made of; RT-STRUCT lies less than a pixel off, and no slice is made up."""
    dataset = open_dataset(trip.work / "studies")
    assert len(dataset.cases) == len(trip.made) - 1
    assert len({case.patient for case in dataset.cases if trip.of(case).series.person == PEOPLE[0]}) == 1
    for case in dataset.cases:
        made = trip.of(case)
        values, geometry = read_image(case.image)
        assert case.label is not None and geometry.affine is not None
        ids, place = read_label(case.label, dataset)
        np.testing.assert_array_equal(values[0], made.series.voxels)
        np.testing.assert_allclose(geometry.affine, made.series.ras, atol=1e-6)
        np.testing.assert_allclose(place.affine, made.series.ras, atol=1e-6)
        if made is trip.made[RTSTRUCT]:
            assert max(farthest(ids == number, made.label == number) for number in (1, 2)) < 1
        else:
            np.testing.assert_array_equal(ids, made.label)


@pytest.mark.parametrize("name", ["noisy", "repaired", "reversed", "predicted"])
def test_what_is_written_lies_where_it_lay(trip: Trip, name: str) -> None:
    """Frame by frame, by positions alone, as PS3.3 C.7.6.16 has them, what debride has as class ids is in the file."""
    dataset = open_dataset(trip.work / "studies")
    found = 0
    written = dataset if name == "predicted" else open_dataset(trip.work / name)
    for case in written.cases:
        made = trip.of(next(each for each in dataset.cases if each.id == case.id))
        file = trip.work / name / f"{case.id}.dcm" if name == "predicted" else trip.work / name / "labels" / f"{case.id}.dcm"
        ids, _ = read_label(file if name == "predicted" else Path(str(case.label)), dataset)
        read = pydicom.dcmread(file)
        if read.Modality == "RTSTRUCT":  # a label that nothing changed is copied as it is
            assert file.read_bytes() == made.file.read_bytes()
            continue
        assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
        assert str(read.PatientName) == made.series.person.name and read.StudyInstanceUID == made.series.study
        assert read.FrameOfReferenceUID == made.series.frame
        for number, label in enumerate(NAMES, 1):
            expected = places(np.argwhere(ids == number), made.series.affine)
            assert by_frames(read, label) == expected, (name, case.id, label)
            found += len(expected) > 5
            if not made.series.affine[:3, 2] @ made.series.affine[:3, 1] > 1e-6:
                assert by_dcmqi(file, label) == expected, (name, case.id, label)
    assert found >= (4 if name == "predicted" else 8)  # a short training finds not every class in every case


def test_repair_brings_back_what_was_there(trip: Trip) -> None:
    """What a reader corrected is voxel by voxel what the archive had, also where that had contours."""
    dataset, noisy, repaired = (open_dataset(trip.work / name) for name in ("studies", "noisy", "repaired"))
    moved = 0
    for case, wrong, right in zip(dataset.cases, noisy.cases, repaired.cases, strict=True):
        first, second, third = (
            read_label(Path(str(one.label)), of)[0] for one, of in ((case, dataset), (wrong, noisy), (right, repaired))
        )
        moved += bool((first != second).any())
        np.testing.assert_array_equal(first, third)
    assert moved >= 2


def test_changes_of_the_labels_that_an_archive_had(trip: Trip) -> None:
    """Their frames may leave slices out, and their segments are what segments.json says: sizes are those of the archive."""
    work = trip.work
    work.run("audit", work / "studies", "--without-predictions", "--out", work / "second audit")
    correct(work, "studies", "second audit", by="noisy")
    words = (work / "studies", work / "second audit", "--out", work / "mended")
    work.run("repair", *words, "--decisions", work / "second audit" / "review.db")
    dataset, mended = open_dataset(work / "studies"), open_dataset(work / "mended")
    given, now = ({case.id: read_label(Path(str(case.label)), of) for case in of.cases} for of in (dataset, mended))
    expected = {}
    for case, (ids, geometry) in given.items():
        assert geometry.spacing is not None
        one = float(np.prod(geometry.spacing)) / 1000
        for number, name in enumerate(mended.classes[1:], 1):
            was, becomes = ids == number, now[case][0] == number
            if (was != becomes).any():
                expected[case, name] = [was.sum() * one, becomes.sum() * one]
    assert len(expected) >= 3
    rows = changed_labels(mended)
    assert {(row["case"], row["class"]) for row in rows} == expected.keys()
    for row in rows:
        assert [row["before"], row["after"]] == pytest.approx(expected[row["case"], row["class"]])


def test_the_archive_is_as_it_was(trip: Trip) -> None:
    for path, content in trip.before.items():
        assert path.name == "segments.json" or path.read_bytes() == content, path
    new = {path for path in (trip.work / "studies").rglob("*") if path.is_file()} - trip.before.keys()
    assert all("pseudonyms" in path.parts for path in new)


def test_dciodvfy_finds_no_error_that_the_source_has_not(trip: Trip) -> None:
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy, of Debian's dicom3tools, is not installed")
    inherited = {error for made in trip.made for error in errors(made.series.files[0]) | errors(made.file)}
    files = [path for name in ("noisy", "repaired", "predicted") for path in (trip.work / name).rglob("*.dcm")]
    segmentations = [path for path in files if pydicom.dcmread(path, specific_tags=["Modality"]).Modality == "SEG"]
    assert len(segmentations) > 15
    assert {error for path in segmentations for error in errors(path)} - inherited == set()


def test_a_gap_is_refused_by_name(trip: Trip) -> None:
    said = trip.work.said[0][1]
    assert "series mr-" in said and "lacks 1 slice" in said and "left_out" in said


def errors(path: Path) -> set[str]:
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    return {line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")}


def places(voxels: Array, affine: Array) -> Places:
    """Where voxels (N, 3), as (slice, row, column), lie in mm."""
    points = (affine @ np.c_[voxels[:, ::-1], np.ones(len(voxels))].T).T[:, :3]
    return {tuple(point) for point in (np.round(points, 2) + 0.0).tolist()}


def by_frames(read: Any, label: str) -> Places:
    """Where the pixels of a segment lie, frame by frame."""
    numbers = {str(item.SegmentLabel).lower(): int(item.SegmentNumber) for item in read.SegmentSequence}
    shared, found = read.SharedFunctionalGroupsSequence[0], set()
    stored = read.pixel_array if int(read.NumberOfFrames) > 1 else read.pixel_array[None]
    for plane, group in zip(stored, read.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != numbers.get(label.lower()):
            continue
        across, down = np.reshape(_of(group, shared, "PlaneOrientationSequence").ImageOrientationPatient, (2, 3)).astype(float)
        row, column = map(float, _of(group, shared, "PixelMeasuresSequence").PixelSpacing)
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for i, j in np.argwhere(plane):
            found.add(tuple((np.round(corner + across * column * j + down * row * i, 2) + 0.0).tolist()))
    return found


def _of(group: Any, shared: Any, name: str) -> Any:
    return (group if name in group else shared)[name].value[0]


def by_dcmqi(file: Path, label: str) -> Places:
    """Where the pixels of a segment lie, as dcmqi's segimage2itkimage says."""
    tool = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("dcmqi is not installed")
    out = file.parent / f"dcmqi-{file.stem}"
    if not out.exists():
        out.mkdir()
        words = [tool, "--inputDICOM", file, "--outputDirectory", out, "--outputType", "nrrd"]
        subprocess.run(words, check=True, capture_output=True)
    about = json.loads((out / "meta.json").read_text())
    numbers = [
        each["labelID"] for own in about["segmentAttributes"] for each in own if each["SegmentLabel"].lower() == label.lower()
    ]
    if not numbers or not (out / f"{numbers[0]}.nrrd").is_file():
        return set()
    image = sitk.ReadImage(str(out / f"{numbers[0]}.nrrd"))
    filled = np.argwhere(sitk.GetArrayFromImage(image))
    points = [image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]) for index in filled]
    return {tuple(point) for point in (np.round(np.reshape(points, (-1, 3)), 2) + 0.0).tolist()}


def farthest(one: Array, other: Array) -> float:
    """How far, in pixels of a slice, pixels of one mask lie from the other, the larger of both ways; 0 where slices agree."""
    result = 0.0
    for first, second in zip(one, other, strict=True):
        if not (first.any() and second.any()):
            assert first.any() == second.any()
            continue
        result = max(result, distance_transform_edt(~second)[first].max(), distance_transform_edt(~first)[second].max())
    return result
