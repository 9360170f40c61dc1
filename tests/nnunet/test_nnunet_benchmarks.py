"""The benchmarks of debride inside nnU-Net run at their smallest; they need the real data."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif("DEBRIDE_DATA" not in os.environ, reason="DEBRIDE_DATA names no real data sets")

SMALL = ["--cases", "12", "--patch", "64", "--batch", "2", "--features", "4", "8", "8"]


def run(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    importlib.import_module(f"benchmarks.nnunet.{name}").main()


def test_iterations_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run("trainers", monkeypatch, *SMALL, "--repeats", 2, "--trainers", "nnUNetTrainerDebrideGCE")
    assert "| nnUNetTrainerDebrideGCE | 0." in capsys.readouterr().out


def test_labels_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run("labels", monkeypatch, tmp_path, *SMALL, "--tests", 2, "--epochs", 1, "--iterations", 2, "--seeds", 0)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["set"] for row in rows] == ["clean", "given", "repaired", "ignored", "weighted"]
    assert "| ignored |" in capsys.readouterr().out


def test_a_trainer_goes_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("round", monkeypatch, tmp_path / "round", "--cases", 12, "--trainers", "nnUNetTrainerDebrideGCE")
    row = json.loads((tmp_path / "round" / "round.jsonl").read_text())
    assert row["maps"] == 12 and row["predicted"] == 4
