"""What the environments of torchrun and SLURM say of a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from debride.started import Started, first_node, started, started_together
from debride.training.config import TrainConfig
from debride.training.launch import company_of, with_started
from debride.training.machines import goes_on, note_beginning
from debride.types import DataError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "GROUP_WORLD_SIZE": "2", "GROUP_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29501",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
BATCH = {
    "SLURM_JOB_ID": "71", "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_PROCID": "0", "SLURM_NODEID": "0",
    "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "gpu[3-4]",
}  # fmt: skip
TASK = {
    **BATCH, "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1",
    "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "gpu[3-4]",
}  # fmt: skip


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that nobody started."""
    for name in (*TORCHRUN, *TASK, "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, names: dict[str, str]) -> None:
    for name, value in names.items():
        monkeypatch.setenv(name, value)


def test_torchrun_and_srun_say_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started() is None
    given(monkeypatch, TASK)
    assert started() == Started(by="srun", nodes=2, devices=1, world=2, rank=1, node=1, local=0, host="gpu3", port=15000 + 2071)
    given(monkeypatch, TORCHRUN)  # torchrun within a task of srun: it is nearer
    assert started() == Started(
        by="torchrun", nodes=2, devices=4, world=8, rank=5, node=1, local=1, host="a", port=29501, agent=True
    )


def test_a_batch_script_and_a_single_task_start_processes_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, BATCH)
    assert started() is None
    assert company_of(TrainConfig(devices=2)) is None
    given(monkeypatch, {**TASK, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"})
    assert company_of(TrainConfig(devices=2)) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[3-5,9],cpu1", "gpu3"), ("a1,b[2-3]", "a1"), ("n[007]", "n007"), ("rack[1,4]n[02-04]", "rack1n02"), ("one", "one")],
)
def test_the_first_machine_of_a_list(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


def test_torchrun_gives_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TORCHRUN)
    config = with_started(TrainConfig(), ())
    assert (config.nodes, config.devices, config.processes) == (2, 4, 8)
    with pytest.raises(DataError, match=r"`devices`: is 2, and torchrun has started 8 processes on 2 machines, 4 on each"):
        with_started(TrainConfig(devices=2), {"devices"})
    with pytest.raises(DataError, match="`devices`: is 1"):
        with_started(TrainConfig(devices=1), {"devices"})


def test_tasks_of_srun_train_together_where_they_are_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TASK)
    assert with_started(TrainConfig(), ()).processes == 1, "each has a training of its own"
    assert started_together(False) is None
    together = with_started(TrainConfig(nodes=2), {"nodes"})
    assert together.processes == 2 and company_of(together) is not None and started_together(True) is not None
    with pytest.raises(DataError, match=r"`devices`: is 2, and srun has started 2 processes on 2 machines, 1 on each"):
        with_started(TrainConfig(devices=2), {"devices"})
    given(monkeypatch, {"SLURM_STEP_NUM_TASKS": "3"})
    with pytest.raises(DataError, match="not as many on each"):
        started()


def test_other_machines_need_someone_who_starts_processes_there() -> None:
    with pytest.raises(DataError, match=r"`nodes`: is 2, and nothing has started processes on other machines"):
        company_of(TrainConfig(nodes=2))


def test_only_the_job_that_began_a_training_goes_on_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, BATCH)
    note_beginning(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert not goes_on(tmp_path), "the job was not started again"
    given(monkeypatch, {"SLURM_RESTART_COUNT": "1"})
    assert goes_on(tmp_path)
    (tmp_path / "run.json").unlink()
    assert not goes_on(tmp_path), "there is nothing to go on with"
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.setenv("SLURM_JOB_ID", "72")
    assert not goes_on(tmp_path), "another job's training"


def test_torchrun_without_a_name_is_told_by_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, TORCHRUN)
    note_beginning(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert goes_on(tmp_path)
    monkeypatch.setattr(os, "getppid", lambda: -1)
    assert not goes_on(tmp_path)
