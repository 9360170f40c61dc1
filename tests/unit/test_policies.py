"""AutoAugment and weak views: each operation against Pillow, whole policies image by image, and independence of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from debride.data.augmentation import ClassAugmentation
from debride.data.classes import colour, policies
from debride.data.classes.policies import autoaugment, weak
from debride.rng import derive, uniforms
from debride.settings import check_bounds, from_mapping
from debride.types import DataError

CIFAR10 = """
Invert .1 7 Contrast .2 6 | Rotate .7 2 TranslateX .3 9 | Sharpness .8 1 Sharpness .9 3 | ShearY .5 8 TranslateY .7 9
AutoContrast .5 8 Equalize .9 2 | ShearY .2 7 Posterize .3 7 | Color .4 3 Brightness .6 7 | Sharpness .3 9 Brightness .7 9
Equalize .6 5 Equalize .5 1 | Contrast .6 7 Sharpness .6 5 | Color .7 7 TranslateX .5 8 | Equalize .3 7 AutoContrast .4 8
TranslateY .4 3 Sharpness .2 6 | Brightness .9 6 Color .2 8 | Solarize .5 2 Invert 0 3 | Equalize .2 0 AutoContrast .6 0
Equalize .2 8 Equalize .6 4 | Color .9 9 Equalize .6 6 | AutoContrast .8 4 Solarize .2 8 | Brightness .1 3 Color .7 0
Solarize .4 5 AutoContrast .9 3 | TranslateY .9 9 TranslateY .7 9 | AutoContrast .9 2 Solarize .8 3 | Equalize .8 8 Invert .1 3
TranslateY .7 9 AutoContrast .9 1
"""
IMAGENET = """
Posterize .4 8 Rotate .6 9 | Solarize .6 5 AutoContrast .6 5 | Equalize .8 8 Equalize .6 3 | Posterize .6 7 Posterize .6 6
Equalize .4 7 Solarize .2 4 | Equalize .4 4 Rotate .8 8 | Solarize .6 3 Equalize .6 7 | Posterize .8 5 Equalize 1 2
Rotate .2 3 Solarize .6 8 | Equalize .6 8 Posterize .4 6 | Rotate .8 8 Color .4 0 | Rotate .4 9 Equalize .6 2
Equalize 0 7 Equalize .8 8 | Invert .6 4 Equalize 1 8 | Color .6 4 Contrast 1 8 | Rotate .8 8 Color 1 2
Color .8 8 Solarize .8 7 | Sharpness .4 7 Invert .6 8 | ShearX .6 5 Equalize 1 9 | Color .4 0 Equalize .6 3
Equalize .4 7 Solarize .2 4 | Solarize .6 5 AutoContrast .6 5 | Invert .6 4 Equalize 1 8 | Color .6 4 Contrast 1 8
Equalize .8 8 Equalize .6 3
"""
TABLES = {
    name: [row.split() for row in text.strip().replace("\n", "|").split("|")]
    for name, text in (("cifar10", CIFAR10), ("imagenet", IMAGENET))
}
SHAPES = [(1, 1, 32, 32), (1, 3, 32, 32), (1, 3, 28, 41), (1, 1, 19, 8), (1, 3, 2, 5), (1, 3, 64, 64)]


def pictures(number: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Images of all kinds: noise over all values, smooth slopes, few values, and a constant."""
    g = np.random.default_rng(seed)
    images = g.integers(0, 256, (number, channels, height, width))
    slope = np.linspace(20, 200, height)[:, None] + np.linspace(0, 40, width)
    images[1::4] = (slope + g.integers(0, 9, images[1::4].shape)).astype(int)
    images[2::4] = 85 * (images[2::4] // 86) + 3
    images[3::8] = 77
    return torch.from_numpy(images.astype(np.uint8))


def to_pil(image: Tensor) -> Image.Image:
    array = image.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def from_pil(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def with_pil(image: Image.Image, name: str, level: int, sign: int) -> Image.Image:
    """One operation of AutoAugment on one image: Pillow's functions with magnitudes by the paper's ranges (Table 6)."""
    share = level / 9
    fill = 128 if image.mode == "L" else (128, 128, 128)
    move = {
        "ShearX": (1, sign * 0.3 * share, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, sign * 0.3 * share, 1, 0),
        "TranslateX": (1, 0, sign * 150 / 331 * share * image.width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, sign * 150 / 331 * share * image.height),
    }
    if name in move:
        return image.transform(image.size, Image.Transform.AFFINE, move[name], fillcolor=fill)
    if name == "Rotate":
        return image.rotate(sign * 30 * share, fillcolor=fill)
    if name in ("Color", "Contrast", "Sharpness", "Brightness"):
        return getattr(ImageEnhance, name)(image).enhance(1 + sign * 0.9 * share)
    if name == "Posterize":
        return ImageOps.posterize(image, round(8 - 4 * share))
    if name == "Solarize":
        return ImageOps.solarize(image, 256 - 256 * share)
    plain = {"AutoContrast": ImageOps.autocontrast, "Equalize": ImageOps.equalize, "Invert": ImageOps.invert}
    return plain[name](image)


def alone(name: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a policy whose only operation always happens."""
    monkeypatch.setattr(policies, "CIFAR10", ((name, 1.0, level, "Invert", 0.0, 0),))


def signs(seed: int, rows: range) -> list[int]:
    """The sign of each image's first operation."""
    return [-1 if draw[3] < 0.5 else 1 for draw in uniforms(derive(seed, "autoaugment"), rows, 5)]


NAMES = sorted({word for table in TABLES.values() for row in table for word in (row[0], row[3])})


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape[1:])))
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_gives_what_pillow_gives(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(16, *shape[1:])
    before = images.clone()
    for level in range(10):
        alone(name, level, monkeypatch)
        result = autoaugment(images, "cifar10", 5, range(16))
        assert result.dtype == torch.uint8
        for image, changed, sign in zip(images, result, signs(5, range(16)), strict=True):
            assert torch.equal(changed, from_pil(with_pil(to_pil(image), name, level, sign))), (name, level, sign)
    assert torch.equal(images, before)


def test_the_operations_of_the_test_are_all_and_have_both_signs() -> None:
    assert len(NAMES) == 14 and set(NAMES) == set(policies.LEVELS)
    assert set(signs(5, range(16))) == {-1, 1}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["cifar10", "imagenet"])
def test_a_policy_gives_what_it_gives_image_by_image(policy: str, channels: int) -> None:
    seed, rows = 11, range(100, 500)
    images = pictures(len(rows), channels, 24, 20)
    result = autoaugment(images, policy, seed, rows)
    seen: set[tuple[int, bool, bool]] = set()
    for image, changed, draw in zip(images, result, uniforms(derive(seed, "autoaugment"), rows, 5), strict=True):
        chosen = math.floor(25 * draw[0])
        sub = TABLES[policy][chosen]
        picture = to_pil(image)
        happens = [draw[1 + part] < float(sub[3 * part + 1]) for part in range(2)]
        for part in range(2):
            if happens[part]:
                sign = -1 if draw[3 + part] < 0.5 else 1
                picture = with_pil(picture, sub[3 * part], int(sub[3 * part + 2]), sign)
        assert torch.equal(changed, from_pil(picture)), sub
        seen.add((chosen, *happens))
    assert {chosen for chosen, *_ in seen} == set(range(25))
    assert len(seen) > 50


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_image_gets_the_same_view_in_every_batch(channels: int) -> None:
    images, rows = pictures(64, channels, 16, 12), torch.arange(64) + 7
    config = ClassAugmentation(pad=0.25)
    for view in (lambda x, at: autoaugment(x, "cifar10", 3, at), lambda x, at: weak(x, config, 3, at)):
        together = view(images, rows)
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        assert torch.equal(view(images[order], rows[order]), together[order])
        for one in range(0, 64, 9):
            assert torch.equal(view(images[one : one + 1], rows[one : one + 1])[0], together[one])
        assert not torch.equal(view(images, rows + 1), together)


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_are_changed_one_by_one_and_their_grey_is_the_mean(channels: int) -> None:
    images = pictures(6, channels, 9, 7)
    factor = torch.tensor([0.1, 0.5, 1.0, 1.3, 1.9, 0.0], dtype=torch.float64)
    for name in ("invert", "solarize", "auto_contrast", "equalize", "brightness", "sharpness"):
        operation = getattr(colour, name)
        together = operation(images, 100 * factor if name == "solarize" else factor)
        for channel in range(channels):
            part = images[:, channel : channel + 1]
            assert torch.equal(operation(part, 100 * factor if name == "solarize" else factor)[:, 0], together[:, channel])
    saturated, contrasted = colour.color(images, factor), colour.contrast(images, factor)
    for n, f in enumerate(factor.tolist()):
        grey = [[math.floor(np.mean(images[n, :, y, x].tolist()) + 0.5) for x in range(7)] for y in range(9)]
        mean = math.floor(np.mean(grey) + 0.5)
        for c in range(channels):
            for y in range(9):
                for x in range(7):
                    value = int(images[n, c, y, x])
                    expected = min(max(grey[y][x] + f * (value - grey[y][x]), 0), 255)
                    assert abs(int(saturated[n, c, y, x]) - math.floor(expected + 1e-4)) == 0
                    expected = min(max(mean + f * (value - mean), 0), 255)
                    assert abs(int(contrasted[n, c, y, x]) - math.floor(expected + 1e-4)) == 0


def test_one_channel_has_no_saturation() -> None:
    images = pictures(8, 1, 9, 7)
    assert torch.equal(colour.color(images, torch.linspace(0, 2, 8).double()), images)


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize(("shape", "pad"), [((3, 32, 32), 0.125), ((1, 10, 7), 0.3), ((2, 5, 9), 0.5), ((3, 6, 6), 0.0)])
def test_weak_views_are_padded_cut_out_and_mirrored(shape: tuple[int, int, int], pad: float, mirror: bool) -> None:
    images, rows = pictures(60, *shape), range(20, 80)
    before = images.clone()
    result = weak(images, ClassAugmentation(pad=pad, mirror=mirror), 9, rows)
    assert result.shape == images.shape and result.dtype == torch.uint8 and result.data_ptr() != images.data_ptr()
    H, W = shape[1:]
    pixels = images.numpy()
    most = {(3, 32, 32): (4, 4), (1, 10, 7): (3, 2), (2, 5, 9): (2, 4), (3, 6, 6): (0, 0)}[shape]
    seen = set()
    for n, draw in enumerate(uniforms(derive(9, "weak"), rows, 3)):
        dy, dx = (math.floor(draw[axis] * (2 * most[axis] + 1)) - most[axis] for axis in range(2))
        mirrored = mirror and draw[2] < 0.5
        seen.add((dy, dx, mirrored))
        expected = np.zeros(shape, np.uint8)
        for y in range(H):
            for x in range(W):
                if 0 <= y + dy < H and 0 <= x + dx < W:
                    expected[:, y, x] = pixels[n, :, y + dy, W - 1 - (x + dx) if mirrored else x + dx]
        assert np.array_equal(result[n].numpy(), expected)
    assert {dy for dy, *_ in seen} == set(range(-most[0], most[0] + 1))
    assert {dx for _, dx, _ in seen} == set(range(-most[1], most[1] + 1))
    assert {mirrored for *_, mirrored in seen} == ({True, False} if mirror else {False})
    assert torch.equal(images, before)


def test_no_policy_and_no_images() -> None:
    images = pictures(4, 3, 8, 8)
    assert torch.equal(autoaugment(images, "none", 1, range(4)), images)
    for policy in ("cifar10", "imagenet"):
        assert autoaugment(images[:0], policy, 1, []).shape == (0, 3, 8, 8)
    assert weak(images[:0], ClassAugmentation(), 1, []).shape == (0, 3, 8, 8)


def test_the_tables_are_those_of_the_paper() -> None:
    for name, table in (("cifar10", policies.CIFAR10), ("imagenet", policies.IMAGENET)):
        assert len(table) == 25
        expected = [(a, float(p), int(m), b, float(q), int(n)) for a, p, m, b, q, n in TABLES[name]]
        assert list(table) == expected


@pytest.mark.parametrize(("values", "where"), [({"pad": -0.1}, "pad"), ({"pad": 0.6}, "pad"), ({"pad": math.nan}, "pad")])
def test_settings_out_of_range_are_refused(values: dict[str, float], where: str) -> None:
    with pytest.raises(DataError, match=f"ClassAugmentation.{where}"):
        check_bounds(ClassAugmentation(**values))


def test_settings_are_read_from_plain_values() -> None:
    config = from_mapping(ClassAugmentation, {"policy": "imagenet", "pad": "0.25", "mirror": "no"}, "a file")
    assert config == ClassAugmentation(policy="imagenet", pad=0.25, mirror=False)
    with pytest.raises(DataError, match="Choose one of cifar10, imagenet, none"):
        check_bounds(ClassAugmentation(policy="svhn"))
