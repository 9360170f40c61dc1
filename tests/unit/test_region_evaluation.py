"""Evaluation by region: from painted masks and from sigmoid maps, against masks compared one by one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import SPACING, save_nifti, save_png
from tests.region_sets import LABELS, REGIONS, build_regions_2d, build_regions_3d, with_regions

from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.evaluation.evaluate import evaluate_folder
from debride.evaluation.mask_metrics import case_metrics
from debride.types import IGNORE, DataError, Dataset


def rows_of(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (out / "cases.csv").open(newline="") as file:
        return {(row["case"], row["class"]): row for row in csv.DictReader(file)}


def worse(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Class ids of which some are others, and none is ignored."""
    return np.where(rng.random(label.shape) < 0.2, rng.integers(4, size=label.shape), np.where(label == IGNORE, 0, label))


@pytest.fixture
def slices(tmp_path: Path) -> tuple[Dataset, Path]:
    """Slices with ignored pixels, and predictions of the test cases that are wrong here and there."""
    root = with_regions(build_regions_2d(tmp_path / "data"), labels={**LABELS, "ignore": 4})
    for path in (root / "labelsTs").iterdir():
        label, _ = read_label(path, open_dataset(root))
        label[:5, :9] = 4
        save_png(path, label)
    dataset, rng = open_dataset(root), np.random.default_rng(0)
    for case in dataset.of("test"):
        assert case.label is not None
        label, _ = read_label(case.label, dataset)
        save_png(tmp_path / "predicted" / f"{case.id}.png", worse(label, rng).astype(np.uint8))
    return dataset, tmp_path / "predicted"


def test_every_region_has_a_row_and_the_mean_is_over_regions(slices: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, predicted = slices
    evaluate_folder(predicted, dataset, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    means = {}
    for region in REGIONS:
        dice = []
        for case in dataset.of("test"):
            assert case.label is not None
            label, _ = read_label(case.label, dataset)
            mask, _ = read_label(predicted / f"{case.id}.png", dataset)
            known = label != IGNORE
            inside, given = np.isin(mask, region.classes) & known, np.isin(label, region.classes)
            dice.append(2 * (inside & given).sum() / (inside.sum() + given.sum()))
            row = rows[case.id, region.name]
            assert float(row["dice"]) == pytest.approx(dice[-1], rel=1e-12)
            (own,) = case_metrics(inside.astype(np.uint8), given.astype(np.uint8), 2)
            assert float(row["hd95"]) == own.values["hd95"]
            assert (int(row["predicted"]), int(row["reference"])) == (inside.sum(), given.sum())
        means[region.name] = np.mean(dice)
    assert len(rows) == 6
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [each["class"] for each in summary["classes"]] == ["heart", "left", "cavity", "all classes"]
    assert summary["mean_dice"] == pytest.approx(np.mean(list(means.values())))
    assert "| heart |" in (tmp_path / "out" / "summary.md").read_text()


def test_sigmoid_maps_are_measured_where_there_are_no_masks(slices: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, predicted = slices
    evaluate_folder(predicted, dataset, tmp_path / "masks")
    first, second = dataset.of("test")
    maps = tmp_path / "maps"
    maps.mkdir()
    for case in (first, second):
        mask, _ = read_label(predicted / f"{case.id}.png", dataset)
        inside = np.stack([np.isin(mask, region.classes) for region in REGIONS])
        sigmoids = np.where(inside, 0.51, 0.5).astype(np.float32)
        if case is first:
            np.save(maps / f"{case.id}.npy", sigmoids)
        else:  # as nnU-Net writes those of pictures
            np.savez_compressed(maps / f"{case.id}.npz", probabilities=sigmoids[:, None].astype(np.float16))
    evaluate_folder(maps, dataset, tmp_path / "out")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "masks")
    save_png(maps / f"{first.id}.png", np.zeros((32, 32), np.uint8))
    evaluate_folder(maps, dataset, tmp_path / "both")
    assert rows_of(tmp_path / "both")[first.id, "heart"]["predicted"] == "0"


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros((4, 32, 32), np.float32), r"of the shape \(4, 32, 32\), wanted are probabilities of the shape \(3, 32, 32\)"),
        (np.zeros((3, 32, 31), np.float32), "wanted are"),
        (np.zeros((3, 32, 32), np.uint8), "holds uint8 numbers"),
        (np.full((3, 32, 32), 3.0, np.float32), "not from 0 to 1"),
        (np.full((3, 32, 32), np.nan, np.float32), "not from 0 to 1"),
    ],
)
def test_maps_that_are_none_of_regions(slices: tuple[Dataset, Path], tmp_path: Path, maps: np.ndarray, message: str) -> None:
    dataset, predicted = slices
    case = dataset.of("test")[0]
    (predicted / f"{case.id}.png").unlink()
    np.save(predicted / f"{case.id}.npy", maps)
    with pytest.raises(DataError, match=message) as raised:
        evaluate_folder(predicted, dataset, tmp_path / "out")
    assert raised.value.where.endswith(".npy")


def test_maps_of_classes_are_not_taken_for_those_of_as_many_regions(tmp_path: Path) -> None:
    """Three regions of two classes: a softmax has three maps as well, the background's first."""
    labels = {"background": 0, "whole": [1, 2], "left": 1, "right": 2}
    root = with_regions(build_regions_2d(tmp_path / "data"), labels=labels, regions_class_order=[1, 1, 2])
    for path in (root / "labelsTs").iterdir():
        save_png(path, (np.indices((32, 32)).sum(0) // 8 % 3).astype(np.uint8))
    dataset = open_dataset(root)
    (tmp_path / "maps").mkdir()
    for case in dataset.of("test"):
        sharp = np.random.default_rng(0).dirichlet(np.ones(3), (32, 32)).astype(np.float32)
        np.save(tmp_path / "maps" / f"{case.id}.npy", np.moveaxis(sharp, -1, 0))
    with pytest.raises(DataError, match="maps of classes, which sum to one"):
        evaluate_folder(tmp_path / "maps", dataset, tmp_path / "out")
    sigmoids = np.full((3, 32, 32), 0.6, np.float32)
    for case in dataset.of("test"):
        np.save(tmp_path / "maps" / f"{case.id}.npy", sigmoids)
    evaluate_folder(tmp_path / "maps", dataset, tmp_path / "again")
    np.savez(tmp_path / "maps" / f"{case.id}.npz", probabilities=sigmoids)
    with pytest.raises(DataError, match="predicts the same case as"):
        evaluate_folder(tmp_path / "maps", dataset, tmp_path / "twice")


def test_volumes_in_mm_and_regions_that_were_not_drawn(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_3d(tmp_path / "data"))
    case = dataset.of("val")[0]
    assert case.label is not None
    label, _ = read_label(case.label, dataset)
    save_nifti(tmp_path / "predicted" / f"{case.id}.nii.gz", np.roll(label, 1, axis=2))
    partly = replace(dataset, cases=(replace(case, split="test", annotated=(0, 2, 3)),))
    evaluate_folder(tmp_path / "predicted", partly, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {region for _, region in rows} == {"left", "cavity"}
    inside, given = (np.isin(ids, (2, 3)).astype(np.uint8) for ids in (np.roll(label, 1, axis=2), label))
    (own,) = case_metrics(inside, given, 2, SPACING)
    row = rows[case.id, "left"]
    assert (row["unit"], float(row["hausdorff"])) == ("mm", own.values["hausdorff"])
    maps = np.stack([np.isin(np.roll(label, 1, axis=2), region.classes) for region in REGIONS])
    (tmp_path / "maps").mkdir()
    np.savez(tmp_path / "maps" / f"{case.id}.npz", probabilities=maps.astype(np.float32))
    evaluate_folder(tmp_path / "maps", partly, tmp_path / "again")
    assert rows_of(tmp_path / "again") == rows


def test_an_evaluation_of_other_regions_is_another_one(slices: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, predicted = slices
    (predicted / f"{dataset.of('test')[1].id}.png").write_bytes(b"cut off")
    with pytest.raises(DataError):
        evaluate_folder(predicted, dataset, tmp_path / "out")
    with pytest.raises(DataError, match="regions"):
        evaluate_folder(predicted, replace(dataset, regions=REGIONS[:2]), tmp_path / "out", resume=True)
