"""What starts jobs on machines of a cluster: one module for each kind, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from debride.types import DataError

GONE = "GONE"
"""The state of a job of which the cluster knows nothing any more."""


class Engine(Protocol):
    """Starts jobs, each an argument list, and says what became of them; made of the options and a folder for its logs.

    It never starts a job again by itself. What a cluster refuses is a DataError.
    """

    def __init__(self, options: Any, logs: Path) -> None: ...

    def submit(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """Starts a job for each command, and returns their ids in this order."""

    def alive(self, ids: Collection[str]) -> set[str]:
        """Those jobs that wait or run; all of them where the cluster does not answer."""

    def cancel(self, ids: Collection[str]) -> None:
        """Ends jobs; those that have ended, or that are unknown, are left alone."""

    def ended(self, id: str) -> str:
        """How a job ended: its state, and " on HOST" where that is known. The state is FAILED or COMPLETED where its process
        ended by itself, ``GONE`` where that is not known, and any other word, as NODE_FAIL, where something ended it."""

    def log(self, id: str) -> Path | None:
        """The file of what a job printed before it knew a log of its own, if there is one."""

    def close(self) -> None:
        """Lets go of the cluster."""


ENGINES = {
    "slurm": "debride.execute.cluster.slurm_engine:SlurmEngine",
    "ray": "debride.execute.cluster.ray_engine:RayEngine",
}
"""The engine of each kind of cluster, as module:name."""

PACKAGES = {"slurm": "submitit", "ray": "ray"}
"""The package that an engine needs, which an extra of the same name as the kind installs."""


def refuse_missing(name: str) -> None:
    """DataError where the package of a kind of cluster is not installed."""
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        problem = f"{name} needs the package {PACKAGES[name]}, which is not installed"
        raise DataError("`cluster`", problem, f"Run `pip install 'debride[{name}]'`.")


def make_engine(name: str, options: Any, logs: Path) -> Engine:
    """The engine of a kind of cluster."""
    module, _, cls = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), cls)(options, logs)
    return engine
