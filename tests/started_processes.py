"""Trainings by processes that torchrun starts, each group of them as one machine would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SMALL = (
    *("--batch-size", "4", "--network", "unet", "--width", "4", "--learning-rate", "0.05"),
    *("--device", "cpu", "--log-to", "none", "--image-size", "32", "32"),
)
"""Options of a training on images that ``build_folder`` makes."""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


def torchrun(words: Sequence[object], *, machines: int = 1, each: int = 2, restarts: int = 0) -> list[list[str]]:
    """The command lines of so many machines, all on this one, with ``each`` processes of ``debride`` and its ``words``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = (f"--nnodes={machines}", f"--nproc-per-node={each}", f"--max-restarts={restarts}", "--rdzv-backend=c10d")
    meeting = ("--rdzv-id=test", f"--rdzv-endpoint=127.0.0.1:{port}")
    begin = [sys.executable, "-m", "torch.distributed.run", *common, *meeting, "-m", "debride"]
    return [[*begin, *map(str, words)] for _ in range(machines)]


@contextmanager
def begun(
    commands: Sequence[Sequence[str]], environments: Sequence[dict[str, str]] = ()
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are killed with all that they have started where they are still there when the block ends."""
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = []
    try:
        for number, command in enumerate(commands):
            more = environments[number] if environments else {}
            environment = {**os.environ, **own, **more}
            processes.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
            )
        yield processes
    finally:
        for process in processes:
            lose(process)


def lose(process: subprocess.Popen[str]) -> None:
    """Ends a process and all that it has started, as a machine does that loses its power."""
    if process.poll() is None:
        for pid in (process.pid, *started_by(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def started_by(pid: int) -> list[int]:
    """The processes that a process has started, and that these have."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [each for child in children for each in (child, *started_by(child))]


def run_all(
    commands: Sequence[Sequence[str]], environments: Sequence[dict[str, str]] = (), seconds: float = 120
) -> list[Ended]:
    """Runs processes side by side to their ends."""
    with begun(commands, environments) as processes:
        said = [process.communicate(timeout=seconds) for process in processes]
    return [Ended(process.returncode, *both) for process, both in zip(processes, said, strict=True)]
