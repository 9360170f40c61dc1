"""Maps of probabilities from files of every kind: what is read, what is refused and how."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tests.datasets import build_nnunet_2d, save_nifti
from tests.prediction_files import Array, only, pictures, predicted, random_map, save_map, save_nifti_map, save_npy, volumes

from debride.audit.evidence.pieces import predicted_classes
from debride.audit.predictions.nnunet_maps import read_map
from debride.audit.predictions.sources import FolderPredictions
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label, write_probabilities
from debride.types import DataError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_npy_maps_in_2d_and_3d(tmp_path: Path, dtype: Any) -> None:
    for dataset in (pictures(tmp_path / "a"), volumes(tmp_path / "b")):
        case = dataset.cases[0]
        shape = read_label(Path(str(case.label)), dataset)[0].shape
        probability = random_map(3, shape)
        save_npy(tmp_path / f"p{dataset.ndim}" / f"{case.id}.npy", probability.astype(dtype))
        prediction = predicted(only(dataset, tmp_path / f"p{dataset.ndim}"), case, dataset)
        assert not prediction.hard
        np.testing.assert_allclose(prediction.probability, probability, atol=1e-3)


def test_what_predict_writes_is_read_though_an_id_holds_dots(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    case = replace(dataset.cases[0], id="scan.1.2")
    probability = random_map(3, (12, 12))
    (tmp_path / "p").mkdir()
    write_probabilities(tmp_path / "p" / "scan.1.2", probability)
    found = FolderPredictions(tmp_path / "p", replace(dataset, cases=(case,)))
    np.testing.assert_array_equal(predicted(found, case, dataset).probability, probability)
    assert found.about["files"] == {".npy": 1}


@pytest.mark.parametrize("key", ["probabilities", "softmax"])
def test_npz_of_nnunet_with_the_mask_and_the_pickle_beside_it(tmp_path: Path, key: str) -> None:
    dataset = volumes(tmp_path)
    probability = random_map(3, (6, 16, 20))
    save_map(tmp_path / "p" / "vol00.npz", **{key: probability})
    (tmp_path / "p" / "vol00.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    save_nifti(tmp_path / "p" / "vol00.nii.gz", probability.argmax(0).astype(np.uint8))
    prediction = predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    np.testing.assert_allclose(prediction.probability, probability, atol=1e-6)
    assert not prediction.hard


def test_npz_of_pictures_has_an_axis_of_one_slice(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_2d(tmp_path / "data", n=4, size=12, classes=4))
    probability = random_map(4, (12, 12))
    save_map(tmp_path / "p" / f"{dataset.cases[0].id}.npz", probabilities=probability[:, None])
    prediction = predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    np.testing.assert_array_equal(prediction.probability, probability)


def test_a_nifti_map_has_its_classes_last(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    probability = random_map(3, (6, 16, 20))
    affine = np.asarray(nib.load(str(dataset.cases[0].label)).affine)  # type: ignore[attr-defined]
    save_nifti_map(tmp_path / "p" / "vol00.nii.gz", probability, affine)
    prediction = predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    np.testing.assert_allclose(prediction.probability, probability, atol=1e-6)
    affine[0, 3] += 4
    save_nifti_map(tmp_path / "p" / "vol00.nii.gz", probability, affine)
    with pytest.raises(DataError, match=r"vol00\.nii\.gz: does not lie on the grid of .*: it lies 4 mm away"):
        predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)


def test_a_nifti_map_of_one_slice_and_of_an_axis_between(tmp_path: Path) -> None:
    probability = random_map(3, (7, 5))
    save_nifti_map(tmp_path / "a.nii", probability)
    np.testing.assert_array_equal(read_map(tmp_path / "a.nii", 3, (7, 5))[0], probability)
    make: Any = nib.Nifti1Image
    volume = random_map(3, (2, 7, 5))
    nib.save(make(volume.T[:, :, :, None], np.eye(4)), tmp_path / "b.nii")
    np.testing.assert_array_equal(read_map(tmp_path / "b.nii", 3, (2, 7, 5))[0], volume)


def test_quantised_maps_are_divided_by_their_sum(tmp_path: Path) -> None:
    probability = random_map(4, (9, 8))
    stored = np.rint(probability * 255).astype(np.uint8)
    np.save(tmp_path / "a.npy", stored)
    found, hard = read_map(tmp_path / "a.npy", 4, (9, 8))
    for y in range(9):
        for x in range(8):
            column = [int(stored[k, y, x]) for k in range(4)]
            assert found[:, y, x] == pytest.approx([value / sum(column) for value in column], abs=1e-6)
    assert not hard


@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5)])
@pytest.mark.parametrize("axis", [True, False])
def test_of_two_classes_the_foreground_alone_is_enough(tmp_path: Path, shape: tuple[int, ...], axis: bool) -> None:
    foreground = np.random.default_rng(1).random(shape).astype(np.float32)
    np.save(tmp_path / "a.npy", foreground[None] if axis else foreground)
    found, _ = read_map(tmp_path / "a.npy", 2, shape)
    np.testing.assert_allclose(found, np.stack([1 - foreground, foreground]), atol=1e-3)


def test_sums_that_are_slightly_off_are_put_right_in_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debride.audit.predictions.nnunet_maps._BLOCK", 40)
    probability = random_map(3, (11, 5))
    np.save(tmp_path / "a.npy", probability * 1.005)
    found, _ = read_map(tmp_path / "a.npy", 3, (11, 5))
    np.testing.assert_allclose(found, probability, atol=1e-6)
    np.testing.assert_array_equal(predicted_classes(found), probability.argmax(0))
    probability[:, 10, 4] = 0.2  # in the last block
    np.save(tmp_path / "b.npy", probability)
    with pytest.raises(DataError, match=r"sum to 0\.6"):
        read_map(tmp_path / "b.npy", 3, (11, 5))


def test_a_good_npy_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", random_map(3, (4, 5, 6)))
    found, _ = read_map(tmp_path / "a.npy", 3, (4, 5, 6))
    assert isinstance(found.base, np.memmap) or isinstance(found, np.memmap)
    assert not found.flags.writeable


# ---------------------------------------------------------------- what is refused


def broken(kind: str, path: Path) -> Path:
    """A file that cannot be used, of a map (3, 6, 7)."""
    good = random_map(3, (6, 7))
    target = path / ("a.npz" if "npz" in kind else "a.nii.gz" if "nii" in kind else "a.npy")
    match kind:
        case "empty npy" | "empty npz" | "empty nii":
            target.write_bytes(b"")
        case "truncated npy":
            np.save(target, good)
            target.write_bytes(target.read_bytes()[:-100])
        case "headless npy":
            np.save(target, good)
            target.write_bytes(target.read_bytes()[:20])
        case "truncated npz":
            save_map(target, probabilities=good)
            target.write_bytes(target.read_bytes()[:-60])
        case "damaged npz":
            save_map(target, probabilities=good)
            content = bytearray(target.read_bytes())
            content[len(content) // 2] ^= 0xFF
            target.write_bytes(content)
        case "truncated nii":
            save_nifti_map(target, good)
            target.write_bytes(target.read_bytes()[:-80])
        case "other key npz":
            save_map(target, logits=good)
        case "text npz":
            target.write_text("no zip")
        case "junk npz":
            with zipfile.ZipFile(target, "w") as archive:
                archive.writestr("probabilities.npy", b"no array")
        case "zip npy":
            with target.open("wb") as file:
                np.savez(file, probabilities=good)
        case "object npy":
            np.save(target, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        case "object npz":
            np.savez(target, probabilities=np.array([{"a": 1}], dtype=object))
    return target


DAMAGES = {
    "empty npy": "is empty",
    "empty npz": "is empty",
    "empty nii": "is empty",
    "truncated npy": "cannot be read",
    "headless npy": "cannot be read",
    "truncated npz": "no .npz file that can be read",
    "damaged npz": "can be read",
    "truncated nii": "cannot be decoded",
    "other key npz": "has no array probabilities or softmax, but logits",
    "text npz": "no .npz file that can be read",
    "junk npz": "can be read",
    "zip npy": "holds no array",
    "object npy": "cannot be read",
    "object npz": "Python objects",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_files_are_named(tmp_path: Path, kind: str) -> None:
    target = broken(kind, tmp_path)
    with pytest.raises(DataError, match=DAMAGES[kind]) as caught:
        read_map(target, 3, (6, 7))
    assert caught.value.where == str(target)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return open, (str(tmp_path / "sprung"), "w")  # type: ignore[return-value]

    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", probabilities=np.array([Trap()], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError):
            read_map(tmp_path / name, 3, (6, 7))
    assert not (tmp_path / "sprung").exists()


GOOD = random_map(3, (6, 7))
WRONG: dict[str, tuple[Array, str]] = {
    "logits": (np.log(GOOD), "logits"),
    "large": (GOOD * 9, "logits"),
    "nan": (np.where(GOOD > 0.6, np.nan, GOOD), "NaN"),
    "infinite": (np.where(GOOD > 0.6, np.inf, GOOD), "NaN or infinite"),
    "sigmoids": (np.clip(GOOD * 1.4, 0, 1), "sum to 1.4"),
    "classes": (random_map(4, (6, 7)), "has 4 maps, the data set 3 classes"),
    "regions": (GOOD[1:], "has 2 maps, the data set 3 classes"),
    "classes last": (np.moveaxis(GOOD, 0, -1), "classes come last"),
    "turned": (GOOD.transpose(0, 2, 1), r"in another order\. Give numpy.transpose\(array, \(0, 2, 1\)\)"),
    "cropped": (GOOD[:, 1:, 2:], "cropped or resampled"),
    "other grid": (random_map(3, (6, 9)), r"has shape \(6, 9\), its label \(6, 7\)"),
    "mask": (GOOD.argmax(0), "numbers of type int64"),
    "one map": (GOOD[0], "wanted are 3 classes"),
    "text": (np.array(["a"]), "numbers of type"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_probabilities_on_the_label_s_grid(tmp_path: Path, kind: str, suffix: str) -> None:
    array, message = WRONG[kind]
    path = tmp_path / f"a{suffix}"
    np.save(path, array) if suffix == ".npy" else save_map(path, probabilities=array)
    with pytest.raises(DataError, match=message) as caught:
        read_map(path, 3, (6, 7))
    assert caught.value.where == str(path) and caught.value.remedy


def test_a_transposed_volume_says_how(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", random_map(2, (4, 5, 6)).transpose(0, 3, 2, 1))
    with pytest.raises(DataError, match=r"Give numpy.transpose\(array, \(0, 3, 2, 1\)\)"):
        read_map(tmp_path / "a.npy", 2, (4, 5, 6))
    np.save(tmp_path / "b.npy", random_map(2, (5, 6, 4)))
    with pytest.raises(DataError, match=r"Give numpy.transpose\(array, \(0, 3, 1, 2\)\)"):
        read_map(tmp_path / "b.npy", 2, (4, 5, 6))
    np.save(tmp_path / "c.npy", random_map(2, (5, 5, 4)))
    with pytest.raises(DataError, match="order of the label's axes"):
        read_map(tmp_path / "c.npy", 2, (4, 5, 5))
