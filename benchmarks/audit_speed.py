"""Speed and memory of the audit's label-quality scores, streamed from disk in two passes, beside cleanlab on arrays in memory.

    OMP_NUM_THREADS=1 python benchmarks/audit_speed.py --cases 2000 --dtype float16

Writes synthetic cases of 256 x 256 pixels and 4 classes to a temporary folder. Memory is measured in processes of their own
that stream some or all of them. cleanlab's quality score is one softmin per image; ours are that and all others of each class.
Times are of the process's own work (CPU time), for every image the shortest of many turns, so that other programs do not count.
cleanlab is given float32 probabilities and integer labels in memory; what reading costs either of the two is said apart.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cleanlab
import numpy as np
import torch
from cleanlab.segmentation.filter import find_label_issues
from cleanlab.segmentation.rank import get_label_quality_scores
from PIL import Image
from scipy import ndimage

from debride.audit.evidence import ThresholdSums, score_case

CLASSES, SIZE = 4, 256


def make(seed: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Smooth probabilities of three nested structures (K, H, W) float32, and a label that is shifted by up to two pixels."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    wave = ndimage.gaussian_filter(draw.standard_normal((SIZE, SIZE)), 12)
    (row, column), stretch = draw.uniform(100, 150, 2), draw.uniform(0.9, 1.2)
    far = np.hypot(y - row, (x - column) * stretch) + 2.5 * wave / wave.std()
    logit = np.stack((far - radius, 5 - abs(far - 0.9 * radius), 7 - abs(far - 0.65 * radius), radius / 2 - far)) * 0.6
    logit += 2 * ndimage.gaussian_filter(draw.standard_normal(logit.shape), (0, 2, 2))
    likelihood = np.exp(logit - logit.max(axis=0))
    label = np.roll(logit, draw.integers(-2, 3), axis=1).argmax(axis=0).astype(np.uint8)
    return label, (likelihood / likelihood.sum(axis=0)).astype(np.float32)


def write(folder: Path, count: int, dtype: str, radius: float) -> None:
    """``count`` cases, each one of fifty made ones, shifted by some columns."""
    made = [make(seed, radius) for seed in range(50)]
    for at in range(count):
        label, probability = made[at % len(made)]
        by = 3 * (at // len(made)) - 30
        Image.fromarray(np.roll(label, by, axis=1)).save(folder / f"{at}.png")
        np.save(folder / f"{at}.npy", np.roll(probability, by, axis=2).astype(dtype))


def read(folder: Path, at: int) -> tuple[np.ndarray, np.ndarray]:
    with Image.open(folder / f"{at}.png") as image:
        return np.asarray(image), np.load(folder / f"{at}.npy", allow_pickle=False)


def stream(folder: Path, count: int) -> dict[str, float]:
    """Both passes over ``count`` cases on disk: seconds of each and of reading, peak memory before and after in MiB."""
    score_case(np.zeros((8, 8), np.uint8), np.full((CLASSES, 8, 8), 0.25, np.float32), np.full(CLASSES, 0.5))
    read(folder, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sums, seconds, total = ThresholdSums(CLASSES), [0.0, 0.0], 0.0
    start = time.process_time()
    for number in range(2):
        limits = sums.thresholds() if number else None
        for at in range(count):
            label, probability = read(folder, at)
            begin = time.process_time()
            if limits is None:
                sums.add(label, probability)
            else:
                total += score_case(label, probability, limits).softmin
            seconds[number] += time.process_time() - begin
    elapsed = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "first": seconds[0],
        "second": seconds[1],
        "read": elapsed - sum(seconds),
        "before": before,
        "after": after,
        "mean": total / count,
    }


def compare(folder: Path, count: int, repeats: int) -> None:
    """Milliseconds of CPU time per image: for each image the shortest of all turns, in which everything is done once."""
    cases = [read(folder, at) for at in range(count)]
    ready = [(label[None].astype(int), p[None].astype(np.float32)) for label, p in cases]
    sums = ThresholdSums(CLASSES)
    for label, p in cases:
        sums.add(label, p)
    limits, again = sums.thresholds(), ThresholdSums(CLASSES)

    def load(at: int) -> None:
        label, p = read(folder, at)
        label.astype(int), p.astype(np.float32)

    work: dict[str, Callable[[int], object]] = {
        "debride first pass": lambda at: again.add(*cases[at]),
        "debride all scores": lambda at: score_case(*cases[at], limits),
        "cleanlab get_label_quality_scores": lambda at: get_label_quality_scores(*ready[at], verbose=False),
        "reading once (debride: twice)": lambda at: read(folder, at),
        "reading for cleanlab": load,
    }
    best = {name: np.full(count, np.inf) for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            for at in range(count):
                begin = time.process_time()
                run(at)
                best[name][at] = min(best[name][at], 1e3 * (time.process_time() - begin))
    first, second, theirs, reading, loading = (times.mean() for times in best.values())
    for name, times in best.items():
        print(f"  {name:36s} {times.mean():7.3f} ms per image")
    print(f"  both passes over cleanlab: {(first + second) / theirs:.2f}")
    ours, other = first + second + 2 * reading, theirs + loading
    print(f"  with reading: {ours:.2f} over {other:.2f} ms (of which NumPy's conversion {loading - reading:.2f})")
    labels, probability = (np.concatenate(arrays) for arrays in zip(*ready, strict=True))
    begin = time.process_time()
    find_label_issues(labels, probability, n_jobs=1, verbose=False)
    print(f"  {'cleanlab find_label_issues (once)':36s} {1e3 * (time.process_time() - begin) / count:7.3f} ms per image")
    wanted, _ = get_label_quality_scores(labels, probability, verbose=False)
    found = np.array([score_case(label, p, limits).softmin for label, p in cases])
    print(f"  largest relative difference of the softmin: {np.max(np.abs(found / wanted - 1)):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--fewer", type=int, default=200, help="cases that memory is measured with beside all of them, or 0")
    parser.add_argument("--images", type=int, default=50, help="images in memory that the two libraries are compared on")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--radius", type=float, default=36, help="of the objects in pixels")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    if arguments.stream:
        print(json.dumps(stream(arguments.folder, arguments.stream)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.cases, arguments.dtype, arguments.radius)
        cases = [read(folder, at) for at in range(min(50, arguments.cases))]
        asked = np.mean([((label != 0) | (p[0] <= 63 / 64)).mean() for label, p in cases])
        shape = f"{arguments.cases} cases of {SIZE} x {SIZE}, {CLASSES} classes, {arguments.dtype}"
        print(f"{shape}; foreground {np.mean([label != 0 for label, _ in cases]):.1%} of the pixels, in question {asked:.1%}")
        for count in filter(None, (min(arguments.fewer, arguments.cases), arguments.cases)):
            command = [sys.executable, __file__, "--folder", name, "--stream", str(count)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            each = ", ".join(f"{key} {1e3 * found[key] / count:.2f}" for key in ("first", "second", "read"))
            grown = found["after"] - found["before"]
            memory = f"peak memory {found['after']:.0f} MiB, {grown:.1f} more than before"
            print(f"  streamed {count}: ms of CPU time per image: {each}; {memory}")
        print(f"in memory, {arguments.images} images, 1 thread, cleanlab {cleanlab.__version__}, numpy {np.__version__}:")
        compare(folder, min(arguments.images, arguments.cases), arguments.repeats)


if __name__ == "__main__":
    main()
