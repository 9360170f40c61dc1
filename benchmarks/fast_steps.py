"""What makes a step on the CPU faster: memory formats, likeliest classes, freed memory that is kept; half precision there.

Run ``python benchmarks/fast_steps.py``. Each part measures all its sides in one run, taking turns, and prints the median of
the repeats, relative to the side that stands first:

- ``formats``: a step (forward, loss, backward) and a pass (forward alone) of networks with instance normalisation, 2D
  (8 x 3 x 128 x 128) and 3D (2 x 1 x 48 x 64 x 64), width 16. Sides are PyTorch's ``InstanceNorm`` and groups, each with
  channels last and contiguous; ``*`` marks what trainings, or predictions, use
- ``likeliest``: class ids of probabilities, by ``argmax(dim=1)`` and by ``max(dim=1).indices``
- ``precision``: a step of ``unet-small`` in single precision, bfloat16 and float16
- ``allocator``: steps with glibc as it is and with freed memory kept, each in processes of their own; with page faults of a
  step and peak memory

Times are CPU time of the process, that of the system in its name included.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from debride.cli.allocator import keep_freed_memory
from debride.losses.pixel import likeliest
from debride.networks import InstanceNorm, build
from debride.training.launch import place
from debride.training.precision import AUTOCAST, computes_in

THEIRS: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
SHAPES = {2: (8, 3, 128, 128), 3: (2, 1, 48, 64, 64)}
SMALL = {2: (2, 3, 16, 16), 3: (2, 1, 16, 16, 16)}
MAPS = ((8, 2, 128, 128), (8, 4, 128, 128), (1, 3, 80, 96, 96), (1, 14, 80, 96, 96))
PARTS = ("formats", "likeliest", "precision", "allocator")
CPU = torch.device("cpu")


def before(module: nn.Module, ndim: int) -> nn.Module:
    """The module with PyTorch's layers for instance normalisation."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, InstanceNorm):
            setattr(module, name, THEIRS[ndim](layer.num_channels, affine=True))
        else:
            before(layer, ndim)
    return module


def turns(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each side, the median of the repeats after a first."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, side in sides.items():
            started = time.process_time()
            side()
            taken[name].append(1e3 * (time.process_time() - started))
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def show(what: str, times: dict[str, float]) -> None:
    first = next(iter(times.values()))
    print(f"| {what} | " + " | ".join(f"{name} {ms:.1f} ({ms / first:.2f})" for name, ms in times.items()) + " |", flush=True)


def a_step(network: nn.Module, image: Tensor, label: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(network(image).float(), label).backward()


def a_pass(network: nn.Module, image: Tensor, _: Tensor) -> None:
    with torch.no_grad():
        network(image)


def example(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return torch.randn(shape), torch.randint(0, 2, (shape[0], *shape[2:]))


def formats(names: list[str], shapes: dict[int, tuple[int, ...]], width: int, repeats: int) -> None:
    for name in names:
        for ndim, shape in shapes.items():
            last = torch.channels_last if ndim == 2 else torch.channels_last_3d
            networks: dict[tuple[str, str], nn.Module] = {}
            for norm in ("PyTorch's", "groups"):
                for kind, memory in (("last", last), ("contiguous", torch.contiguous_format)):
                    torch.manual_seed(0)
                    network: Any = build(name, ndim=ndim, in_channels=shape[1], classes=2, width=width)
                    network = network if norm == "groups" else before(network, ndim)
                    networks[norm, kind] = network.to(memory_format=memory)
            image, label = example(shape)
            for what, run in (("step", a_step), ("pass", a_pass)):
                used = nn.ModuleList([build(name, ndim=ndim, in_channels=shape[1], classes=2, width=width)])
                place(used, CPU, ndim, training=what == "step")
                weight = max(used.parameters(), key=Tensor.numel)
                kept = ("groups", "contiguous" if weight.is_contiguous() else "last")
                sides = {
                    f"{' '.join(key)}{'*' * (key == kept)}": functools.partial(run, network, image, label)
                    for key, network in networks.items()
                }
                show(f"{name} {ndim}D {what}", turns(sides, repeats))


def classes(maps: tuple[tuple[int, ...], ...], repeats: int) -> None:
    for shape in maps:
        p = torch.rand(shape)
        show(
            "x".join(map(str, shape)), turns({"argmax": lambda p=p: p.argmax(dim=1), "max": lambda p=p: likeliest(p)}, repeats)
        )


def precisions(shape: tuple[int, ...], width: int, repeats: int) -> None:
    network = nn.ModuleList([build("unet-small", ndim=2, in_channels=shape[1], classes=2, width=width)])
    place(network, CPU, 2)
    image, label = example(shape)

    def step(dtype: torch.dtype | None) -> None:
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            loss = nn.functional.cross_entropy(network[0](image).float(), label)
        network.zero_grad(set_to_none=True)
        loss.backward()

    times = turns({name: lambda dtype=dtype: step(dtype) for name, dtype in AUTOCAST.items()}, repeats)
    show(f"instructions for {[name for name in ('bf16', '16') if computes_in(name, 'cpu')] or 'neither'}", times)


def steps(side: str, name: str, ndim: int, shape: tuple[int, ...], width: int, repeats: int) -> None:
    """Prints milliseconds and page faults of a step, and peak memory in MB, of one process."""
    import resource

    if side == "kept":
        assert keep_freed_memory()
    method = nn.ModuleList([build(name, ndim=ndim, in_channels=shape[1], classes=2, width=width)])
    place(method, CPU, ndim)
    image, label = example(shape)
    faults = []

    def step() -> None:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        a_step(method[0], image, label)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)

    (ms,) = turns({side: step}, repeats).values()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(ms, statistics.median(faults[1:]), peak, flush=True)


def allocator(names: list[str], repeats: int) -> None:
    for name in names:
        for ndim in SHAPES:
            found: dict[str, list[list[float]]] = {"plain": [], "kept": []}
            for _ in range(3):
                for side, rows in found.items():
                    words = [sys.executable, __file__, "--one-process", side, name, str(ndim), "--repeats", str(repeats)]
                    words += ["--threads", str(torch.get_num_threads())]
                    rows.append([float(word) for word in subprocess.check_output(words, text=True).split()])
            middle = {side: [statistics.median(column) for column in zip(*rows, strict=True)] for side, rows in found.items()}
            show(f"{name} {ndim}D", {side: values[0] for side, values in middle.items()})
            for side, (_, faults, peak) in middle.items():
                print(f"    {side}: {faults:.0f} page faults of a step, peak {peak:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--networks", nargs="+", default=["unet", "unet++", "residual-unet"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--smallest", action="store_true", help="tiny images, to see whether everything works")
    parser.add_argument("--one-process", nargs=3, metavar=("SIDE", "NETWORK", "NDIM"), help="one side of the allocator's part")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    repeats, shapes, width = arguments.repeats, SHAPES, 16
    if arguments.smallest:
        repeats, shapes, width = 1, SMALL, 2
    if arguments.one_process:
        side, name, ndim = arguments.one_process
        steps(side, name, int(ndim), shapes[int(ndim)], width, repeats)
        return
    print(f"torch {torch.__version__}, {arguments.threads} threads, median of {repeats}; milliseconds (relative)")
    if "formats" in arguments.parts:
        formats(arguments.networks, shapes, width, repeats)
    if "likeliest" in arguments.parts:
        classes(MAPS[:1] if arguments.smallest else MAPS, repeats)
    if "precision" in arguments.parts:
        precisions(shapes[2], width, repeats)
    if "allocator" in arguments.parts:
        if arguments.smallest:
            steps("plain", "unet", 2, shapes[2], width, repeats)
        else:
            allocator(arguments.networks, repeats)


if __name__ == "__main__":
    main()
