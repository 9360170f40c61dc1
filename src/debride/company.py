"""The processes that torchrun or srun started for one training: one of them speaks, and all end where one fails."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from debride.started import Started
from debride.types import DataError

PATIENCE = timedelta(minutes=5)
"""How long processes wait for each other to be there."""

FOREVER = timedelta(days=365)
"""How long they wait for work that one of them does: if it fails, they are ended."""

SILENT = 600
"""Looks, half a second apart, after which a process that gave no sign of life is taken for lost."""

GRACE = 3.0
"""Seconds that a process has to end by itself after another one failed."""


class Company:
    """This process among those that were started with it. They know of each other by a store that the first one, or torchrun,
    keeps; a failure that one tells there ends the others, wherever they wait."""

    def __init__(self, found: Started) -> None:
        self.found, self.stderr = found, sys.stderr
        self._shared, self._failed, self._over = 0, False, threading.Event()
        store = self._connected(host=found.leads and not found.agent)
        with self._naming_first():
            self.restarts, self._word = self._met_by_first(store) if found.leads else self._met(store)
        self._hosted, self._store = store, self.store()
        threading.Thread(target=self._watch, args=(self.store(),), daemon=True).start()

    def store(self, name: str = "own") -> Any:
        """A new connection to what these processes alone keep under a name."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch does not list it

        return PrefixStore(f"debride/{self._word}/{name}", self._connected(host=False))

    def shared(self, value: str) -> str:
        """The value that the first process has; the others wait for it. All call this at the same places."""
        self._shared += 1
        name = f"shared/{self._shared}"
        if self.found.leads:
            self._store.set(name, value)
            return value
        self._store.wait([name], FOREVER)
        return str(self._store.get(name).decode())

    @contextmanager
    def first_here(self, what: str) -> Iterator[None]:
        """The block is done by one process on each machine, and then by the others there. Each block has its own name."""
        if self.found.local:
            self._store.wait([f"{what}/{self.found.node}"], FOREVER)
            yield
        else:
            yield
            self._store.set(f"{what}/{self.found.node}", "done")

    def after_all(self, what: str) -> None:
        """Waits until one process on each machine has come here. Each place has its own name."""
        self._store.set(f"{what}/{self.found.node}", "here")
        self._store.wait([f"{what}/{node}" for node in range(self.found.nodes)], FOREVER)

    def failed_first(self) -> bool:
        """Tells the others that this process failed; says whether it was the first of them, which is to say why."""
        self._failed = True
        try:
            return int(self._store.add("failed", 1)) == 1
        except RuntimeError:  # the first process, which kept the store, is gone: the second speaks for it
            return self.found.rank == 1

    @property
    def left(self) -> bool:
        """Whether this process has nothing to do with the others any more."""
        return self._over.is_set()

    def leave(self) -> None:
        """Ends what this process has with the others. They wait for the first one, which may have work left, and it waits until
        all have left where it keeps the store."""
        if self.left:
            return
        with suppress(RuntimeError):
            if not self.found.leads and not self._failed:
                self._store.wait(["ended"], FOREVER)
        self._over.set()
        with suppress(RuntimeError):
            if self.found.leads:
                self._store.set("ended", "")
            left = self._store.add("left", 1)
            end = time.monotonic() + 3 * GRACE
            while self.found.leads and left < self.found.world and time.monotonic() < end:
                time.sleep(0.05)
                left = self._store.add("left", 0)

    def _connected(self, host: bool) -> Any:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not list it

        with self._naming_first():
            return TCPStore(
                self.found.host, self.found.port, is_master=host, timeout=PATIENCE, wait_for_workers=False, multi_tenant=True
            )

    @contextmanager
    def _naming_first(self) -> Iterator[None]:
        """Turns the error of a store that is not there into DataError."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            place, reason = f"{self.found.host}:{self.found.port}", str(error).splitlines()[0]
            problem = f"does not answer at {place}, asked from {socket.gethostname()} ({reason})"
            remedy = "Set MASTER_ADDR and MASTER_PORT to an address and a free port that all machines reach."
            raise DataError("the first process of the training", problem, remedy) from None

    def _met_by_first(self, store: Any) -> tuple[int, str]:
        """Waits for the others. Returns how often torchrun has started one of them again, and a word that is theirs alone.

        The store of torchrun outlives processes, and what earlier ones left in it must not be taken for news. The number of
        restarts does not tell them apart: each machine counts its own failures, and none where others begin again.
        """
        own, restarts, answered = secrets.token_hex(8), _restarts(), set[str]()
        end = time.monotonic() + PATIENCE.total_seconds()
        while (here := store.add(f"debride/{own}/here", 0)) < self.found.world - 1:
            for rank in range(1, self.found.world):
                if not store.check([f"debride/{rank}"]):
                    continue
                word, count = store.get(f"debride/{rank}").decode().split()
                if word not in answered:
                    answered.add(word)
                    restarts = max(restarts, int(count))
                    store.set(f"debride/{word}", own)
            if time.monotonic() > end:
                problem = f"are not there: {self.found.world - 1 - here} of {self.found.world}"
                raise DataError("processes of the training", problem, "Look for what they said, and start all of them again.")
            time.sleep(0.05)
        return restarts, own

    def _met(self, store: Any) -> tuple[int, str]:
        own = secrets.token_hex(8)
        store.set(f"debride/{self.found.rank}", f"{own} {_restarts()}")
        store.wait([f"debride/{own}"], PATIENCE)
        word = store.get(f"debride/{own}").decode()
        store.add(f"debride/{word}/here", 1)
        return _restarts(), word

    def _watch(self, store: Any) -> None:
        """Ends this process soon after another one failed, also where it waits for that one. Each listens to the one before."""
        rank, before = self.found.rank, (self.found.rank - 1) % self.found.world
        last, silent = -1, 0
        while not self._over.wait(0.5):
            try:
                store.add(f"beats/{rank}", 1)
                beats = store.add(f"beats/{before}", 0)
                silent, last = (silent + 1 if beats == last else 0), beats
                if silent >= SILENT and store.add("failed", 1) == 1:
                    self._say_lost(before)
                failed = store.add("failed", 0)
            except RuntimeError:
                failed = 1
            if failed:
                if self._over.wait(GRACE):
                    return
                with suppress(RuntimeError):
                    store.add("left", 1)
                with suppress(OSError, ValueError):
                    sys.stdout.flush()
                os._exit(2)

    def _say_lost(self, rank: int) -> None:
        minutes = SILENT / 120
        problem = f"({rank} of {self.found.world}) gave no sign of life for {minutes:g} minutes"
        with suppress(OSError, ValueError):
            self.stderr.write(f"debride: a process of the training: {problem}. Go on with --resume.\n")
            self.stderr.flush()


def _restarts() -> int:
    """How often the torchrun of this machine has started its processes again after one of them failed."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0


_companies: list[Company] = []
"""Those that this process has joined, one after the other."""


@contextmanager
def together(found: Started | None) -> Iterator[None]:
    """While the block lasts this process is one of those that were ``found``; all but the first are silent. Where it is left by
    an error, the others end too. Does nothing where there are none, or within another such block."""
    if found is None or in_company():
        yield
        return
    company = Company(found)
    _companies.append(company)
    try:
        if found.leads:
            yield
        else:
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
    except BaseException:
        company.failed_first()
        raise
    finally:
        company.leave()


def in_company() -> Company | None:
    """The others that were started with this process for a training; None where it is alone, or starts others itself."""
    return _companies[-1] if _companies and not _companies[-1].left else None


def say_failure(said: str) -> None:
    """Says on standard error why the work ends, once for all processes of a company."""
    company = in_company()
    if company is None or company.failed_first():
        stderr = company.stderr if company else sys.stderr
        stderr.write(f"{said}\n")
        stderr.flush()
