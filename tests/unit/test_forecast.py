"""What a training will take: counted before, timed by a clock that the test turns, and said once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training_jobs import run_job, small_job

from debride.cli import main
from debride.methods.ce import CrossEntropy
from debride.progress import track
from debride.training import forecast as module
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.forecast import Forecast
from debride.training.memory import smaller
from debride.types import DataError
from debride.words import duration, gigabytes


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock on."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_long_epochs_are_spoken_of_after_some_steps(
    turn: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forecast = Forecast(tmp_path, 5_240_000_000, torch.device("cpu"))
    for left in range(99, 85, -1):
        turn(60.0 if left > 97 else 10.0)  # the first two steps are slow, and not timed
        forecast.step(left, 100, 9)
    said = capsys.readouterr().err
    assert said.startswith("debride: about 2 h 45 min for 10 more epochs, without validation; ")
    assert said.endswith(f"at most 5.2 GB on the disk of {tmp_path}.\n") and "GiB of memory" in said
    assert said.count("\n") == 1
    forecast.epoch(1100.0, 9)
    assert capsys.readouterr().err.startswith("debride: about 2 h 45 min for 9 more epochs; ")
    for _ in range(3):
        forecast.epoch(1100.0, 8)
        forecast.step(3, 100, 8)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("epoch", "epochs"), [(1.0, 30), (29.0, 1), (300.0, 1)])
def test_nothing_is_said_of_what_is_over_soon(
    epoch: float, epochs: int, turn: Callable[[float], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forecast = Forecast(tmp_path, 1, torch.device("cpu"))
    for number in range(epochs):
        turn(epoch / 4)
        forecast.step(0, 4, epochs - number - 1)
        forecast.epoch(epoch, epochs - number - 1)
    assert capsys.readouterr().err == ""


def test_a_training_says_what_it_takes_and_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every length counted as long. The folder never holds more than was said, nor less than a third of it."""
    for name in ("HEARD", "LONG_EPOCH"):
        monkeypatch.setattr(module, name, 0.0)
    said, held = [], []
    real, refuse = module.disk_needed, module.refuse_full
    monkeypatch.setattr("debride.training.fit.disk_needed", lambda *a: said.append(real(*a)) or said[-1])
    job = replace(small_job(tmp_path, "self-cleansing", epochs=4, keep_last=2, batch_size=2, n=24))

    def rmtree(path: Path, *arguments: Any, **more: Any) -> None:
        held.append(sum(file.stat().st_size for file in job.out.rglob("*") if file.is_file()))
        remove(path, *arguments, **more)

    import shutil

    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    fit(job)
    assert refuse is module.refuse_full
    err = capsys.readouterr().err
    assert err.count("debride: about") == 2 and "for 4 more epochs, without validation" in err and "for 3 more epochs;" in err
    assert said[0] / 3 < max(held) <= said[0] + 200_000  # texts and headers are not counted


def test_a_full_disk_is_told_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path, "ce")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"needs \d+ MB there, and the disk has 1 MB left. .*`keep_last`"):
        fit(job)
    assert not list(job.out.rglob("*.safetensors"))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_full_memory_names_the_settings_and_what_they_are(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(CrossEntropy, "step", full)
    with pytest.raises(DataError, match=r"not enough .*`batch_size` is 8: try 4; or `image_size` is 32 32: try 16 16"):
        run_job(small_job(tmp_path, "ce", batch_size=8, image_size=(32, 32)))


def test_other_errors_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(CrossEntropy, "step", wrong)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        run_job(small_job(tmp_path, "ce"))


def test_what_to_try() -> None:
    patches = TrainConfig(batch_size=2, patch_size=(96, 160, 160))
    assert smaller(patches) == "`batch_size` is 2: try 1; or `patch_size` is 96 160 160: try 64 112 112."
    whole = "`patch_size` is not set: try patches, in place of whole images"
    assert smaller(TrainConfig()) == f"`batch_size` is 8: try 4; or {whole}."
    assert smaller(TrainConfig(batch_size=1, patch_size=(16, 16))) == "`width` is 16: try 8."
    assert smaller(TrainConfig(batch_size=2, devices=2)) == f"{whole}; or `width` is 16: try 8."


def test_the_command_line_names_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(CrossEntropy, "step", full)
    job = small_job(tmp_path, "ce")
    words = ["train", "ce", job.dataset.root, "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--device", "cpu"]
    size = ["--image-size", 32, 32, "--network", "unet-small", "--width", 2, "--log-to", "none"]
    assert main([str(word) for word in (*words, *size)]) == 2
    assert "--batch-size is 8: try 4; or --image-size is 32 32: try 16 16." in capsys.readouterr().err


def test_plain_progress_says_how_long_it_takes_still(turn: Callable[[float], None], capsys: pytest.CaptureFixture[str]) -> None:
    with track("auditing", 100) as show:
        for done in range(1, 101):
            turn(3.0)
            show(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "auditing: 4/100, about 5 min left" and lines[-1] == "auditing: 100/100"
    with track("counting", None) as show:
        turn(11.0)
        show(7)
    assert capsys.readouterr().err == "counting: 7\n"


def test_times_and_sizes_in_words() -> None:
    times = {0.2: "1 s", 40: "40 s", 100: "2 min", 1500: "25 min", 3599: "1 h", 7800: "2 h 10 min", 86_000: "23 h 55 min"}
    assert {seconds: duration(seconds) for seconds in times} == times
    assert duration(86_399) == "1 d" and duration(3 * 86_400 + 4 * 3600) == "3 d 4 h"
    assert [gigabytes(size) for size in (1, 31e6, 5.24e9)] == ["1 MB", "31 MB", "5.2 GB"]
