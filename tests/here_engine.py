"""A cluster for tests, whose jobs are processes of this machine: what supervises jobs cannot tell it from another.

def test_x(here: Here) -> None:         # the fixture of tests/conftest.py, which registers the cluster "here"
    with on_cluster(here.cluster(at_once=2), out):
        ...
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from debride.execute.cluster import Cluster, make_cluster, supervise
from debride.execute.cluster import session as sessions
from debride.execute.cluster.cluster_options import CLUSTERS, JobOptions
from debride.execute.cluster.engines import ENGINES
from debride.types import DataError


class HereEngine:
    """Starts processes. ``before`` may change or refuse a command; ``submitted`` are all commands, ``jobs`` all processes."""

    before: Callable[[int, list[str]], list[str]] = staticmethod(lambda number, command: command)
    made: list[HereEngine]

    def __init__(self, options: JobOptions, logs: Path) -> None:
        self.options, self.logs = options, logs
        self.submitted: list[list[str]] = []
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}
        self.cancelled: list[str] = []
        self.logs_of: dict[str, Path] = {}
        self.closed = False
        self.answers = True
        type(self).made.append(self)

    def submit(self, commands: Sequence[Sequence[str]]) -> list[str]:
        ids = []
        for command in commands:
            number = len(self.submitted)
            self.submitted.append(list(command))
            told = type(self).before(number, list(command))
            if not told:
                raise DataError("the cluster", "takes no job", "Ask for less.")
            with (self.logs / f"here-{number}.log").open("wb") as log:
                # a shell between the two, as a daemon of a cluster: the job does not end with the process that started it
                process = subprocess.Popen(
                    ["sh", "-c", '"$@"; exit $?', "sh", *told], stdout=log, stderr=log, start_new_session=True
                )
            self.jobs[str(process.pid)] = process
            self.logs_of[str(process.pid)] = Path(log.name)
            ids.append(str(process.pid))
        return ids

    def alive(self, ids: Collection[str]) -> set[str]:
        return {id for id in ids if not self.answers or self.runs(id)}

    def cancel(self, ids: Collection[str]) -> None:
        for id in ids:
            self.cancelled.append(id)
            self.end(id, signal.SIGTERM)

    def ended(self, id: str) -> str:
        code = self.jobs[id].poll()
        assert code is not None
        if id in self.cancelled or code in (143, -signal.SIGTERM):
            return "CANCELLED on node1"
        return "NODE_FAIL on node1" if code < 0 or code > 128 else "FAILED on node1" if code else "COMPLETED on node1"

    def log(self, id: str) -> Path | None:
        return self.logs_of.get(id)

    def close(self) -> None:
        self.closed = True

    def runs(self, id: str) -> bool:
        """Whether a job has not ended, also one of an earlier process."""
        if id in self.jobs:
            return self.jobs[id].poll() is None
        with suppress(ProcessLookupError):
            os.kill(int(id), 0)
            return True
        return False

    def end(self, id: str, number: signal.Signals) -> None:
        """Sends a signal to all processes of a job."""
        with suppress(ProcessLookupError):
            os.killpg(int(id), number)


class Here:
    """The cluster "here" of a test, and what it did."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.engines: list[HereEngine] = []
        patch.setattr(HereEngine, "made", self.engines, raising=False)
        patch.setattr(HereEngine, "before", staticmethod(lambda number, command: command))
        patch.setitem(CLUSTERS, "here", JobOptions)
        patch.setitem(ENGINES, "here", "tests.here_engine:HereEngine")
        patch.setattr(supervise, "POLL", (0.02, 0.1))
        patch.setattr(supervise, "ASK", (0.1, 0.1))
        patch.setattr(supervise, "GRACE", 0.2)
        patch.setattr(supervise, "PAUSE", 0.05)
        patch.setattr(supervise, "LONGEST_PAUSE", 0.2)
        patch.setattr(sessions, "PATIENCE", 5.0)
        self._patch = patch

    def cluster(self, options: Mapping[str, Any] | None = None, **more: Any) -> Cluster:
        made = make_cluster("here", {**(options or {}), **more})
        assert made
        return made

    def before(self, change: Callable[[int, list[str]], list[str]]) -> None:
        """Has the argument list of each job, by its number from 0, changed; an empty one is refused."""
        self._patch.setattr(HereEngine, "before", staticmethod(change))

    def end(self) -> None:
        for engine in self.engines:
            for id, process in engine.jobs.items():
                engine.end(id, signal.SIGKILL)
                process.wait()
