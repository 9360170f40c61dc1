"""Progress of long work: a bar on a terminal or in a notebook, plain lines elsewhere, nothing when it is quick."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from debride.escapes import beneath, one_line
from debride.words import duration

PLAIN_SECONDS = 10.0
"""Where there is no terminal, a line is printed at most this often."""

NOTEBOOK_SECONDS = 0.5
"""A notebook's bar is drawn at most this often."""


@contextmanager
def track(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number done so far. The bar and the lines go to standard error.

    ``total`` is None where it is not known beforehand.
    """
    if in_notebook():
        with _bar(description, total) as show:
            yield show
        return
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


def in_notebook() -> bool:
    """Whether this process is a kernel that a notebook shows the output of."""
    kernel = sys.modules.get("IPython")
    shell = kernel.get_ipython() if kernel else None
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A line of a notebook that is written anew, and is gone at the end."""
    from IPython.display import HTML, display

    begun = last = time.monotonic()
    handle: Any = None

    def show(done: int) -> None:
        nonlocal handle, last
        now = time.monotonic()
        if now - last < NOTEBOOK_SECONDS:
            return
        last = now
        page = HTML(_line(description, done, total, now - begun))
        if handle is None:
            handle = display(page, display_id=True)
        else:
            handle.update(page)

    try:
        yield show
    finally:
        if handle is not None:
            handle.update(HTML(""))


def _line(description: str, done: int, total: int | None, seconds: float) -> str:
    """A bar as HTML, with how much is done and how long the rest will take."""
    words = f"{html.escape(one_line(description))}: {done}"
    if not total:
        return words
    left = f", about {duration(seconds / done * (total - done))} left" if 0 < done < total else ""
    return f'{words}/{total}{left} <progress value="{done}" max="{total}"></progress>'


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
