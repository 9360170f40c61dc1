"""An evaluation that was cut off goes on, measures again what changed, and is held by one process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.datasets import build_folder, save_png

from debride.data.open import open_dataset
from debride.evaluation import evaluate
from debride.evaluation.evaluate import evaluate_folder
from debride.folders import exclusive
from debride.types import Case, DataError, Dataset

FILES = ("cases.csv", "summary.json", "summary.md")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    for case in dataset.of("train", "val"):
        assert case.label is not None
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / case.label.name).write_bytes(case.label.read_bytes())
    return dataset


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ids: list[str] = []
    score = evaluate._score

    def counted(case: Case, *rest: object) -> object:
        if len(ids) == 2 and "cut" in os.environ:
            raise KeyboardInterrupt
        ids.append(case.id)
        return score(case, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "_score", counted)
    return ids


def run(dataset: Dataset, root: Path, out: str, resume: bool = False, split: str = "train") -> None:
    evaluate_folder(root / "p", dataset, root / out, splits=(split,), resume=resume)  # type: ignore[arg-type]


def test_what_is_measured_is_not_measured_again(
    dataset: Dataset, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case.id for case in dataset.of("train")]
    run(dataset, tmp_path, "whole")
    assert measured == cases
    measured.clear()
    monkeypatch.setenv("cut", "1")
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path, "out")
    assert measured == cases[:2] and not (tmp_path / "out" / "summary.md").exists()
    monkeypatch.delenv("cut")
    with pytest.raises(DataError, match="is not empty"):
        run(dataset, tmp_path, "out")
    with pytest.raises(DataError, match="made with another `splits`"):
        run(dataset, tmp_path, "out", resume=True, split="val")
    run(dataset, tmp_path, "out", resume=True)
    assert measured == cases
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_prediction_that_changed_is_measured_again(dataset: Dataset, measured: list[str], tmp_path: Path) -> None:
    import numpy as np

    run(dataset, tmp_path, "out")
    first = dataset.of("train")[0]
    assert first.label is not None
    save_png(tmp_path / "p" / first.label.name, np.zeros((32, 32), np.uint8))
    measured.clear()
    run(dataset, tmp_path, "out", resume=True)
    assert measured == [first.id]


def test_one_process_at_a_time(dataset: Dataset, tmp_path: Path) -> None:
    with exclusive(tmp_path / "out"), pytest.raises(DataError, match="being written by another process"):
        run(dataset, tmp_path, "out")
