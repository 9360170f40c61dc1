"""The cluster that work goes to for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from debride.execute.cluster.cluster_options import Cluster
from debride.execute.cluster.session import Session
from debride.types import DataError

_IN_USE: ContextVar[Session | None] = ContextVar("cluster", default=None)


@contextmanager
def on_cluster(cluster: Cluster | None, out: Path) -> Iterator[None]:
    """While the block lasts ``spread`` has items done by jobs of the cluster; None changes nothing.

    Its folder of jobs is the one that the options name, or lies beside ``out``, to which results are written. It is made by the
    first work, removed at the end, but kept after an error. Jobs of an earlier process that used it are ended before the block
    begins. Raises DataError for a folder that is there and is none of ours.
    """
    if cluster is None:
        yield
        return
    session = Session(cluster, _folder_of_jobs(cluster.options.folder, out.resolve()))
    token = _IN_USE.set(session)
    failed = done = False
    try:
        session.settle()
        yield
        done = True
    except Exception:
        failed = True
        raise
    finally:
        _IN_USE.reset(token)
        session.close(failed, done)


@contextmanager
def off_cluster() -> Iterator[None]:
    """While the block lasts ``spread`` does items on this machine, also where a cluster is in use."""
    token = _IN_USE.set(None)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def _folder_of_jobs(named: str | None, out: Path) -> Path:
    if named is None:
        return out.with_name(f"{out.name}.jobs")
    folder = Path(named).expanduser().absolute()
    if folder.resolve().is_relative_to(out) or out.is_relative_to(folder.resolve()):
        problem = f"is to be the folder of jobs, and is not apart from {out}"
        raise DataError(folder, problem, "Name one beside it by `cluster_option` folder=FOLDER.")
    return folder


def cluster_in_use() -> Session | None:
    """The cluster that items are to be done by, if any."""
    return _IN_USE.get()
