"""Work that tests give to a SLURM: ``python -m tests.cluster.slurm_work KIND ITEMS OUT [NAME=VALUE ...]`` prints outcomes."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from debride.execute import Do, Work, spread
from debride.execute.cluster import make_cluster, on_cluster


def slow(setup: Any) -> Do:
    """Each item takes a second and says where and in which process it was done, with which variables."""

    def do(item: Any) -> Any:
        time.sleep(1)
        told = {name: value for name, value in os.environ.items() if name.startswith(("SLURM", "OMP", "ASKED"))}
        return {"item": item, "host": socket.gethostname(), "process": os.getpid(), "environment": told}

    return do


def hungry(setup: Any) -> Do:
    """Item 1 takes 2 GB."""

    def do(item: Any) -> Any:
        if item == 1:
            taken = b"1" * 2_000_000_000
            time.sleep(20)
            return len(taken)
        return item

    return do


def main(kind: str, items: str, out: str, *options: str) -> None:
    chosen = make_cluster("slurm", dict(option.split("=", 1) for option in options))
    work = Work({"slow": slow, "hungry": hungry}[kind])
    with on_cluster(chosen, Path(out)), spread(work, range(int(items))) as outcomes:
        for outcome in outcomes:
            sys.stdout.write(json.dumps(outcome.result if outcome.error is None else {"error": str(outcome.error)}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    from tests.cluster import slurm_work  # by its name, which jobs import

    slurm_work.main(*sys.argv[1:])
