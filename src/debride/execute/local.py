"""Items done by processes of this machine, one thread each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from queue import SimpleQueue
from typing import Any

from debride.execute.cores import cores
from debride.execute.work import EndedWorkerError, Outcome, Work, ended_by, outcome_of, perform
from debride.execute.worker import READY
from debride.stopping import PATIENCE

ALONE = 1.0
"""Seconds that this process works alone: what is done by then starts no other."""

QUICK = 4
"""Items done in that time that are quick: this process may do more of them beside the others without taking much memory."""

AHEAD = 4096
"""Items that may be done before the one that is next in order; their results are kept so long."""

KILLED = "killed"
"""What is told of an item, beside an error, whose process was killed."""

_BEGIN = "import sys; sys.path[:] = sys.argv[3:]; from debride.execute.worker import main; main(sys.argv[1], int(sys.argv[2]))"
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")


def in_order(
    work: Work, items: Iterator[Any], jobs: int, name: Callable[[Any], str], threads: int | None
) -> Generator[Outcome]:
    """The outcomes of items in their order. Closing it ends the processes."""
    begun, do, alone = time.monotonic(), None, 0
    while jobs == 1 or time.monotonic() - begun < ALONE:
        for item in items:
            do = do or work.begin(json.loads(json.dumps(work.setup)))
            yield outcome_of(perform(do, item))
            alone += 1
            break
        else:
            return
    team = _Team(work, items, name, _shared(threads, jobs))
    try:
        team.start(jobs)
        while do and alone >= QUICK and not team.ready.is_set() and (taken := team.take(wait=False)):
            team.hear(taken[0], perform(do, taken[1]))
        do = None
        yield from team.outcomes()
    finally:
        team.end()


def as_they_end(
    work: Work, items: Iterator[Any], jobs: int, name: Callable[[Any], str], threads: int | None
) -> Generator[tuple[int, Outcome]]:
    """The outcomes of long items with their numbers, in the order in which they end. Closing it ends the processes."""
    if jobs == 1:
        yield from enumerate(in_order(work, items, 1, name, threads))
        return
    with closing(lines(work, items, jobs, name, _shared(threads, jobs))) as told:
        for number, line in told:
            yield number, outcome_of(line)


def lines(work: Work, items: Iterator[Any], jobs: int, name: Callable[[Any], str], threads: int) -> Generator[tuple[int, str]]:
    """What ``perform`` told of items, with their numbers, as they end, none of them done by this process."""
    team = _Team(work, items, name, threads)
    try:
        team.start(jobs)
        for number, line in team.told():
            yield number, line
            team.free()
    finally:
        team.end()


def _shared(threads: int | None, jobs: int) -> int:
    """The threads of each process: so many, or its share of the cores."""
    return max(1, cores() // jobs) if threads is None else threads


class _Team:
    """Processes that do items, each served by a thread of this process."""

    def __init__(self, work: Work, items: Iterator[Any], name: Callable[[Any], str], threads: int) -> None:
        self._work, self._items, self._name, self._threads = work, enumerate(items), name, threads
        self._told: SimpleQueue[tuple[int, str] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._lock = threading.Lock()
        self._ended = False
        self.ready = threading.Event()
        self._processes: set[subprocess.Popen[str]] = set()
        self._servers: list[threading.Thread] = []

    def start(self, jobs: int) -> None:
        """Starts so many processes, as far as there are items; ``ready`` is set when the first one works, or all are done."""
        self._servers = [threading.Thread(target=self._serve, daemon=True) for _ in range(jobs)]
        for server in self._servers:
            server.start()

    def take(self, wait: bool = True) -> tuple[int, Any] | None:
        """The next item with its number; None where there is none, or too many wait for their turn and this call does not."""
        if not self._room.acquire(blocking=wait):
            return None
        with self._lock:
            return None if self._ended else next(self._items, None)

    def hear(self, number: int, line: str) -> None:
        """Notes what became of an item that was taken."""
        self._told.put((number, line))

    def told(self) -> Iterator[tuple[int, str]]:
        """What became of the items, with their numbers, as they end."""
        serving = len(self._servers)
        while serving:
            told = self._told.get()
            if isinstance(told, BaseException):
                raise told
            if told is None:
                serving -= 1
            else:
                yield told

    def free(self) -> None:
        """Lets another item be taken: the outcome of one was given away."""
        self._room.release()

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes in order."""
        done: dict[int, str] = {}
        at = 0
        for number, line in self.told():
            done[number] = line
            while at in done:
                yield outcome_of(done.pop(at))
                self.free()
                at += 1

    def end(self) -> None:
        """Ends the processes, by force where they do not end by themselves."""
        with self._lock:
            self._ended = True
            processes = list(self._processes)
        for process in processes:
            process.terminate()
        end = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for server in self._servers:
            self._room.release()
            server.join()

    def _serve(self) -> None:
        """Gives items to a process of its own until there are none."""
        process = None
        try:
            while (taken := self.take()) is not None:
                at, item = taken
                process = process or self._start()
                if process is None:
                    break
                self.ready.set()
                line = _ask(process, item)
                if not line:
                    self._remove(process)
                    line = json.dumps({"error": _killed(self._name(item), process.returncode), KILLED: True})
                    process = None
                elif problem := ended_by(line):
                    raise problem
                self.hear(at, line)
        except BaseException as error:  # raised where the outcomes are asked for
            self._told.put(error)
        finally:
            self.ready.set()
            if process is not None:
                self._remove(process)
            self._told.put(None)

    def _start(self) -> subprocess.Popen[str] | None:
        """A process that is ready; None where the work has ended meanwhile."""
        threads = {f"{library}_NUM_THREADS": str(self._threads) for library in _THREADS}
        command = [sys.executable, "-c", _BEGIN, self._work.path, str(os.getpid()), *sys.path]
        with self._lock:
            if self._ended:
                return None
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="ascii",
                env={**os.environ, **threads, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(self._threads)},
            )
            self._processes.add(process)
        line = _ask(process, self._work.setup)
        if problem := ended_by(line):
            raise problem
        if not line:
            self._remove(process)
            remedy = "Use fewer `jobs` if there was not enough memory."
            raise EndedWorkerError("a process of the work", f"was ended {_by(process.returncode)} before it began", remedy)
        assert READY in json.loads(line), line
        return process

    def _remove(self, process: subprocess.Popen[str]) -> None:
        """Lets a process end that has nothing left to do, or is dead."""
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        process.stdout.close()
        with self._lock:
            self._processes.discard(process)


def _ask(process: subprocess.Popen[str], question: Any) -> str:
    """A process's answer; empty where it is dead."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    line = process.stdout.readline()
    return line if line.endswith("\n") else ""


def _killed(name: str, code: int) -> list[str]:
    """What is said of an item whose process is dead."""
    remedy = "Use fewer `jobs` if there was not enough memory; if it happens again, the file or a library is broken."
    return [name, f"could not be worked on: its process was ended {_by(code)}", remedy]


def _by(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
