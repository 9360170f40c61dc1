"""Runs side by side: what is said of them, whatever their folders hold."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.training_jobs import small_job

import debride
from debride.cli import main
from debride.folders import exclusive
from debride.training.fit import fit
from debride.training.recorded import LONGEST_LINE
from debride.training.run import TrainingRun
from debride.training.run_list import RunSummary, differing, list_runs, rows_of_runs, shown_rows, summary_of
from debride.types import DataError


class KilledError(Exception):
    """Stands for the end of the process."""


def killed(run: TrainingRun[Any]) -> None:
    if run.epoch == 1:
        raise KilledError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of ce with two rates, one of gce that stopped early, and one that was killed."""
    root = tmp_path_factory.mktemp("runs")
    fit(small_job(root, "ce", out="all/slow", learning_rate=0.01))
    fit(small_job(root, "ce", out="all/fast", learning_rate=0.05, seed=1))
    stopping = small_job(root, "gce", out="all/deeper/gce", epochs=6, patience=1, schedule="step", step_epochs=1)
    fit(replace(stopping, config=replace(stopping.config, step_factor=1e-9)))
    with pytest.raises(KilledError):
        fit(small_job(root, "ce", out="all/killed", epochs=3), killed)
    return root / "all"


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "all")
    return tmp_path / "all"


def by_name(root: Path) -> dict[str, RunSummary]:
    return {run.folder.name: run for run in list_runs([root])}


def test_a_run_is_what_its_records_say(runs: Path) -> None:
    found = by_name(runs)
    assert {name: run.state for name, run in found.items()} == {
        "slow": "finished",
        "fast": "finished",
        "gce": "stopped early",
        "killed": "not finished",
    }
    for name, run in found.items():
        folder = runs / ("deeper/gce" if name == "gce" else name)
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        dice = [record["val"]["dice"] for record in records]
        assert (run.done, run.last, run.best, run.measure) == (len(records), dice[-1], max(dice), "dice")
        assert run.best_epoch == dice.index(max(dice)) + 1
        assert run.seconds == pytest.approx(sum(record["seconds"] for record in records))
        assert run.curve == tuple(enumerate(dice, 1))
        assert run.loss == tuple((record["epoch"], record["train"]["loss"]) for record in records)
    assert (found["fast"].seed, found["slow"].seed, found["killed"].epochs, found["gce"].method) == (1, 0, 3, "gce")


def test_settings_that_differ_are_columns(runs: Path) -> None:
    summaries = list_runs([runs])
    assert set(differing(summaries)) == {"learning_rate", "patience", "schedule", "step_epochs", "step_factor"}
    assert differing([run for run in summaries if run.method == "ce"]) == ["learning_rate"]
    rows = {row["run"].rsplit("/", 1)[1]: row for row in rows_of_runs(summaries)}
    assert rows["slow"]["learning_rate"] == 0.01 and rows["gce"]["patience"] == 1
    assert all(row["best_on_given_labels"] is not None for row in rows.values())


def test_runs_of_one_data_set_are_in_the_order_of_their_best(runs: Path) -> None:
    best = [run.best for run in list_runs([runs])]
    assert best == sorted(best, key=lambda value: -(value or 0))


def test_strangers_and_damaged_runs_are_listed_with_the_reason(runs: Path) -> None:
    for name, content in (("alien", '{"job": 3}'), ("torn", '{"method": "ce'), ("list", "[]")):
        (runs / name).mkdir()
        (runs / name / "run.json").write_text(content)
    (runs / "folder" / "run.json").mkdir(parents=True)
    lines = (runs / "slow" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (runs / "slow" / "metrics.jsonl").write_text(lines[0] + "nonsense\n")
    (runs / "fast" / "metrics.jsonl").write_text(lines[1])
    found = by_name(runs)
    unreadable = {name: run.problem for name, run in found.items() if run.state == "unreadable"}
    assert set(unreadable) == {"alien", "torn", "list", "slow", "fast"}
    assert "does not describe a training" in unreadable["alien"] and "not valid JSON" in unreadable["slow"]
    assert "is not the record of epoch 1" in unreadable["fast"]
    assert found["slow"].done == 1 and found["slow"].method == "ce", "what comes before is said"
    assert [run.state for run in list_runs([runs])][-5:] == ["unreadable"] * 5
    assert main(["runs", str(runs)]) == 0


def test_a_record_that_is_being_written_is_left_out(runs: Path) -> None:
    file = runs / "slow" / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert summary_of(runs / "slow").done == 1
    file.write_bytes(b" " * (LONGEST_LINE + 10))
    assert "too long" in summary_of(runs / "slow").problem
    file.unlink()
    assert (summary_of(runs / "slow").done, summary_of(runs / "slow").state) == (0, "not finished")


def test_a_run_that_is_written_to_is_running(runs: Path) -> None:
    with exclusive(runs / "killed"):
        assert summary_of(runs / "killed").state == "running"
    assert summary_of(runs / "killed").state == "not finished"


def test_tables_and_curves(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    assert main(["runs", str(runs), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    head, *lines, last = said.splitlines()
    assert head.split()[:4] == ["run", "method", "dataset", "seed"] and len(lines) == 4
    assert "labels as given, which may be wrong" in last and "stopped early" in said and "2/3" not in said and "1/3" in said
    with (tmp_path / "out" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    written = json.loads((tmp_path / "out" / "runs.json").read_text())
    for row, whole, run in zip(rows, written, list_runs([runs]), strict=True):
        assert row["run"] == whole["folder"] == str(run.folder) and float(row["best_on_given_labels"]) == run.best
        assert whole["settings"]["learning_rate"] == run.settings["learning_rate"]
        assert [tuple(point) for point in whole["curve"]] == list(run.curve)
    assert (tmp_path / "out" / "runs.png").read_bytes().startswith(b"\x89PNG")
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*")}, "nothing is written into a run"
    with pytest.raises(DataError, match="is not empty"):
        from debride.training.run_curves import write_runs

        write_runs(list_runs([runs]), tmp_path / "out")


def test_in_python_they_show_themselves(runs: Path, tmp_path: Path) -> None:
    compared = debride.compare_runs(runs)
    assert repr(compared).startswith("CompareResult('.', 4 runs (")
    assert compared.to_pandas()["best_on_given_labels"].tolist() == [run.best for run in list_runs([runs])]
    shown = compared._repr_html_()
    assert "labels as given" in shown and "stopped early" in shown and "data:image/png" in shown
    both = debride.compare_runs([runs / "slow", runs / "deeper"], out=tmp_path / "out")
    assert [run.method for run in both.runs] == [run.method for run in list_runs([runs / "slow", runs / "deeper"])]
    assert (both.out / "runs.png").is_file()


def test_texts_from_a_run_steer_no_terminal(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = json.loads((runs / "slow" / "run.json").read_text())
    description["method"], description["dataset_root"] = "\x1b[2Jce\nnew line", "/data/=cmd"
    (runs / "slow" / "run.json").write_text(json.dumps(description))
    assert main(["runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and len(said.splitlines()) == 6


def test_names_of_folders_are_no_formulas_and_no_lines(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "slow").rename(runs / "a$\\foo$b\nc")
    assert main(["runs", str(runs), "--out", str(tmp_path / "out")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6 and (tmp_path / "out" / "runs.png").is_file()


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        list_runs([tmp_path])
    with pytest.raises(DataError, match="is no folder"):
        list_runs([tmp_path / "missing"])


def test_columns_that_say_nothing_are_left_out(runs: Path) -> None:
    head = shown_rows([summary_of(runs / "slow")])[0].split()
    assert "problem" not in head and "learning_rate" not in head
