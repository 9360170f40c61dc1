"""Jobs of SLURM, submitted by submitit.

It takes ``sbatch``, ``srun``, ``squeue`` and ``scancel``; accounting and ``scontrol`` are not needed. submitit pickles the
argument list of a job between its own processes, in the folder of jobs.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from debride.execute.cluster.cluster_options import SlurmOptions
from debride.execute.cluster.engines import GONE
from debride.execute.cluster.job_folder import printed
from debride.notes import tell
from debride.types import DataError

ARRAY = 500
"""Jobs of an array, at most: many a SLURM takes no more than 1000."""

ANSWER = 60.0
"""Seconds that SLURM has to answer."""

_ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)
_SAID = re.compile(r"^slurmstepd.*?error: (.*)$", re.MULTILINE)
_KEPT = re.compile("SLURM_CONF$|SBATCH_")
"""What a user says to sbatch, in a job too."""


class SlurmEngine:
    """Jobs of the SLURM whose commands are on the path."""

    def __init__(self, options: SlurmOptions, logs: Path) -> None:
        if missing := [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]:
            remedy = "Start this on a machine from which jobs are submitted, as the login node."
            raise DataError("`cluster` slurm", f"finds no command {missing[0]}", remedy)
        if "%" in str(logs):
            raise DataError(logs.parent, "has a % in its name, which SLURM replaces", "Choose a folder without one.")
        from submitit import SlurmExecutor

        logging.getLogger("submitit").setLevel(logging.CRITICAL)
        self._logs, self._states, self._silent = logs, dict[str, str](), False
        # without -P Python would import from the folder that the job begins in, which others may write to
        self._executor = SlurmExecutor(logs, python=f"{shlex.quote(sys.executable)} -P")
        self._executor.update_parameters(**_parameters(options))

    def submit(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """Starts a job for each command, many as one array."""
        from submitit.core.utils import CommandFunction, FailedJobError, FailedSubmissionError

        ids: list[str] = []
        try:
            for begin in range(0, len(commands), ARRAY):
                functions = [CommandFunction(list(command)) for command in commands[begin : begin + ARRAY]]
                with _outside_of_a_job(), redirect_stderr(StringIO()):  # what sbatch says is among the error
                    ids += [job.job_id for job in self._executor.submit_array(functions)]
        except (FailedJobError, FailedSubmissionError) as error:
            self.cancel(ids)
            lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in str(error).splitlines()]
            said = "; ".join(line.strip() for line in lines if line.strip()) or "sbatch failed"
            raise DataError("SLURM", f"takes no job ({said})", "Change what is asked of it by `cluster_option`.") from None
        return ids

    def alive(self, ids: Collection[str]) -> set[str]:
        """Those jobs that SLURM has in its queue; all of them where it does not answer."""
        numbers = sorted({number for id in ids if (number := id.split("_")[0]).isdecimal()}, key=int)
        states: dict[str, str] = {}
        for begin in range(0, len(numbers), ARRAY):
            jobs = f"--jobs={','.join(numbers[begin : begin + ARRAY])}"
            told = _ask("squeue", "--noheader", "--array", "--states=all", jobs, "--format=%i|%T|%N")
            if told is None:
                self._say_silent()
                return set(ids)
            for line in told.splitlines():
                id, state, nodes = [*line.strip().split("|"), "", ""][:3]
                states[id] = f"{state} on {nodes}" if nodes else state
        self._silent = False
        self._states.update(states)
        return {id for id in ids if id in states and states[id].split(" ")[0] not in _ENDED}

    def _say_silent(self) -> None:
        if not self._silent:
            self._silent = True
            tell("SLURM does not answer: `squeue` fails. It is asked again until it does.")

    def cancel(self, ids: Collection[str]) -> None:
        """Ends jobs, and pays no heed to those that have ended."""
        many = sorted(ids)
        for begin in range(0, len(many), ARRAY):
            _ask("scancel", "--quiet", *many[begin : begin + ARRAY])

    def ended(self, id: str) -> str:
        """The last state of a job that squeue told, its node, and what that said of it."""
        state, _, place = self._states.get(id, GONE).partition(" ")
        reason = _SAID.findall(printed(self.log(id)))[-1:]
        return " ".join(
            [state if state in _ENDED else GONE, *filter(None, [place]), *(f"({said.strip(' *')})" for said in reason)]
        )

    def log(self, id: str) -> Path | None:
        """What submitit printed of a job."""
        path = self._logs / f"{id}_0_log.err"
        return path if path.exists() else None

    def close(self) -> None:
        """Nothing is held."""


def _parameters(options: SlurmOptions) -> dict[str, Any]:
    """What submitit is told.

    SLURM is not to start a job again. At the end of its time it sends SIGTERM, and some seconds later SIGKILL; the signal that
    submitit has it send before, to do the same by ``scontrol``, is one that does nothing.
    """
    asked = {
        "job_name": "debride",
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "time": options.minutes,
        "mem": None if options.memory is None else f"{round(options.memory * 1024)}MB",
        "constraint": options.constraint,
        "exclude": options.exclude,
        "gres": options.gres,
        "setup": None if options.setup is None else [options.setup],
        "gpus_per_node": options.gpus or None,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": options.cpus,
        "array_parallelism": options.at_once,
        "srun_args": [f"--cpus-per-task={options.cpus}"],
    }
    more = {"no-requeue": True, "signal": "CONT@1"}
    return {**{name: value for name, value in asked.items() if value is not None}, "wckey": None, "additional_parameters": more}


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """While the block lasts the environment has nothing of a job that this process is part of."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    from submitit.helpers import clean_env

    kept = {name: value for name, value in os.environ.items() if _KEPT.match(name)}
    with clean_env():
        os.environ.update(kept)
        yield


def _ask(*command: str) -> str | None:
    """What a command of SLURM prints; None where SLURM does not answer."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}  # filters of the user's
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return done.stdout
