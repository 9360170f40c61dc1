"""What a start costs where all cases are prepared: every source file read and hashed, as it once was, beside what is known.

    python benchmarks/start_cost.py

Both sides prepare the same cases, of which the cache has all, in turns. What both do besides is to read headers, and to compare
the checksums of the cache's entries once in a process; these are known before either is timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from debride.data.cache import prepare
from debride.data.open import open_dataset
from debride.data.pixels.images import write_values
from debride.data.preparation import Preparation
from debride.data.source_hashes import forget
from debride.types import Geometry


def main() -> None:
    """Prints a table: seconds by the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 256, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Writes the data set, prepares it, and prints what a further start takes."""
    rng, shape = np.random.default_rng(0), tuple(arguments.shape)
    geometry = Geometry(spacing=(1.0, 1.0, 1.0))
    for number in range(arguments.cases):
        for kind, high in (("images", 4000), ("masks", 2)):
            path = folder / "data" / kind / f"case{number:04d}.nii"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_values(path, rng.integers(0, high, shape, np.int16 if high > 2 else np.uint8), geometry)
    bytes_read = sum(path.stat().st_size for path in (folder / "data").rglob("*.nii"))
    dataset = open_dataset(folder / "data")
    preparation, cache = Preparation(image_size=(8, 16, 16)), folder / "cache"
    time.sleep(2.5)  # what was changed just before it is read is read again
    prepare(dataset, dataset.cases, preparation, cache)
    times: dict[str, list[float]] = {"all files read": [], "known by size and dates": []}
    for _ in range(arguments.repeats):
        for way, seconds in times.items():
            if way == "all files read":
                forget(cache, dataset.root)
            begun = time.perf_counter()
            prepare(dataset, dataset.cases, preparation, cache)
            seconds.append(time.perf_counter() - begun)
    old, new = (statistics.median(seconds) for seconds in times.values())
    print(f"{arguments.cases} volumes of {' x '.join(map(str, shape))} and their masks, {bytes_read / 1e6:.0f} MB\n")
    print("| start | s | MB/s | relative |\n|---|---|---|---|")
    print(f"| all files read | {old:.2f} | {bytes_read / old / 1e6:.0f} | 1 |")
    print(f"| known by size and dates | {new:.2f} | | {new / old:.3f} |")


if __name__ == "__main__":
    main()
