"""What tests do on the SLURM of this machine: debride there, jobs and their states, waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.slurm_here import Slurm

DEBRIDE = (sys.executable, "-m", "debride")


def until(holds: Callable[[], Any], limit: float = 60) -> None:
    """Waits until something holds, at most ``limit`` seconds."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, holds
        time.sleep(0.1)


def submit(slurm: Slurm, folder: Path, *words: object, command: str = "sleep 100") -> str:
    """The id of a job that does a command of the shell; what it says is ``folder/ID`` or ``folder/ID_TASK``."""
    output = "%A_%a" if any(str(word).startswith("--array") for word in words) else "%j"
    return slurm.run("sbatch", "--parsable", f"--output={folder}/{output}", *words, f"--wrap={command}").strip()


def state(slurm: Slurm, job: str) -> str:
    """RUNNING, PENDING, ... of a job; empty when SLURM has forgotten it."""
    return slurm.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T", check=False).strip()


def running(slurm: Slurm) -> dict[str, str]:
    """The node of each job that runs, by the job's id."""
    lines = slurm.run("squeue", "--noheader", "--states=RUNNING", "--format=%i %N").splitlines()
    return dict(line.split() for line in lines if len(line.split()) == 2)


def none_left(slurm: Slurm) -> bool:
    """Whether no job waits or runs."""
    return not slurm.run("squeue", "--noheader").strip()
