import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from debride.audit.findings.finding import Finding
from debride.audit.shown import finding_pictures as pictures
from debride.audit.shown.finding_pictures import COLOURS, PANEL, crop, picture, picture_of
from debride.types import IGNORE

GAP = 4


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def panels(png):
    pixels = opened(png)
    width = (pixels.shape[1] - GAP) // 2
    return pixels[:, :width], pixels[:, -width:]


def near(pixels, name, tolerance=40):
    return (np.abs(pixels - np.array(ImageColor.getrgb(COLOURS[name]))) <= tolerance).all(axis=-1)


def square(shape, top, left, side, value=1):
    mask = np.zeros(shape, np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(60, 120, shape).astype(np.int16)


def finding(**changes):
    base = {"case": "a", "number": 1, "kind": "extra", "given": 1, "proposed": 0, "box": ((0, 8), (0, 8)), "voxels": 1}
    return Finding(**{**base, "severity": 0.5, "confidence": 0.9, **changes})


def test_each_outline_has_its_colour_at_its_place_and_the_left_panel_has_none():
    given, predicted, proposed = (square((80, 80), top, 20, 12) for top in (10, 30, 50))
    png = picture(noise(1, 80, 80), given, predicted, proposed, ((10, 62), (20, 32)), 2, None, whole=True)
    left, right = panels(png)
    assert left.shape == right.shape == (PANEL, PANEL, 3)
    scale = PANEL / 80
    for name, top in (("given", 10), ("predicted", 30), ("proposed", 50)):
        rows, columns = np.nonzero(near(right, name, 25))
        assert rows.size > 40
        assert abs(rows.min() - scale * top) < 4 and abs(rows.max() - scale * (top + 12)) < 4
        assert abs(columns.min() - scale * 20) < 4 and abs(columns.max() - scale * 32) < 4
        assert not near(left, name, 25).any()
    assert (left == left[..., :1]).all()


def test_changed_pixels_are_tinted_inside_the_box_alone():
    given = np.zeros((80, 80), np.uint8)
    proposed = square((80, 80), 10, 10, 16) + square((80, 80), 50, 50, 16)
    left, right = panels(picture(noise(1, 80, 80), given, given, proposed, ((10, 26), (10, 26)), 2, None, whole=True))
    tinted = right[..., 0] - right[..., 2] - (left[..., 0] - left[..., 2]) > 20
    middle, other = 18 * 4, 58 * 4
    assert tinted[middle - 20 : middle + 20, middle - 20 : middle + 20].mean() > 0.9
    assert tinted[other - 20 : other + 20, other - 20 : other + 20].mean() < 0.02


def test_a_volume_shows_the_slice_with_most_changed_voxels_of_the_box():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(2, 9, 70, 66))
    given = (rng.random((9, 70, 66)) < 0.02).astype(np.uint8)
    proposed = given.copy()
    for z, count in enumerate([900, 3, 5, 30, 12, 7, 2, 800, 1]):
        proposed[z].reshape(-1)[1000 : 1000 + count] ^= 1
    box = ((1, 7), (10, 40), (5, 60))
    best, most = None, -1
    for z in range(1, 7):
        changed = 0
        for y in range(10, 40):
            for x in range(5, 60):
                changed += given[z, y, x] != proposed[z, y, x]
        if changed > most:
            best, most = z, changed
    shown = picture(image, given, given, proposed, box, 3, (5.0, 1.5, 1.0))
    planes = (image[:1, best], given[best], given[best], proposed[best])
    assert shown == picture(*planes, box[1:], 2, (1.5, 1.0))


def test_a_volume_without_a_change_shows_the_slice_with_most_foreground():
    given = np.zeros((5, 64, 64), np.uint8)
    given[1, 3:6, 3:6], given[3, 10:30, 10:30], given[4] = 1, 2, IGNORE
    image = noise(1, 5, 64, 64)
    box = ((0, 5), (0, 64), (0, 64))
    plane = picture(image[:, 3], given[3], given[3], given[3], box[1:], 2, None)
    assert picture(image, given, given, given, box, 3, None) == plane


@pytest.mark.parametrize("kind", ["extra", "flip"])
def test_a_finding_is_drawn_from_its_own_voxels(kind):
    rng = np.random.default_rng(5)
    image = rng.normal(size=(1, 6, 100, 100))
    given = np.zeros((6, 100, 100), np.uint8)
    given[2:5, 20:50, 20:50] = 2
    number = np.zeros(given.shape, np.uint16)
    number[3, 22:30, 22:30], number[3, 35:45, 35:45], number[4, 20:45, 20:45] = 1, 2, 2
    maps = np.where(number > 0, 1, 0).astype(np.uint8)
    found = finding(kind=kind, box=((2, 5), (20, 45), (20, 45)))
    applied = given[3].copy()
    applied[22:30, 22:30] = 1
    expected = picture(image[:, 3], given[3], given[3], applied, ((20, 45), (20, 45)), 2, (1.0, 1.0), whole=kind == "flip")
    assert picture_of(found, image, given, given, number, maps, (3.0, 1.0, 1.0)) == expected


def test_aspect_follows_the_spacing():
    label = square((90, 90), 20, 20, 30)
    for spacing, shape in (((1.0, 1.0), (320, 320)), ((2.0, 1.0), (320, 160)), ((1.0, 4.0), (80, 320)), (None, (320, 320))):
        png = picture(noise(1, 90, 90), label, label, label, ((20, 50), (20, 50)), 2, spacing, whole=True)
        assert panels(png)[0].shape[:2] == shape


def test_a_crop_holds_its_box_is_large_enough_and_stays_inside():
    rng = np.random.default_rng(8)
    for _ in range(300):
        shape = tuple(int(each) for each in rng.integers(5, 600, 2))
        starts = [int(rng.integers(0, length)) for length in shape]
        box = tuple((start, int(rng.integers(start + 1, length + 1))) for start, length in zip(starts, shape, strict=True))
        spacing = tuple(float(each) for each in rng.uniform(0.3, 6, 2))
        shown = crop(box, shape, spacing)
        sides = []
        for (first, past), (start, end), length, step in zip(shown, box, shape, spacing, strict=True):
            assert 0 <= first <= start < end <= past <= length
            assert past - first >= min(length, max(64, round(length / 3), int(1.5 * (end - start)) - 1))
            sides.append(((past - first) * step, past - first == length, step))
        (a, a_full, a_step), (b, b_full, b_step) = sides
        assert a_full or b_full or abs(a - b) <= max(a_step, b_step)
        assert crop(box, shape, spacing, whole=True) == tuple((0, length) for length in shape)


def test_outlines_are_closed_at_the_border_of_the_image_and_open_where_the_crop_cuts():
    full = np.ones((400, 400), np.uint8)
    _, right = panels(picture(noise(1, 400, 400), full, full, full, ((0, 20), (0, 20)), 2, None))
    drawn = near(right, "given")
    assert drawn[:3].mean() > 0.3 and drawn[:, :3].mean() > 0.3
    assert not drawn[-8:, 8:].any() and not drawn[8:, -8:].any()
    _, middle = panels(picture(noise(1, 400, 400), full, full, full, ((190, 210), (190, 210)), 2, None))
    assert not near(middle, "given").any()


def test_pixels_without_a_label_have_no_outline():
    label = square((64, 64), 20, 20, 20, IGNORE)
    _, right = panels(picture(noise(1, 64, 64), label, label, label, ((0, 64), (0, 64)), 2, None))
    assert not any(near(right, name).any() for name in COLOURS)


def test_contrast_is_from_the_first_to_the_ninety_ninth_percentile():
    image = np.tile(np.linspace(0, 1, 200), (200, 1))[None]
    image[0, 0, 0] = 1e6
    label = np.zeros((200, 200), np.uint8)
    left, _ = panels(picture(image, label, label, label, ((0, 200), (0, 200)), 2, None))
    assert left[160, 160, 0] == pytest.approx(127, abs=3) and left[160, 3, 0] < 3 and left[160, -3, 0] > 252


def test_three_channels_are_a_colour_picture_and_other_numbers_grey():
    image = np.zeros((3, 64, 64), np.uint8)
    image[0, :, 32:] = 200
    label = np.zeros((64, 64), np.uint8)
    left, _ = panels(picture(image, label, label, label, ((0, 64), (0, 64)), 2, None))
    assert left[100, 300, 0] > 200 and left[100, 300, 1:].max() < 30
    volume = picture(np.stack([image] * 2, axis=1), *[np.zeros((2, 64, 64), np.uint8)] * 3, ((0, 2), (0, 64), (0, 64)), 3, None)
    assert (panels(volume)[0] == panels(volume)[0][..., :1]).all()


@pytest.mark.parametrize("shape", [(8, 8), (1, 40), (3, 700), (512, 512)])
@pytest.mark.parametrize("fill", [0, 7, np.nan, np.inf])
def test_flat_tiny_and_damaged_images_give_a_picture(shape, fill):
    image = np.full((1, *shape), fill, np.float32)
    label = np.zeros(shape, np.uint8)
    label[: shape[0] // 2 + 1, : shape[1] // 2] = 1
    with np.errstate(all="raise"):
        pixels = opened(picture(image, label, np.zeros_like(label), label * 2, ((0, shape[0]), (0, shape[1])), 2, None))
    assert max(pixels.shape[0], (pixels.shape[1] - GAP) // 2) == PANEL and min(pixels.shape[:2]) >= 8


def test_any_number_type_is_shown_alike():
    image = noise(1, 64, 64)
    label = square((64, 64), 20, 20, 20)
    shown = {
        picture(image.astype(kind), label, label, label, ((0, 64), (0, 64)), 2, None)
        for kind in (np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64, np.float16)
    }
    assert len(shown) == 1


def test_inputs_are_left_alone_and_the_palette_is_kept_small():
    arrays = [noise(1, 128, 128), *(square((128, 128), 30, left, 40) for left in (30, 34, 38))]
    copies = [array.copy() for array in arrays]
    png = picture(*arrays, ((30, 70), (30, 78)), 2, None)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))
    assert Image.open(io.BytesIO(png)).mode == "P" and len(png) < 120_000
    assert set(pictures.WHOLE) == {"flip", "shift", "swap", "empty"}
