"""Time of making a view and of its adjoint beside one training step of a U-Net, measured in the same process."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.networks.nets import BasicUNet

from debride.data.augment import Strength, apply_intensity, draw_warp
from debride.data.augmentation import Augmentation

FEATURES = (16, 32, 64, 128, 128, 16)
BATCHES = {"2D": (8, 3, (128, 128)), "3D": (2, 1, (64, 64, 64))}
SMALLEST = {"2D": (1, 1, (32, 32)), "3D": (1, 1, (32, 32, 32))}
"""Batches that show that everything works, and nothing of its speed."""


def milliseconds(work: Callable[[int], object], repeats: int, device: str) -> float:
    """Median time of ``work`` after one call that does not count."""
    times = []
    for repeat in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        work(repeat)
        _wait(device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(kind: str, size: tuple[int, int, tuple[int, ...]], repeats: int, device: str) -> None:
    """Prints one line of times for each part of the work on a batch of the given kind and size."""
    batch, channels, shape = size
    rows = np.arange(batch)
    augmentation = Augmentation(spatial_probability=1.0)
    image = torch.randn(batch, channels, *shape, device=device)
    label = torch.randint(0, 2, (batch, *shape), device=device)
    network = BasicUNet(spatial_dims=len(shape), in_channels=channels, out_channels=2, features=FEATURES).to(device)

    def step(_: int) -> None:
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(image), label).backward()

    def view(strength: Strength) -> Callable[[int], None]:
        def work(repeat: int) -> None:
            warp = draw_warp(augmentation, repeat, rows, shape, shape).to(device)
            warp.sample_label(label)
            apply_intensity(warp.sample(image), strength, augmentation, repeat, rows)

        return work

    def adjoint(repeat: int) -> None:
        warps[repeat].adjoint(increment)

    increment = torch.randn(batch, 1, *shape, device=device)
    warps = [draw_warp(augmentation, repeat, rows, shape, shape).to(device) for repeat in range(repeats + 1)]
    for warp in warps:
        warp.sample(increment)  # the view was made before, so the warp's lattice is there
    reference = milliseconds(step, repeats, device)
    print(f"{kind} {batch}x{channels}x{'x'.join(map(str, shape))} on {device}: U-Net step {reference:.1f} ms")
    works = {"view, weak": view("weak"), "view, strong": view("strong"), "adjoint": adjoint}
    for name, work in works.items():
        taken = milliseconds(work, repeats, device)
        print(f"    {name:14}{taken:8.1f} ms {taken / reference:8.1%} of the step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smallest", action="store_true", help="tiny batches, to see whether everything works")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, median of {arguments.repeats}")
    for kind, size in (SMALLEST if arguments.smallest else BATCHES).items():
        measure(kind, size, arguments.repeats, arguments.device)


if __name__ == "__main__":
    main()
