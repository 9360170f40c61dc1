"""Images for classification on disk: the bytes of their files in the cases' order, made once, never whole in memory."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from tests.datasets import build_npz, save_nifti, save_png

from debride.data.cache import resize
from debride.data.classes import class_cache
from debride.data.classes.class_cache import (
    PreparedClasses,
    flat_images,
    network_input,
    prepare_classes,
)
from debride.data.classes.eight_bits import image_sizes, working_size
from debride.data.open import open_dataset
from debride.data.pixels import arrays
from debride.types import IGNORE, Case, DataError

Array = npt.NDArray[Any]


def all_images(prepared: PreparedClasses) -> Array:
    return prepared.images(np.arange(len(prepared)))


def pictures(root: Path, images: Sequence[Array], suffix: str = ".png") -> list[Case]:
    """Image files and their cases, in an order that is not that of their names."""
    cases = []
    for number, image in enumerate(images):
        path = root / f"{'zaybxc'[number % 6]}{number}{suffix}"
        save_png(path, image)
        cases.append(Case(f"case{number}", (path,), None, f"case{number}", target=number % 2))
    return cases


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("chunk", [1, 500, 1 << 24])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_arrays_are_kept_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, channels: tuple[int, ...]
) -> None:
    """All cases of the splits, in any order and whatever split they are used in, in pieces of any size."""
    monkeypatch.setattr(arrays, "_CHUNK", chunk)
    held = {f"{split}_images": noise(9, 5, 4, *channels, seed=n) for n, split in enumerate(("train", "val", "test"))}
    file = tmp_path / "data.npz"
    np.savez_compressed(file, **held, **{f"{name}_labels": np.arange(9) % 3 for name in ("train", "val", "test")})
    cases = [replace(case, split="train") for case in open_dataset(file).cases]
    order = np.random.default_rng(1).permutation(len(cases))[:20]
    chosen = [cases[place] for place in order]
    prepared = prepare_classes(chosen, None, tmp_path / "cache")
    assert (len(prepared), prepared.channels, prepared.size) == (20, *(channels or (1,)), (5, 4))
    for row, case in enumerate(chosen):
        expected = held[f"{case.id.split('_')[0]}_images"][case.row].reshape(5, 4, -1).transpose(2, 0, 1)
        assert np.array_equal(prepared.images(np.array([row]))[0], expected)
    assert prepared.targets.tolist() == [case.target for case in chosen] and prepared.targets.dtype == np.int64
    some = np.array([3, 19, 3, 0])
    assert np.array_equal(prepared.images(some), all_images(prepared)[some])
    assert prepared.shapes == ((),) * 20


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3)])
def test_files_are_kept_as_they_are(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = [noise(*shape, seed=seed) for seed in range(7)]
    cases = pictures(tmp_path, images)
    cases[2] = replace(cases[2], target=None)
    prepared = prepare_classes(cases, None, tmp_path / "cache")
    expected = [image.reshape(6, 7, -1).transpose(2, 0, 1) for image in images]
    assert np.array_equal(all_images(prepared), expected)
    assert prepared.targets.tolist() == [0, 1, IGNORE, 1, 0, 1, 0]


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    images = [noise(6, 7, dtype="u2", seed=seed) for seed in range(3)]
    prepared = prepare_classes(pictures(tmp_path, images), None, tmp_path / "cache")
    expected = [[[[value // 256 for value in row] for row in image.tolist()]] for image in images]
    assert all_images(prepared).tolist() == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 3)])
@pytest.mark.parametrize("size", [(5, 4), (20, 30), (9, 14), (9, 7)])
def test_resizing(tmp_path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """As one call per image, and as Pillow's filter, which weighs neighbours by their distance, within rounding."""
    images = [noise(*shape, seed=seed) for seed in range(5)]
    np.savez(tmp_path / "data.npz", train_images=np.array(images), train_labels=np.arange(5) % 2)
    files = pictures(tmp_path / "files", images)
    listed = sorted(open_dataset(tmp_path / "data.npz").cases, key=lambda case: case.row or 0)
    of_file = all_images(prepare_classes(files, size, tmp_path / "cache"))
    of_array = all_images(prepare_classes(listed, size, tmp_path / "cache"))
    for row, image in enumerate(images):
        planes = image.reshape(*shape[:2], -1).transpose(2, 0, 1)
        alone = resize(torch.from_numpy(planes.copy()).float(), size).round().clamp(0, 255).numpy()
        assert np.array_equal(of_file[row], alone) and np.array_equal(of_array[row], alone)
        for channel, plane in enumerate(planes):
            slow = Image.fromarray(plane.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(slow) - of_file[row, channel]).max() < 0.51


def test_images_of_several_shapes_and_channels(tmp_path: Path) -> None:
    cases = pictures(tmp_path, [noise(6, 7), noise(6, 7), noise(7, 6)])
    with pytest.raises(DataError) as refused:
        prepare_classes(cases, None, tmp_path / "cache")
    assert refused.value.where == str(cases[2].image[0]) and "`image_size`" in refused.value.remedy
    assert refused.value.problem == "is 7x6 with 1 channel(s), others are 6x7 with 1 channel(s)"
    assert prepare_classes(cases, (4, 4), tmp_path / "cache").size == (4, 4)
    save_png(cases[1].image[0], noise(6, 7, 3))
    with pytest.raises(DataError, match=r"is 4x4 with 3 channel\(s\), others are 4x4 with 1 channel") as refused:
        prepare_classes(cases, (4, 4), tmp_path / "cache")
    assert refused.value.where == str(cases[1].image[0])


@pytest.mark.parametrize("size", [(4,), (4, 4, 4)])
def test_the_size_has_two_numbers(tmp_path: Path, size: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"`image_size`: has \d numbers. Give two: H W"):
        prepare_classes(pictures(tmp_path, [noise(4, 4)]), size, tmp_path / "cache")


def test_what_is_no_picture(tmp_path: Path) -> None:
    save_nifti(tmp_path / "volume.nii.gz", noise(3, 4, 5))
    save_nifti(tmp_path / "signed.nii.gz", np.zeros((4, 5), np.int16))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "real.tif")
    problems = {
        "volume.nii.gz": "is 3D",
        "signed.nii.gz": "holds int16",
        "broken.png": "cannot be",
        "real.tif": "holds float32",
    }
    for name, problem in problems.items():
        case = Case("case", (tmp_path / name,), None, "case", target=0)
        with pytest.raises(DataError, match=problem) as refused:
            prepare_classes([case], None, tmp_path / "cache")
        assert refused.value.where == str(tmp_path / name) and refused.value.remedy
    assert not list((tmp_path / "cache").rglob("*.*"))
    with pytest.raises(DataError, match="holds int32"):
        working_size(np.zeros((1, 2, 2), np.int32), tmp_path)


def test_no_cases(tmp_path: Path) -> None:
    prepared = prepare_classes([], None, tmp_path)
    assert len(prepared) == 0 and prepared.shapes == () and prepared.targets.shape == (0,)


def never(*_: object) -> Any:
    raise AssertionError("was decoded again")


def test_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same images in the same order, whatever their classes, names and folders are; a copy shares the entry."""
    root = build_npz(tmp_path / "data", n=12)
    listed = open_dataset(root).of("train")
    files = pictures(tmp_path / "files", [noise(4, 5, seed=seed) for seed in range(3)])
    cache = tmp_path / "cache"
    first, of_files = prepare_classes(listed, None, cache), prepare_classes(files, None, cache)
    copy = tmp_path / "copy.npz"
    copy.write_bytes((root / "small.npz").read_bytes())
    monkeypatch.setattr(arrays, "rows", never)
    monkeypatch.setattr(class_cache, "read_image", never)
    relabelled = [replace(case, target=0, trusted=True, split="val", image=(copy,)) for case in listed]
    again = prepare_classes(relabelled, None, cache, never)
    assert again.file == first.file and again.targets.tolist() == [0] * len(listed)
    assert (again.size, again.channels) == (first.size, first.channels)
    assert np.array_equal(all_images(again), all_images(first))
    assert prepare_classes(files, None, cache).file == of_files.file
    for cases, size in ((listed[:-1], None), (listed[::-1], None), (listed, (3, 3)), (files[::-1], None)):
        with pytest.raises(AssertionError, match="decoded again"):
            prepare_classes(cases, size, cache)


def test_a_changed_file_is_another_entry(tmp_path: Path) -> None:
    cases = pictures(tmp_path, [noise(4, 5, seed=seed) for seed in range(3)])
    before = prepare_classes(cases, None, tmp_path / "cache")
    kept = all_images(before).copy()
    save_png(cases[1].image[0], noise(4, 5, seed=9))
    after = prepare_classes(cases, None, tmp_path / "cache")
    assert after.file != before.file and np.array_equal(all_images(before), kept)
    assert np.array_equal(all_images(after)[1, 0], noise(4, 5, seed=9))
    assert np.array_equal(all_images(after)[[0, 2]], kept[[0, 2]])
    assert before.fingerprint(0) != after.fingerprint(0)


def test_fingerprint_tells_class_and_case(tmp_path: Path) -> None:
    cases = pictures(tmp_path, [noise(4, 5, seed=seed) for seed in range(2)])
    first = prepare_classes(cases, None, tmp_path / "cache")
    other = prepare_classes([replace(cases[0], target=1), cases[1]], None, tmp_path / "cache")
    assert first.fingerprint(0) != other.fingerprint(0) and first.fingerprint(1) == other.fingerprint(1)


@pytest.mark.parametrize("kind", ["files", "arrays"])
def test_stopped_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """No entry, nor a part of one; the next call makes it whole."""
    monkeypatch.setattr(arrays, "_CHUNK", 1)
    cases: Sequence[Case] = pictures(tmp_path, [noise(4, 5, seed=seed) for seed in range(6)])
    if kind == "arrays":
        cases = open_dataset(build_npz(tmp_path / "data", n=6)).of("train")
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_classes(cases, None, tmp_path / "cache", stop)
    assert seen == [(1, 6), (2, 6), (3, 6)]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    prepared = prepare_classes(cases, None, tmp_path / "cache")
    assert all(image.any() for image in all_images(prepared))


def test_arrays_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred images never more than a few pieces of four are in memory; no array is read whole."""
    monkeypatch.setattr(arrays, "_CHUNK", 4 * 12 * 12 * 3)
    cases = open_dataset(build_npz(tmp_path / "data", n=100)).of("train")
    monkeypatch.setattr(arrays, "array", never)
    alive: list[weakref.ref[Array]] = []
    largest, most = 0, 0
    whole = arrays.rows

    def watched(path: Path, name: str) -> Any:
        nonlocal largest, most
        for piece in whole(path, name):
            alive.append(weakref.ref(piece))
            largest, most = max(largest, len(piece)), max(most, sum(each() is not None for each in alive))
            yield piece

    monkeypatch.setattr(arrays, "rows", watched)
    prepare_classes(cases, (8, 8), tmp_path / "cache")
    assert (len(alive), largest) == (25, 4) and most <= 3


def test_files_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = pictures(tmp_path, [noise(4, 5, seed=seed) for seed in range(30)])
    alive: list[weakref.ref[Array]] = []
    most = 0
    plain = class_cache.read_image

    def watched(paths: Sequence[Path]) -> Any:
        nonlocal most
        image, geometry = plain(paths)
        alive.append(weakref.ref(image))
        most = max(most, sum(each() is not None for each in alive))
        return image, geometry

    monkeypatch.setattr(class_cache, "read_image", watched)
    prepare_classes(cases, None, tmp_path / "cache")
    assert len(alive) == 30 and most <= 3


def test_images_are_mapped(tmp_path: Path) -> None:
    """Rows are copies; the array itself is a read-only map of the file."""
    prepared = prepare_classes(pictures(tmp_path, [noise(4, 5, seed=seed) for seed in range(3)]), None, tmp_path / "cache")
    part = prepared.images(np.array([1]))
    part[...] = 0
    assert prepared.images(np.array([1])).any()
    assert isinstance(prepared._mapped[0], np.memmap) and not prepared._mapped[0].flags.writeable


def test_network_input() -> None:
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    seen = network_input(image)
    assert seen.dtype == torch.float32
    assert torch.allclose(seen, (image.float() / 255 - 0.5) / 0.5, atol=1e-6)
    assert (float(seen.min()), float(seen.max())) == (-1, 1) and int(image[0, 0, 0, 5]) == 5


def test_flat_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))
    root = build_npz(tmp_path / "data", n=9)
    held = np.load(root / "small.npz")
    flat = flat_images(open_dataset(root), ["train", "test"])
    expected = [image.transpose(2, 0, 1).ravel() for split in ("train", "test") for image in held[f"{split}_images"]]
    assert np.array_equal(flat, expected) and isinstance(flat, np.memmap)


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(build_npz(tmp_path / "data", n=12))
    monkeypatch.setattr(class_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"the disk has 0\.0 GB left") as caught:
        prepare_classes(dataset.of("train"), None, tmp_path / "cache")
    assert "DEBRIDE_CACHE" in caught.value.remedy
    assert not list((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_one_bit_pictures_are_black_and_white(tmp_path: Path, suffix: str) -> None:
    """Pictures of 8 bits that hold 0 and 1 stay as dark as they are."""
    bits = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(bool)
    cases = pictures(tmp_path, [bits, np.zeros((5, 7), bool), np.ones((5, 7), bool), bits.astype(np.uint8)], suffix)
    with Image.open(cases[0].image[0]) as first, Image.open(cases[3].image[0]) as last:
        assert (first.mode, last.mode) == ("1", "L")
    found = all_images(prepare_classes(cases, None, tmp_path / "cache"))[:, 0]
    for row, expected in enumerate((bits * 255, bits * 0, bits * 0 + 255, bits * 1)):
        assert np.array_equal(found[row], expected)


def test_sizes_come_from_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files, and of the array that holds a case, whatever split it is in."""
    files = pictures(tmp_path / "files", [noise(4, 9), noise(9, 4), noise(4, 9, 3)])
    held = {"train_images": noise(5, 6, 7), "train_labels": np.arange(5) % 2, "test_images": noise(3, 8, 8, 3)}
    np.savez(tmp_path / "data.npz", **held)
    rows = [replace(case, split="train") for case in open_dataset(tmp_path / "data.npz").cases]

    def never(*_: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(class_cache, "read_image", never)
    monkeypatch.setattr(arrays, "rows", never)
    assert image_sizes(files) == {(4, 9): 2, (9, 4): 1}
    assert image_sizes(rows) == {(6, 7): 5, (8, 8): 3}
