"""What an item costs beside its own time: by processes of this machine, by jobs of SLURM and by jobs of Ray.

    python -m benchmarks.cluster_overhead

Each of ``--items`` items sleeps ``--seconds``, and as many are done at once everywhere: ``--at-once``. The overhead of an item
is the time of the clock times the items at once, less what all of them sleep, over their number. With ``--imports`` an item
needs PyTorch and MONAI, as a training does: a process imports them before its first one. SLURM is that of this machine, else
that of tests/cluster/slurm_here.py; Ray is the one at $RAY_ADDRESS, else a cluster of two nodes that is made here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from debride.execute import Work, scatter
from debride.execute.cluster import make_cluster, on_cluster

ROOT = Path(__file__).parents[1]
HEAD = (
    f"| {'by':6} | items of a job | at once | s in all | first after, s | overhead of an item, s |\n|---|---|---|---|---|---|"
)


def begin_sleeping(setup: dict[str, Any]) -> Callable[[Any], Any]:
    """An item sleeps."""
    for name in setup["imports"]:
        import_module(name)

    def sleep(item: int) -> int:
        time.sleep(setup["seconds"])
        return item

    return sleep


def measure(name: str, per_job: int | None, arguments: argparse.Namespace, folder: Path) -> str:
    """A row of the table: cluster ``name``, or processes of this machine."""
    at_once, items = arguments.at_once, arguments.items
    if name == "local":
        at_once, options = per_job or 1, None
    else:
        options = {"at_once": at_once, "per_job": per_job, "folder": str(folder / "jobs")}
    begin = import_module("benchmarks.cluster_overhead").begin_sleeping  # by a name that other processes find
    imports = ["torch", "monai.networks.nets", "debride.training.fit"] if arguments.imports else []
    work = Work(begin, {"seconds": arguments.seconds, "imports": imports})
    begun, first, seen = time.perf_counter(), 0.0, set()
    with (
        on_cluster(make_cluster(None if options is None else name, options), folder / "out"),
        scatter(work, range(items), jobs=at_once) as outcomes,
    ):
        for number, outcome in outcomes:
            assert outcome.value() == number
            first = first or time.perf_counter() - begun
            seen.add(number)
    took = time.perf_counter() - begun
    assert len(seen) == items
    overhead = (took * at_once - items * arguments.seconds) / items
    each = per_job if options else "-"
    return f"| {name:6} | {each} | {at_once} | {took:.1f} | {first:.1f} | {overhead:.2f} |"


@contextlib.contextmanager
def ray_nodes(at_once: int) -> Iterator[None]:
    """A Ray cluster at $RAY_ADDRESS: two nodes on this machine, if there is none."""
    if "RAY_ADDRESS" in os.environ:
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": at_once - at_once // 2, **node})
    try:
        if at_once > 1:
            nodes.add_node(num_cpus=at_once // 2, **node)
        os.environ["RAY_ADDRESS"] = nodes.address
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        nodes.shutdown()


def no_slurm() -> bool:
    """Whether SLURM does not answer on this machine."""
    return not shutil.which("squeue") or bool(subprocess.run(["squeue"], check=False, capture_output=True).returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0, help="that an item sleeps")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--per-job", type=int, nargs="+", default=[1, 10], help="items of a job")
    parser.add_argument("--by", nargs="+", choices=["local", "slurm", "ray"], default=["local", "slurm", "ray"])
    parser.add_argument("--imports", action="store_true", help="items need PyTorch and MONAI")
    parser.add_argument("--rows-only", action="store_true", help="no head of the table")
    parser.add_argument("--folder", type=Path, help="that all machines of the cluster see (default: a temporary one)")
    arguments = parser.parse_args()
    if not arguments.rows_only:
        print(HEAD, flush=True)
    for name in arguments.by:
        if name == "slurm" and no_slurm():
            words = [
                sys.executable,
                str(ROOT / "tests/cluster/slurm_here.py"),
                sys.executable,
                "-m",
                "benchmarks.cluster_overhead",
            ]
            words += ["--by", "slurm", "--rows-only", *(["--imports"] if arguments.imports else [])]
            for option in ("items", "seconds", "at_once"):
                words += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
            words += ["--per-job", *map(str, arguments.per_job)]
            print(subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)
            continue
        with ray_nodes(arguments.at_once) if name == "ray" else contextlib.nullcontext():
            for per_job in [1, arguments.at_once] if name == "local" else arguments.per_job:
                with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                    print(measure(name, per_job, arguments, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
