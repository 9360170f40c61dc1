"""Audits by a training that there is, and by cross-validation; cut off, and begun again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.audits import about, contents, picture_set, refused, table
from tests.e2e.conftest import Command

from debride.data.open import open_dataset

SMALL = ["--epochs", 1, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--image-size", 32, 32]


def test_by_a_run(debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=10, size=32)
    train = debride("train", "ce", tmp_path / "data", "--out", tmp_path / "run", *SMALL, "--log-to", "none")
    assert train.code == 0, train.err
    words = ["audit", tmp_path / "data", "--run", tmp_path / "run", "--out", tmp_path / "a", "--device", "cpu"]
    answer = debride(*words)
    assert answer.code == 0, answer.err
    told = about(tmp_path / "a")["predictions"]
    assert told["runs"] == [str((tmp_path / "run").resolve())]
    trained = [case.id for case in open_dataset(tmp_path / "data").of("train")]
    assert f"trained on the labels of {len(trained)} of these 10 cases" in told["warning"]
    assert sorted(row["case"] for row in table(tmp_path / "a" / "cases.csv") if row["seen"] == "1") == sorted(trained)
    first = contents(tmp_path / "a")
    (tmp_path / "a" / "audit.json").unlink()  # as if it had been cut off: what was predicted is kept
    before = (tmp_path / "a" / "predictions" / "p00_0.npz").stat().st_mtime_ns
    assert debride(*words).code == 0
    assert contents(tmp_path / "a") == first
    assert (tmp_path / "a" / "predictions" / "p00_0.npz").stat().st_mtime_ns == before
    (tmp_path / "a" / "audit.json").unlink()
    other = debride("train", "ce", tmp_path / "data", "--out", tmp_path / "other", *SMALL, "--log-to", "none", "--seed", 1)
    assert other.code == 0
    assert debride(*words[:3], tmp_path / "other", *words[4:]).code == 0  # another network: predicted anew
    assert (tmp_path / "a" / "predictions" / "p00_0.npz").stat().st_mtime_ns != before


def test_by_cross_validation(debride: Command, tmp_path: Path) -> None:
    """Two folds; cut off after the first and begun again; then all there."""
    picture_set(tmp_path, n=10, size=32)
    before = contents(tmp_path / "data")
    words = ["audit", tmp_path / "data", "--out", tmp_path / "a", "--folds", 2, *SMALL]
    answer = debride(*words)
    assert answer.code == 0, answer.err
    assert contents(tmp_path / "data") == before
    runs = [tmp_path / "a" / "cross-validation" / f"fold-{number}" for number in (1, 2)]
    assert sorted(about(tmp_path / "a")["predictions"]["runs"]) == [str(run.resolve()) for run in runs]
    assert "warning" not in about(tmp_path / "a")["predictions"]
    assert {row["seen"] for row in table(tmp_path / "a" / "cases.csv")} == {"0"}
    trained = [{name for name, *_ in json.loads((run / "run.json").read_text())["train"]} for run in runs]
    assert trained[0].isdisjoint(trained[1]) and len(trained[0] | trained[1]) == 10
    assert {name[:3] for name in trained[0]}.isdisjoint(name[:3] for name in trained[1])
    kept = {path.stem for path in (tmp_path / "a" / "predictions").glob("*.npz")}
    assert len(kept) == 10
    first = contents(tmp_path / "a")

    (tmp_path / "a" / "audit.json").unlink()
    shutil.rmtree(runs[1])  # killed in the second training
    shutil.rmtree(tmp_path / "a" / "predictions")
    weights = (runs[0] / "weights").stat().st_mtime_ns
    answer = debride(*words)
    assert answer.code == 0, answer.err
    assert (runs[0] / "weights").stat().st_mtime_ns == weights
    again = contents(tmp_path / "a")
    for name in ("cases.csv", "scores.csv", "findings.jsonl", "audit.json"):
        assert again[name] == first[name], name

    (tmp_path / "a" / "audit.json").unlink()
    refused(debride(*words[:5], 5, *SMALL), "fold-1")  # another cross-validation
    refused(debride(*words, "--width", 8), "fold-1")
