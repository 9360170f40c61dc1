"""``debride train --calibrate`` and ``--hold-out-trusted``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.datasets import build_folder, build_npz
from tests.e2e.conftest import Command
from tests.training_jobs import SMALL

TRUSTED = ["case000", "case001", "case002"]
OPTIONS = [
    *("--epochs", "1", "--batch-size", "4", "--network", "unet-small", "--width", "4", "--image-size", "32", "32"),
    *("--device", "cpu", "--log-to", "none", "--learning-rate", str(SMALL["learning_rate"])),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    build_folder(root / "data", n=12, classes=3)
    (root / "verified.txt").write_text("\n".join([*TRUSTED, "case009"]))  # the last is a validation case
    return root / "data"


def trained_on(run: Path) -> set[str]:
    return {fingerprint[0] for fingerprint in json.loads((run / "run.json").read_text())["train"]}


@pytest.mark.parametrize("hold_out", [False, True])
def test_a_training_is_calibrated(hold_out: bool, data: Path, debride: Command, tmp_path: Path) -> None:
    run, more = tmp_path / "run", ["--hold-out-trusted"] if hold_out else []
    ask = ["train", "ce", data, "--out", run, "--trusted", data.parent / "verified.txt", *OPTIONS, *more]
    answer = debride(*ask, "--calibrate")
    assert answer.code == 0 and f"{run / 'calibration.json'}: 3 verified cases\n" in answer.out
    assert (trained_on(run) & set(TRUSTED) == set()) == hold_out and len(trained_on(run)) == (5 if hold_out else 8)
    assert ("The network was trained on 3 of these 3 verified cases" in answer.err) != hold_out
    written = (run / "calibration.json").read_bytes()
    assert json.loads(written)["cases"] == TRUSTED and json.loads(written)["checkpoint"] == "last"
    answer = debride(*ask, "--resume", "--calibrate")
    assert answer.code == 0 and (run / "calibration.json").read_bytes() == written
    (data.parent / "three.txt").write_text("\n".join(TRUSTED))
    answer = debride("calibrate", run, data, "--trusted", data.parent / "three.txt", "--device", "cpu")
    assert answer.code == 0 and (run / "calibration.json").read_bytes() == written


def test_what_cannot_be_calibrated_is_not_trained(data: Path, debride: Command, tmp_path: Path) -> None:
    def refused(said: str, method: str, source: Path, *more: object) -> None:
        answer = debride("train", method, source, "--out", tmp_path / "run", *more)
        assert answer.code == 2 and said in answer.err, answer
        assert not (tmp_path / "run").exists()

    verified = ["--trusted", data.parent / "verified.txt"]
    refused("has no verified case, and bias cannot be known without one", "ce", data, "--calibrate", *OPTIONS)
    refused("has no verified case", "ce", data, "--hold-out-trusted", *OPTIONS)
    said = "--hold-out-trusted: leaves l2b without the trusted cases that it needs"
    refused(said, "l2b", data, "--hold-out-trusted", *verified, *OPTIONS)
    build_npz(tmp_path / "classes")
    refused("has no verified case, and bias cannot be known without one", "ce", tmp_path / "classes", "--calibrate")
