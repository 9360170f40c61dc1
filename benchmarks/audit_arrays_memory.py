"""Peak memory of `audit_labels` on memory maps that are larger than it may need.

    python benchmarks/audit_arrays_memory.py [--cases 53 530] [--shape 96 160 160] [--classes 2] [--folder DIR]

Labels (N, *S) in uint8 and probabilities (N, K, *S) in float32 are written to two files, case by case: ellipses, blurred, and
every tenth label has an object too many. By default the largest are 10.4 GB. Each audit is a process of its own. "resident"
is its VmHWM, the kernel's own record, which counts pages of mapped files too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from audit_memory import blurred, ellipses

DIFFERENT = 16

RUN = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from debride.audit import audit_labels
begun = time.monotonic()
labels, maps = (np.load(file, mmap_mode="r") for file in sys.argv[1:3])
audit_labels(labels, maps, jobs=1)
status = Path("/proc/self/status").read_text()
print(json.dumps({
    "resident": int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024 / 1e6,
    "seconds": time.monotonic() - begun,
}))
"""


def write(folder: Path, cases: int, shape: tuple[int, ...], classes: int) -> tuple[Path, Path]:
    """The two files: some labels and what is predicted of them, moved about at random."""
    rng = np.random.default_rng(0)
    some = [ellipses(shape, classes, rng) for _ in range(DIFFERENT)]
    soft = [blurred(right, classes).astype(np.float32) for right in some]
    soft = [shares / shares.sum(axis=0) for shares in soft]
    files = folder / "labels.npy", folder / "maps.npy"
    labels = np.lib.format.open_memmap(files[0], "w+", np.uint8, (cases, *shape))
    header = {"descr": "<f4", "fortran_order": False, "shape": (cases, classes, *shape)}
    with files[1].open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(cases):
            by = tuple(int(rng.integers(-(length // 16), length // 16 + 1)) for length in shape)
            axes = tuple(range(-len(shape), 0))
            file.write(np.ascontiguousarray(np.roll(soft[at % DIFFERENT], by, axes)).tobytes())
            labels[at] = np.roll(some[at % DIFFERENT], by, axes)
            if at % 10 == 0:
                labels[at][tuple(slice(length // 64, 3 * length // 32) for length in shape)] = 1
    del labels
    return files


def main() -> None:
    """Prints a line for each number of cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, nargs="+", default=[53, 530])
    parser.add_argument("--shape", type=int, nargs="+", default=[96, 160, 160])
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    columns = ("cases", "probabilities", "resident", "time")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for cases in options.cases:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            files = write(Path(folder), cases, tuple(options.shape), options.classes)
            size = files[1].stat().st_size / 1e9
            words = [sys.executable, "-c", RUN, *map(str, files)]
            told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        line = f"{cases} | {size:.1f} GB | {told['resident']:.0f} MB | {told['seconds'] / 60:.0f} min"
        print(f"| {line} |", flush=True)


if __name__ == "__main__":
    main()
