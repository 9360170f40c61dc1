"""Trainings on several machines, each a torchrun of its own, that are killed, started again and told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.datasets import build_folder
from tests.started_processes import SMALL, begun, lose, run_all, started_by, torchrun
from tests.training_jobs import same, weights

from debride.files import read_jsonl
from debride.state import saved_files
from debride.training.checkpoint import latest_state

pytestmark = pytest.mark.system

EPOCHS = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    build_folder(tmp_path / "data", n=12, classes=3)
    return tmp_path / "data"


def words(data: Path, run: Path, method: str = "self-cleansing", epochs: int = EPOCHS) -> list[object]:
    state = ("--warm-up", 0, "--every", 1, "--cleansed") if method == "self-cleansing" else ()
    return ["train", method, data, "--out", run, "--epochs", epochs, *SMALL, *state]


def caches(root: Path, *names: str) -> list[dict[str, str]]:
    return [{"DEBRIDE_CACHE": str(root / name)} for name in names]


def left_by(run: Path) -> dict[str, bytes]:
    """The label state of a training, its scores and the labels that it takes for right."""
    state = latest_state(run)
    assert state is not None
    files = [*saved_files(state / "labels").iterdir(), run / "label_scores.csv", *(run / "cleansed").iterdir()]
    return {file.name: file.read_bytes() for file in files}


def until(run: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    """Waits until an epoch of a training is kept."""
    end = time.monotonic() + 120
    while not (run / "resume" / f"epoch-{epoch:04d}" / "state.json").exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)


def test_two_machines_are_one_with_two_processes(data: Path, tmp_path: Path) -> None:
    """Bit for bit, with label state of which each machine changes a half: with one cache for both, and with one for each."""
    run_all(torchrun(words(data, tmp_path / "one"), each=2), caches(tmp_path, "cache"))
    for name, own in (("shared", ("cache", "cache")), ("apart", ("first", "second"))):
        ended = run_all(torchrun(words(data, tmp_path / name), machines=2, each=1), caches(tmp_path, *own))
        assert [each.code for each in ended] == [0, 0], [each.err for each in ended]
        assert same(weights(tmp_path / "one", "best"), weights(tmp_path / name, "best"))
        assert left_by(tmp_path / "one") == left_by(tmp_path / name)
        (said,) = [each.out for each in ended if each.out]
        assert said.count("epoch ") == EPOCHS
        assert not (tmp_path / name / "scratch").exists()


def test_killed_and_resumed(data: Path, tmp_path: Path) -> None:
    """Both machines lose their power in the middle. The training goes on, on one machine with two processes."""
    cache = caches(tmp_path, "cache", "cache")
    run_all(torchrun(words(data, tmp_path / "whole"), machines=2, each=1), cache)
    with begun(torchrun(words(data, tmp_path / "killed"), machines=2, each=1), cache) as processes:
        until(tmp_path / "killed", 2, processes[0])
        for process in processes:
            lose(process)
    assert len(read_jsonl(tmp_path / "killed" / "metrics.jsonl")) < EPOCHS, "it was quicker than the kill"
    (ended,) = run_all(torchrun([*words(data, tmp_path / "killed"), "--resume"], each=2), cache[:1])
    assert ended.code == 0, ended.err
    assert same(weights(tmp_path / "whole", "best"), weights(tmp_path / "killed", "best"))
    assert left_by(tmp_path / "whole") == left_by(tmp_path / "killed")


def test_torchrun_starts_it_again(data: Path, tmp_path: Path) -> None:
    """A process that is killed is started again with the others, and the training goes on without a word of the user."""
    run_all(torchrun(words(data, tmp_path / "whole"), each=2), caches(tmp_path, "cache"))
    with begun(torchrun(words(data, tmp_path / "again"), each=2, restarts=1), caches(tmp_path, "cache")) as (process,):
        until(tmp_path / "again", 2, process)
        os.kill(started_by(process.pid)[-1], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "the training goes on" in err
    assert out.count("epoch 2/") == 1
    assert same(weights(tmp_path / "whole", "best"), weights(tmp_path / "again", "best"))
    assert left_by(tmp_path / "whole") == left_by(tmp_path / "again")


def test_a_process_of_one_machine_is_lost(data: Path, tmp_path: Path) -> None:
    """Both machines begin again, though the torchrun of one alone counts it as a restart."""
    cache = caches(tmp_path, "cache", "cache")
    run_all(torchrun(words(data, tmp_path / "whole"), machines=2, each=1), cache)
    with begun(torchrun(words(data, tmp_path / "again"), machines=2, each=1, restarts=1), cache) as processes:
        until(tmp_path / "again", 2, processes[0])
        os.kill(started_by(processes[1].pid)[-1], signal.SIGKILL)
        said = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert any("the training goes on" in err for _, err in said)
    assert same(weights(tmp_path / "whole", "best"), weights(tmp_path / "again", "best"))
    assert left_by(tmp_path / "whole") == left_by(tmp_path / "again")


def test_a_machine_that_is_lost_ends_the_others(data: Path, tmp_path: Path) -> None:
    with begun(torchrun(words(data, tmp_path / "run", epochs=500), machines=2, each=1), caches(tmp_path, "c", "c")) as both:
        until(tmp_path / "run", 1, both[0])
        lose(both[1])
        _, err = both[0].communicate(timeout=60)
    assert both[0].returncode != 0
    assert "a mistake of debride's own" not in err


def test_what_machines_see_must_be_the_same(data: Path, tmp_path: Path) -> None:
    """Folders of the run, labels and settings that differ are refused by all, once, before anything is written."""
    other = tmp_path / "other"
    build_folder(other, n=12, classes=3, seed=5)
    for name, changed, expected in (
        ("unseen", words(data, tmp_path / "elsewhere"), "unseen: is another folder on"),
        ("labels", words(other, tmp_path / "labels"), "the training: has other train and val in process"),
        ("settings", [*words(data, tmp_path / "settings"), "--seed", 1], "the training: has other training in process"),
    ):
        first, second = torchrun(words(data, tmp_path / name), machines=2, each=1)
        second = [*second[: second.index("train")], *map(str, changed)]
        ended = run_all([first, second], caches(tmp_path, "cache", "cache"))
        assert all(each.code for each in ended)
        said = [line for each in ended for line in each.err.splitlines() if line.startswith("debride: ")]
        assert len(said) == 1 and expected in said[0], said
        assert not any((tmp_path / name).glob("[!.]*"))
