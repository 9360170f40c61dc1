"""A training is killed, again and again, and resumed: the final weights are those of a training that was left alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.training_jobs import run_job, same, small_job, weights

from debride.state import saved_files
from debride.training.checkpoint import latest_state

EPOCHS = 5
KILLS = 10


def run_until(seconds: float | None, root: Path, method: str, out: str, resume: bool) -> None:
    """A training in this process that is killed after some seconds, as ``kill -9`` does."""
    if seconds is not None:
        timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    trusted = root / "trusted.txt"
    run_job(small_job(root, method, out=out, resume=resume, epochs=EPOCHS, trusted=trusted))


BEFORE_A_RELEASE = [pytest.param(name, marks=pytest.mark.system) for name in ("ce", "co-teaching", "remembering")]


@pytest.mark.parametrize("method", [*BEFORE_A_RELEASE, "remembering-twice"])
def test_killed_ten_times(method: str, tmp_path: Path) -> None:
    """One network and two, with and without label state; kill moments are drawn over the length of a training."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training_jobs", "monai.networks.nets.basic_unet"])
    (tmp_path / "trusted.txt").write_text("case000\ncase001\n")
    rng = np.random.default_rng(0)

    def launch(seconds: float | None, out: str, resume: bool) -> int | None:
        process = context.Process(target=run_until, args=(seconds, tmp_path, method, out, resume))
        process.start()
        process.join()
        return process.exitcode

    import time

    assert launch(None, "warm", False) == 0  # fills the cache, so that the next one takes as long as a training
    started = time.monotonic()
    assert launch(None, "whole", False) == 0
    length = time.monotonic() - started
    kills = 0
    for _ in range(KILLS):
        resume = (tmp_path / "killed" / "run.json").exists()
        kills += launch(float(rng.uniform(0.05, 0.7) * length), "killed", resume) == -signal.SIGKILL
        state = latest_state(tmp_path / "killed")
        if state is not None and state.name == f"epoch-{EPOCHS:04d}":
            for file in sorted((tmp_path / "killed").rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()  # it was quicker than the kill: begin again
            (tmp_path / "killed").rmdir()
    assert kills > 0
    assert launch(None, "killed", (tmp_path / "killed" / "run.json").exists()) == 0
    name = f"epoch-{EPOCHS:04d}"
    assert same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))
    assert same(weights(tmp_path / "whole", "best"), weights(tmp_path / "killed", "best"))
    if method.startswith("remembering"):
        files = [saved_files(tmp_path / out / "resume" / name / "labels") for out in ("whole", "killed")]
        assert [f.read_bytes() for f in sorted(files[0].iterdir())] == [f.read_bytes() for f in sorted(files[1].iterdir())]
        for out in ("whole", "killed"):
            assert len([path for path in (tmp_path / out / "resume").iterdir() if path.name.startswith("labels-")]) == 1
