"""Time and memory of check, audit and repair by the number of cases: small pictures, and volumes.

    python benchmarks/many_cases.py [--pictures 2500 20000] [--volumes 50 200] [--shape 40 160 160] [--jobs 2] [--planted 300]

Images are noise, labels ellipses, predictions the same ellipses, blurred; every tenth label has an object too many. Each verb
is a process of its own with ``--jobs`` others. Seconds are of the clock, for each case; memory is that of the largest process.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audit_memory import write_pictures, write_volumes

RUN = """
import resource, sys
from debride.cli import main
code = main(sys.argv[1:])
peaks = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print("peak", max(peaks))
sys.exit(code)
"""


def measured(words: list[str], allowed: tuple[int, ...] = (0,)) -> tuple[float, int]:
    """Seconds of a verb, and the peak memory in MB of its largest process."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *words], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode not in allowed:
        raise SystemExit(done.stdout + done.stderr)
    return seconds, int(done.stdout.rsplit("peak", 1)[1])


def measure(folder: Path, count: int, what: str, jobs: int, planted: int) -> None:
    """A row for each verb on what was written to a folder."""
    data, audit, many = str(folder / "data"), str(folder / "audit"), ["--jobs", str(jobs)]
    verbs = {
        "check": ["check", data, *many],
        "audit": [
            "audit",
            data,
            "--predictions",
            str(folder / "predictions"),
            "--out",
            audit,
            *many,
            "--planted",
            str(planted),
        ],
        "repair": ["repair", data, audit, "--out", str(folder / "repaired"), "--accept", "all", *many],
    }
    for verb, words in verbs.items():
        seconds, peak = measured(words, (0, 1) if verb == "check" else (0,))
        print(f"| {verb} | {count:,} {what} | {seconds:.1f} | {1000 * seconds / count:.1f} | {peak} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, nargs="*", default=[2500, 20000])
    parser.add_argument("--side", type=int, default=64, help="pixels of a picture")
    parser.add_argument("--volumes", type=int, nargs="*", default=[50, 200])
    parser.add_argument("--shape", type=int, nargs=3, default=[40, 160, 160], help="voxels of a volume")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--planted", type=int, default=300, help="cases that an audit plants errors into")
    parser.add_argument("--folder", type=Path, help="where the cases are written (default: a temporary folder)")
    arguments = parser.parse_args()
    print("| verb | cases | s | ms a case | peak, MB |\n| --- | --- | --- | --- | --- |")
    for count in arguments.pictures:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            write_pictures(Path(folder), count, arguments.side)
            measure(Path(folder), count, f"pictures of {arguments.side} x {arguments.side}", arguments.jobs, arguments.planted)
    for count in arguments.volumes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            write_volumes(Path(folder), tuple(arguments.shape), count)
            measure(
                Path(folder), count, f"volumes of {' x '.join(map(str, arguments.shape))}", arguments.jobs, arguments.planted
            )


if __name__ == "__main__":
    main()
