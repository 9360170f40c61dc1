"""A box of a volume, read without the rest, is that box of the whole."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tests.datasets import build_nnunet_3d

from debride.data.open import open_dataset
from debride.data.pixels import arrays, streamed
from debride.data.pixels.images import read_image, read_image_part, read_label, read_label_part, reads_parts
from debride.types import DataError

SHAPE = (9, 12, 14)


def boxes(rng: np.random.Generator, shape: tuple[int, ...], many: int = 12) -> list[Any]:
    found: list[Any] = [tuple((0, length) for length in shape)]
    for _ in range(many):
        firsts = [int(rng.integers(0, length)) for length in shape]
        pasts = [int(rng.integers(first + 1, length + 1)) for first, length in zip(firsts, shape, strict=True)]
        found.append(tuple(zip(firsts, pasts, strict=True)))
    return found


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["uint8", "int16", ">i2", "float32", "float64", "scaled"])
def test_a_box_is_that_of_the_whole(tmp_path: Path, suffix: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "_READ", 100)
    monkeypatch.setattr(streamed, "_INFLATED", 177)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 200, SHAPE).astype("int16" if kind == "scaled" else kind)
    volume = nib.Nifti1Image(values.T, np.diag([-1.0, 2, 3, 1]))
    if kind == "scaled":
        volume.header.set_slope_inter(0.5, -3)
    path = tmp_path / f"image{suffix}"
    nib.save(volume, path)
    whole = read_image([path])[0]
    assert reads_parts(path)
    for box in boxes(rng, SHAPE):
        part = read_image_part(path, box)
        expected = whole[(slice(None), *(slice(*ends) for ends in box))]
        assert part.dtype == expected.dtype
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("axes", [(7, 5), (7, 5, 1), (7, 5, 4, 1, 1)])
def test_axes_of_length_one_are_left_out(tmp_path: Path, axes: tuple[int, ...]) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = tmp_path / f"image{suffix}"
        nib.save(nib.Nifti1Image(np.arange(np.prod(axes), dtype=np.int16).reshape(axes), np.eye(4)), path)
        whole = read_image([path])[0]
        for box in boxes(np.random.default_rng(1), whole.shape[1:]):
            np.testing.assert_array_equal(read_image_part(path, box), whole[(slice(None), *(slice(*ends) for ends in box))])


def test_several_members_and_a_cut_off_file(tmp_path: Path) -> None:
    path = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(np.arange(720, dtype=np.int16).reshape(12, 10, 6), np.eye(4)), path)
    content, packed = path.read_bytes(), tmp_path / "packed.nii.gz"
    packed.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:900]) + gzip.compress(content[900:]))
    box = ((1, 5), (2, 9), (0, 12))
    np.testing.assert_array_equal(read_image_part(packed, box), read_image_part(path, box))
    packed.write_bytes(gzip.compress(content)[:600])
    with pytest.raises(DataError):
        read_image_part(packed, ((0, 6), (0, 10), (0, 12)))
    packed.write_bytes(gzip.compress(content[:700]))
    with pytest.raises(DataError, match="ends inside its pixels"):
        read_image_part(packed, box)
    assert read_image_part(packed, ((0, 1), (0, 1), (0, 3))).tolist() == [[[[0, 60, 120]]]]  # what is there is read


def test_a_label_by_the_values_of_its_data_set(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data", n=2))
    path = dataset.cases[0].label
    assert path is not None
    whole = read_label(path, dataset)[0]
    for box in boxes(np.random.default_rng(2), whole.shape):
        np.testing.assert_array_equal(read_label_part(path, dataset, box), whole[tuple(slice(*ends) for ends in box)])
    nib.save(nib.Nifti1Image(np.full(whole.shape[::-1], 77, np.uint8), np.eye(4)), path)
    with pytest.raises(DataError, match="holds the values 77"):
        read_label_part(path, dataset, ((0, 1), (0, 1), (0, 1)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [SHAPE, (3, *SHAPE), (7, 8), (5,)])
def test_an_array_of_an_archive(tmp_path: Path, save: Any, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "_READ", 64)
    monkeypatch.setattr(streamed, "_INFLATED", 131)
    rng = np.random.default_rng(3)
    whole = rng.integers(0, 9, shape).astype(np.uint16)
    save(tmp_path / "maps.npz", first=np.arange(50), number=whole, turned=np.asfortranarray(whole))
    with zipfile.ZipFile(tmp_path / "rare.npz", "w", zipfile.ZIP_LZMA) as rare, zipfile.ZipFile(tmp_path / "maps.npz") as maps:
        rare.writestr("number.npy", maps.read("number.npy"))
    for box in boxes(rng, shape):
        expected = whole[tuple(slice(*ends) for ends in box)]
        np.testing.assert_array_equal(arrays.part(tmp_path / "maps.npz", "turned", box), expected)
        np.testing.assert_array_equal(arrays.part(tmp_path / "rare.npz", "number", box), expected)
        np.testing.assert_array_equal(
            arrays.part(tmp_path / "maps.npz", "number", box), whole[tuple(slice(*ends) for ends in box)]
        )
