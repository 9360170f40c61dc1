"""A training on two nodes of a SLURM is that of two processes on one machine, bit for bit, also where one is lost."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.cluster.slurm_here import Slurm, why_not
from tests.cluster.slurm_jobs import DEBRIDE, none_left, running, submit, until
from tests.datasets import build_folder

from debride.files import read_jsonl

pytestmark = [pytest.mark.system, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
EPOCHS = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and trainings by one process (``one``) and by two of this machine (``two``)."""
    root = tmp_path_factory.mktemp("training")
    build_folder(root / "data", n=18)
    for name, devices in (("one", 1), ("two", 2)):
        subprocess.run([*words_of(root, root / name), "--devices", str(devices)], check=True)
    return root


def words_of(root: Path, out: Path) -> list[str]:
    small = ["--image-size", 32, 32, "--network", "unet", "--width", 4, "--batch-size", 4, "--epochs", EPOCHS]
    words = [*DEBRIDE, "train", "ce", root / "data", "--out", out, "--cache", root / "cache", "--device", "cpu", *small]
    return [str(word) for word in words]


def on_two_nodes(root: Path, out: Path) -> str:
    """What a script does: it goes on where it is given again."""
    words = ["srun", "--kill-on-bad-exit=1", *words_of(root, out), "--nodes", "2", "--devices", "1"]
    return f"{shlex.join(words)} $([ -e {out}/run.json ] && echo --resume)"


TWO_NODES = ("--nodes=2", "--ntasks-per-node=1", "--mem=2000")


def losses(run: Path) -> list[float]:
    return [row["train"]["loss"] for row in read_jsonl(run / "metrics.jsonl")]


def same_weights(run: Path, other: Path) -> bool:
    files = sorted(file.name for file in (other / "weights").iterdir())
    assert f"epoch-{EPOCHS:04d}.safetensors" in files
    return all((run / "weights" / name).read_bytes() == (other / "weights" / name).read_bytes() for name in files)


def under_way(out: Path) -> bool:
    file = out / "metrics.jsonl"
    return file.exists() and 2 <= len(read_jsonl(file)) < EPOCHS


def test_two_nodes_are_two_processes_and_nearly_one(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, *TWO_NODES, command=on_two_nodes(root, tmp_path / "run"))
    until(lambda: none_left(slurm), 200)
    said = (tmp_path / job).read_text()
    assert same_weights(tmp_path / "run", root / "two"), said
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(root / "one"), rtol=2e-3)
    assert said.count(f"epoch {EPOCHS}/{EPOCHS}") == 1, "one process speaks"


@pytest.mark.parametrize("tasks", ["1", "2"])
def test_a_job_starts_processes_of_its_own(slurm: Slurm, root: Path, tmp_path: Path, tasks: str) -> None:
    """Whatever SLURM says of tasks: they are none of its step's."""
    words = [*words_of(root, tmp_path / "run"), "--devices", "2"]
    job = submit(slurm, tmp_path, f"--ntasks={tasks}", "--nodes=1", "--mem=4000", command=shlex.join(words))
    until(lambda: none_left(slurm), 200)
    assert same_weights(tmp_path / "run", root / "two"), (tmp_path / job).read_text()


def test_a_requeued_job_goes_on_by_itself(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    command = on_two_nodes(root, tmp_path / "run").split(" $(")[0]
    job = submit(slurm, tmp_path, *TWO_NODES, "--requeue", "--open-mode=append", command=command)
    until(lambda: under_way(tmp_path / "run"), 120)
    slurm.run("scontrol", "requeue", job)
    slurm.run("scontrol", "update", f"jobid={job}", "starttime=now", check=False)
    until(lambda: none_left(slurm), 300)
    said = (tmp_path / job).read_text()
    assert same_weights(tmp_path / "run", root / "two"), said
    assert "goes on" in said and len(losses(tmp_path / "run")) == EPOCHS


def test_a_preempted_job_and_one_whose_node_is_lost_go_on_when_given_again(slurm: Slurm, root: Path, tmp_path: Path) -> None:
    command, jobs = on_two_nodes(root, tmp_path / "run"), []
    jobs.append(submit(slurm, tmp_path, *TWO_NODES, "--exclusive", command=command))
    until(lambda: under_way(tmp_path / "run"), 120)
    before = len(losses(tmp_path / "run"))
    slurm.run("srun", "--partition=urgent", "--nodes=1", "--exclusive", "true")
    until(lambda: none_left(slurm))
    jobs.append(submit(slurm, tmp_path, *TWO_NODES, command=command))
    until(lambda: under_way(tmp_path / "run") and len(losses(tmp_path / "run")) > before, 120)
    slurm.lose("node2")
    until(lambda: not running(slurm))
    slurm.add("node2")
    slurm.wait_until_idle("node1", "node2")
    jobs.append(submit(slurm, tmp_path, *TWO_NODES, command=command))
    until(lambda: none_left(slurm), 200)
    said = "\n".join((tmp_path / job).read_text() for job in jobs)
    assert same_weights(tmp_path / "run", root / "two"), said
