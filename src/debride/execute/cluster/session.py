"""A cluster while it is in use: its folder of jobs and its engine, both there from the first work on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from debride.execute.cluster import job_folder
from debride.execute.cluster.cluster_options import Cluster
from debride.execute.cluster.engines import Engine, make_engine
from debride.files import append_jsonl
from debride.folders import LOCK, exclusive, removed_if_unused
from debride.stopping import PATIENCE
from debride.types import DataError

LEAVING = 60.0
"""Seconds that jobs of a process which was killed have to end before others begin."""


class Session:
    """What jobs are started with. ``keep`` says that the folder stays, for its logs."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        job_folder.refuse_foreign(folder)
        self.cluster, self.folder = cluster, folder
        self.keep = False
        self.token = ""
        self._engine: Engine | None = None
        self._left: set[str] = set()
        self._maps, self._any = 0, False
        self._lock = ExitStack()

    def settle(self) -> None:
        """Ends what is left of jobs of an earlier process, if there was one."""
        if self.folder.exists() and job_folder.earlier_ids(self.folder):
            self._begin()

    @property
    def engine(self) -> Engine:
        """The engine. At first the folder is made, and what is left of jobs of an earlier process is ended."""
        return self._engine or self._begin()

    def _begin(self) -> Engine:
        with removed_if_unused(self.folder), ExitStack() as lock:
            job_folder.make_folder(self.folder)
            lock.enter_context(exclusive(self.folder))
            engine = make_engine(self.cluster.name, self.cluster.options, self.folder / job_folder.LOGS)
            try:
                if earlier := job_folder.earlier_ids(self.folder):
                    engine.cancel(earlier)
                    _wait(engine, set(earlier), LEAVING)
                job_folder.empty(self.folder)
                self.token = job_folder.new_token(self.folder)
            except BaseException:
                engine.close()
                raise
            self._lock, self._engine = lock.pop_all(), engine
        return engine

    def new_map(self) -> Path:
        """A new folder for one work."""
        if self._engine is None:
            self._begin()
        self._maps += 1
        folder = self.folder / f"map-{self._maps:04}"
        folder.mkdir(mode=0o700)
        return folder

    def submit(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """Starts jobs, and notes their ids before anything else is done."""
        ids = self.engine.submit(commands)
        self._left.update(ids)
        self._any = True
        append_jsonl(self.folder / job_folder.SUBMITTED, ids)
        return ids

    def alive(self, watched: set[str]) -> set[str]:
        """Those jobs that wait or run. Others than those that are ``watched`` are forgotten when they have ended."""
        alive = self.engine.alive(self._left | watched) if self._left or watched else set()
        self._left &= alive | watched
        return alive

    def has_ended(self, id: str) -> None:
        """Notes that a job has ended."""
        self._left.discard(id)

    def cancel(self, ids: Sequence[str]) -> None:
        """Ends jobs, as far as they have not ended."""
        if ids := [id for id in ids if id in self._left]:
            with suppress(DataError):  # a cluster that is gone has no jobs
                self.engine.cancel(ids)

    def close(self, failed: bool, done: bool = False) -> None:
        """Ends what still runs, and removes the folder unless something failed, or a job does not end. Where all is ``done``
        such a job has nothing to do but to go."""
        if self._engine is None:
            return
        engine, left = self._engine, self._left
        try:
            with suppress(DataError):
                if left := _wait(engine, left, PATIENCE):
                    engine.cancel(left)
                    left = set() if done else _wait(engine, left, PATIENCE)
        finally:
            with suppress(OSError):
                (self.folder / job_folder.TOKEN).write_text("")  # a job that was not noted ends by itself
                if not left:
                    (self.folder / job_folder.SUBMITTED).write_text("")
            with suppress(DataError):
                engine.close()
            keep = bool(left) or self.keep or (failed and self._any)
            if not keep:
                job_folder.empty(self.folder)
            self._engine = None
            self._lock.close()
        if not keep:
            with suppress(OSError):  # a mount point, or another process has taken it
                (self.folder / LOCK).unlink(missing_ok=True)
                self.folder.rmdir()


def _wait(engine: Engine, ids: set[str], patience: float) -> set[str]:
    """Waits until jobs have ended, and returns those that have not by then."""
    end, pause = time.monotonic() + patience, 0.1
    while ids and (ids := engine.alive(ids)) and time.monotonic() < end:
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
    return ids
