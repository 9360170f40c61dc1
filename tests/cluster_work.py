"""Work that tests have done by jobs of a cluster: what a job imports."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from debride.execute.work import Do, came_further
from debride.notes import note
from debride.types import DataError


def adds(setup: Any) -> Do:
    """Adds numbers; those below 0 are refused."""

    def do(item: Any) -> Any:
        if item < 0:
            raise DataError(f"item {item}", "is below 0", "Give another.")
        if item % 2:
            note(f"item {item}", "is odd")
        time.sleep(0.003 * (item % 3))
        return {"sum": setup["to"] + item, "threads": os.environ["OMP_NUM_THREADS"], "nan": float("nan")}

    return do


def counting(setup: Any) -> Do:
    """Notes in a file which items it does; ends its process at the items that ``setup`` names, always or ``once``, as it says
    there: by what, and after part of a line stands in its file of results where ``torn``."""

    def do(item: Any) -> Any:
        with Path(setup["file"]).open("a") as file:
            file.write(f"{item}\n")
        before = Path(setup["file"]).read_text().split().count(str(item))
        if item in setup["ends"] and (before == 1 or not setup.get("once")):
            for path in Path(setup["folder"]).glob("map-*/done-*.jsonl") if setup.get("torn") else ():
                with path.open("a") as results:
                    results.write('{"number": 5, "line": "{')
            os.kill(os.getpid(), setup.get("by", signal.SIGKILL))
            time.sleep(20)
        return item * item

    return do


def getting_on(setup: Any) -> Do:
    """An item that comes one step further in each process, which then ends, and is done after so many steps."""

    def do(item: Any) -> Any:
        with Path(setup).open("a") as file:
            file.write("step\n")
        steps = len(Path(setup).read_text().split())
        if steps < item:
            came_further()
            os.kill(os.getpid(), signal.SIGKILL)
        return steps

    return do


def raising(setup: Any) -> Do:
    """Does not begin, or raises at item 2, as ``setup`` says."""
    if setup == "refused":
        raise DataError("setup", "is not wanted", "Give another.")

    def do(item: Any) -> Any:
        if item == 2:
            raise {"memory": MemoryError, "mistake": KeyError}[setup](f"at {item}")
        return item

    return do


def where(setup: Any) -> Do:
    """Says where it runs, and what a library may take for several processes."""
    return lambda item: [
        str(Path.cwd()),
        sorted(name for name in os.environ if name.startswith("SLURM_")),
        os.environ.get("CUDA_VISIBLE_DEVICES"),
    ]


def lasting(setup: Any) -> Do:
    """Items, but for the first, that say in files of a folder that they began, by their process, and last."""

    def do(item: Any) -> Any:
        if item:
            (Path(setup) / f"{item}-{os.getpid()}").touch()
            time.sleep(60 if (Path(setup) / "wait").exists() else 0)
        return item

    return do
