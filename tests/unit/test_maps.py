"""Maps: made once for what they depend on, kept in the cache, and carried through the warp of every view."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.datasets import build_folder, build_manifest, build_nnunet_3d, save_png
from torch import Tensor

from debride.batch import View
from debride.data.augment import Strength
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, prepare
from debride.data.loader import Raw, Regions, Selection, make_batch, read
from debride.data.masks.prepared_maps import prepare_maps
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.geometry.distance import BoundaryDistance
from debride.geometry.pixel_map import PixelMap
from debride.geometry.superpixels import Superpixels
from debride.state import LabelState
from debride.types import IGNORE, DataError, Dataset

MAPS: dict[str, PixelMap] = {"distances": BoundaryDistance(), "superpixels": Superpixels(side=5)}
OUTSIDE = {"distances": 0, "superpixels": -1}
STRONG = Augmentation(spatial_probability=1.0)
TURNS = replace(Augmentation.none(), flip=(0, 1, 2), quarter_turns=True)


@dataclass(frozen=True)
class Counted:
    """The sum of an image's channels, or a label, times a factor; remembers what it was called with."""

    factor: int = 1
    fails: bool = False

    source: ClassVar[Literal["image", "label"]] = "image"
    kind: ClassVar[Literal["length", "ids"]] = "ids"
    version: ClassVar[int] = 1
    calls: ClassVar[list[tuple[tuple[int, ...], tuple[float, ...] | None]]] = []

    def __call__(self, source: npt.NDArray[Any], spacing: tuple[float, ...] | None) -> npt.NDArray[np.int32]:
        self.calls.append((source.shape, spacing))
        if self.fails:
            raise RuntimeError("no such map")
        total = source.sum(axis=0) if self.source == "image" else source
        return (self.factor * total).astype(np.int32)


class CountedOfLabel(Counted):
    source: ClassVar[Literal["image", "label"]] = "label"


@pytest.fixture(autouse=True)
def no_calls_yet() -> None:
    Counted.calls.clear()


def prepared_of(dataset: Dataset, folder: Path) -> Prepared:
    return prepare(dataset, dataset.of("train", "val"), Preparation(), folder)


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# The cache


def test_maps_are_made_once_and_mapped(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data"))
    prepared = prepared_of(dataset, tmp_path / "cache")
    steps: list[tuple[int, int]] = []
    maps = {"image": Counted(2), "label": CountedOfLabel(3)}
    made = prepare_maps(prepared, maps, tmp_path / "cache", lambda done, total: steps.append((done, total)))
    assert steps == [(row + 1, len(prepared)) for row in range(len(prepared))]
    assert len(Counted.calls) == 2 * len(prepared)
    assert {spacing for _, spacing in Counted.calls} == set(prepared.spacings)
    for row in range(len(prepared)):
        np.testing.assert_array_equal(made.map("image", row), (2 * prepared.image(row).sum(axis=0)).astype(np.int32))
        np.testing.assert_array_equal(made.map("label", row), 3 * prepared.label(row).astype(np.int32))
    assert isinstance(made.map("label", 0), np.memmap) and not made.map("label", 0).flags.writeable
    assert (made.maps, prepared.maps) == (maps, {})
    again = prepare_maps(prepared_of(dataset, tmp_path / "cache"), maps, tmp_path / "cache")
    assert again == made and len(Counted.calls) == 2 * len(prepared)


def test_what_a_map_finds_from_the_labels_is_found_before_it_is_made(tmp_path: Path) -> None:
    prepared = prepared_of(open_dataset(build_folder(tmp_path / "data", n=3)), tmp_path / "cache")
    made = prepare_maps(prepared, {"one": Superpixels(None), "two": Superpixels(None, 3.0)}, tmp_path / "cache")
    side = Superpixels(None).fitted(prepared.label(row) for row in range(len(prepared))).side
    assert made.maps == {"one": Superpixels(side), "two": Superpixels(side, 3.0)}
    assert made.map("one", 0).shape == (32, 32)


def test_noisy_copies_share_maps_of_images_and_not_of_changed_labels(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    shutil.copytree(dataset.root, tmp_path / "noisy")
    save_png(tmp_path / "noisy" / "masks" / "case002.png", np.eye(32, dtype=np.uint8) * 255)
    noisy = open_dataset(tmp_path / "noisy")
    maps = {"image": Counted(), "label": CountedOfLabel()}
    clean_maps, noisy_maps = (
        prepare_maps(prepared_of(of, tmp_path / "cache"), maps, tmp_path / "cache") for of in (dataset, noisy)
    )
    assert noisy_maps.map_files["image"] == clean_maps.map_files["image"]
    pairs = zip(noisy_maps.map_files["label"], clean_maps.map_files["label"], strict=True)
    changed = [case.id == "case002" for case in clean_maps.cases]
    assert [noisy != clean for noisy, clean in pairs] == changed
    assert len(Counted.calls) == 2 * len(clean_maps) + 1
    np.testing.assert_array_equal(noisy_maps.map("label", changed.index(True)), np.eye(32))


def test_raters_of_an_image_share_its_map(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data"))
    made = prepare_maps(prepared_of(dataset, tmp_path / "cache"), {"image": Counted()}, tmp_path / "cache")
    assert len(made) == 12 and len(set(made.map_files["image"])) == len(Counted.calls) == 4


def test_each_parameter_version_and_spacing_has_its_own_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=3))
    prepared = prepared_of(dataset, tmp_path / "cache")

    def files(pixel_map: PixelMap, prepared: Prepared = prepared) -> tuple[Path, ...]:
        return prepare_maps(prepared, {"map": pixel_map}, tmp_path / "cache").map_files["map"]

    stretched = replace(prepared, spacings=((1.0, 2.0),) * len(prepared))
    found = [files(Counted(1)), files(Counted(2)), files(CountedOfLabel(1)), files(Counted(1), stretched)]
    monkeypatch.setattr(Counted, "version", 2)
    found.append(files(Counted(1)))
    assert len(set(itertools.chain(*found))) == 5 * len(prepared)
    distances = [
        prepare_maps(of, {"map": BoundaryDistance()}, tmp_path / "cache").map("map", 0) for of in (prepared, stretched)
    ]
    assert (distances[0] != distances[1]).any()


def test_a_map_that_fails_or_is_broken_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_of(open_dataset(build_folder(tmp_path / "data", n=3)), tmp_path / "cache")
    before = files_in(tmp_path / "cache")
    with pytest.raises(RuntimeError, match="no such map"):
        prepare_maps(prepared, {"map": Counted(fails=True)}, tmp_path / "cache")
    assert files_in(tmp_path / "cache") == before

    def broken_off(file: Path, array: npt.NDArray[Any], **_: Any) -> None:
        file.write_bytes(array.tobytes()[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(DataError, match="No space left"):
        patch.setattr(np, "save", broken_off)
        prepare_maps(prepared, {"map": Counted()}, tmp_path / "cache")
    assert files_in(tmp_path / "cache") == before
    made = prepare_maps(prepared, {"map": Counted()}, tmp_path / "cache")
    np.testing.assert_array_equal(made.map("map", 0), prepared.image(0).sum(axis=0).astype(np.int32))


def test_a_case_without_a_label_has_maps_of_its_image_alone(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=3))
    unlabelled = replace(dataset, cases=(replace(dataset.cases[0], label=None),))
    prepared = prepared_of(unlabelled, tmp_path / "cache")
    assert prepare_maps(prepared, {"map": Counted()}, tmp_path / "cache").map("map", 0).shape == (32, 32)
    with pytest.raises(DataError, match=r"case000: has no label"):
        prepare_maps(prepared, {"map": CountedOfLabel()}, tmp_path / "cache")


# Views


def with_maps(ndim: int, folder: Path) -> Prepared:
    """Two images of 32 x 32 pixels, or two volumes of 6 x 16 x 20 voxels of different sides."""
    root = build_folder(folder / "data", n=4, classes=3) if ndim == 2 else build_nnunet_3d(folder / "data", n=2)
    dataset = open_dataset(root)
    return prepare_maps(prepared_of(dataset, folder / "cache"), MAPS, folder / "cache")


def views_of(
    prepared: Prepared,
    augmentation: Augmentation,
    patch: tuple[int, ...] | None = None,
    own_warps: Sequence[bool] = (False,),
    draws: Sequence[int] = (0, 1),
) -> tuple[Raw, tuple[View, ...]]:
    """Views of the rows 0, 1, 0, 1, ..., one for each draw."""
    regions, store = Regions(patch, augmentation.reach), LabelState((), prepared.shapes, None)
    draw = np.array(draws)
    raw = read(prepared, Selection(np.arange(len(draw)) % 2, np.zeros_like(draw), draw), regions, 1)
    trusted = np.zeros(len(prepared), bool)
    looks: list[tuple[Strength, bool]] = [("none", own) for own in own_warps]
    batch = make_batch(raw, looks, augmentation, store, prepared, regions, trusted, 2, torch.device("cpu"))
    return raw, batch.views


def seen_by_hand(view: View, number: int, values: npt.NDArray[Any], outside: float) -> npt.NDArray[Any]:
    """What a view shows of a whole map by nearest neighbour, from the view's matrix and origin."""
    matrix = view.warp.matrix[number].numpy()
    origin = np.zeros(values.ndim) if view.origin is None else view.origin[number].numpy()
    shown = np.full(view.label.shape[1:], outside, values.dtype)
    pixels = np.indices(shown.shape).reshape(values.ndim, -1)
    place = np.round((matrix[:, :-1] @ pixels + matrix[:, -1:]) * 1024) / 1024
    in_region = np.floor(place + 0.5)
    in_image = in_region + origin[:, None]
    region, image = (np.array(shape)[:, None] for shape in (view.warp.source_shape, values.shape))
    met = ((in_region >= 0) & (in_region < region) & (in_image >= 0) & (in_image < image)).all(axis=0)
    shown[tuple(pixels[:, met])] = values[tuple(in_image[:, met].astype(int))]
    return shown


@pytest.mark.parametrize("ndim", [2, 3])
def test_flips_and_quarter_turns_move_maps_exactly(ndim: int, tmp_path: Path) -> None:
    prepared = with_maps(ndim, tmp_path)
    axes = tuple(range(ndim))
    motions = [
        (turns, flips)
        for turns in (range(4) if ndim == 2 else (0,))
        for flips in itertools.chain.from_iterable(itertools.combinations(axes, count) for count in range(ndim + 1))
    ]
    _, (view,) = views_of(prepared, TURNS, draws=range(16))
    met = set()
    for number in range(16):
        whole = [prepared.image(number % 2)[0], *(prepared.map(name, number % 2) for name in MAPS)]
        shown = [view.image[number, 0], *(view.maps[name][number] for name in MAPS)]
        for turns, flips in motions:
            moved = [np.flip(np.rot90(values, turns), flips) for values in whole]
            if np.array_equal(moved[0], shown[0]):
                met.add(tuple(map(np.ndarray.tobytes, moved)))
                for expected, found in zip(moved[1:], shown[1:], strict=True):
                    np.testing.assert_array_equal(found, expected)
                break
        else:
            raise AssertionError("the view is no mirrored or turned image")
    assert len(met) > 6
    assert view.maps["distances"].dtype == torch.float32 and view.maps["superpixels"].dtype == torch.int64


def test_a_zoom_of_two_doubles_distances_and_keeps_ids(tmp_path: Path) -> None:
    prepared = with_maps(2, tmp_path)
    _, (view,) = views_of(prepared, replace(TURNS, flip=(), quarter_turns=False, zoom=(2.0, 2.0), spatial_probability=1.0))
    shown = slice(8, 24)  # of 32 pixels, two for each
    for number in range(2):
        distances, ids = (prepared.map(name, number)[shown, shown].repeat(2, 0).repeat(2, 1) for name in MAPS)
        np.testing.assert_array_equal(view.maps["distances"][number], 2 * distances)
        np.testing.assert_array_equal(view.maps["superpixels"][number], ids)


def test_a_zoom_of_one_half_halves_distances_and_shows_the_outside(tmp_path: Path) -> None:
    prepared = with_maps(2, tmp_path)
    _, (view,) = views_of(prepared, replace(TURNS, flip=(), quarter_turns=False, zoom=(0.5, 0.5), spatial_probability=1.0))
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[8:24, 8:24] = False
    for number in range(2):
        assert torch.equal(view.label[number] == IGNORE, outside)
        assert (view.maps["distances"][number][outside] == 0).all() and (view.maps["superpixels"][number][outside] == -1).all()
        inside = view.maps["distances"][number][8:24, 8:24], view.maps["superpixels"][number][8:24, 8:24]
        # The centre of a view's pixel lies between four pixels of the image; halves are rounded up.
        np.testing.assert_array_equal(2 * inside[0], prepared.map("distances", number)[1::2, 1::2])
        np.testing.assert_array_equal(inside[1], prepared.map("superpixels", number)[1::2, 1::2])


@pytest.mark.parametrize(("ndim", "patch"), [(2, None), (2, (20, 24)), (3, None), (3, (5, 12, 10)), (3, (8, 10, 10))])
def test_any_warp_shows_the_nearest_pixel_and_lengths_of_the_view(
    ndim: int, patch: tuple[int, ...] | None, tmp_path: Path
) -> None:
    prepared = with_maps(ndim, tmp_path)
    _, views = views_of(prepared, STRONG, patch, own_warps=(False, True), draws=range(4))
    for view, number in itertools.product(views, range(4)):
        zoom = abs(np.linalg.det(view.warp.matrix[number, :, :-1].numpy())) ** (-1 / ndim)
        for name in MAPS:
            expected = seen_by_hand(view, number, prepared.map(name, number % 2), OUTSIDE[name])
            if name == "distances":
                np.testing.assert_allclose(view.maps[name][number], expected * zoom, rtol=1e-6)
            else:
                np.testing.assert_array_equal(view.maps[name][number], expected)
    assert all((view.maps["superpixels"] == -1).any() for view in views), "some warp leaves the image"


@pytest.mark.parametrize("patch", [(4, 9, 10), (6, 16, 20), (8, 10, 24)])
def test_patches_are_cut_from_the_maps_of_whole_images(patch: tuple[int, int, int], tmp_path: Path) -> None:
    """Patches may reach beyond a volume; distances go on to outlines that lie outside a patch."""
    prepared = with_maps(3, tmp_path)
    raw, (view,) = views_of(prepared, Augmentation.none(), patch, draws=range(8))
    assert raw.origin is not None and raw.image.shape[2:] == patch
    assert patch == (6, 16, 20) or len({tuple(origin) for origin in raw.origin.tolist()}) > 3
    for name, number in itertools.product(MAPS, range(8)):
        padded = np.pad(prepared.map(name, number % 2), 30, constant_values=OUTSIDE[name])
        cut = tuple(
            slice(30 + start, 30 + start + size) for start, size in zip(raw.origin[number].tolist(), patch, strict=True)
        )
        np.testing.assert_array_equal(raw.maps[name][number], padded[cut])
        np.testing.assert_array_equal(view.maps[name][number], padded[cut])


def test_smaller_images_of_a_batch_are_filled_up_with_the_outside(tmp_path: Path) -> None:
    shapes = [(6, 9, 8), (4, 7, 12)]
    sets = [open_dataset(build_nnunet_3d(tmp_path / str(shape), n=2, shape=shape)) for shape in shapes]
    both = replace(sets[0], cases=(*sets[0].of("train"), *sets[1].of("train")))
    prepared = prepare_maps(prepared_of(both, tmp_path / "cache"), MAPS, tmp_path / "cache")
    assert prepared.shapes == tuple(shapes)
    raw, _ = views_of(prepared, Augmentation.none())
    for name, (number, shape) in itertools.product(MAPS, enumerate(prepared.shapes)):
        inside = tuple(map(slice, shape))
        np.testing.assert_array_equal(raw.maps[name][number][inside], prepared.map(name, number))
        beyond = raw.maps[name][number].clone()
        beyond[inside] = OUTSIDE[name]
        assert (beyond == OUTSIDE[name]).all()


def test_views_share_the_maps_of_the_first_or_have_those_of_their_own_warp(tmp_path: Path) -> None:
    def shown(view: View) -> list[Tensor]:
        return [view.maps[name] for name in MAPS]

    prepared = with_maps(2, tmp_path)
    _, (first, shared, own) = views_of(prepared, STRONG, own_warps=(False, False, True))
    assert all(torch.equal(a, b) for a, b in zip(shown(first), shown(shared), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(shown(first), shown(own), strict=True))


def test_without_maps_views_have_none(tmp_path: Path) -> None:
    prepared = replace(with_maps(2, tmp_path), maps={}, map_files={})
    raw, (view,) = views_of(prepared, STRONG)
    assert raw.maps == {} and view.maps == {}
