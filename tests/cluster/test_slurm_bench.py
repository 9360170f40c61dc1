"""A grid by jobs of a SLURM with two nodes has the rows and weights of the grid in one process, whatever happens to jobs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.slurm_here import Slurm, why_not
from tests.cluster.slurm_jobs import none_left, running, until
from tests.cluster.small_grid import build_grid, ended_well, under_way, words_of

pytestmark = [pytest.mark.system, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_grid(tmp_path_factory.mktemp("bench"))


@pytest.fixture(autouse=True)
def whole_again(slurm: Slurm) -> Iterator[None]:
    """Both nodes are as at first after each test."""
    yield
    slurm.run("scancel", "--user=root")
    for node in ("node1", "node2"):
        if node not in slurm.machines:
            slurm.add(node)
        slurm.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    slurm.wait_until_idle("node1", "node2")


def on_slurm(slurm: Slurm, root: Path, out: Path, *more: object) -> subprocess.Popen[str]:
    """Two jobs at once, one to a node: each asks for nearly all of its memory."""
    options = ["--cluster", "slurm", "--cluster-option", "memory=200", "at_once=2", "partition=main"]
    words = [*words_of(root), "--out", out, *options, *more]
    return slurm.start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def until_both_train(slurm: Slurm, out: Path) -> dict[str, str]:
    """Waits until both nodes have a job, and both of these have done some epochs; the jobs by node."""
    until(lambda: set(running(slurm).values()) == {"node1", "node2"} and len(under_way(out)) >= 2, 120)
    return {node: job for job, node in running(slurm).items()}


def test_a_node_is_drained_and_a_job_cancelled(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    process = on_slurm(slurm, root, tmp_path / "out")
    jobs = until_both_train(slurm, tmp_path / "out")
    slurm.run("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    slurm.run("scancel", jobs["node2"])
    until(lambda: slurm.states()["node1"] == "drained", 120)
    ended_well(process, root, tmp_path / "out")
    assert slurm.states()["node1"] == "drained"


def test_a_job_is_preempted_and_the_other_ones_node_is_lost(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    process = on_slurm(slurm, root, tmp_path / "out")
    jobs = until_both_train(slurm, tmp_path / "out")
    urgent = slurm.start("srun", "--partition=urgent", "--nodelist=node1", "--exclusive", "sleep", "3")
    until(lambda: jobs["node1"] not in running(slurm))
    slurm.lose("node2")
    assert urgent.wait(60) == 0
    until(lambda: slurm.states()["node2"].startswith("down"))
    slurm.add("node2")
    ended_well(process, root, tmp_path / "out")


def test_a_node_that_does_not_see_the_folder_is_named(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o700)
    slurm.hide("node2", folder)
    process = on_slurm(slurm, root, tmp_path / "out", f"folder={folder}")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2, said
    assert "node2" in said and str(folder) in said and "folder=" in said and "Traceback" not in said
    until(lambda: none_left(slurm), 20)
    slurm.lose("node2")  # with what it mounts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_submitting_process_is_ended_and_goes_on(slurm: Slurm, root: Path, tmp_path: Path, number: int) -> None:
    process = on_slurm(slurm, root, tmp_path / "out")
    until_both_train(slurm, tmp_path / "out")
    slurm.signal(process, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    until(lambda: none_left(slurm), 20)
    ended_well(on_slurm(slurm, root, tmp_path / "out", "--resume"), root, tmp_path / "out")


def test_the_submitting_process_is_killed_and_goes_on(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    """Jobs that it left are ended by the next one, or have ended by themselves: no cell is written by two."""
    process = on_slurm(slurm, root, tmp_path / "out")
    until_both_train(slurm, tmp_path / "out")
    slurm.signal(process, signal.SIGKILL)
    process.communicate(timeout=60)
    ended_well(on_slurm(slurm, root, tmp_path / "out", "--resume"), root, tmp_path / "out")
    assert none_left(slurm)
