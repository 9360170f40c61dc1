"""Files in other orientations are read as the unturned ones, by everything that reads two files that belong together."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.datasets import build_nnunet_3d, save_rows
from tests.turned_files import oblique, orientation, save_volume, store_turned

from debride.audit.predictions import FolderPredictions
from debride.audit.raters import audit_raters, write_consensus
from debride.bench import mask_cell
from debride.data.cache import prepare
from debride.data.copy import copy_dataset
from debride.data.open import open_dataset
from debride.data.pairs import image_grid, label_turn
from debride.data.pixels.images import read_header, read_image, read_label, read_values
from debride.data.preparation import Preparation
from debride.data.same_grid import turned
from debride.evaluation.evaluate import evaluate_folder
from debride.notes import take_notes
from debride.training.label_scores import _write
from debride.types import DataError, Dataset

SHAPES = [(6, 16, 20), (9, 9, 9)]
AFFINE = oblique((0.5, 0.8, 3.0), (10, -20, 35), (12, -33, 7))


def build(root: Path, shape: tuple[int, int, int] = (6, 16, 20), n: int = 3) -> Dataset:
    """Volumes of two channels whose axes are oblique in space."""
    build_nnunet_3d(root, n=n, shape=shape)
    for path in root.glob("*/*.nii.gz"):
        save_volume(path, read_values(path)[0], AFFINE)
    return open_dataset(root, val_fraction=0.4)


def copied(dataset: Dataset, root: Path) -> Dataset:
    shutil.copytree(dataset.root, root)
    return open_dataset(root, val_fraction=0.4)


def turn_labels(dataset: Dataset, rng: np.random.Generator) -> None:
    for case in dataset.cases:
        if case.label:
            store_turned(case.label, orientation(rng))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first_turned", [False, True])
def test_training_sees_the_same_images_and_labels(tmp_path: Path, shape: tuple[int, int, int], first_turned: bool) -> None:
    plain = build(tmp_path / "plain", shape)
    rng = np.random.default_rng(len(shape) + first_turned)
    if first_turned:
        for case in plain.cases:
            way = orientation(rng)
            for path in (*case.image, *([case.label] if case.label else [])):
                store_turned(path, way)
    other = copied(plain, tmp_path / "other")
    turn_labels(other, rng)
    for case in other.cases:
        store_turned(case.image[1], orientation(rng))
    preparation = Preparation(image_size=(5, 8, 8))
    expected = prepare(plain, plain.of("train", "val"), preparation, tmp_path / "cache")
    take_notes()
    for _ in range(2):  # the cache's entries are found the second time
        found = prepare(other, other.of("train", "val"), preparation, tmp_path / "cache")
        for row in range(len(expected)):
            np.testing.assert_array_equal(found.image(row), expected.image(row))
            np.testing.assert_array_equal(found.label(row), expected.label(row))
        assert found.spacings == expected.spacings
        assert sorted(note.split(" is stored ")[1] for note in take_notes() if " is stored " in note) == [
            "in another orientation than its image, and is read turned (and 2 more like it).",
            "in another orientation than the first channel, and is read turned (and 2 more like it).",
        ]


def test_a_cache_entry_of_another_spacing_is_made_again(tmp_path: Path) -> None:
    dataset = build(tmp_path / "data")
    cases, preparation = dataset.of("train"), Preparation(spacing=(3.0, 1.0, 1.0))
    first = prepare(dataset, cases, preparation, tmp_path / "cache")
    meta = first.image_files[0].with_suffix(".json")
    kept = meta.read_text()
    meta.write_text(kept.replace("3.0", "3000.0"))
    prepare(dataset, cases, preparation, tmp_path / "cache")
    assert meta.read_text() == kept


@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_are_measured_as_the_unturned_ones(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    dataset = build(tmp_path / "data", shape)
    rng = np.random.default_rng(1)
    for case in dataset.of("val"):
        label, geometry = read_label(Path(str(case.label)), dataset)
        save_volume(tmp_path / "plain" / f"{case.id}.nii.gz", np.roll(label, 1, 2), geometry.affine)
        (tmp_path / "turned").mkdir(exist_ok=True)
        store_turned(tmp_path / "plain" / f"{case.id}.nii.gz", orientation(rng), tmp_path / "turned" / f"{case.id}.nii.gz")
    for name in ("plain", "turned"):
        evaluate_folder(tmp_path / name, dataset, tmp_path / f"{name} out", splits=("val",))
    assert (tmp_path / "turned out/cases.csv").read_bytes() == (tmp_path / "plain out/cases.csv").read_bytes()


@pytest.mark.parametrize("kind", ["mask", "map", "npz beside a mask"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_audit_takes_predictions_as_its_labels_lie(tmp_path: Path, kind: str, shape: tuple[int, int, int]) -> None:
    dataset = build(tmp_path / "data", shape, n=2)
    case = next(case for case in dataset.cases if case.label)
    label, geometry = read_label(Path(str(case.label)), dataset)
    rng = np.random.default_rng(2)
    probability = rng.random((3, *shape)).astype(np.float32)
    probability = probability / probability.sum(0)
    found = []
    make: Any = nib.Nifti1Image
    for name in ("plain", "turned"):
        path = tmp_path / name / f"{case.id}.nii.gz"
        save_volume(path, probability.argmax(0).astype(np.uint8), geometry.affine)
        if kind == "map":
            nib.save(make(np.moveaxis(probability, 0, -1).transpose(2, 1, 0, 3), geometry.affine), path)
        way = np.array(orientation(rng))
        if name == "turned":
            store_turned(path, way)
        if kind.startswith("npz"):
            stored = make(probability.transpose(3, 2, 1, 0), geometry.affine)
            stored = stored.as_reoriented(way) if name == "turned" else stored
            np.savez(path.with_name(f"{case.id}.npz"), probabilities=np.asarray(stored.dataobj).transpose(3, 2, 1, 0))
        source = FolderPredictions(tmp_path / name, dataset, [case])
        found.append(np.asarray(source.of(case, label.shape, geometry).probability))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    if kind != "mask":
        np.testing.assert_allclose(found[1], probability, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_without_a_mask_lies_as_its_image_as_predict_writes_it(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    dataset, way = build(tmp_path / "data", shape, n=2), orientation(np.random.default_rng(4))
    case = next(case for case in dataset.cases if case.label)
    label, geometry = read_label(Path(str(case.label)), dataset)
    probability = np.random.default_rng(2).dirichlet(np.ones(3), shape).astype(np.float32)  # (D, H, W, K), as the label lies
    (tmp_path / "maps").mkdir()
    make: Any = nib.Nifti1Image
    stored = make(probability.transpose(2, 1, 0, 3), geometry.affine).as_reoriented(np.array(way))
    np.save(tmp_path / "maps" / f"{case.id}.npy", np.asarray(stored.dataobj).transpose(3, 2, 1, 0))
    for channel in case.image:
        store_turned(channel, way)
    found = FolderPredictions(tmp_path / "maps", dataset, [case]).of(case, label.shape, geometry)
    np.testing.assert_allclose(found.probability, np.moveaxis(probability, -1, 0), atol=1e-3)


def test_a_folder_of_cleansed_labels_keeps_each_file_s_own_orientation(tmp_path: Path) -> None:
    plain = build(tmp_path / "plain", n=2)
    other = copied(plain, tmp_path / "other")
    turn_labels(other, np.random.default_rng(3))
    for dataset in (plain, other):
        (tmp_path / f"{dataset.root.name} out").mkdir()
        for case in dataset.of("train"):
            grid = image_grid(case)
            working = turned(read_label(Path(str(case.label)), dataset)[0], label_turn(case, grid))
            right = np.where(np.arange(working.shape[0])[:, None, None] < 3, 0, working).astype(np.uint8)
            _write(tmp_path / f"{dataset.root.name} out", case, dataset, working, right, None)
    for case in other.of("train"):
        path = tmp_path / "other out" / f"{case.id}.nii.gz"
        assert read_header(path).geometry == read_header(Path(str(case.label))).geometry
        expected = read_values(tmp_path / "plain out" / f"{case.id}.nii.gz")[0]
        how = label_turn(replace(case, label=path), image_grid(case))
        np.testing.assert_array_equal(turned(read_values(path)[0], how), expected)


def test_a_bench_compares_with_labels_as_their_images_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build(tmp_path / "data", n=2)
    right = {case.id: read_label(case.label, dataset)[0] for case in dataset.cases if case.label}
    cases = [case for case in dataset.cases if case.label]
    turn_labels(dataset, np.random.default_rng(4))
    test: Any = SimpleNamespace(cases=cases, box=lambda row: None)
    one_hot = [torch.from_numpy(np.stack([right[case.id] == k for k in range(3)])).float() for case in cases]
    swept = SimpleNamespace(rows=np.arange(len(cases)), probability=one_hot)
    monkeypatch.setattr(mask_cell, "sweep", lambda *_: [swept])
    trained: Any = SimpleNamespace(method=None, config=SimpleNamespace(patch_size=None, batch_size=1))
    for case, predicted, reference, spacing in mask_cell._predictions(trained, test, dataset, torch.device("cpu")):
        np.testing.assert_array_equal(predicted, reference)
        np.testing.assert_array_equal(mask_cell._label(case, dataset), reference)
        assert spacing == image_grid(case).geometry.spacing


def raters(root: Path, way: np.random.Generator | None) -> Dataset:
    """An image with the labels of three raters, those of two stored otherwise."""
    rng = np.random.default_rng(5)
    rows = []
    for scan in ("a", "b"):
        save_volume(root / f"{scan}.nii.gz", rng.integers(0, 99, (6, 16, 20)).astype(np.int16), AFFINE)
        for rater in range(3):
            label = np.zeros((6, 16, 20), np.uint8)
            label[1:5, 3 + rater : 9, 4 : 12 + rater] = 1
            name = f"{scan}{rater}.nii.gz"
            save_volume(root / name, label, AFFINE)
            if way is not None and rater:
                store_turned(root / name, orientation(way))
            rows.append({"case": scan, "image": f"{scan}.nii.gz", "label": name, "rater": f"R{rater}"})
    save_rows(root / "manifest.csv", rows)
    return open_dataset(root)


def test_raters_are_compared_as_the_first_of_them_lies(tmp_path: Path) -> None:
    for name, way in (("plain", None), ("turned", np.random.default_rng(6))):
        dataset = raters(tmp_path / name, way)
        audit_raters(dataset, tmp_path / f"{name} out", identities=True)
        write_consensus(dataset, tmp_path / f"{name} merged", "staple")
    for file in ("agreement.csv", "raters.csv"):
        assert (tmp_path / "turned out" / file).read_bytes() == (tmp_path / "plain out" / file).read_bytes()
    merged = [open_dataset(tmp_path / f"{name} merged").cases for name in ("plain", "turned")]
    for one, other in zip(*merged, strict=True):
        np.testing.assert_array_equal(read_values(Path(str(one.label)))[0], read_values(Path(str(other.label)))[0])


def test_a_copy_keeps_the_orientation_of_its_labels(tmp_path: Path) -> None:
    dataset = build(tmp_path / "data", n=2)
    turn_labels(dataset, np.random.default_rng(7))
    take_notes()
    copy_dataset(dataset, tmp_path / "out", lambda case, label, geometry: np.flip(label, 0).copy())
    (said,) = take_notes()
    assert said.endswith("is stored in another orientation than its image, and stays so (and 1 more like it).")
    for case in open_dataset(tmp_path / "out").cases:
        if case.label:
            source = dataset.root / case.label.relative_to(tmp_path / "out")
            assert read_header(case.label) == read_header(source)
            np.testing.assert_array_equal(read_values(case.label)[0], np.flip(read_values(source)[0], 0))


def away(path: Path, by: float = 15) -> None:
    volume: Any = nib.load(path)
    affine = volume.affine.copy()
    affine[2, 3] += by
    save_volume(path, np.asarray(volume.dataobj).T, affine)


def refusals(dataset: Dataset, tmp_path: Path) -> dict[str, Any]:
    """What each reader of image and label does with them."""
    case = next(case for case in dataset.cases if case.label)
    return {
        "training": lambda: prepare(dataset, [case], Preparation(), tmp_path / "cache"),
        "copy": lambda: copy_dataset(dataset, tmp_path / "copy", lambda case, label, geometry: label),
        "bench": lambda: mask_cell._label(case, dataset),
    }


@pytest.mark.parametrize("reader", ["training", "copy", "bench"])
def test_a_label_elsewhere_is_refused_by_all_in_the_same_words(tmp_path: Path, reader: str) -> None:
    dataset = build(tmp_path / "data", n=2)
    label = next(case.label for case in dataset.cases if case.label)
    away(label)
    with pytest.raises(DataError) as raised:
        refusals(dataset, tmp_path)[reader]()
    assert raised.value.where == str(label)
    assert raised.value.problem == (
        "does not lie on the grid of its image vol00_0000.nii.gz: it lies 15 mm away, which is 10.3 voxels"
    )


def test_copying_the_header_helps_where_only_the_header_is_wrong(tmp_path: Path) -> None:
    dataset = build(tmp_path / "data", n=2)
    case = next(case for case in dataset.cases if case.label)
    second, first = case.image[1], case.image[0]
    away(second)
    with pytest.raises(DataError, match=r"copy that of vol00_0000\.nii\.gz"):
        read_image(case.image)
    make: Any = nib.Nifti1Image
    right: Any = nib.load(first)
    nib.save(make(np.asarray(nib.load(second).dataobj), right.affine, right.header), second)  # type: ignore[attr-defined]
    assert read_image(case.image)[0].shape[0] == 2


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_perfect_prediction_in_another_orientation_is_perfect_and_one_15_mm_off_is_refused(tmp_path: Path) -> None:
    dataset = build(tmp_path / "data", n=2)
    (case,) = dataset.of("val")
    (tmp_path / "p").mkdir()
    target = tmp_path / "p" / f"{case.id}.nii.gz"
    store_turned(Path(str(case.label)), ((0, -1), (1, 1), (2, 1)), target)
    evaluate_folder(tmp_path / "p", dataset, tmp_path / "out", splits=("val",))
    assert {row["dice"] for row in rows_of(tmp_path / "out/cases.csv")} == {"1.0"}
    away(target)
    with pytest.raises(DataError, match=r"of its reference vol0\d\.nii\.gz: it lies 15 mm away"):
        evaluate_folder(tmp_path / "p", dataset, tmp_path / "refused", splits=("val",))
