"""Items done by jobs of a cluster: divided into shards, watched, and done by another job where one ended too soon."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debride.escapes import one_line
from debride.execute.cluster import job_folder
from debride.execute.cluster.division import divide
from debride.execute.cluster.engines import GONE
from debride.execute.cluster.session import Session
from debride.execute.cluster.shard import UNSEEN, command_of
from debride.execute.work import Outcome, Work, ended_by, outcome_of
from debride.folders import look_again
from debride.notes import tell
from debride.types import DataError
from debride.words import duration, short

POLL = (0.1, 1.0)
"""Seconds between looks for what jobs did: after news, and at most."""

ASK = (5.0, 30.0)
"""Seconds between questions to the cluster: at first, and after long work."""

GRACE = 5.0
"""Seconds after the end of a job in which what it did may still come over the network."""

PAUSE = 2.0
"""Seconds before a job is started again that did nothing twice; doubled each time, up to ``LONGEST_PAUSE``."""

LONGEST_PAUSE = 60.0

QUIET = 60.0
"""Seconds after which it is said that no job has begun."""

UNBEGUN = 2
"""Times that a job is started again whose process ended before it began."""

LONG = 600.0
"""Seconds after which a job has done something, if it was interrupted through no fault of its own: a training has epochs."""

_NO_FAULT = ("PREEMPTED", "CANCELLED", "NODE_FAIL", "BOOT_FAIL", "REVOKED")

_BY_ITSELF = ("FAILED", "COMPLETED", GONE)


def in_order(
    use: Session, work: Work, items: Iterable[Any], name: Callable[[Any], str], threads: int | None, each: bool
) -> Generator[Outcome]:
    """The outcomes of items in their order."""
    at = 0
    ahead: set[int] = set()
    with closing(_watched(use, work, items, name, threads, each)) as watched:
        for number, jobs in watched:
            ahead.add(number)
            while at in ahead:
                ahead.discard(at)
                yield jobs.outcome(at)
                at += 1


def as_they_end(
    use: Session, work: Work, items: Iterable[Any], name: Callable[[Any], str], threads: int | None, each: bool
) -> Generator[tuple[int, Outcome]]:
    """The outcomes of items with their numbers, in the order in which they end."""
    with closing(_watched(use, work, items, name, threads, each)) as watched:
        for number, jobs in watched:
            yield number, jobs.outcome(number)


def _watched(
    use: Session, work: Work, items: Iterable[Any], name: Callable[[Any], str], threads: int | None, each: bool
) -> Generator[tuple[int, _Jobs]]:
    """The numbers of items as they are done. Closing it ends the jobs."""
    iterator = iter(items)
    first = next(iterator, _NONE)
    if first is _NONE:
        return
    folder = use.new_map()
    options = use.cluster.options
    threads, processes = (threads, max(1, options.cpus // threads)) if threads else (options.cpus, 1)
    how = {"cwd": str(Path.cwd()), "threads": threads, "processes": processes}
    with job_folder.private(folder / job_folder.WORK, "x") as file:
        json.dump({"path": work.path, "setup": work.setup, **how}, file)
    per_job = options.per_job or (1 if each else None)
    shards = divide(folder, first, iterator, per_job, options.at_once)
    jobs = _Jobs(use, folder, shards, name, threads)
    try:
        for number in jobs.done():
            yield number, jobs
    except BaseException:
        jobs.cancel()
        raise
    job_folder.remove(folder)


_NONE: Any = object()


@dataclass
class _Job:
    """A job of a shard: its number, its id, where its done file is read on, and when it was seen to have ended."""

    attempt: int
    id: str
    path: Path
    read: int = 0
    news: bool = False
    ended: float | None = None


@dataclass
class _Shard:
    """Some items, and the jobs that did or do them. ``fruitless`` and ``unbegun`` count the last of them that did nothing."""

    number: int
    items: range
    jobs: list[_Job] = field(default_factory=list)
    left: int = 0
    fruitless: int = 0
    unbegun: int = 0
    due: float = 0.0
    ends: list[str] = field(default_factory=list)


class _Jobs:
    """The jobs of one work."""

    def __init__(self, use: Session, folder: Path, shards: list[range], name: Callable[[Any], str], threads: int) -> None:
        self._use, self._folder, self._name, self._threads = use, folder, name, threads
        self._waiting = deque(_Shard(number, items, left=len(items)) for number, items in enumerate(shards))
        self._again: list[_Shard] = []
        self._running: dict[int, _Shard] = {}
        self._done = bytearray(sum(len(items) for items in shards))
        self._where: dict[int, tuple[Path, int]] = {}
        self._begun = time.monotonic()
        self._ask_at = self._begun + ASK[0]
        self._submit_at = 0.0
        self._submitted, self._refused = False, 0
        self._given_up: list[int] = []
        self._told = False

    def done(self) -> Iterator[int]:
        """The numbers of the items as they are done."""
        pause = POLL[0]
        while self._waiting or self._again or self._running:
            self._submit()
            news = False
            for shard in list(self._running.values()):
                for number in self._read(shard):
                    news = True
                    yield number
            self._look()
            while self._given_up:
                news = True
                yield self._given_up.pop()
            pause = POLL[0] if news else min(2 * pause, POLL[1])
            if self._running or self._again:
                time.sleep(pause)

    def outcome(self, number: int) -> Outcome:
        """What became of an item that is done; asked once for each."""
        path, begin = self._where.pop(number)
        for _, _, told in job_folder.read_done(path, begin):
            return outcome_of(told["line"])
        raise DataError(path, "was changed", "Leave the folder of jobs alone while they run.")

    def cancel(self) -> None:
        """Ends all jobs."""
        self._use.cancel([job.id for shard in self._running.values() for job in shard.jobs])

    def _submit(self) -> None:
        """Starts jobs for shards that have none, as many as may wait or run at once."""
        now = time.monotonic()
        free = self._use.cluster.options.at_once - len(self._running)
        if now < self._submit_at or free <= 0:
            return
        due = [shard for shard in self._again if shard.due <= now][:free]
        self._again = [shard for shard in self._again if shard not in due]
        while self._waiting and len(due) < free:
            due.append(self._waiting.popleft())
        if not due:
            return
        attempts = [shard.jobs[-1].attempt + 1 if shard.jobs else 1 for shard in due]
        pairs = list(zip(due, attempts, strict=True))
        how = self._use.token, self._threads, self._use.cluster.options.has_gpus
        commands = [command_of(self._folder, shard.number, attempt, *how) for shard, attempt in pairs]
        try:
            ids = self._use.submit(commands)
        except DataError as error:
            self._again += due
            self._wait_to_submit(error)
            return
        self._submitted, self._refused = True, 0
        for (shard, attempt), id in zip(pairs, ids, strict=True):
            shard.jobs.append(_Job(attempt, id, self._folder / job_folder.done_file(shard.number, attempt)))
            self._running[shard.number] = shard

    def _wait_to_submit(self, error: DataError) -> None:
        """Raises the error of the first jobs; later ones are tried again after a while."""
        if not self._submitted or self._refused >= self._use.cluster.options.retries:
            raise error
        self._refused += 1
        self._submit_at = time.monotonic() + LONGEST_PAUSE / 2
        tell(f"{error.where}: {error.problem}. It is tried again.")

    def _read(self, shard: _Shard) -> Iterator[int]:
        """What jobs of a shard have done since, also those that seemed to have ended."""
        for job in shard.jobs:
            for begin, end, told in job_folder.read_done(job.path, job.read):
                job.read = end
                if "number" not in told:
                    if error := ended_by(json.dumps(told)):
                        raise error
                    job.news = True  # its item has come further
                    continue
                number = told["number"]
                if not self._done[number]:
                    self._done[number] = 1
                    self._where[number] = job.path, begin
                    shard.left -= 1
                    job.news = True
                    yield number
        if not shard.left:
            self._running.pop(shard.number, None)
            self._use.cancel([job.id for job in shard.jobs if not job.news and job.ended is None])  # one before it has done all

    def _look(self) -> None:
        """Asks the cluster which jobs have ended, and sees to those that ended too soon."""
        now = time.monotonic()
        if not self._told and now - self._begun > QUIET:
            self._told = True
            if not job_folder.any_begun(self._folder):
                tell(f"jobs of {self._use.cluster.name} have waited for {duration(QUIET)}, and none has begun.")
        if now >= self._ask_at:
            self._ask_at = now + min(max(ASK[0], (now - self._begun) / 20), ASK[1])
            look_again(self._folder)
            ids = {shard.jobs[-1].id for shard in self._running.values()}
            alive = self._use.alive(ids)
            for shard in self._running.values():
                job = shard.jobs[-1]
                job.ended = None if job.id in alive else job.ended or now
        for shard in list(self._running.values()):
            job = shard.jobs[-1]
            if job.ended is not None and now - job.ended >= GRACE:
                self._ended_too_soon(shard, job)

    def _ended_too_soon(self, shard: _Shard, job: _Job) -> None:
        """Has a shard done by another job, unless too many ended without a result."""
        end = self._use.engine.ended(job.id)
        self._use.cancel([job.id])  # what the cluster has lost may still run
        self._use.has_ended(job.id)
        shard.ends.append(end)
        begun = job_folder.begun_at(self._folder, shard.number, job.attempt)
        if begun is not None:
            shard.unbegun = 0
        elif end.startswith(_BY_ITSELF):
            shard.unbegun += 1
            if not end.startswith(GONE) or shard.unbegun > UNBEGUN:
                self._refuse_blind(job_folder.printed(self._use.engine.log(job.id)), end)
        if job.news:
            shard.fruitless = 0
        elif begun is None or time.time() - begun < LONG or not end.startswith(_NO_FAULT):
            shard.fruitless += 1
        any_begun = job_folder.any_begun(self._folder)
        if shard.fruitless > self._use.cluster.options.retries or (shard.unbegun > UNBEGUN and not any_begun):
            self._give_up(shard, any_begun)
        del self._running[shard.number]
        if shard.left:
            pause = min(PAUSE * 2 ** max(0, shard.fruitless - 2), LONGEST_PAUSE) if shard.fruitless > 1 else 0.0
            shard.due = time.monotonic() + pause
            self._again.append(shard)

    def _refuse_blind(self, printed: str, end: str) -> None:
        """DataError where the machine of a job that did not begin does not see the folder of jobs: it says so, or cannot write
        a word into its log there."""
        unseen = [line for line in printed.splitlines() if line.startswith(UNSEEN)]
        if unseen or not printed.strip():
            host = unseen[0].removeprefix(UNSEEN).split(" ")[0] if unseen else end.partition(" on ")[2].partition(" ")[0]
            problem = f"is not seen by the machine {host}" if host else "is not seen by a machine of the cluster"
            remedy = (
                "Name a folder that all machines share by `cluster_option` folder=FOLDER. "
                "Data, cache and results must lie on such a file system too."
            )
            raise DataError(self._use.folder, problem, remedy)

    def _give_up(self, shard: _Shard, any_begun: bool) -> None:
        """Ends the first item of a shard that is not done with an error. Raises it where no job ever began."""
        last = shard.jobs[-1]
        log = job_folder.log_of(self._folder, shard.number, last.attempt)
        if not job_folder.printed(log).strip():  # what ended it is then said in what the cluster keeps
            log = self._use.engine.log(last.id) or log.parent
        lines = [line.strip() for line in job_folder.printed(log).split("\n")]
        telling = [line for line in lines if line and not line.startswith("srun: ")]  # which says that its task failed
        said = f" ({short(one_line(telling[-1]), 200)})" if telling else ""
        many = f"{len(shard.ends)} jobs" if len(shard.ends) > 1 else "its job"
        remedy = f"Look into {log}. Time, memory and more are asked for by `cluster_option`."
        self._use.keep = True
        if not any_begun:
            problem = f"does not begin the work: {many} ended before, the last with {shard.ends[-1]}{said}"
            raise DataError(f"`cluster` {self._use.cluster.name}", problem, remedy)
        number = next(number for number in shard.items if not self._done[number])
        with (self._folder / job_folder.items_file(shard.number)).open(encoding="utf-8") as items:
            item = next(item for told, item in map(json.loads, items) if told == number)
        problem = f"could not be worked on: {many} ended too soon, the last with {shard.ends[-1]}{said}"
        error = DataError(self._name(item), problem, remedy)
        path = self._folder / job_folder.done_file(shard.number, 0)
        line = json.dumps({"error": [error.where, error.problem, error.remedy]})
        with job_folder.private(path, "a") as file:
            self._where[number] = path, file.tell()
            file.write(json.dumps({"number": number, "line": line}) + "\n")
        self._done[number] = 1
        self._given_up.append(number)
        shard.left -= 1
        shard.fruitless = shard.unbegun = 0
        shard.ends.clear()
