"""The cluster that work goes to for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from debride.execute.cluster.cluster_options import Cluster


@dataclass(frozen=True)
class InUse:
    """A cluster, and the folder in which its jobs find what to do."""

    cluster: Cluster
    folder: Path


_IN_USE: ContextVar[InUse | None] = ContextVar("cluster", default=None)


@contextmanager
def on_cluster(cluster: Cluster | None, out: Path) -> Iterator[None]:
    """While the block lasts ``spread`` has items done by jobs of the cluster; None changes nothing.

    Its folder is the one that the options name, or lies beside ``out``, to which results are written.
    """
    if cluster is None:
        yield
        return
    named = cluster.options.folder
    folder = Path(named) if named else out.resolve().with_name(f"{out.resolve().name}.jobs")
    token = _IN_USE.set(InUse(cluster, folder))
    try:
        yield
    finally:
        _IN_USE.reset(token)


def cluster_in_use() -> InUse | None:
    """The cluster that items are to be done by, if any."""
    return _IN_USE.get()
