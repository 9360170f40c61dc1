"""Every table by task knows every task, and evaluations of both refuse a folder with content alike."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from tests.datasets import build_folder, build_npz

from debride.api.auditing import AUDITS
from debride.api.corrupting import CORRUPTIONS
from debride.api.repairing import REPAIRS
from debride.audit.tasks import TASKS as AUDITED
from debride.audit.tasks import refuse_task
from debride.bench.cell_kinds import CELL_KINDS
from debride.cli import main
from debride.data.augmentation import AUGMENTATIONS
from debride.data.label_kinds import LABEL_KINDS
from debride.data.open import open_dataset
from debride.evaluation.class_predictions import write_predictions
from debride.evaluation.evaluations import EVALUATIONS
from debride.training.task import TASKS
from debride.types import DataError, TaskName


def test_every_table_knows_every_task() -> None:
    tasks = set(get_args(TaskName))
    for table in (LABEL_KINDS, EVALUATIONS, CELL_KINDS, CORRUPTIONS):
        assert set(table) == tasks
    assert {name: TASKS[name].augmentation for name in tasks} == AUGMENTATIONS
    assert tasks == AUDITED == set(AUDITS) == set(REPAIRS)
    assert set(TASKS) == {*tasks, "regions"}  # which a data set for segmentation has or has not


def test_audits_say_what_they_are_for() -> None:
    refuse_task("segmentation", "a data set")
    with pytest.raises(DataError, match=r"^a run: is for classification, not for segmentation"):
        refuse_task("classification", "a run")


def predictions_of(task: str, root: Path) -> tuple[Path, Path]:
    """A data set, and predictions of its test cases: its own labels."""
    if task == "segmentation":
        build_folder(root / "data", n=6)
        dataset, folder = open_dataset(root / "data"), root / "predictions"
        folder.mkdir()
        for case in dataset.of("test"):
            assert case.label is not None
            (folder / case.label.name).write_bytes(case.label.read_bytes())
        return root / "data", folder
    build_npz(root / "data")
    dataset = open_dataset(root / "data")
    cases = dataset.of("test")
    probability = [[[float(case.target == id) for id in range(3)]] for case in cases]
    write_predictions(root / "predictions.csv", [case.id for case in cases], probability, dataset.classes)  # type: ignore[arg-type]
    return root / "data", root / "predictions.csv"


@pytest.mark.parametrize("task", get_args(TaskName))
def test_a_second_evaluation_leaves_the_first_alone(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, predictions = predictions_of(task, tmp_path)
    out = tmp_path / "results"
    words = ["evaluate", str(predictions), str(data), "--out", str(out)]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"cases.csv", "summary.json", "summary.md"} <= set(before)
    capsys.readouterr()
    assert main(words) == 2
    assert capsys.readouterr().err == f"debride: {out}: is not empty. Choose a new folder, or remove this one.\n"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("task", TASKS)
def test_an_evaluation_that_fails_leaves_no_folder(task: str, tmp_path: Path) -> None:
    data, predictions = predictions_of(task, tmp_path)
    if predictions.is_dir():
        next(predictions.iterdir()).unlink()
    else:
        predictions.write_text(predictions.read_text().splitlines()[0] + "\n")
    assert main(["evaluate", str(predictions), str(data), "--out", str(tmp_path / "results")]) == 2
    assert not (tmp_path / "results").exists()
