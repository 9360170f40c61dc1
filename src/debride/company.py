"""The processes that torchrun or srun started for one training: one of them speaks, and all end where one fails."""

from __future__ import annotations

import os
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
"""How long processes wait for the first one to be there."""

FOREVER = timedelta(days=365)
"""How long they wait for work that one of them does: if it fails, they are ended."""

GRACE = 3.0
"""Seconds that a process has to end by itself after another one failed."""


class Company:
    """This process among those that were started with it. They know of each other by a store that the first one, or torchrun,
    keeps; a failure that one tells there ends the others, wherever they wait."""

    def __init__(self, found: Started, number: int) -> None:
        self.found, self.stderr = found, sys.stderr
        self._prefix = f"debride/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '')}/{number}"
        self._store = self._connected(host=found.leads and not found.agent)
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(self._connected(host=False),), daemon=True).start()

    def shared(self, name: str, value: str) -> str:
        """The value that the first process has; the others wait for it."""
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
        try:
            return int(self._store.add("failed", 1)) == 1
        except RuntimeError:  # the first process, which kept the store, is gone: the second speaks for it
            return self.found.rank == 1

    @property
    def left(self) -> bool:
        """Whether this process has nothing to do with the others any more."""
        return self._over.is_set()

    def leave(self) -> None:
        """Ends what this process has with the others. The one that keeps the store waits until all have."""
        self._over.set()
        with suppress(RuntimeError):
            left = self._store.add("left", 1)
            end = time.monotonic() + 3 * GRACE
            while self.found.leads and left < self.found.world and time.monotonic() < end:
                time.sleep(0.05)
                left = self._store.add("left", 0)

    def _connected(self, host: bool) -> Any:
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # torch does not list them

        found = self.found
        try:
            store = TCPStore(
                found.host, found.port, is_master=host, timeout=PATIENCE, wait_for_workers=False, multi_tenant=True
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            problem = f"does not answer at {found.host}:{found.port}, asked from {socket.gethostname()} ({reason})"
            remedy = "Set MASTER_ADDR and MASTER_PORT to an address and a free port that all machines reach."
            raise DataError("the first process of the training", problem, remedy) from None
        return PrefixStore(self._prefix, store)

    def _watch(self, store: Any) -> None:
        """Ends this process soon after another one failed, also where it waits for that one."""
        while not self._over.wait(0.5):
            try:
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


_companies: list[Company] = []
"""Those that this process has joined, one after the other."""


@contextmanager
def together(found: Started | None) -> Iterator[None]:
    """While the block lasts this process is one of those that were ``found``; all but the first are silent. Where it is left by
    an error, the others end too. Does nothing where there are none, or within another such block."""
    if found is None or in_company():
        yield
        return
    company = Company(found, len(_companies))
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
