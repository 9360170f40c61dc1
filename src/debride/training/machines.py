"""What processes on several machines must have in common: the folder of the run, the settings and the data."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from lightning_fabric import Fabric

from debride.company import Company, in_company
from debride.data.prepared import PreparedCases
from debride.files import write_text
from debride.started import beginnings, begun_again
from debride.training.job import Job
from debride.training.task import Task
from debride.types import DataError

P = TypeVar("P", bound=PreparedCases)

SEEN_WITHIN = 20.0
"""Seconds that another machine may take to see a new file in the folder of a run: a network disk looks again only so often."""

_TOKEN = ".lock-seen"
_BEGUN = ".lock-begun"
"""Names that ``folders.is_empty`` does not count."""


def prepared_by_all(company: Company, task: Task[P], job: Job, cache: Path) -> tuple[P, P]:
    """The training and the validation cases: each machine prepares its share of them, then what its cache still lacks."""
    found, dataset = company.found, job.dataset
    train, val = dataset.of("train"), dataset.of("val")
    if task.prepares_by_case and found.local == 0 and 1 < found.nodes <= len(train):
        share = replace(dataset, cases=(*train[found.node :: found.nodes], *val[found.node :: found.nodes]), rest=None)
        task.prepare(share, job.config, cache, job.jobs)
        company.after_all("shares")
    with company.first_here("prepared"):
        return task.prepare(dataset, job.config, cache, 1 if found.local else job.jobs)


def refuse_unseen(fabric: Fabric, out: Path) -> None:
    """Raises DataError in every process where a machine does not see what the first process writes to ``out``."""
    token = str(fabric.broadcast(secrets.token_hex(8)))
    if fabric.is_global_zero:
        write_text(out / _TOKEN, token)
    fabric.barrier()
    seen: list[str | None] = [None] * fabric.world_size
    dist.all_gather_object(seen, None if _sees(out / _TOKEN, token) else socket.gethostname())
    if fabric.is_global_zero:
        (out / _TOKEN).unlink()
    if blind := sorted({host for host in seen if host}):
        problem = f"is another folder on {', '.join(blind)}, or none"
        raise DataError(out, problem, "Choose a folder on a file system that all machines share.")


def _sees(file: Path, token: str) -> bool:
    end = time.monotonic() + SEEN_WITHIN
    while True:
        try:
            if file.read_text(encoding="utf-8") == token:
                return True
        except OSError:
            pass
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def refuse_different(fabric: Fabric, description: Mapping[str, Any]) -> None:
    """Raises DataError in every process where one was given another training than the first: other settings, or other data."""
    own = {
        name: hashlib.blake2b(json.dumps(entry, sort_keys=True).encode(), digest_size=16).hexdigest()
        for name, entry in description.items()
        if name not in ("dataset_root", "init", "plans")
    }
    every: list[tuple[str, dict[str, str]]] = [("", {})] * fabric.world_size
    dist.all_gather_object(every, (socket.gethostname(), own))
    first = every[0][1]
    for rank, (host, other) in enumerate(every):
        if names := [name for name in first | other if first.get(name) != other.get(name)]:
            problem = f"has other {' and '.join(names)} in process {rank}, on {host}, than in the first"
            raise DataError("the training", problem, "Give all processes the same data set and the same settings.")


def goes_on(out: Path) -> bool:
    """Whether torchrun or SLURM has started again what left a training in ``out``; all processes get the first one's answer."""
    company, begun = in_company(), _begun(out)
    again = begun_again()
    if company and company.restarts:  # on another machine perhaps: this one was only told to begin again
        again = {**again, **{name: key for name, key in beginnings().items() if name == "torchrun"}}
    ours = any(begun.get(name) == key for name, key in again.items()) and (out / "run.json").exists()
    return company.shared(str(ours)) == str(True) if company else ours


def refuse_other_device(company: Company, accelerator: str) -> None:
    """Raises DataError where the first process computes on another kind of device: they would wait for each other."""
    first = company.shared(accelerator)
    if accelerator != first:
        problem = f"is {accelerator} on {socket.gethostname()}, and {first} in the first process"
        raise DataError("`device`", problem, f"Give the `device`, and take machines that all have {first}, or use cpu.")


def note_beginning(out: Path) -> None:
    """Writes down in ``out`` who would start this training again, so that it can go on then."""
    if now := beginnings():
        write_text(out / _BEGUN, json.dumps(now))


def _begun(out: Path) -> dict[str, Any]:
    try:
        begun = json.loads((out / _BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return begun if isinstance(begun, dict) else {}
