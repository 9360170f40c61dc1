"""A training by processes that torchrun starts is that of processes that debride starts, and of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_folder
from tests.started_processes import SMALL, run_all, torchrun

from debride.api.trainings import train
from debride.files import read_jsonl


@pytest.fixture
def data(tmp_path: Path) -> Path:
    build_folder(tmp_path / "data", n=12, classes=3)
    return tmp_path / "data"


def losses(run: Path) -> list[float]:
    return [row["train"]["loss"] for row in read_jsonl(run / "metrics.jsonl")]


def test_two_processes_of_torchrun(data: Path, tmp_path: Path) -> None:
    """The first process alone writes and speaks."""
    words = ("train", "ce", data, "--epochs", 2, "--cache", tmp_path / "cache", *SMALL)
    (ended,) = run_all(torchrun([*words, "--out", tmp_path / "two"]))
    assert ended.code == 0, ended.err
    assert [line.split()[1] for line in ended.out.splitlines() if line.startswith("epoch")] == ["1/2", "2/2"]
    train(
        "ce", data, tmp_path / "one", epochs=2, cache=tmp_path / "cache", batch_size=4, network="unet", width=4,
        learning_rate=0.05, device="cpu", log_to=(), image_size=(32, 32),
    )  # fmt: skip
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "two"), rtol=1e-5)


def test_what_is_refused_is_said_once_and_nothing_is_written(data: Path, tmp_path: Path) -> None:
    (ended,) = run_all(torchrun(["train", "ce", data, "--out", tmp_path / "run", *SMALL, "--devices", 3]))
    assert ended.code != 0
    (said,) = [line for line in ended.err.splitlines() if line.startswith("debride:")]
    assert (
        said
        == "debride: --devices: is 3, and torchrun has started 2 processes on 1 machine, 2 on each. Give 2, or start others."
    )
    assert not (tmp_path / "run").exists()
