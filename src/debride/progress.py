"""Progress of long work: a bar on a terminal, plain lines elsewhere, nothing when it is quick."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from debride.escapes import beneath, one_line
from debride.words import duration

PLAIN_SECONDS = 10.0
"""Where there is no terminal, a line is printed at most this often."""


@contextmanager
def track(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number done so far. The bar and the lines go to standard error.

    ``total`` is None where it is not known beforehand.
    """
    if not sys.stderr.isatty():
        yield _plain(description, total)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(file=beneath(sys.stderr)), transient=True) as bar:
        task = bar.add_task(escape(one_line(description)), total=total)
        yield lambda done: bar.update(task, completed=done)


def _plain(description: str, total: int | None) -> Callable[[int], None]:
    begun = last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS:
            last = now
            of_all = "" if total is None else f"/{total}"
            if total and 0 < done < total:
                of_all += f", about {duration((now - begun) / done * (total - done))} left"
            sys.stderr.write(f"{one_line(description)}: {done}{of_all}\n")
            sys.stderr.flush()

    return show
