"""Predictions from files of every kind and from runs: what is read, what is refused and how, and what the network has seen."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json, save_nifti, save_png
from tests.training_jobs import small_job

from debride.audit.evidence.pieces import predicted_classes
from debride.audit.predictions.nnunet_maps import mirrored, read_map, soften
from debride.audit.predictions.sources import FolderPredictions, Prediction, RunPredictions, open_predictions, warn_seen
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label, write_probabilities
from debride.training.fit import fit
from debride.training.predict import load_run, trained_on
from debride.training.predict_masks import predict_case, predict_whole
from debride.types import IGNORE, Case, DataError, Dataset, Geometry

Array = npt.NDArray[Any]


def random_map(classes: int, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float32]:
    """Probabilities (K, *S) that sum to one."""
    raw = np.random.default_rng(seed).random((classes, *shape)) + 0.05
    return (raw / raw.sum(0)).astype(np.float32)


def predicted(source: Any, case: Case, dataset: Dataset) -> Prediction:
    """What ``source`` says of a case, asked with its label's own shape and geometry."""
    label, geometry = read_label(Path(str(case.label)), dataset)
    prediction: Prediction = source.of(case, label.shape, geometry)
    assert prediction.probability.shape == (len(dataset.classes), *label.shape)
    assert prediction.probability.dtype in (np.float16, np.float32)
    np.testing.assert_allclose(np.asarray(prediction.probability, np.float64).sum(0), 1, atol=2e-3)
    return prediction


def volumes(root: Path, classes: int = 3) -> Dataset:
    return open_dataset(build_nnunet_3d(root / "data", n=2, classes=classes, channels=1), val_fraction=0.0)


def pictures(root: Path, classes: int = 3, n: int = 3) -> Dataset:
    return open_dataset(build_folder(root / "data", n=n, size=12, classes=classes))


def save_map(path: Path, **arrays: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def save_npy(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def save_nifti_map(path: Path, probability: Array, affine: Array | None = None) -> None:
    """(K, *S) as NIfTI (x, y, z, K)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make: Any = nib.Nifti1Image
    voxels = probability if probability.ndim == 4 else probability[:, None]
    nib.save(make(voxels.T, np.diag([1.0, 1.5, 2.0, 1.0]) if affine is None else affine), path)


def only(dataset: Dataset, folder: Path, number: int = 1) -> FolderPredictions:
    """The predictions of the first cases alone."""
    return FolderPredictions(folder, dataset, dataset.cases[:number])


# ---------------------------------------------------------------- maps


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
    "turned": (GOOD.transpose(0, 2, 1), r"in another order\. Save numpy.transpose\(array, \(0, 2, 1\)\)"),
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
    with pytest.raises(DataError, match=r"Save numpy.transpose\(array, \(0, 3, 2, 1\)\)"):
        read_map(tmp_path / "a.npy", 2, (4, 5, 6))
    np.save(tmp_path / "b.npy", random_map(2, (5, 6, 4)))
    with pytest.raises(DataError, match=r"Save numpy.transpose\(array, \(0, 3, 1, 2\)\)"):
        read_map(tmp_path / "b.npy", 2, (4, 5, 6))
    np.save(tmp_path / "c.npy", random_map(2, (5, 5, 4)))
    with pytest.raises(DataError, match="order of the label's axes"):
        read_map(tmp_path / "c.npy", 2, (4, 5, 5))


# ---------------------------------------------------------------- masks


def test_masks_have_the_raw_values_of_the_data_set_or_class_ids(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, classes=2)
    assert dataset.values == {0: 0, 255: 1}
    label, _ = read_label(Path(str(dataset.cases[0].label)), dataset)
    for number, raw in enumerate((255, 1)):
        save_png(tmp_path / str(number) / f"{dataset.cases[0].id}.png", label * np.uint8(raw))
        prediction = predicted(only(dataset, tmp_path / str(number)), dataset.cases[0], dataset)
        assert prediction.hard
        np.testing.assert_array_equal(prediction.probability.argmax(0), label)
    save_png(tmp_path / "2" / f"{dataset.cases[0].id}.png", label * np.uint8(7))
    with pytest.raises(DataError, match=r"holds the values 7.*Write predictions with the values"):
        predicted(only(dataset, tmp_path / "2"), dataset.cases[0], dataset)


def test_class_ids_are_not_taken_for_raw_values_that_mean_something_else(tmp_path: Path) -> None:
    dataset = replace(pictures(tmp_path), values={0: 0, 2: 1, 5: 2})
    case = dataset.cases[0]
    ids = np.random.default_rng(4).integers(0, 3, (12, 12)).astype(np.uint8)
    save_png(tmp_path / "p" / f"{case.id}.png", np.asarray([0, 2, 5], np.uint8)[ids])
    found = only(dataset, tmp_path / "p")
    np.testing.assert_array_equal(predicted_classes(found.of(case, (12, 12), Geometry()).probability), ids)
    save_png(tmp_path / "p" / f"{case.id}.png", ids)
    with pytest.raises(DataError, match="holds the values 1"):
        found.of(case, (12, 12), Geometry())


@pytest.mark.parametrize(("shape", "classes"), [((9, 11), 2), ((9, 11), 4), ((4, 9, 11), 3), ((20, 18), 2)])
def test_a_mask_becomes_what_slow_loops_say(shape: tuple[int, ...], classes: int) -> None:
    ids = np.random.default_rng(2).integers(0, classes, shape).astype(np.uint8)
    if shape == (20, 18):  # a small object alone
        ids[:] = 0
        ids[1, 2] = 1
    ids[..., 3:7, 2:8] = 1
    ids[0] = 0 if len(shape) == 3 else ids[0]
    ids[-1 if len(shape) == 3 else 6, ..., 8] = IGNORE
    found = soften(ids, classes)
    weights = [np.exp(-(at**2) / 2) for at in range(-3, 4)]
    weights = [weight / sum(weights) for weight in weights]
    planes = [ids] if len(shape) == 2 else list(ids)
    results = [found] if len(shape) == 2 else list(found.swapaxes(0, 1))
    share = 0.02 * classes / (classes - 1)
    for plane, result in zip(planes, results, strict=True):
        height, width = plane.shape
        for y in range(height):
            for x in range(width):
                votes = [0.0] * classes
                for dy in range(-3, 4):
                    for dx in range(-3, 4):
                        value = plane[_mirrored_at(y + dy, height), _mirrored_at(x + dx, width)]
                        if value != IGNORE:
                            votes[value] += weights[dy + 3] * weights[dx + 3]
                votes = [vote / sum(votes) for vote in votes]
                own = plane[y, x]
                if own == IGNORE:
                    votes = [1 / classes] * classes
                elif votes[own] < 0.51:
                    votes = [vote * 0.49 / (1 - votes[own]) for vote in votes]
                    votes[own] = 0.51
                wanted = [(1 - share) * vote + share / classes for vote in votes]
                assert result[:, y, x] == pytest.approx(wanted, abs=1e-5 if len(shape) == 2 else 1e-3)
    known = ids != IGNORE
    np.testing.assert_array_equal(predicted_classes(found)[known], ids[known])
    assert found.dtype == (np.float32 if len(shape) == 2 else np.float16)
    assert 0.0099 / (classes - 1) * 2 <= found.min() and found.max() <= 0.9805


def _mirrored_at(at: int, length: int) -> int:
    return min(max(at, 0), length - 1)


def test_a_map_of_zeros_and_ones_is_a_mask(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    ids = np.random.default_rng(3).integers(0, 3, (12, 12)).astype(np.uint8)
    save_npy(tmp_path / "p" / f"{dataset.cases[0].id}.npy", np.stack([ids == k for k in range(3)]).astype(np.float32))
    prediction = predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    assert prediction.hard
    np.testing.assert_array_equal(prediction.probability, soften(ids, 3))


def test_masks_on_another_grid_are_refused(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    case = dataset.cases[0]
    label, _ = read_label(Path(str(case.label)), dataset)
    target = tmp_path / "p" / "vol00.nii.gz"
    save_nifti(target, label)
    assert predicted(only(dataset, tmp_path / "p"), case, dataset).hard
    save_nifti(target, label, (2.0, 1.5, 1.1))
    with pytest.raises(DataError, match=r"vol00\.nii\.gz: .*its spacing is \(2, 1\.5, 1\.1\) mm"):
        predicted(only(dataset, tmp_path / "p"), case, dataset)
    save_nifti(target, label.T)
    with pytest.raises(DataError, match="does not lie on the grid"):
        predicted(only(dataset, tmp_path / "p"), case, dataset)


def test_the_mask_beside_a_map_tells_its_geometry(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    probability = random_map(3, (6, 16, 20))
    save_map(tmp_path / "p" / "vol00.npz", probabilities=probability)
    ids = probability.argmax(0).astype(np.uint8)
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids, (4.0, 1.5, 1.0))
    with pytest.raises(DataError, match="its spacing is"):
        predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids[:, 1:])
    with pytest.raises(DataError, match=r"its shape is \(6, 15, 20\), not \(6, 16, 20\)"):
        predicted(only(dataset, tmp_path / "p"), dataset.cases[0], dataset)


def test_a_map_that_is_mirrored_against_its_mask_is_refused(tmp_path: Path) -> None:
    dataset = volumes(tmp_path)
    case = dataset.cases[0]
    ids = np.zeros((6, 16, 20), np.uint8)
    ids[1:4, 2:9, 3:8] = 1
    probability = soften(ids, 3).astype(np.float32)
    save_map(tmp_path / "p" / "vol00.npz", probabilities=probability[:, :, ::-1, ::-1])
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids)
    with pytest.raises(DataError, match="it would agree if mirrored along axes 1 and 2"):
        predicted(only(dataset, tmp_path / "p"), case, dataset)
    ids[4:, 10:, 15:] = 2  # a mask that was processed further
    save_map(tmp_path / "p" / "vol00.npz", probabilities=probability)
    save_nifti(tmp_path / "p" / "vol00.nii.gz", ids)
    np.testing.assert_allclose(predicted(only(dataset, tmp_path / "p"), case, dataset).probability, probability, atol=1e-3)


def test_turns_are_found_and_undone() -> None:
    ids = np.zeros((6, 6, 9), np.uint8)
    ids[0:2, 1:5, 2:4] = 1
    probability = soften(ids, 2)
    assert mirrored(probability, ids > 0) is None
    assert mirrored(probability, np.flip(ids, 2) > 0) == "mirrored along axis 2"
    assert mirrored(probability, ids.transpose(1, 0, 2)[:, ::-1] > 0) == (
        "transposed to the axes (1, 0, 2) and mirrored along axis 1"
    )
    assert mirrored(probability, np.zeros_like(ids, bool)) is None
    assert mirrored(probability, np.roll(ids, 3, 1) > 0) is None


# ---------------------------------------------------------------- which file is whose


def test_predictions_of_an_image_serve_all_its_raters(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data", n=4, size=12))
    for number in range(4):
        save_npy(tmp_path / "p" / f"scan{number}.npy", random_map(2, (12, 12), number))
    save_npy(tmp_path / "p" / "scan1@rater2.npy", random_map(2, (12, 12), 9))
    found = FolderPredictions(tmp_path / "p", dataset)
    by_id = {case.id: case for case in dataset.cases}
    for id, seed in (("scan0@rater1", 0), ("scan0@rater3", 0), ("scan1@rater1", 1), ("scan1@rater2", 9)):
        np.testing.assert_array_equal(predicted(found, by_id[id], dataset).probability, random_map(2, (12, 12), seed))


def test_missing_predictions_are_counted_and_others_ignored(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, n=9)
    for name in ("case000", "case001", "other"):
        save_npy(tmp_path / "p" / f"{name}.npy", random_map(3, (12, 12)))
    (tmp_path / "p" / "case000.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"no prediction for 7 of 9 cases \(case002, .*case006 and 2 more\); 1 others .*\(other\)"
    ):
        FolderPredictions(tmp_path / "p", dataset)
    found = FolderPredictions(tmp_path / "p", dataset, missing_ok=True)
    assert found.missing == tuple(f"case{n:03d}" for n in range(2, 9))
    assert found.about["missing"] == 7 and found.about["of_no_case"] == 1
    with pytest.raises(DataError, match="no prediction for the case case005"):
        predicted(found, dataset.cases[5], dataset)
    with pytest.raises(DataError, match="for 3 of 3 cases"):
        FolderPredictions(tmp_path / "p", dataset, dataset.cases[5:8], missing_ok=True)
    with pytest.raises(DataError, match="is no folder"):
        FolderPredictions(tmp_path / "absent", dataset)


def test_two_files_of_a_kind_are_refused_and_a_jpeg_is_the_last_choice(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    folder = tmp_path / "p"
    save_png(folder / "case000.jpg", np.zeros((12, 12), np.uint8))
    assert only(dataset, folder).about["files"] == {".jpg": 1}
    save_png(folder / "case000.png", np.zeros((12, 12), np.uint8))
    assert only(dataset, folder).about["files"] == {".png": 1}
    save_png(folder / "case000.tif", np.zeros((12, 12), np.uint8))
    with pytest.raises(DataError, match=r"case000\.tif: predicts the same case as case000\.png"):
        only(dataset, folder)
    (folder / "case000.tif").unlink()
    save_npy(folder / "case000.npy", random_map(3, (12, 12)))
    save_map(folder / "case000.npz", probabilities=random_map(3, (12, 12)))
    with pytest.raises(DataError, match="predicts the same case"):
        only(dataset, folder)


# ---------------------------------------------------------------- what was seen


def test_the_folds_of_nnunet(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, n=6)
    trainer = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    for number in range(6):
        path = trainer / f"fold_{number % 3}" / "validation" / f"case{number:03d}.npz"
        save_map(path, probabilities=random_map(3, (1, 12, 12), number))
    save_json(trainer / "fold_0" / "progress.json", {})
    found = FolderPredictions(trainer, dataset)
    assert found.about["folds"] == ["0", "1", "2"]
    assert [found.seen(case) for case in dataset.cases] == [False] * 6 and warn_seen(found, dataset.cases) is None
    np.testing.assert_array_equal(predicted(found, dataset.cases[4], dataset).probability, random_map(3, (12, 12), 4))
    patients = ("p0", "p0", "q2", "q0", "q1", "q2")
    cases = tuple(replace(case, patient=patient) for case, patient in zip(dataset.cases, patients, strict=True))
    shared = replace(dataset, cases=cases)
    found = FolderPredictions(trainer, shared)
    assert [found.seen_patient(case) for case in shared.cases] == [True, True, False, False, False, False]
    assert "For 2 of these 6 cases the network was trained on another image" in str(warn_seen(found, shared.cases))
    for part in (trainer / "fold_1", trainer / "fold_1" / "validation"):
        inner = FolderPredictions(part, dataset, [dataset.cases[1], dataset.cases[4]])
        assert inner.seen(dataset.cases[1]) is False and inner.about["folds"] == ["1"]
    save_map(trainer / "fold_all" / "validation" / "case000.npz", probabilities=random_map(3, (12, 12)))
    with pytest.raises(DataError, match="both predict the case case000"):
        FolderPredictions(trainer, dataset)
    whole = FolderPredictions(trainer / "fold_all", dataset, dataset.cases[:1])
    assert whole.seen(dataset.cases[0]) is True
    assert "trained on the labels of 1 of these 1 cases" in str(warn_seen(whole, dataset.cases[:1]))


def test_the_collected_cross_validation_of_nnunet(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    folder = tmp_path / "crossval_results_folds_0_1_2"
    for part in (folder, folder / "postprocessed"):
        for case in dataset.cases:
            save_png(part / f"{case.id}.png", np.zeros((12, 12), np.uint8))
        found = FolderPredictions(part, dataset)
        assert [found.seen(case) for case in dataset.cases] == [False] * 3
        assert found.seen_patient(dataset.cases[0]) is None and warn_seen(found, dataset.cases) is None


def test_a_plain_folder_does_not_tell_unless_its_note_does(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data", n=4, size=12))
    for number in range(4):
        save_npy(tmp_path / "p" / f"scan{number}.npy", random_map(2, (12, 12)))
    found = FolderPredictions(tmp_path / "p", dataset)
    assert {found.seen(case) for case in dataset.cases} == {None}
    assert "Nothing tells whether the network was trained on the labels of 12 of these 12" in str(
        warn_seen(found, dataset.cases)
    )
    (tmp_path / "p" / "predictions.json").write_text(json.dumps({"trained_on": ["scan0@rater1", "scan2@rater9"]}))
    found = FolderPredictions(tmp_path / "p", dataset)
    for asked, images in ((found.seen, (0, 2)), (found.seen_patient, (1, 3))):
        assert {case.id for case in dataset.cases if asked(case)} == {f"scan{n}@rater{r}" for n in images for r in (1, 2, 3)}
    warning = str(warn_seen(found, dataset.cases))
    assert "labels of 6 of these 12" in warning and "For 6 of these 12" in warning and "Nothing tells" not in warning
    for wrong in ({"trained_on": "scan0"}, [1]):
        (tmp_path / "p" / "predictions.json").write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="trained_on"):
            FolderPredictions(tmp_path / "p", dataset)


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """Two runs of a cross-validation, fold-1 without the first three cases and fold-2 with these alone."""
    root = tmp_path_factory.mktemp("runs")
    dataset = small_job(root, "ce", n=6).dataset
    cases = [replace(case, split="train") for case in dataset.cases]
    for name, part in (("fold-1", cases[3:]), ("fold-2", cases[:3])):
        job = small_job(root, "ce", out=f"cv/{name}", epochs=1, image_size=(16, 16), crop=True)
        fit(replace(job, dataset=replace(dataset, cases=tuple(part))))
    return root / "cv", dataset


@pytest.mark.slow
def test_each_case_goes_to_the_run_that_has_not_seen_it(runs: tuple[Path, Dataset]) -> None:
    folder, dataset = runs
    found = open_predictions(folder, dataset, dataset.cases, device="cpu")
    assert isinstance(found, RunPredictions)
    assert [found.seen(case) for case in dataset.cases] == [False] * 6 and warn_seen(found, dataset.cases) is None
    assert found.about["runs"] == [str(folder / name) for name in ("fold-1", "fold-2")] and found.about["methods"] == ["ce"]
    mixed = [dataset.cases[at] for at in (4, 0, 5, 1)]
    assert [case.id for case in found.order(mixed)] == ["case000", "case001", "case004", "case005"] or [
        case.id for case in found.order(mixed)
    ] == ["case004", "case005", "case000", "case001"]
    for case, run in ((dataset.cases[0], "fold-1"), (dataset.cases[5], "fold-2")):
        trained = load_run(folder / run, "last", torch.device("cpu"))
        image, geometry = read_image(case.image)
        low = predict_case(trained, image, geometry, torch.device("cpu"))
        wanted = torch.nn.functional.interpolate(low[None], (32, 32), mode="bilinear", align_corners=False, antialias=True)[0]
        np.testing.assert_allclose(predicted(found, case, dataset).probability, wanted, atol=1e-5)


def test_one_run_for_all_cases_says_what_it_has_seen(runs: tuple[Path, Dataset]) -> None:
    folder, dataset = runs
    found = open_predictions(folder / "fold-1", dataset, dataset.cases, device="cpu")
    assert [found.seen(case) for case in dataset.cases] == [False] * 3 + [True] * 3
    assert "labels of 3 of these 6 cases" in str(warn_seen(found, dataset.cases))
    grouped = replace(dataset, cases=tuple(replace(case, patient=f"p{n % 3}") for n, case in enumerate(dataset.cases)))
    found = open_predictions(folder / "fold-1", grouped, grouped.cases, device="cpu")
    assert [found.seen_patient(case) for case in grouped.cases] == [True] * 3 + [False] * 3
    assert trained_on(folder / "fold-1", "last") == ("case003", "case004", "case005")


def test_of_the_best_weights_the_validation_cases_are_seen(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", n=6, epochs=1)
    fit(job)
    val, train = ({case.id for case in job.dataset.of(split)} for split in ("val", "train"))
    assert set(trained_on(tmp_path / "run", "last") or ()) == train
    assert set(trained_on(tmp_path / "run", "best") or ()) == train | val
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    del description["train"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(description))
    found = open_predictions(tmp_path / "run", job.dataset, job.dataset.cases, device="cpu")
    assert {found.seen(case) for case in job.dataset.cases} == {None}


def test_runs_for_other_classes_and_cases_without_a_run_are_refused(runs: tuple[Path, Dataset]) -> None:
    folder, dataset = runs
    for classes in (dataset.classes[:2], dataset.classes[:1] + dataset.classes[:0:-1]):
        with pytest.raises(DataError, match="was trained on the classes"):
            open_predictions(folder, replace(dataset, classes=classes), dataset.cases, device="cpu")
    found = open_predictions(folder, dataset, dataset.cases[:1], device="cpu")
    with pytest.raises(DataError, match="has no run"):
        found.seen(dataset.cases[1])  # type: ignore[union-attr]
    with pytest.raises(DataError, match="its label"):
        found.of(dataset.cases[0], (31, 32), read_label(Path(str(dataset.cases[0].label)), dataset)[1])
    with pytest.raises(DataError, match="does not exist"):
        RunPredictions({"case000": folder / "absent"}, dataset, torch.device("cpu"))


def test_a_volume_comes_whole_in_half_precision_with_background_where_it_was_cropped(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", volumes=True, epochs=1, crop=True)
    case = job.dataset.cases[0]
    for path in case.image:
        volume: Any = nib.load(path)
        voxels = np.asarray(volume.dataobj).copy()
        voxels[:3] = 0
        make: Any = nib.Nifti1Image
        nib.save(make(voxels, volume.affine), path)
    fit(job)
    trained = load_run(tmp_path / "run", "last", torch.device("cpu"))
    probability = predict_whole(trained, case, torch.device("cpu"))
    image, geometry = read_image(case.image)
    assert probability.shape == (3, *image.shape[1:]) and probability.dtype == np.float16
    inside = predict_case(trained, image[..., 3:], geometry, torch.device("cpu")).numpy()
    np.testing.assert_allclose(probability[..., 3:], inside, atol=1e-3)
    assert (probability[0, ..., :3] == 1).all() and (probability[1:, ..., :3] == 0).all()


def test_a_folder_without_runs_is_one_of_files(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    for case in dataset.cases[:2]:
        save_npy(tmp_path / "p" / f"{case.id}.npy", random_map(3, (12, 12)))
    assert isinstance(open_predictions(tmp_path / "p", dataset, dataset.cases[:2]), FolderPredictions)
    assert isinstance(open_predictions(tmp_path / "p", dataset, dataset.cases, missing_ok=True), FolderPredictions)
