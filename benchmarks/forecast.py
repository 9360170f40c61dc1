"""What a training says that it will take, beside what it then took: time, memory and room on the disk.

    python benchmarks/forecast.py

The forecast is made as ever, but that 5 seconds are enough to speak of, and an epoch of one second is long.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import resource
import tempfile
import threading
import time
from pathlib import Path
from unittest.mock import patch

from debride.cli import main as debride
from debride.testing.toy_sets import TOYS
from debride.training import forecast

LINE = re.compile(r"debride: about (.+) for \d+ more epochs?(.*?); (.+) GiB of memory; at most (.+) on the disk")
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "MB": 1e6, "GB": 1e9, "GiB": 2**30}


def main() -> None:
    """Trains by each method, and prints what was said and what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["ce", "self-cleansing"])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20, help="steps of an epoch")
    parser.add_argument("--heard", type=float, default=5.0, help="seconds that are timed at least")
    arguments = parser.parse_args()
    print("| method | said after | of time | it took | ratio | of memory, GiB | peak, GiB | of disk at most, MB | most, MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    shorter = {"HEARD": arguments.heard, "LONG_EPOCH": min(1.0, arguments.heard)}
    with tempfile.TemporaryDirectory() as folder, patch.multiple(forecast, **shorter):
        TOYS["segmentation"][0].write(Path(folder) / "data")
        for method in arguments.methods:
            measure(method, Path(folder), arguments)


def measure(method: str, folder: Path, arguments: argparse.Namespace) -> None:
    """One training, whose folder is looked at ten times a second."""
    out, said, done = folder / method, Said(), threading.Event()
    most = [0]
    watcher = threading.Thread(target=watch, args=(out, most, done))
    watcher.start()
    words = ["train", method, str(folder / "data"), "--out", str(out), "--cache", str(folder / "cache"), "--log-to", "none"]
    words += [
        "--epochs",
        str(arguments.epochs),
        "--steps-per-epoch",
        str(arguments.steps),
        "--device",
        "cpu",
        "--batch-size",
        "4",
    ]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = debride(words)
    ended = time.perf_counter()
    done.set()
    watcher.join()
    assert code == 0, said.getvalue()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    for at, line in said.lines:
        if match := LINE.match(line):
            after = "some steps" if match[2] else "epochs"
            seconds, took, disk = amount(match[1]), ended - at, amount(match[4]) / 1e6
            sizes = f"{match[3]} | {peak:.1f} | {disk:.0f} | {most[0] / 1e6:.0f}"
            print(f"| `{method}` | {after} | {match[1]} | {took:.0f} s | {seconds / took:.2f} | {sizes} |")


def watch(out: Path, most: list[int], done: threading.Event) -> None:
    """The most bytes that a folder held."""
    while not done.wait(0.1):
        size = 0
        for file in out.rglob("*"):
            with contextlib.suppress(OSError):
                size += file.stat().st_size if file.is_file() else 0
        most[0] = max(most[0], size)


class Said(io.StringIO):
    """What is written, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def write(self, text: str) -> int:
        """Keeps a text and its moment."""
        self.lines.append((time.perf_counter(), text))
        return super().write(text)


def amount(text: str) -> float:
    """A time in seconds or a size in bytes: "2 h 10 min"."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (\w+)", text))


if __name__ == "__main__":
    main()
