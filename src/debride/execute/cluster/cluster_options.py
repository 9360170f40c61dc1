"""What is asked of a cluster: by ``--cluster`` and ``--cluster-option NAME=VALUE``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from debride.execute.cluster.engines import refuse_missing
from debride.settings import from_mapping, setting
from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What is asked of any cluster."""

    folder: str | None = setting(None, "where jobs are told what to do; all machines must see it (default: OUT.jobs)")
    at_once: int = setting(16, "jobs that wait or run at once, at most", least=1)
    per_job: int | None = setting(None, "items of a job (default: one cell or training; cases are shared by the jobs)", least=1)
    cpus: int = setting(1, "cores of a job: threads of a cell or training, else processes of one thread each", least=1)
    gpus: int = setting(0, "GPUs of a job, which sees no others", least=0)
    retries: int = setting(10, "times that a job is submitted again after it ended without a new result or epoch", least=0)

    @property
    def has_gpus(self) -> bool:
        """Whether a job may use GPUs."""
        return self.gpus > 0


@dataclass(frozen=True, kw_only=True)
class SlurmOptions(JobOptions):
    """What is asked of SLURM for each job."""

    partition: str | None = setting(None, "the partition")
    account: str | None = setting(None, "the account that pays")
    qos: str | None = setting(None, "the quality of service")
    minutes: int = setting(240, "the longest that a job may run; what is left then goes on in another", least=1)
    memory: float | None = setting(None, "memory of a job in GB", least=0)
    constraint: str | None = setting(None, "features that a node must have")
    exclude: str | None = setting(None, "nodes that are not to be used")
    gres: str | None = setting(None, "generic resources, as gpu:a100:1")
    setup: str | None = setting(None, "a shell command before each job, as module load cuda")

    @property
    def has_gpus(self) -> bool:
        """Whether a job may use GPUs, which may be among the generic resources."""
        return self.gpus > 0 or self.gres is not None


@dataclass(frozen=True, kw_only=True)
class RayOptions(JobOptions):
    """What is asked of Ray."""

    address: str | None = setting(None, "the head node, as HOST:6379 (default: $RAY_ADDRESS)")
    memory: float | None = setting(None, "memory of a job in GB", least=0)


CLUSTERS: dict[str, type[JobOptions]] = {"slurm": SlurmOptions, "ray": RayOptions}
"""The options of each kind of cluster."""


@dataclass(frozen=True)
class Cluster:
    """A kind of cluster by its ``name`` in ``CLUSTERS``, and what is asked of it."""

    name: str
    options: JobOptions


def make_cluster(name: str | None, options: Mapping[str, Any] | None = None) -> Cluster | None:
    """The cluster of a name, with plain values of its options; None where none is named.

    Raises DataError for a name, an option or a value that does not exist, for options without a cluster, and for a package
    that is not installed.
    """
    if name is None:
        if options:
            raise DataError("`cluster_option`", "is given, and no cluster", "Name it by `cluster`, or leave it out.")
        return None
    if name not in CLUSTERS:
        raise DataError("`cluster`", f"is {name!r}", f"Known clusters: {', '.join(CLUSTERS)}.")
    refuse_missing(name)
    known = [field.name for field in fields(CLUSTERS[name])]
    if unknown := [option for option in options or {} if option not in known]:
        raise DataError("`cluster_option`", f"{unknown[0]!r} is none of {name}", f"Known: {', '.join(known)}.")
    return Cluster(name, from_mapping(CLUSTERS[name], dict(options or {}), "`cluster_option`"))
