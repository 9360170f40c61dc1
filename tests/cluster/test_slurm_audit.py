"""Audits by jobs of a SLURM with two nodes come to the bytes of an audit in one process, whatever is cancelled or drained."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from tests.audits import contents, picture_set
from tests.cluster.slurm_here import Slurm, why_not
from tests.cluster.slurm_jobs import DEBRIDE, none_left, running, state, submit, until

pytestmark = [pytest.mark.system, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with errors, probabilities, and ``whole``: their audit by one process of this machine."""
    root = tmp_path_factory.mktemp("audits")
    picture_set(root, n=24, size=96)
    subprocess.run([*words_of(root), "--out", str(root / "whole"), "--jobs", "1"], check=True)
    return root


def words_of(root: Path) -> list[str]:
    words = [*DEBRIDE, "audit", root / "data", "--predictions", root / "probability", "--planted", 12, "--pictures", 2]
    return [str(word) for word in words]


def test_shards_of_a_job_array(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    """Four parts, one to a node. A node is drained under the first, the second is cancelled and given again."""
    words = [*words_of(root), "--out", str(tmp_path / "parts"), "--jobs", "1"]
    command = f"{shlex.join(words)} --shard $SLURM_ARRAY_TASK_ID/4"
    submit(slurm, tmp_path, "--array=1-4%2", "--exclusive", command=command)
    until(lambda: set(running(slurm).values()) == {"node1", "node2"})
    (second,) = (job for job, node in running(slurm).items() if node == "node2")
    slurm.run("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    slurm.run("scancel", second)
    again = submit(slurm, tmp_path, f"--array={second.split('_')[1]}", "--exclusive", command=command)
    until(lambda: not running(slurm) or "node1" not in running(slurm).values())
    until(lambda: slurm.states()["node1"] == "drained")
    assert not none_left(slurm), "the rest is done by node2"
    slurm.run("scontrol", "update", "nodename=node1", "state=resume")
    until(lambda: none_left(slurm), 120)
    assert not state(slurm, again) or "COMPLETED" in state(slurm, again)
    slurm.run("srun", *words, "--merge")
    assert contents(tmp_path / "parts") == contents(root / "whole")


def test_jobs_that_debride_submits(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    """Two at once; the first that runs is cancelled."""
    options = ["--cluster", "slurm", "--cluster-option", "at_once=2", "memory=200"]
    process = slurm.start(
        *words_of(root), "--out", tmp_path / "out", *options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    until(lambda: running(slurm))
    slurm.run("scancel", next(iter(running(slurm))))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert contents(tmp_path / "out") == contents(root / "whole")
    assert not (tmp_path / "out.jobs").exists()
