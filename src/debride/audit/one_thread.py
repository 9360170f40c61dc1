"""Sums that are the same on every machine: how a library adds numbers depends on its number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets the libraries of this process compute with one thread for as long as the block lasts."""
    import sklearn.isotonic
    import sklearn.linear_model  # noqa: F401, what is loaded later is not limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
