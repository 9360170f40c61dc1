"""An audit by several processes, cut off at random instants, in shards, and since an earlier one: seconds, and the same bytes.

    OMP_NUM_THREADS=1 python benchmarks/audit_work.py [--cases 400] [--jobs 2] [--kills 20] [--shards 8] [--repeats 3]

Each audit is a process of its own. Pictures are those of audit_memory.py. With one job and with several it is done by turns.
A kill (SIGKILL) comes at an instant drawn from the time that a whole audit takes; its worker processes are not killed. The same
command goes on, until it is killed or ends; what has ended is compared with the whole, and a new audit begins. Shards are done
twice each, as many at a time as there are jobs, in a random order. The earlier audit lacks a tenth of the cases.
"""

import argparse
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from audit_memory import write_pictures

from debride.cli import main as debride


def contents(folder):
    """The bytes of all files by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Audits:
    """Audits of the pictures in a folder, by commands or in this process."""

    def __init__(self, root, planted, in_process):
        self.root, self.planted, self.in_process = root, planted, in_process

    def words(self, out, *more):
        words = ["audit", self.root / "data", "--predictions", self.root / "predictions", "--out", self.root / out]
        return [*map(str, [*words, "--planted", self.planted, "--pictures", 20, *more])]

    def audit(self, out, *more):
        """Seconds of an audit that is not killed."""
        begun = time.perf_counter()
        if self.in_process:
            with redirect_stdout(StringIO()):
                assert debride(self.words(out, *more)) == 0
        else:
            subprocess.run([sys.executable, "-m", "debride", *self.words(out, *more)], check=True, capture_output=True)
        return time.perf_counter() - begun

    def killed(self, out, after, *more):
        """Whether an audit was killed after some seconds; it had ended before if not."""
        process = subprocess.Popen(
            [sys.executable, "-m", "debride", *self.words(out, *more)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            code = process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        assert code == 0, code
        return False

    def same(self, out, whole):
        """Whether two folders hold the same bytes; the first is removed if they do."""
        found = contents(self.root / out)
        if found != whole:
            names = sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))
            sys.exit(f"{self.root / out} differs in {', '.join(names[:5])}")
        shutil.rmtree(self.root / out)
        return "the same bytes"


def kills(audits, whole, seconds, many, jobs, rng):
    """Kills audits ``many`` times, and says how many have ended beside."""
    done, ended = 0, 0
    while done < many or (audits.root / "cut").exists():
        if done < many and audits.killed("cut", rng.uniform(0, seconds), "--jobs", jobs):
            done += 1
            continue
        if done == many:
            audits.audit("cut", "--jobs", jobs)
        audits.same("cut", whole)
        ended += 1
    return f"{done} kills in {ended} audits"


def shards(audits, whole, many, jobs, rng):
    """Seconds of all shards twice, and of the merge."""
    begun = time.perf_counter()
    for _ in range(2):
        parts = [f"{number}/{many}" for number in range(1, many + 1)]
        rng.shuffle(parts)
        with ThreadPoolExecutor(1 if audits.in_process else jobs) as pool:
            list(pool.map(lambda part: audits.audit("shards", "--jobs", 1, "--shard", part), parts))
    between = time.perf_counter()
    audits.audit("shards", "--jobs", 1, "--merge")
    seconds = between - begun, time.perf_counter() - between
    audits.same("shards", whole)
    return seconds


def grown(audits, whole, seconds, cases):
    """Seconds of an audit since one that lacked a tenth of the cases."""
    away = audits.root / "away"
    late = [f"case{at:05d}.png" for at in range(cases - max(1, cases // 10), cases)]
    for name in ("images", "masks"):
        (away / name).mkdir(parents=True)
        for file in late:
            shutil.move(audits.root / "data" / name / file, away / name / file)
    audits.audit("first", "--jobs", 1)
    for name in ("images", "masks"):
        for file in late:
            shutil.move(away / name / file, audits.root / "data" / name / file)
    took = audits.audit("since", "--jobs", 1, "--since", audits.root / "first")
    found = contents(audits.root / "since")
    same = all(found[name] == whole[name] for name in ("findings.jsonl", "worklist/worklist.csv"))
    return f"{took:.1f} s, {took / seconds:.2f} of the whole; findings are {'the same' if same else 'others'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--planted", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-process", action="store_true", help="audits are no processes of their own, and nothing is killed")
    arguments = parser.parse_args()
    rng, jobs = random.Random(arguments.seed), arguments.jobs
    with tempfile.TemporaryDirectory() as name:
        audits = Audits(Path(name), arguments.planted, arguments.in_process)
        write_pictures(audits.root, arguments.cases)
        one = audits.audit("whole", "--jobs", 1)
        whole, alone, together = contents(audits.root / "whole"), [], []
        print(
            f"All bytes are the same.\n\n| {arguments.cases} cases, 256 x 256, planted {arguments.planted} | |\n| --- | --- |"
        )
        for _ in range(arguments.repeats):
            for seconds, number in ((alone, 1), (together, jobs)):
                seconds.append(audits.audit("again", "--jobs", number))
                audits.same("again", whole)
        if alone:
            one, several = statistics.median(alone), statistics.median(together)
            ratio = statistics.median(first / second for first, second in zip(alone, together, strict=True))
            print(f"| one job | {one:.1f} s |\n| {jobs} jobs | {several:.1f} s, {ratio:.2f} times as fast |", flush=True)
        first, merge = shards(audits, whole, arguments.shards, jobs, rng)
        print(f"| {arguments.shards} shards twice, {jobs} at a time; the merge | {first:.1f} s; {merge:.1f} s |", flush=True)
        print(f"| since an audit of nine tenths | {grown(audits, whole, one, arguments.cases)} |", flush=True)
        if not arguments.in_process:
            print(f"| killed at random | {kills(audits, whole, one, arguments.kills, jobs, rng)} |")


if __name__ == "__main__":
    main()
