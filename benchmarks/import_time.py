"""What ``import debride`` takes, and the first use of a function, each in a process of its own.

python benchmarks/import_time.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = "import time; begun = time.perf_counter(); {}; print(time.perf_counter() - begun)"
STATEMENTS = ("import debride", "import debride; debride.train", "import debride; debride.losses")


def main() -> None:
    """Prints a table: the median and the longest of so many seconds by the statement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print("| statement | median s | longest s |\n|---|---|---|")
    for statement in STATEMENTS:
        command = [sys.executable, "-c", CODE.format(statement)]
        seconds = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(repeats)]
        print(f"| `{statement}` | {statistics.median(seconds):.3f} | {max(seconds):.3f} |")


if __name__ == "__main__":
    main()
