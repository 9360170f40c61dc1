"""SEG as planes of a series: against a slow reading of every frame, and what highdicom, dcmqi and SimpleITK read."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels import pack_bits
from tests.dicom_handles import WHERE, series_handle
from tests.dicom_labels_made import make_seg
from tests.dicom_made import make_series, turned

from debride.data.dicom.segmentations import fraction_type, segment_items, segment_numbers, stored_segment
from debride.notes import take_notes
from debride.types import DataError

SHAPE = (6, 12, 10)
KINDS = {
    "straight": {},
    "oblique": {"directions": turned(20, 30, -10)},
    "tilted": {"tilt": 15.0},
    "enhanced": {"enhanced": True, "directions": turned(5, -40, 8)},
    "backwards": {"directions": turned(0, 180, 0)},
}


def volumes():
    rng = np.random.default_rng(0)
    return rng.integers(0, 1000, SHAPE).astype(np.uint16)


def masks():
    heart, lesion = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    heart[1:4, 2:9, 1:7], heart[2, 4:6, 3:5], lesion[3:5, 5:11, 4:9] = True, False, True
    return {"Heart": heart, "Lesion": lesion}


@pytest.fixture(scope="module", params=KINDS)
def series(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return make_series(root / "series", volumes(), **KINDS[request.param]), root


def slow(file, number, series):
    """Every pixel of every frame of a segment put where the patient has it: loops, in the order of the file."""
    said, result = dcmread(file), np.zeros(SHAPE, int)
    pixels = np.atleast_3d(said.pixel_array).reshape(-1, *SHAPE[1:])
    shared = said.SharedFunctionalGroupsSequence[0]
    for at, group in enumerate(said.PerFrameFunctionalGroupsSequence):
        if "SegmentIdentificationSequence" in group:
            if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
                continue
            plane = pixels[at]
        else:
            plane = (pixels[at] == number).astype(int)
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        orientation = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
        x, y = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
        down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        for row in range(SHAPE[1]):
            for column in range(SHAPE[2]):
                point = position + x * across * column + y * down * row
                where = np.linalg.solve(series.affine, [*point, 1])[:3]
                i, j, k = (round(float(c)) for c in where)
                assert np.abs(where - [i, j, k]).max() < 1e-3
                result[k, j, i] = plane[row, column]
    return result


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("sparse", [True, False])
def test_every_frame_lies_where_it_says(series, kind, sparse, tmp_path):
    """The order of frames does not count: here it is turned over, in the file."""
    made, root = series
    drawn = masks()
    if kind == "LABELMAP":
        drawn["Lesion"] &= ~drawn["Heart"]
    if kind == "FRACTIONAL":
        drawn = {name: mask * np.linspace(0.2, 1, SHAPE[0])[:, None, None] for name, mask in drawn.items()}
    file = tmp_path / "seg"
    make_seg(made, drawn, file, kind=kind, sparse=sparse, change=_last_frame_first)
    for number, mask in enumerate(drawn.values(), 1):
        pixels, maximum = stored_segment(file, number, series_handle(made, root), WHERE)
        assert maximum == (255 if kind == "FRACTIONAL" else 1)
        assert np.abs(pixels / maximum - mask).max() <= (0.5 / 255 + 1e-9 if kind == "FRACTIONAL" else 0)
        assert (pixels == slow(file, number, made)).all()
        some, _ = stored_segment(file, number, series_handle(made, root), WHERE, planes=slice(2, 4))
        assert (some == pixels[2:4]).all()
    assert segment_numbers(file, WHERE) == (1, 2)
    assert segment_items(file, WHERE)[2].SegmentLabel == "Lesion"
    assert fraction_type(file, WHERE) == ("PROBABILITY" if kind == "FRACTIONAL" else "")


def _last_frame_first(made):
    """The frames in another order, with their functional groups."""
    if made.SegmentationType == "BINARY":
        bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
        size = SHAPE[1] * SHAPE[2]
        frames = bits[: int(made.NumberOfFrames) * size].reshape(-1, size)[::-1]
        packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    else:
        frames = np.frombuffer(made.PixelData, np.uint8)[: int(made.NumberOfFrames) * SHAPE[1] * SHAPE[2]]
        packed = frames.reshape(-1, SHAPE[1] * SHAPE[2])[::-1].tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
    made.PerFrameFunctionalGroupsSequence = list(made.PerFrameFunctionalGroupsSequence)[::-1]


def test_highdicom_reads_the_same(series, tmp_path):
    """Its total pixels by source instance, with the segments apart."""
    import highdicom as hd

    made, root = series
    file = tmp_path / "seg"
    make_seg(made, masks(), file)
    instances, read = [str(one.SOPInstanceUID) for one in made.datasets], hd.seg.segread(file)
    if len(instances) == 1:
        frames = list(range(SHAPE[0], 0, -1))  # the last slice is the first frame
        theirs = read.get_pixels_by_source_frame(instances[0], frames, assert_missing_frames_are_empty=True)
    else:
        theirs = read.get_pixels_by_source_instance(instances, assert_missing_frames_are_empty=True)
    for number in (1, 2):
        assert (stored_segment(file, number, series_handle(made, root), WHERE)[0] == theirs[..., number - 1]).all()


def test_dcmqi_reads_the_same(series, tmp_path):
    """segimage2itkimage writes each segment as a NRRD on a grid of its own, in the patient's space."""
    SimpleITK = pytest.importorskip("SimpleITK")
    program = shutil.which("segimage2itkimage") or shutil.which("segimage2itkimage", path=_beside_python())
    if program is None:
        pytest.skip("dcmqi is not installed")
    made, root = series
    if np.abs(made.affine[:3, 2] @ made.affine[:3, 1]) > 1e-3:
        pytest.skip("dcmqi has no grids that are not rectangular")
    file = tmp_path / "seg.dcm"
    make_seg(made, masks(), file)
    subprocess.run([program, "--inputDICOM", file, "--outputDirectory", tmp_path], check=True, capture_output=True)
    for number in (1, 2):
        ours, _ = stored_segment(file, number, series_handle(made, root), WHERE)
        theirs = SimpleITK.ReadImage(str(tmp_path / f"{number}.nrrd"))
        inside = np.argwhere(SimpleITK.GetArrayFromImage(theirs) > 0)
        points = [theirs.TransformIndexToPhysicalPoint([int(c) for c in at[::-1]]) for at in inside]
        voxels = (np.linalg.inv(made.affine) @ np.column_stack([points, np.ones(len(points))]).T)[:3].T
        assert np.abs(voxels - np.rint(voxels)).max() < 1e-3
        assert {tuple(at) for at in np.rint(voxels).astype(int)[:, ::-1]} == {tuple(at) for at in np.argwhere(ours)}


def _beside_python():
    import sys
    from pathlib import Path

    return str(Path(sys.executable).parent)


def test_frames_by_their_source_where_nothing_says_a_place(tmp_path):
    """Without positions the instance, and its frame, that a frame was made of says its plane."""
    made = make_series(tmp_path / "series", volumes())
    handle = series_handle(made, tmp_path, affine=None, spacing=None)
    make_seg(made, masks(), tmp_path / "seg", change=_last_frame_first)
    for number, mask in enumerate(masks().values(), 1):
        assert (stored_segment(tmp_path / "seg", number, handle, WHERE)[0] == mask).all()

    def orphaned(seg):
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence

    make_seg(made, masks(), tmp_path / "orphan", change=orphaned)
    with pytest.raises(DataError, match="neither where it lies nor of which one slice"):
        stored_segment(tmp_path / "orphan", 1, handle, WHERE)


def test_a_picture_of_one_plane(tmp_path):
    """A series of one slice as a picture (H, W)."""
    made = make_series(tmp_path / "series", volumes()[:1])
    mask = masks()["Heart"][1:2]
    make_seg(made, {"Heart": mask}, tmp_path / "seg")
    flat = series_handle(made, tmp_path, shape=SHAPE[1:], spacing=(1.25, 0.75))
    pixels, _ = stored_segment(tmp_path / "seg", 1, flat, WHERE)
    assert pixels.shape == SHAPE[1:] and (pixels == mask[0]).all()


def _groups(seg):
    return list(seg.PerFrameFunctionalGroupsSequence)


def _moved(*by):
    def apply(seg):
        places = {id(group.PlanePositionSequence[0]): group.PlanePositionSequence[0] for group in _groups(seg)}
        for place in places.values():  # frames of two segments on one slice share it
            place.ImagePositionPatient = [str(value) for value in np.add(np.array(place.ImagePositionPatient, float), by)]

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_moved(0, 0, 1.5), r"frame \d+ lies beside the slices, at \d.50"),
        (_moved(0, 0, 60.0), r"frame \d+ lies outside the 6 slices, where slice 2[2-4] would be"),
        (_moved(0.2, 0, 0), r"frame \d+ begins 0.27 pixels beside the series"),
        (_moved(4e5, 0, 0), r"begins many pixels beside"),
    ],
)
def test_other_grids_are_refused_by_name(change, words, tmp_path):
    made = make_series(tmp_path / "series", volumes())
    make_seg(made, masks(), tmp_path / "seg", change=change)
    with pytest.raises(DataError, match=words) as caught:
        stored_segment(tmp_path / "seg", 1, series_handle(made, tmp_path), WHERE)
    assert "'Heart'" in str(caught.value) and caught.value.where == str(WHERE)


def test_within_a_tenth_of_a_pixel_is_the_same_grid(tmp_path):
    made = make_series(tmp_path / "series", volumes())
    make_seg(made, masks(), tmp_path / "seg", change=_moved(0.05, -0.1, 0.25))
    assert (stored_segment(tmp_path / "seg", 1, series_handle(made, tmp_path), WHERE)[0] == masks()["Heart"]).all()


def test_other_directions_and_sizes_are_refused(tmp_path):
    made = make_series(tmp_path / "series", volumes())

    def spaced(seg):
        seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["1.25", "0.8"]

    make_seg(made, masks(), tmp_path / "seg", change=spaced)
    with pytest.raises(DataError, match="has other directions or spacings than the series"):
        stored_segment(tmp_path / "seg", 1, series_handle(made, tmp_path), WHERE)
    larger = series_handle(made, tmp_path, shape=(6, 13, 10))
    make_seg(made, masks(), tmp_path / "whole")
    with pytest.raises(DataError, match="frames of 12 x 10 pixels, and its series has 13 x 10"):
        stored_segment(tmp_path / "whole", 1, larger, WHERE)


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("mirrored", [(), (0,), (1,), (0, 1)])
def test_frames_that_are_turned_are_turned_back(tmp_path, mirrored, exchanged):
    """Rows and columns of a SEG exchanged or mirrored, as programs write that were given a NIfTI file: the same places."""

    def turn(seg):
        frames = np.flip(seg.pixel_array, [axis + 1 for axis in mirrored])
        frames = frames.swapaxes(1, 2) if exchanged else frames
        shared = seg.SharedFunctionalGroupsSequence[0]
        ends = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)[::-1]  # down, across
        spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
        moved = sum(ends[axis] * spacing[axis] * (SHAPE[axis + 1] - 1) for axis in mirrored)
        signs = np.where(np.isin([[0], [1]], mirrored), -1, 1)
        axes = (ends * signs)[:: 1 if exchanged else -1]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [f"{value:.12g}"[:16] for value in axes.ravel()]
        shared.PixelMeasuresSequence[0].PixelSpacing = [str(value) for value in (spacing[::-1] if exchanged else spacing)]
        if mirrored:
            _moved(*np.round(moved, 9))(seg)
        seg.PixelData, seg.Rows, seg.Columns = pack_bits(frames), frames.shape[1], frames.shape[2]

    made = make_series(tmp_path / "series", volumes(), directions=turned(20, 30, -10))
    make_seg(made, masks(), tmp_path / "seg", change=turn)
    take_notes()
    for number, mask in enumerate(masks().values(), 1):
        assert (stored_segment(tmp_path / "seg", number, series_handle(made, tmp_path), WHERE)[0] == mask).all()
        part = stored_segment(tmp_path / "seg", number, series_handle(made, tmp_path), WHERE, planes=slice(2, 4))[0]
        assert (part == mask[2:4]).all()
    assert bool(take_notes()) == (exchanged or bool(mirrored))


def test_frames_of_another_stack_are_passed_over_where_there_is_one(tmp_path):
    """Where a series has two stacks, the frames made of the other one do not count; where it has one, they are refused."""
    made = make_series(tmp_path / "series", volumes())
    make_seg(made, masks(), tmp_path / "seg")
    handle = series_handle(made, tmp_path)
    lower = series_handle(made, tmp_path, shape=(3, 12, 10), slices=handle.slices[:3])
    assert (stored_segment(tmp_path / "seg", 1, lower, WHERE, elsewhere=True)[0] == masks()["Heart"][:3]).all()
    with pytest.raises(DataError, match="outside the 3 slices"):
        stored_segment(tmp_path / "seg", 1, lower, WHERE)


def test_frames_twice(tmp_path):
    """Twice the same is once; two that differ are refused."""
    made = make_series(tmp_path / "series", volumes())

    def doubled(seg):
        groups = list(seg.PerFrameFunctionalGroupsSequence)
        groups[1] = groups[0]
        seg.PerFrameFunctionalGroupsSequence = groups

    same = {"Heart": np.repeat(masks()["Heart"][1:2], 6, 0)}
    make_seg(made, same, tmp_path / "same", change=doubled)
    assert stored_segment(tmp_path / "same", 1, series_handle(made, tmp_path), WHERE)[0][[0, 2, 3]].any(axis=(1, 2)).all()
    make_seg(made, masks(), tmp_path / "other", change=doubled)
    with pytest.raises(DataError, match="the segment 'Heart' twice on slice 4, with other pixels"):
        stored_segment(tmp_path / "other", 1, series_handle(made, tmp_path), WHERE)


def _set(**values):
    def change(seg):
        for name, value in values.items():
            setattr(seg, name, value)

    return change


def _without(*names):
    def change(seg):
        for name in names:
            delattr(seg, name)

    return change


def _no_number(seg):
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.SegmentIdentificationSequence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set(NumberOfFrames=9999), "claims 9999 frames of 12 x 10 pixels"),
        (_set(Rows=0), "0 x 10"),
        (_set(BitsAllocated=32), "32 bits"),
        (_set(SegmentationType="SURFACE"), "of the type 'SURFACE'"),
        (_set(PerFrameFunctionalGroupsSequence=[]), "describes 0"),
        (_set(PixelData=b""), "without pixels"),
        (_without("SegmentSequence"), "cannot be read"),
        (_without("PixelData"), "without pixels"),
        (_no_number, "belongs to no segment"),
    ],
)
def test_damaged_ones_are_refused(change, words, tmp_path):
    made = make_series(tmp_path / "series", volumes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_seg(made, masks(), tmp_path / "seg", change=change)
    with pytest.raises(DataError, match=words) as caught:
        stored_segment(tmp_path / "seg", 1, series_handle(made, tmp_path), WHERE)
    assert caught.value.where == str(WHERE)


def test_a_missing_segment_and_a_missing_file(tmp_path):
    made = make_series(tmp_path / "series", volumes())
    make_seg(made, masks(), tmp_path / "seg")
    with pytest.raises(DataError, match="no segment 7"):
        stored_segment(tmp_path / "seg", 7, series_handle(made, tmp_path), WHERE)
    with pytest.raises(DataError, match="its file no more"):
        stored_segment(tmp_path / "none", 1, series_handle(made, tmp_path), WHERE)
    with pytest.raises(DataError, match="is no segmentation any more"):
        stored_segment(made.files[0], 1, series_handle(made, tmp_path), WHERE)
