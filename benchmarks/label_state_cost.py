"""What it costs to keep the label state after an epoch: a copy of everything, as it was once done, beside what changed.

    python benchmarks/label_state_cost.py

Both sides copy the same fields, flush them to the disk and compute checksums, in turns, after the same changes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from debride.files import content_hash
from debride.state import Field, LabelState


def main() -> None:
    """Prints a table: seconds and bytes by share of the rows that changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.01, 0.05, 0.25, 1.0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """The table, and the time that restoring takes."""
    shape = (arguments.side, arguments.side)
    row_bytes = 4 * arguments.side**2
    size = arguments.cases * row_bytes / 1e6
    fields = Field("weight", "pixel", initial=1.0), Field("loss", "case")
    store = LabelState(fields, [shape] * arguments.cases, folder / "scratch")
    resume, rng = folder / "resume", np.random.default_rng(0)
    print(f"{arguments.cases} cases of {shape[0]} x {shape[1]}, one field per pixel: {size:.0f} MB")
    print("\n| rows that change | whole, s | changed, s | changed / whole | MB written, whole | MB written, changed |")
    print("|---|---|---|---|---|---|")
    epoch = 0
    for share in arguments.shares:
        times: dict[str, list[float]] = {"whole": [], "changed": []}
        written = []
        for repeat in range(2 + arguments.repeats):  # two for the copies to know of this share alone
            rows = np.flatnonzero(rng.random(arguments.cases) < share)
            for row in rows:
                store.add("weight", [row], torch.ones(1, *shape))
            store.add("loss", [0], torch.ones(1))
            missing = int(np.count_nonzero(store._changed(fields[0]) & (1 << epoch % 2))) * row_bytes
            begun = time.perf_counter()
            store.save(resume / f"epoch-{epoch:04d}" / "labels", epoch % 2)
            content_hash(sorted((resume / f"epoch-{epoch:04d}").rglob("*.*")))
            middle = time.perf_counter()
            whole(folder / "scratch", folder / "whole" / "new")
            shutil.rmtree(folder / "whole" / "old", ignore_errors=True)
            (folder / "whole" / "new").rename(folder / "whole" / "old")
            ended = time.perf_counter()
            epoch += 1
            if repeat >= 2:
                times["changed"].append(middle - begun)
                times["whole"].append(ended - middle)
                written.append(missing)
        old, new = statistics.median(times["whole"]), statistics.median(times["changed"])
        sizes = f"{size:.0f} | {statistics.median(written) / 1e6:.0f}"
        print(f"| {share:.0%} | {old:.2f} | {new:.2f} | {new / old:.2f} | {sizes} |")
    begun = time.perf_counter()
    other = LabelState(fields, [shape] * arguments.cases, folder / "other")
    made = time.perf_counter()
    other.restore(resume / f"epoch-{epoch - 1:04d}" / "labels")
    print(f"\nrestored with checksums in {time.perf_counter() - made:.2f} s, fields made in {made - begun:.2f} s")


def whole(source: Path, target: Path) -> None:
    """All fields copied to a new folder, flushed and hashed."""
    target.mkdir(parents=True)
    for file in sorted(path for path in source.iterdir() if path.suffix != ".changed"):
        shutil.copyfile(file, target / file.name)
        with (target / file.name).open("rb+") as opened:
            os.fsync(opened.fileno())
    for file in sorted(target.iterdir()):
        content_hash([file])


if __name__ == "__main__":
    main()
