"""Predictions of classes that are given as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from debride.audit.wrong_classes.class_sources import given_predictions, warn_seen_classes
from debride.evaluation.class_predictions import write_predictions
from debride.types import Case, DataError, Dataset

PROBABILITY = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]], np.float32)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    cases = tuple(Case(f"c{at}", (tmp_path / f"{at}.png",), None, f"c{at}", target=at % 3) for at in range(4))
    return Dataset(tmp_path, "classes", ("Cat", "dog", "=hen"), cases, 2, task="classification")


def own_table(folder: Path) -> Path:
    rows = [f"c{at},{','.join(map(str, row))}" for at, row in reversed(list(enumerate(PROBABILITY)))]
    (folder / "p.csv").write_text("\n".join(["case,Cat,dog,=hen", *rows]))
    return folder / "p.csv"


def ours(folder: Path) -> Path:
    write_predictions(folder / "predictions.csv", [f"c{at}" for at in range(4)], PROBABILITY, ["Cat", "dog", "=hen"])
    return folder


def named_rows(folder: Path) -> Path:
    np.savez(folder / "p.npz", probabilities=PROBABILITY[::-1], cases=np.array([f"c{at}" for at in range(4)][::-1]))
    return folder / "p.npz"


def rows_in_order(folder: Path) -> Path:
    np.save(folder / "p.npy", PROBABILITY.astype(np.float64))
    return folder / "p.npy"


@pytest.mark.parametrize("write", [own_table, ours, named_rows, rows_in_order])
def test_every_kind_of_file_gives_the_same(dataset: Dataset, tmp_path: Path, write: Callable[[Path], Path]) -> None:
    found = given_predictions(write(tmp_path), dataset, dataset.cases)
    assert np.allclose(found.probability, PROBABILITY)
    assert found.cases == dataset.cases
    assert "Nothing tells" in (warn_seen_classes(found) or "")


def test_cases_without_a_prediction_are_left_out_on_request(dataset: Dataset, tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", ["c2", "c0"], PROBABILITY[[2, 0]], dataset.classes)
    with pytest.raises(DataError, match="no prediction for 2 of 4 cases"):
        given_predictions(tmp_path / "p.csv", dataset, dataset.cases)
    write_predictions(tmp_path / "q.csv", ["x", "y"], PROBABILITY[:2], dataset.classes)
    with pytest.raises(
        DataError, match=r"for 4 of 4 cases .*; 2 others belong to no case \(x, y\).* named by the cases, such as c0"
    ):
        given_predictions(tmp_path / "q.csv", dataset, dataset.cases)
    found = given_predictions(tmp_path / "p.csv", dataset, dataset.cases, missing_ok=True)
    assert [case.id for case in found.cases] == ["c0", "c2"] and np.allclose(found.probability, PROBABILITY[[0, 2]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PROBABILITY * 2, "c0 that are no probabilities"),
        (np.full((4, 3), np.nan, np.float32), "c0 that are no probabilities"),
        (PROBABILITY[:3], "3 rows without names"),
        (PROBABILITY[:, :2], "shape"),
        (PROBABILITY.astype(np.int64), "int64"),
    ],
)
def test_what_is_no_probability_is_refused(dataset: Dataset, tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "p.npy", array)
    with pytest.raises(DataError, match=message):
        given_predictions(tmp_path / "p.npy", dataset, dataset.cases)


def test_tables_that_lack_a_class_or_name_a_case_twice_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("case,Cat,dog\nc0,1,0\n")
    with pytest.raises(DataError, match="lacks a column of the class =hen"):
        given_predictions(tmp_path / "p.csv", dataset, dataset.cases)
    (tmp_path / "p.csv").write_text("case,Cat,dog,=hen\nc0,1,0,0\nc0,1,0,0\n")
    with pytest.raises(DataError, match="predicts the case c0 again"):
        given_predictions(tmp_path / "p.csv", dataset, dataset.cases)
    (tmp_path / "p.csv").write_text("case,Cat,dog,=hen\nc0,much,0,0\n")
    with pytest.raises(DataError, match="'much'"):
        given_predictions(tmp_path / "p.csv", dataset, dataset.cases)
    with pytest.raises(DataError, match="does not exist"):
        given_predictions(tmp_path / "none.csv", dataset, dataset.cases)
