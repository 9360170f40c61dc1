"""What ``torchrun`` and SLURM say of this process: which of how many it is, and whether it was started again."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from typing import Literal

from debride.types import DataError


@dataclass(frozen=True)
class Started:
    """A process that was started beside others for one work: ``rank`` of ``world``, and ``local`` on the machine ``node``.

    ``nodes`` machines have ``devices`` processes each. The first process is reached at ``host``:``port``; with ``agent`` it is
    torchrun that answers there.
    """

    by: Literal["torchrun", "srun"]
    nodes: int
    devices: int
    world: int
    rank: int
    node: int
    local: int
    host: str
    port: int
    agent: bool = False

    @property
    def leads(self) -> bool:
        """Whether it is the process that writes and speaks."""
        return self.rank == 0


def started() -> Started | None:
    """How torchrun or srun started this process, with others; None where it was started alone. DataError for machines with
    different numbers of processes."""
    found = _torchrun() if "TORCHELASTIC_RUN_ID" in os.environ else _srun()
    if found is None or found.world == 1:
        return None
    if found.world != found.nodes * found.devices:
        problem = f"has started {found.world} processes on {found.nodes} machines, not as many on each"
        raise DataError(found.by, problem, "Start the same number on every machine.")
    return found


def started_together(numbers_given: bool) -> Started | None:
    """The processes that train together, as far as it can be told before settings are read: those of torchrun, and tasks of
    srun where the training was given numbers of processes. Other tasks may have a training each."""
    found = started()
    return found if found and (found.by == "torchrun" or numbers_given) else None


def _torchrun() -> Started:
    return Started(
        by="torchrun",
        nodes=_number("GROUP_WORLD_SIZE", 1),
        devices=_number("LOCAL_WORLD_SIZE", 1),
        world=_number("WORLD_SIZE", 1),
        rank=_number("RANK", 0),
        node=_number("GROUP_RANK", 0),
        local=_number("LOCAL_RANK", 0),
        host=os.environ.get("MASTER_ADDR", "127.0.0.1"),
        port=_number("MASTER_PORT", 29500),
        agent=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _srun() -> Started | None:
    """A task of a step. A batch script and a shell of ``salloc`` have the numbers of a job, and no step of several tasks."""
    if "SLURM_STEP_NUM_TASKS" not in os.environ or "SLURM_PROCID" not in os.environ:
        return None
    nodes, world = _number("SLURM_STEP_NUM_NODES", 1), _number("SLURM_STEP_NUM_TASKS", 1)
    step = _number("SLURM_JOB_ID", 0) + 1000 * _number("SLURM_STEP_ID", 0)
    return Started(
        by="srun",
        nodes=nodes,
        devices=max(world // nodes, 1),
        world=world,
        rank=_number("SLURM_PROCID", 0),
        node=_number("SLURM_NODEID", 0),
        local=_number("SLURM_LOCALID", 0),
        host=os.environ.get("MASTER_ADDR") or first_node(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")),
        port=_number("MASTER_PORT", 15000 + step % 10000),  # the same in all tasks, another in another job or step
    )


def first_node(nodes: str) -> str:
    """The first machine of a list as SLURM writes it: "gpu3" of "gpu[3-5,9],cpu1"."""
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", re.split(r",(?![^\[]*\])", nodes)[0])


def _number(name: str, otherwise: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else otherwise


def beginnings() -> dict[str, str]:
    """What starts this process again if it is cut off, by name: the same in every start of one torchrun or one job."""
    found = {}
    if "TORCHELASTIC_RUN_ID" in os.environ:
        run = os.environ["TORCHELASTIC_RUN_ID"]
        found["torchrun"] = run if run not in ("", "none") else f"{socket.gethostname()}:{os.getppid()}"
    if job := os.environ.get("SLURM_JOB_ID"):
        found["SLURM"] = f"{os.environ.get('SLURM_CLUSTER_NAME', '')}:{job}"
    return found


def begun_again() -> dict[str, str]:
    """Those of ``beginnings`` that have started this process again."""
    counts = {"torchrun": "TORCHELASTIC_RESTART_COUNT", "SLURM": "SLURM_RESTART_COUNT"}
    return {name: key for name, key in beginnings().items() if _number(counts[name], 0)}
