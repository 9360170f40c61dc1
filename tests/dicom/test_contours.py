"""RT-STRUCT as pixels of a series: by a slow even-odd rule in the patient's space; what is snapped, and what refused."""

import numpy as np
import pytest
from pydicom import dcmread
from scipy.ndimage import distance_transform_edt
from tests.dicom_handles import WHERE, series_handle
from tests.dicom_labels_made import make_rtstruct, outlines
from tests.dicom_made import make_series, turned

from debride.data.dicom.contours import roi_mask
from debride.types import DataError

SHAPE = (6, 14, 12)
KINDS = {
    "straight": {},
    "oblique": {"directions": turned(20, 30, -10)},
    "tilted": {"tilt": 15.0},
    "enhanced": {"enhanced": True, "directions": turned(5, -40, 8)},
}
SQUARE = np.array([[2, 3], [8, 3], [8, 9], [2, 9]], float)
HOLE = np.array([[4, 5], [6, 5], [6, 7], [4, 7]], float)


def voxels():
    return np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.uint16)


@pytest.fixture(scope="module", params=KINDS)
def series(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return make_series(root / "series", voxels(), **KINDS[request.param]), root


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    root = tmp_path_factory.mktemp("straight")
    return make_series(root / "series", voxels()), root


def read(made, root, contours, tmp_path, number=1, planes=None, elsewhere=False, **options):
    make_rtstruct(made, {"Heart": contours}, tmp_path / "struct", **options)
    return roi_mask(tmp_path / "struct", number, series_handle(made, root), WHERE, planes=planes, elsewhere=elsewhere)


def slow(made, contours):
    """Every pixel's centre and every contour in mm of the patient: a ray along the row leaves by an odd number of edges."""
    result = np.zeros(SHAPE, bool)
    corner, across, down = made.affine[:3, 3], made.affine[:3, 0], made.affine[:3, 1]
    for k, points in contours:
        patient = (made.affine @ np.column_stack([points, np.full(len(points), k), np.ones(len(points))]).T)[:3].T
        base = corner + k * made.affine[:3, 2]
        for j in range(SHAPE[1]):
            for i in range(SHAPE[2]):
                centre, crossed = base + i * across + j * down, 0
                for a, b in zip(np.roll(patient, 1, axis=0), patient, strict=True):
                    heights = [float((end - centre) @ down) for end in (a, b)]
                    if (heights[0] <= 0) != (heights[1] <= 0):
                        at = a + (b - a) * heights[0] / (heights[0] - heights[1])
                        crossed += float((at - centre) @ across) <= 0
                result[k, j, i] ^= bool(crossed % 2)
    return result


def test_as_the_slow_rule_says(series, tmp_path):
    """Random polygons on slices in any order, some of which cross themselves and each other."""
    made, root = series
    rng = np.random.default_rng(1)
    contours = [(int(k), rng.uniform(-2, 14, (rng.integers(3, 8), 2))) for k in rng.integers(0, 6, 9)]
    mask = read(made, root, contours, tmp_path)
    assert (mask == slow(made, contours)).all() and mask.any()
    assert (read(made, root, contours, tmp_path, planes=slice(2, 5)) == mask[2:5]).all()


def test_outlines_of_a_mask_give_it_back(series, tmp_path):
    """Blobs with holes, whose outlines run half a pixel beside centres; without image references too."""
    made, root = series
    mask = np.random.default_rng(2).random(SHAPE) > 0.45
    for images in (True, False):
        assert (read(made, root, outlines(mask), tmp_path, images=images) == mask).all()


def test_holes_and_key_holes(series, tmp_path):
    made, root = series
    key = np.vstack([SQUARE, SQUARE[:1], HOLE[::-1], HOLE[-1:], SQUARE[:1]])
    hole = read(made, root, [(2, SQUARE), (2, HOLE)], tmp_path)
    assert hole[2].sum() == 36 - 4 and not hole[2, 5, 4]
    assert (read(made, root, [(2, key)], tmp_path) == hole).all()
    assert (read(made, root, [(2, SQUARE), (2, HOLE)], tmp_path, kind="CLOSEDPLANAR_XOR") == hole).all()


def test_a_rim_through_centres(straight, tmp_path):
    """Its left and upper rim is inside, its right and lower one is not: also after the way to the patient and back."""
    expected = np.zeros(SHAPE, bool)
    expected[3, 3:9, 2:8] = True
    assert (read(*straight, [(3, SQUARE)], tmp_path) == expected).all()
    oblique = make_series(tmp_path / "series", voxels(), directions=turned(20, 30, -10))
    assert (read(oblique, tmp_path, [(3, SQUARE)], tmp_path) == expected).all()


def test_slices_between_contours_stay_empty(straight, tmp_path):
    mask = read(*straight, [(1, SQUARE), (4, SQUARE)], tmp_path)
    assert mask.any(axis=(1, 2)).tolist() == [False, True, False, False, True, False]


def test_what_encloses_nothing(straight, tmp_path):
    """Fewer than three points, and a region without contours: empty masks."""
    assert not read(*straight, [(1, SQUARE[:1]), (2, SQUARE[:2])], tmp_path).any()
    assert not read(*straight, [], tmp_path).any()


@pytest.mark.parametrize("shift", [0.09, -0.09])
def test_nearly_on_a_slice_is_on_it(straight, tmp_path, shift):
    assert (read(*straight, [(2, SQUARE)], tmp_path, shift=shift) == read(*straight, [(2, SQUARE)], tmp_path)).all()


@pytest.mark.parametrize(
    ("contours", "options", "words"),
    [
        ([(2, SQUARE)], {"shift": 0.2}, "a contour of 'Heart' that lies beside the slices, at 3.20"),
        ([(2, SQUARE)], {"shift": -0.5}, "lies beside the slices, at 2.50"),
        ([(5, SQUARE)], {"shift": 1.0}, "lies outside the 6 slices, where slice 7 would be"),
        ([(2, SQUARE)], {"kind": "OPEN_PLANAR"}, "the type 'OPEN_PLANAR' in 'Heart'"),
        ([(2, SQUARE[:1])], {"kind": "POINT"}, "the type 'POINT' in 'Heart'"),
        ([(2, SQUARE), (2, SQUARE)], {}, "one contour of 'Heart' twice on slice 3"),
        ([(2, SQUARE + 400)], {}, "far outside of its series"),
        ([(2, SQUARE * 1e6)], {}, "far outside of its series|cannot be read"),
    ],
)
def test_refused_by_name(straight, tmp_path, contours, options, words):
    with pytest.raises(DataError, match=words) as caught:
        read(*straight, contours, tmp_path, **options)
    assert caught.value.where == str(WHERE)


def _contour(change):
    def apply(struct):
        change(struct.ROIContourSequence[0].ContourSequence[0])

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_contour(lambda item: setattr(item, "NumberOfContourPoints", 99)), "with 4 points that says it has 99"),
        (_contour(lambda item: setattr(item, "ContourData", ["1", "2"])), "cannot be read"),
        (_contour(lambda item: setattr(item, "ContourData", None)), "cannot be read"),
        (lambda struct: delattr(struct, "StructureSetROISequence"), "no region of interest 1"),
        (lambda struct: setattr(struct, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), "is no structure set any more"),
    ],
)
def test_damaged_ones_are_refused(straight, tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        read(*straight, [(2, SQUARE)], tmp_path, change=change)


def test_words_in_place_of_numbers(straight, tmp_path):
    """NaN, and what is no number, where coordinates are."""
    made, root = straight
    make_rtstruct(made, {"Heart": [(2, SQUARE)]}, tmp_path / "struct")
    raw = (tmp_path / "struct").read_bytes()
    first = f"{(made.affine @ [2, 3, 2, 1])[0]:.8g}\\".encode()
    assert raw.count(first) >= 1
    for number, words in enumerate((b"nan", b"inf", b"1,5", b"x")):
        (tmp_path / f"bad{number}").write_bytes(raw.replace(first, words.ljust(len(first) - 1) + b"\\", 1))
        with pytest.raises(DataError, match="whose points cannot be read"):
            roi_mask(tmp_path / f"bad{number}", 1, series_handle(made, root), WHERE)


def test_numbers_that_are_filled_up_by_zero_bytes(straight, tmp_path):
    """In place of a space, as some planning systems do it."""
    made, root = straight
    for shift in (0, 0.5, 0.25, 0.125):
        make_rtstruct(made, {"Heart": [(2, SQUARE + shift)]}, tmp_path / "struct")
        stored = dcmread(tmp_path / "struct").ROIContourSequence[0].ContourSequence[0].get_item("ContourData").value
        if filled := stored.endswith(b" "):
            break
    raw = (tmp_path / "struct").read_bytes()
    assert filled and raw.count(stored) == 1
    (tmp_path / "zero").write_bytes(raw.replace(stored, stored[:-1] + b"\0"))
    spaces, zeros = (roi_mask(tmp_path / name, 1, series_handle(made, root), WHERE) for name in ("struct", "zero"))
    assert (zeros == spaces).all() and zeros.any()


def test_contours_across_slices_and_without_a_place(straight, tmp_path):
    made, root = straight
    tilted = make_series(tmp_path / "tilted", voxels(), directions=turned(10, 0, 0), origin=(-31.5, 12.25, 47.0))
    make_rtstruct(tilted, {"Heart": [(2, SQUARE)]}, tmp_path / "struct")
    with pytest.raises(DataError, match="a contour of 'Heart' that lies across slices, from"):
        roi_mask(tmp_path / "struct", 1, series_handle(made, root), WHERE)
    with pytest.raises(DataError, match="does not say where it lies"):
        roi_mask(tmp_path / "struct", 1, series_handle(made, root, affine=None), WHERE)


def test_contours_on_another_stack_are_passed_over(straight, tmp_path):
    made, root = straight
    make_rtstruct(made, {"Heart": [(1, SQUARE), (5, SQUARE)]}, tmp_path / "struct")
    whole = series_handle(made, root)
    lower = series_handle(made, root, shape=(3, *SHAPE[1:]), slices=whole.slices[:3])
    mask = roi_mask(tmp_path / "struct", 1, lower, WHERE, elsewhere=True)
    assert mask.any(axis=(1, 2)).tolist() == [False, True, False]
    with pytest.raises(DataError, match="outside the 3 slices"):
        roi_mask(tmp_path / "struct", 1, lower, WHERE)


def test_a_picture_of_one_plane(tmp_path):
    made = make_series(tmp_path / "series", voxels()[:1])
    make_rtstruct(made, {"Heart": [(0, SQUARE)]}, tmp_path / "struct")
    flat = series_handle(made, tmp_path, shape=SHAPE[1:], spacing=(1.25, 0.75))
    assert roi_mask(tmp_path / "struct", 1, flat, WHERE).sum() == 36


def test_smooth_outlines_lie_within_a_pixel(tmp_path):
    """A ball drawn as polygons: each voxel in which mask and ball differ has its centre within a pixel of the surface."""
    shape, radius, centre = (9, 40, 40), 13.3, np.array([4.0, 19.6, 20.2])
    made = make_series(tmp_path / "series", np.zeros(shape, np.uint16), spacing=(1.0, 1.0, 1.0), directions=turned(3, 40, 9))
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circles = []
    for k in range(shape[0]):
        inside = np.sqrt(radius**2 - (k - centre[0]) ** 2)
        circles.append((k, np.column_stack([centre[2] + inside * np.cos(angles), centre[1] + inside * np.sin(angles)])))
    make_rtstruct(made, {"ball": circles}, tmp_path / "struct")
    mask = roi_mask(tmp_path / "struct", 1, series_handle(made, tmp_path), WHERE)
    grid = np.stack(np.mgrid[tuple(map(slice, shape))], -1)
    ball = np.linalg.norm(grid - centre, axis=-1) < radius
    off = np.where(ball, distance_transform_edt(ball), distance_transform_edt(~ball))
    assert mask.sum() > 4000 and off[mask != ball].max(initial=0) <= 1.0
    assert (mask != ball).mean() < 0.001
