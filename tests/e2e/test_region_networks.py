"""Audits of regions by networks of ours: of regions and of classes, trained before or by a cross-validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.audited_regions import ERRORS, heart_set
from tests.datasets import save_json

from debride.api.auditing import audit_dataset
from debride.api.predicting import predict
from debride.api.region_results import RegionsAuditResult
from debride.api.trainings import train
from debride.audit.predictions import kept_predictions, open_predictions, sources
from debride.audit.predictions.region_predictions import RegionPredictions
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.types import DataError, Dataset

Array = npt.NDArray[Any]
SMALL: dict[str, Any] = {"epochs": 1, "image_size": (32, 32), "batch_size": 4, "device": "cpu"}
QUICK: dict[str, Any] = {"planted": 2, "pictures": 0, "jobs": 1}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("networks")
    heart_set(root, 10, list(ERRORS), 5)
    return root


def test_a_cross_validation_predicts_each_case_once_for_all_regions(
    hearts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = sources.RunPredictions.of

    def counted(self: Any, case: Any, *more: Any) -> Any:
        asked.append(case.id)
        return real(self, case, *more)

    monkeypatch.setattr(sources.RunPredictions, "of", counted)
    found = audit_dataset(hearts / "data", tmp_path / "a", folds=2, **SMALL, **QUICK)
    assert isinstance(found, RegionsAuditResult)
    assert sorted(asked) == sorted(case.id for case in open_dataset(hearts / "data").cases)
    assert {row["seen"] for row in found.ranking} == {False}
    for region in found.regions.values():
        assert not (region.out / "predictions").exists()
    with np.load(tmp_path / "a" / "predictions" / f"{asked[0]}.npz") as arrays:
        assert arrays["probabilities"].shape == (3, 40, 40) and arrays["probabilities"].dtype == np.uint8
    asked.clear()
    again = audit_dataset(hearts / "data", tmp_path / "b", since=tmp_path / "a", **QUICK)
    assert not asked and isinstance(again, RegionsAuditResult)
    assert all(audit.summary["since"]["unchanged"] == 10 for audit in again.regions.values())


def of_regions(dataset: Dataset, run: Path, kept: Path) -> Array:
    """The probability of each region (R, H, W) in the first case, by a run whose predictions are kept in a folder."""
    case = dataset.cases[0]
    assert case.label is not None
    label, geometry = read_label(case.label, dataset)
    whole = kept_predictions(open_predictions(run, dataset, [case], device="cpu"), kept, dataset)
    found = (RegionPredictions(whole, dataset, number) for number in range(len(dataset.regions)))
    return np.stack([one.of(case, label.shape, geometry).probability[1] for one in found])


def test_a_run_on_regions_says_what_its_maps_say(hearts: Path, tmp_path: Path) -> None:
    """By a run it is what ``predict`` writes, but for steps of 1/255."""
    dataset = open_dataset(hearts / "data")
    train("ce", dataset, tmp_path / "run", **SMALL)
    predict(tmp_path / "run", hearts / "data", tmp_path / "maps", splits=("train", "val"), probabilities=True, jobs=1)
    maps = np.load(tmp_path / "maps" / f"{dataset.cases[0].id}.npy")
    assert maps.shape == (3, 40, 40)
    np.testing.assert_allclose(of_regions(dataset, tmp_path / "run", tmp_path / "kept"), maps, atol=0.5 / 255 + 1e-3)


def test_a_run_on_classes_serves_and_one_on_other_regions_is_refused(hearts: Path, tmp_path: Path) -> None:
    path = hearts / "data" / "dataset.json"
    regions = json.loads(path.read_text())
    classes = {name: value for name, value in regions.items() if name != "regions_class_order"}
    labels = {"background": 0, "class_1": 1, "class_2": 2, "cavity": 3}
    other = {"background": 0, "all": [1, 2, 3], "left": [2, 3], "cavity": 3}
    try:
        for name, description in (("other", {**regions, "labels": other}), ("classes", {**classes, "labels": labels})):
            save_json(path, description)
            train("ce", hearts / "data", tmp_path / name, **SMALL)
        predict(tmp_path / "classes", hearts / "data", tmp_path / "maps", splits=("train", "val"), probabilities=True, jobs=1)
        with pytest.raises(DataError, match="trained on the regions all, left, cavity, the data set has none"):
            audit_dataset(hearts / "data", tmp_path / "c", run=tmp_path / "other", **QUICK)
    finally:
        save_json(path, regions)
    dataset = open_dataset(hearts / "data")
    maps = np.load(tmp_path / "maps" / f"{dataset.cases[0].id}.npy")
    assert maps.shape == (4, 40, 40)
    summed = np.stack([maps[1:].sum(0), maps[2:].sum(0), maps[3]])
    np.testing.assert_allclose(of_regions(dataset, tmp_path / "classes", tmp_path / "kept"), summed, atol=1.5 / 255 + 1e-3)
    with pytest.raises(DataError, match="trained on the regions all, left, cavity, the data set has heart, left, cavity"):
        audit_dataset(dataset, tmp_path / "b", run=tmp_path / "other", **QUICK)
