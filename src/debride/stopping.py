"""How work ends that is told to stop: as by Ctrl-C, so that what is being written is removed and no process stays behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 10.0
"""Seconds that a process has to end by itself before it is killed."""


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP, whose ``number`` it is, in place of Ctrl-C."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stoppable() -> Iterator[None]:
    """While the block lasts the first SIGTERM or SIGHUP raises ``Stopped``; one that is ignored, as by nohup, stays so.

    Does nothing outside the main thread, which alone may say what a signal does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    ours = [number for number in ours if signal.getsignal(number) is signal.SIG_DFL]

    def stop(number: int, _: Any) -> None:
        for other in ours:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def ending_processes() -> Iterator[None]:
    """Where the block is left by Ctrl-C or ``Stopped``, ends the processes that were started in it by multiprocessing."""
    others = set(multiprocessing.active_children())
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        ours = [process for process in multiprocessing.active_children() if process not in others]
        for process in ours:
            process.terminate()
        end = time.monotonic() + PATIENCE
        for process in ours:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        raise


def end_with(parent: int) -> None:
    """Ends this process soon after the one that started it was killed: no training goes on unseen."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
