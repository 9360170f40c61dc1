"""Series put in order: against what each header says of its slice, read in plain loops, and against SimpleITK's reader."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from tests.dicom_made import Series, localiser, make_picture, make_series, turned

from debride.data.dicom.stacks import Plane, Refused, Stack, stacks_of
from debride.data.dicom.tags import ImageFacts, read_facts

SHAPE = (5, 6, 7)


def planes_of(folder: Path) -> list[Plane]:
    planes = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            facts = read_facts(path, path.name)
            assert isinstance(facts, ImageFacts)
            planes += [replace(plane, file=str(path)) for plane in facts.planes]
    return planes


def stacks_in(folder: Path, modality: str = "MR") -> list[Stack | Refused]:
    return stacks_of(planes_of(folder), modality)


def one_stack(folder: Path) -> Stack:
    (found,) = stacks_in(folder)
    assert isinstance(found, Stack), found
    return found


def problem_of(folder: Path) -> str:
    (found,) = stacks_in(folder)
    assert isinstance(found, Refused) and found.remedy.endswith("."), found
    return found.problem


def made(folder: Path, shape: tuple[int, int, int] = SHAPE, **how) -> Series:
    return make_series(folder, np.arange(math.prod(shape), dtype=np.uint16).reshape(shape), **how)


def slow_point(plane: Plane, row: int, column: int) -> list[float]:
    """Where a pixel lies in RAS by PS3.3 equation C.7.6.2.1-1, of the file's own header and in plain Python."""
    header = dcmread(plane.file)
    if plane.frame:
        own = header.PerFrameFunctionalGroupsSequence[plane.frame - 1]
        shared = header.SharedFunctionalGroupsSequence[0]
        position = own.PlanePositionSequence[0].ImagePositionPatient
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    else:
        position, orientation, spacing = header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing
    lps = [
        float(position[axis])
        + float(orientation[axis]) * float(spacing[1]) * column
        + float(orientation[3 + axis]) * float(spacing[0]) * row
        for axis in range(3)
    ]
    return [-lps[0], -lps[1], lps[2]]


PLACES = {
    "axial": {},
    "oblique": {"directions": turned(12, -8, 21)},
    "sagittal": {"directions": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])},
    "backwards": {"directions": np.diag([1.0, -1, -1])},
    "tilted": {"tilt": 11.0},
    "tilted and oblique": {"tilt": -17.0, "directions": turned(-25, 8, 4)},
    "in another order": {"order": lambda k: 99 - k},
    "one file": {"enhanced": True},
    "one oblique file": {"enhanced": True, "directions": turned(12, -8, 21)},
    "a CT": {"modality": "CT", "intercept": -1024.0},
    "turned over": {"directions": turned(0, 180, 90)},
}


@pytest.mark.parametrize("place", PLACES)
def test_every_pixel_lies_where_its_own_header_says(tmp_path, place):
    series = made(tmp_path / "s", **PLACES[place])
    stack = one_stack(tmp_path / "s")
    assert stack.shape == SHAPE
    affine = np.array(stack.affine)
    for k, plane in enumerate(stack.planes):
        for row, column in ((0, 0), (0, 6), (5, 0), (5, 6), (2, 3)):
            assert affine @ [column, row, k, 1] == pytest.approx([*slow_point(plane, row, column), 1], abs=1e-5)
    assert affine == pytest.approx(series.ras, abs=1e-5)  # slices were made in the direction of the normal
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    assert stack.spacing == pytest.approx(lengths[::-1])
    assert ("tilted" in stack.note) == ("tilted" in place)


@pytest.mark.parametrize("place", [name for name in PLACES if "tilted" not in name and "file" not in name])
def test_order_and_place_are_those_of_simpleitk(tmp_path, place):
    made(tmp_path / "s", **PLACES[place])
    stack = one_stack(tmp_path / "s")
    reader = SimpleITK.ImageSeriesReader()
    files = reader.GetGDCMSeriesFileNames(str(tmp_path / "s"))
    assert [str(plane.file) for plane in stack.planes] == list(files)
    reader.SetFileNames(files)
    image = reader.Execute()
    for index in ((0, 0, 0), (6, 5, 4), (3, 2, 1), (0, 5, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        assert np.array(stack.affine) @ [*index, 1] == pytest.approx([-x, -y, z, 1], abs=1e-4)
    assert image.GetSpacing() == pytest.approx(stack.spacing[::-1], abs=1e-5)


def test_files_and_frames_of_one_volume_lie_alike(tmp_path):
    places = {"directions": turned(12, -8, 21), "modality": "CT"}
    made(tmp_path / "files", **places)
    made(tmp_path / "frames", enhanced=True, **places)
    files, frames = one_stack(tmp_path / "files"), one_stack(tmp_path / "frames")
    assert np.array(files.affine) == pytest.approx(np.array(frames.affine), abs=1e-9)
    assert [plane.frame for plane in frames.planes] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(("missing", "lost"), [((2,), "1 slice,"), ((1, 2), "2 slices,"), ((3,), "1 slice,")])
def test_missing_slices_are_named(tmp_path, missing, lost):
    made(tmp_path / "s", missing=missing)
    assert problem_of(tmp_path / "s").startswith(f"lacks {lost} between the numbers ")


def test_every_second_slice_is_a_series_of_its_own_spacing(tmp_path):
    made(tmp_path / "s", missing=(1, 3))
    assert one_stack(tmp_path / "s").spacing[0] == pytest.approx(6.0)


def test_of_four_slices_the_gap_is_found(tmp_path):
    made(tmp_path / "s", (4, 6, 7), missing=(2,), order=lambda k: k + 1)
    assert problem_of(tmp_path / "s") == "lacks 1 slice, between the numbers 2 and 4: 3 mm are usual there"


def test_slices_are_refused_that_lie_unequally_twice_or_askew(tmp_path):
    made(tmp_path / "uneven", moved={2: 1.0})
    assert problem_of(tmp_path / "uneven") == "has slices at unequal distances, from 2 to 4 mm"
    made(tmp_path / "near", moved={2: 0.2})
    assert one_stack(tmp_path / "near").spacing[0] == pytest.approx(3.0)
    made(tmp_path / "twice", doubled=(1,))
    assert problem_of(tmp_path / "twice").startswith("has 1 slice twice at one position, of the numbers 3, 3")

    def aside(dataset, k):
        if k == 3:
            dataset.ImagePositionPatient[0] = float(dataset.ImagePositionPatient[0]) + 2

    made(tmp_path / "askew", change=aside)
    assert "shifted against each other, by up to 2.67 pixels" in problem_of(tmp_path / "askew")


def test_several_images_of_a_series_are_told_apart(tmp_path):
    def change(number, kind):
        def changed(dataset, k):
            dataset.SOPInstanceUID += f".{number}{ord(kind)}"
            dataset.EchoTime, dataset.AcquisitionTime = str(4.6 * number), f"10{10 * number + k:04}"
            dataset.ImageType = ["ORIGINAL", "PRIMARY", kind]

        return changed

    for number in (1, 2):
        made(tmp_path / "echoes" / str(number), change=change(number, "M"))
        for kind in "MP":
            made(tmp_path / "two tags" / f"{number}{kind}", change=change(number, kind))
    found = stacks_in(tmp_path / "echoes")
    assert [isinstance(each, Stack) and each.shape == SHAPE for each in found] == [True, True]
    assert [{dict(plane.told)["echo time"] for plane in each.planes} for each in found] == [{"4.6"}, {"9.2"}]
    found = stacks_in(tmp_path / "two tags")
    assert len(found) == 4 and all(isinstance(each, Stack) and each.shape == SHAPE for each in found)


def test_breath_holds_whose_slices_lie_between_each_others_are_told_apart(tmp_path):
    """Two acquisitions that overlap, 1 mm off each other's slices: each is a stack. What lacks a slice stays refused, though
    its odd and its even slices are acquisitions that are even by themselves."""
    for at in (1, 2):

        def change(one, k, at=at):
            one.AcquisitionNumber, one.SOPInstanceUID, one.SeriesInstanceUID = at, f"2.25.{at}{k}", "2.25.9"

        made(tmp_path / "s" / str(at), origin=(0, 0, at * 10.0), change=change)
    for at, stack in enumerate(stacks_in(tmp_path / "s"), 1):
        assert isinstance(stack, Stack) and dict(stack.planes[0].told)["acquisition number"] == f"{at}"
        assert stack.affine is not None and stack.affine[2][3] == at * 10 and stack.shape == SHAPE

    def interleaved(one, k):
        one.AcquisitionNumber = k % 2

    made(tmp_path / "m", (8, 4, 4), missing=[1], change=interleaved)
    assert problem_of(tmp_path / "m").startswith("lacks 1 slice, ")


def test_slices_in_very_many_directions_are_refused_once():
    one = Plane("", "1", 0, 0, 9, 9, 1, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0))
    angles = np.linspace(0, 3, 2000)
    turning = [
        replace(one, frame=at, orientation=(math.cos(angle), math.sin(angle), 0.0, -math.sin(angle), math.cos(angle), 0.0))
        for at, angle in enumerate(angles, 1)
    ]
    (found,) = stacks_of(turning, "MR")
    assert isinstance(found, Refused) and found.problem == "has slices in more than 64 directions or sizes"


def test_orientations_and_localisers_are_kept_apart(tmp_path):
    series = made(tmp_path / "a" / "s")
    localiser(tmp_path / "a", series)
    stack = one_stack(tmp_path / "a")
    assert stack.shape == SHAPE and stack.note == "leaves out 1 localiser image of its series"
    made(tmp_path / "b" / "axial")
    made(tmp_path / "b" / "coronal", (4, 6, 7), directions=turned(90), salt="other")
    found = stacks_in(tmp_path / "b")
    assert [each.shape for each in found if isinstance(each, Stack)] == [SHAPE, (4, 6, 7)]


def test_pictures_are_images_by_themselves_and_films_are_refused_once(tmp_path):
    make_picture(tmp_path / "dx" / "one", np.zeros((6, 7), np.uint8))
    make_picture(tmp_path / "dx" / "two", np.zeros((6, 7), np.uint8))
    found = stacks_in(tmp_path / "dx", "DX")
    assert [(each.shape, each.spacing, each.affine) for each in found] == [((6, 7), (0.2, 0.2), None)] * 2
    film = Plane("f", "1.2", 1, 1, 6, 7, 1, None, None, None)
    (refused,) = stacks_of([replace(film, frame=number) for number in range(1, 40)], "US")
    assert isinstance(refused, Refused) and refused.problem.startswith("has 39 frames that do not say where they lie")


def test_a_single_slice_is_a_volume_of_one(tmp_path):
    made(tmp_path / "s", (1, 6, 7))
    stack = one_stack(tmp_path / "s")
    assert stack.shape == (1, 6, 7) and stack.spacing == pytest.approx((3.0, 1.25, 0.75))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"position": None}, "has 1 of 3 slices that do not say where they lie"),
        ({"position": (0.0, 0.0, 1e300)}, "has slices with a damaged place"),
        ({"position": (0.0, 0.0)}, "has slices with a damaged place"),
        ({"spacing": (0.0, 1.0)}, None),
    ],
)
def test_damaged_places_are_refused(changed, problem):
    plain = Plane("f", "1", 0, 1, 6, 7, 1, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0), (1.0, 1.0))
    planes = [replace(plain, instance=str(k), number=k, position=(0.0, 0.0, 3.0 * k)) for k in range(3)]
    found = stacks_of([*planes[:2], replace(planes[2], **changed)], "CT")
    assert problem is None or [each.problem for each in found if isinstance(each, Refused)] == [problem]
    assert not any(isinstance(each, Stack) and len(each.planes) == 3 for each in found)


def test_the_order_of_files_changes_nothing(tmp_path):
    made(tmp_path / "s", directions=turned(12, -8, 21))
    planes = planes_of(tmp_path / "s")
    shuffled = [planes[at] for at in np.random.default_rng(0).permutation(len(planes))]
    assert stacks_of(shuffled, "MR") == stacks_of(planes, "MR")
