"""Items done by others than this process alone: by processes of this machine, or by jobs of the cluster that is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from debride.execute import local
from debride.execute.cluster import supervise
from debride.execute.cluster.in_use import cluster_in_use
from debride.execute.cluster.session import Session
from debride.execute.work import Outcome, Work


@contextmanager
def spread(
    work: Work,
    items: Iterable[Any],
    *,
    jobs: int = 1,
    name: Callable[[Any], str] = str,
    threads: int | None = 1,
    each: bool = False,
) -> Iterator[Iterator[Outcome]]:
    """The outcomes of items in their order, done by up to ``jobs`` processes of ``threads`` threads each.

    With one job, and while the work lasts no longer than ``local.ALONE``, this process does it, and with items that are quickly
    done it goes on until others are there. An item whose process was killed ends with a DataError that calls it by ``name``;
    the others go on. Leaving the block ends the processes. A DataError of ``work.begin``, a MemoryError and a mistake of ours
    are raised here whatever process they happen in.

    While a cluster is in use its jobs do the items, as many at once as its options say, and ``each`` says that an item is long
    enough for a job of its own. An item is done again where its job was ended. Without a number of ``threads`` a process has
    its share of the cores, and a job all of its cores; with one a job has as many processes as its cores allow.
    """
    use = _cluster_for(work)
    if use is None:
        outcomes = local.in_order(work, iter(items), jobs, name, threads)
    else:
        outcomes = supervise.in_order(use, work, items, name, threads, each)
    with closing(outcomes):
        yield outcomes


@contextmanager
def scatter(
    work: Work,
    items: Iterable[Any],
    *,
    jobs: int = 1,
    name: Callable[[Any], str] = str,
    threads: int | None = None,
    each: bool = True,
) -> Iterator[Iterator[tuple[int, Outcome]]]:
    """The outcomes of long items in the order in which they end, each with its number from 0; all else as ``spread``."""
    use = _cluster_for(work)
    if use is None:
        outcomes = local.as_they_end(work, iter(items), jobs, name, threads)
    else:
        outcomes = supervise.as_they_end(use, work, items, name, threads, each)
    with closing(outcomes):
        yield outcomes


def _cluster_for(work: Work) -> Session | None:
    """The cluster in use, if other machines can find what is done by its name."""
    return cluster_in_use() if "<" not in work.path and not work.path.startswith("__main__:") else None
