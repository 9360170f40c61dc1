"""How a function of the package is called from Python, where no command line is around it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from debride.notes import take_notes
from debride.stopping import stoppable

P = ParamSpec("P")
R = TypeVar("R")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A function of ``debride`` itself: notes on files become warnings of the caller's line, and SIGTERM ends it as Ctrl-C
    does."""

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with stoppable():
                return function(*args, **kwargs)
        finally:
            for sentence in take_notes():
                warnings.warn(f"debride: {sentence}", stacklevel=2)

    told.__module__ = "debride"
    return told
