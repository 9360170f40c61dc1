"""What 0.1 wrote is read, predicted by, repaired, looked at and gone on with, and comes to what 0.1 came to.

``written_by_0_1.py`` says what is in the archive. docs/compatibility.md promises what is tested here.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from debride.cli import main

AUDIT = ("--predictions", "maps", "--splits", "train", "val", "test", "--planted", 6, "--pictures", 0)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that 0.1 left, moved, as the folder to work in."""
    with tarfile.open(Path(__file__).with_name("of_0_1.tar.gz")) as archive:
        archive.extractall(tmp_path / "left", filter="data")
    monkeypatch.chdir(tmp_path / "left")
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "left"


def debride(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def contents(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def pixels(folder: str) -> dict[str, Any]:
    return {path.name: np.asarray(Image.open(path)).tolist() for path in sorted(Path(folder).glob("*.png"))}


def rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_a_run_and_its_calibration_predict_the_same() -> None:
    debride("predict", "run", "scans", "--out", "now", "--probabilities", "--device", "cpu")
    debride("predict", "run", "scans", "--out", "raw-now", "--raw", "--device", "cpu")
    assert pixels("now") == pixels("masks") != {}
    assert pixels("raw-now") == pixels("raw-masks") != pixels("masks")  # the calibration does something
    for file in Path("masks").glob("*.npy"):
        np.testing.assert_allclose(np.load(file), np.load(Path("now") / file.name), atol=1e-5)


def test_a_calibration_comes_to_the_same() -> None:
    before = json.loads(Path("run/calibration.json").read_text())
    debride("calibrate", "run", "large", "--trusted", "trusted.txt", "--device", "cpu")
    now = json.loads(Path("run/calibration.json").read_text())
    assert now["calibration"]["shifts"] == pytest.approx(before["calibration"]["shifts"])
    assert now["calibration"]["offsets"] == pytest.approx(before["calibration"]["offsets"])
    assert now["kind"] == before["kind"] != "none"


def test_predictions_are_measured_the_same() -> None:
    debride("evaluate", "masks", "scans", "--out", "measured")
    for name in ("cases.csv", "summary.md"):
        assert (Path("measured") / name).read_text() == (Path("evaluation") / name).read_text()


def test_a_training_goes_on() -> None:
    assert len(rows("half/metrics.jsonl")) < len(rows("whole/metrics.jsonl")) == 10
    words = ("--config", "half.yaml", "--trusted", "trusted.txt", "--device", "cpu", "--log-to", "none", "--resume")
    debride("train", "meta-dcseg", "scans", "--out", "half", *words)
    losses = [[row["train"]["loss"] for row in rows(f"{run}/metrics.jsonl")] for run in ("half", "whole")]
    assert losses[0][:4] == pytest.approx(losses[1][:4], rel=1e-4)
    # another processor rounds otherwise, which grows twentyfold with each epoch: 3e-5 after four, 6e-3 after six
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    now, before = (load_file(f"{run}/weights/epoch-0010.safetensors") for run in ("half", "whole"))
    assert now.keys() == before.keys()
    assert {name: array.shape for name, array in now.items()} == {name: array.shape for name, array in before.items()}
    weights = [name for name in now if name.endswith(".weight")]
    both = [np.concatenate([each[name].ravel() for name in weights]) for each in (now, before)]
    assert np.linalg.norm(both[0] - both[1]) < 0.3 * np.linalg.norm(both[1])


def test_a_configuration_means_the_same() -> None:
    words = ("--config", "train.yaml", "--trusted", "trusted.txt", "--epochs", 1, "--device", "cpu", "--log-to", "none")
    debride("train", "gce", "large", "--out", "again", *words)
    before, now = (json.loads(Path(run, "run.json").read_text()) for run in ("run", "again"))
    for part in ("method", "method_config", "augmentation"):
        assert before[part].items() <= now[part].items() if isinstance(now[part], dict) else before[part] == now[part]
    assert {**before["training"], "epochs": 1}.items() <= now["training"].items()
    assert rows("again/metrics.jsonl")[0]["train"]["loss"] == pytest.approx(
        rows("run/metrics.jsonl")[0]["train"]["loss"], rel=1e-4
    )


def test_runs_of_both_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    debride("runs", ".")
    said = capsys.readouterr().out
    assert all(run in said for run in ("half", "run", "whole"))


def test_an_audit_goes_on_in_parts() -> None:
    parts = [f"audit-in-parts/work/{part}-of-2/results.jsonl" for part in (1, 2)]
    debride("audit", "scans", *AUDIT, "--out", "audit-in-parts", "--shard", "2/2")
    debride("audit", "scans", *AUDIT, "--out", "audit-in-parts", "--shard", "1/2")
    steps = [(row["case"], row["step"]) for part in parts for row in rows(part)]
    assert len(steps) == len(set(steps))  # nothing was made anew
    debride("audit", "scans", *AUDIT, "--out", "audit-in-parts", "--merge")
    for name in ("cases.csv", "findings.jsonl", "scores.csv"):
        assert Path("audit-in-parts", name).read_bytes() == Path("audit", name).read_bytes()
    now, before = (json.loads(Path(audit, "audit.json").read_text()) for audit in ("audit-in-parts", "audit"))
    for part in ("settings", "summary", "thresholds", "labels"):
        assert now[part] == before[part]


def test_a_later_audit_takes_over_what_is_known() -> None:
    debride("audit", "scans", *AUDIT, "--out", "later", "--since", "audit")
    since = json.loads(Path("later/audit.json").read_text())["since"]
    assert not since["new"]
    assert not since["changed"]
    kept = {json.dumps(row, sort_keys=True) for row in rows("audit/results.jsonl")}
    assert {json.dumps(row, sort_keys=True) for row in rows("later/results.jsonl")} <= kept


@pytest.mark.parametrize(
    ("before", "rule"),
    [
        ("repaired", ("--decisions", "audit/review.db")),
        ("repaired", ("--decisions", "decisions.csv")),
        ("repaired-by-rule", ("--accept", "all")),
    ],
)
def test_decisions_and_proposals_are_repaired_the_same(before: str, rule: tuple[str, str]) -> None:
    debride("repair", "scans", "audit", "--out", "now", *rule)
    assert contents("now/masks") == contents(f"{before}/masks") != contents("scans/masks")
    assert [row["case"] for row in rows("now/repairs.jsonl")] == [row["case"] for row in rows(f"{before}/repairs.jsonl")]


def test_a_repair_is_taken_back_and_told() -> None:
    debride("repair", "repaired", "--out", "back", "--reverse")
    assert contents("back/masks") == contents("scans/masks")
    debride("changes", "repaired", "--out", "signed")
    assert "case01" in Path("signed/changes.csv").read_text()


def test_decisions_of_readers_are_read_and_added_to() -> None:
    debride("review", "audit", "--dataset", "scans", "--export", "table", "--as", "csv")
    told = next(Path("table").glob("*.csv")).read_text()
    assert "ada" in told or "accept" in told
    debride("review", "audit", "--dataset", "scans", "--reader", "cleo", "--import", "decisions.csv")
    debride("repair", "scans", "audit", "--out", "now", "--decisions", "audit/review.db")
    assert contents("now/masks") == contents("repaired/masks")


def test_a_grid_goes_on() -> None:
    before, table = rows("bench/results.jsonl"), Path("bench/table.md").read_text()
    debride("bench", "grid.yaml", "--out", "bench", "--resume")
    assert rows("bench/results.jsonl") == before
    assert Path("bench/table.md").read_text() == table
    lost = before[1]
    shutil.rmtree(Path("bench/cells/generated/S_DE") / lost["method"])
    Path("bench/results.jsonl").write_text(json.dumps(before[0]) + "\n")
    debride("bench", "grid.yaml", "--out", "bench", "--resume")
    again = rows("bench/results.jsonl")
    assert [row["method"] for row in again] == [row["method"] for row in before]
    for which in ("last", "best"):
        assert again[1][which]["dice"] == pytest.approx(lost[which]["dice"], abs=2e-3)
