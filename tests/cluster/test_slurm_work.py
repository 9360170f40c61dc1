"""Work spread over jobs of a SLURM: where it is done, what is asked for, and what is said where that cannot be had."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.slurm_here import Slurm, why_not
from tests.cluster.slurm_jobs import none_left, submit, until

pytestmark = [pytest.mark.system, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
WORK = (sys.executable, "-m", "tests.cluster.slurm_work")


def results(said: str) -> list[Any]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_items_are_done_on_both_nodes_in_order(slurm: Slurm, tmp_path: Path) -> None:
    options = ["at_once=3", "memory=100", "cpus=2", "setup=export ASKED=yes"]
    told = results(slurm.run(*WORK, "slow", 9, tmp_path / "out", *options))
    assert [row["item"] for row in told] == list(range(9))
    assert {row["host"] for row in told} == {"node1", "node2"}
    assert 3 <= len({(row["host"], row["process"]) for row in told}) <= 6, "three jobs of up to two processes"
    variables = told[0]["environment"]
    assert variables["ASKED"] == "yes" and variables["OMP_NUM_THREADS"] == "1"
    assert "SLURM_JOB_ID" not in variables, "what a job does is no task of SLURM"
    assert not (tmp_path / "out.jobs").exists()


@pytest.mark.parametrize("by", ["srun", "sbatch"])
def test_a_job_submits_jobs(slurm: Slurm, tmp_path: Path, by: str) -> None:
    words = [str(word) for word in (*WORK, "slow", 3, tmp_path / "out", "per_job=1")]
    if by == "srun":
        said = slurm.run("srun", "--mem=1000", *words)
    else:
        job = submit(slurm, tmp_path, "--mem=1000", command=" ".join(words))
        until(lambda: none_left(slurm))
        said = (tmp_path / job).read_text()
    assert [row["item"] for row in results(said)] == [0, 1, 2], said


def test_more_memory_than_asked_for_ends_one_item_alone(slurm: Slurm, tmp_path: Path) -> None:
    said = slurm.run(*WORK, "hungry", 3, tmp_path / "out", "memory=1", "retries=0", "at_once=1")
    first, second, third = (json.loads(line) for line in said.splitlines())
    assert (first, third) == (0, 2)
    log = Path(second["error"].split("Look into ")[1].split(". Time")[0])
    assert log.is_relative_to(tmp_path / "out.jobs") and "exceeded memory limit" in log.read_text()
    assert (tmp_path / "out.jobs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("option", "said"), [("partition=nowhere", "invalid partition"), ("memory=1000", "configuration")])
def test_what_sbatch_refuses_is_said_in_its_words(slurm: Slurm, tmp_path: Path, option: str, said: str) -> None:
    answer = slurm.run(*WORK, "slow", 2, tmp_path / "out", option, check=False)
    assert said in answer and "takes no job" in answer
    assert none_left(slurm)
