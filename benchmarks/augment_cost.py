"""Time of making weak and strong views of a batch of images that are classified whole, for each policy and each operation."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from debride.data.augmentation import ClassAugmentation
from debride.data.classes import policies
from debride.data.classes.policies import autoaugment, weak


def milliseconds(work: Callable[[int], object], repeats: int, device: str) -> str:
    """Median and fastest time of ``work`` after one call that does not count."""
    times = []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        work(repeat)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return f"{statistics.median(times[1:]):8.2f} ms (fastest {min(times[1:]):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=4, default=(256, 3, 32, 32), metavar=("B", "C", "H", "W"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, arguments.shape).astype(np.uint8)).to(arguments.device)
    rows, config = np.arange(len(images)), ClassAugmentation()
    shape = "x".join(map(str, arguments.shape))
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, {shape} on {arguments.device}, median of {arguments.repeats}"
    )

    works: dict[str, Callable[[int], object]] = {
        "weak": lambda seed: weak(images, config, seed, rows),
        "cifar10": lambda seed: autoaugment(images, "cifar10", seed, rows),
        "imagenet": lambda seed: autoaugment(images, "imagenet", seed, rows),
    }
    for name, work in works.items():
        print(f"{name:14}{milliseconds(work, arguments.repeats, arguments.device)}")
    for name in policies.LEVELS:
        policies.CIFAR10 = ((name, 1.0, 5, "Invert", 0.0, 0),)
        print(f"    {name:14}{milliseconds(works['cifar10'], arguments.repeats, arguments.device)} for the whole batch")


if __name__ == "__main__":
    main()
