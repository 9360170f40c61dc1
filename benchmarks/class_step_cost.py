"""What a training step of the methods for classification costs, and how much of it passes outside the networks.

Run ``python benchmarks/class_step_cost.py`` (or with ``--network preact-resnet18 --device cuda``). Every method takes the steps
of ``fit`` after its warm-up, on random images, with the default augmentation and optimiser. Methods with two networks take
them in both phases, one network learning in each; in every one half of the images are selected, whatever their losses, so
that a batch of dividemix, unicon and dcd holds as many labelled images as one of ce and elr, and as many others.

A step is what ``fit`` does from asking for a batch until ``Method.step`` returns. Each is taken twice: as it is, for its time,
and with its parts timed. "batch" is reading, augmentation and copying to the device, of the trusted cases too; "networks" are
the passes forward and backward of networks and projections and the look-ahead, "optimiser" its step. "rest" is what is left:
weights, distances, mixing, targets, losses and label state. The sweep is ``start_epoch``, in which methods select.

The methods take turns step by step, so that a change of the machine's speed meets all alike. Times are medians over steps,
ratios the medians of each round's; shares are of the sums. On a CPU they are CPU time of the process, its reading thread
included; on a GPU time on the clock, and the timed parts wait for the GPU, which steps that are taken as they are do not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from debride.data.augmentation import ClassAugmentation
from debride.data.classes.class_cache import PreparedClasses
from debride.methods import METHODS
from debride.methods.base import Method
from debride.methods.parts.semi_supervised import NAMES, Division, Projection
from debride.networks import Network
from debride.state import LabelState
from debride.training.classification import ClassificationRun
from debride.training.config import ClassTrainConfig
from debride.training.job import Job, make_method
from debride.training.launch import place
from debride.training.schedule import make_optimiser
from debride.types import Case, Dataset

WARM_UP = 2
"""Rounds of each phase that are not counted."""
CLASSES = 10
PARTS = ("batch", "networks", "optimiser")
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "ce": ("ce", {}),
    "elr": ("elr", {}),
    "sop": ("sop", {}),
    "pes": ("pes", {"later": 0.0, "last": 0.0}),
    "promix": ("promix", {}),
    "dividemix": ("dividemix", {}),
    "unicon": ("unicon", {}),
    "dcd, full": ("dcd", {"scope": "full", "derivative": "exact"}),
    "dcd, full, difference": ("dcd", {"scope": "full", "derivative": "difference"}),
    "dcd, head": ("dcd", {"scope": "head"}),
}
Figures = dict[str, float]


class Stopwatch:
    """Adds up the time that parts of a step take while it is ``on``; a part within another counts for the outer one."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.on, self.inside = device, False, False
        self.spent: dict[str, float] = defaultdict(float)

    def now(self) -> float:
        """Milliseconds: CPU time of the process, or time on the clock when the GPU has done what it was asked to."""
        if self.device.type == "cpu":
            return 1e3 * time.process_time()
        torch.cuda.synchronize()
        return 1e3 * time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if not self.on or self.inside:
            yield
            return
        self.inside, started = True, self.now()
        try:
            yield
        finally:
            self.inside = False
            self.spent[name] += self.now() - started

    def timed(self, name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added to a part's."""

        def run(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return action(*arguments, **named)

        return run

    def watch(self, method: Method, run: ClassificationRun) -> None:
        """Times a method's networks, its optimiser, its look-aheads and its trusted batches; the backward pass is not here."""
        watched: list[nn.Module] = []
        for module in method.modules():
            if isinstance(module, Network):
                module.features = self.timed("networks", module.features)  # type: ignore[method-assign]
                watched += [module, *([module.head] if module.head is not None else [])]
            elif isinstance(module, Projection):
                watched.append(module)
        for module in watched:
            module.forward = self.timed("networks", module.forward)
        run.optimiser.step = self.timed("optimiser", run.optimiser.step)  # type: ignore[method-assign]
        run.trusted_batch = self.timed("batch", run.trusted_batch)  # type: ignore[method-assign]
        look = self.timed("networks", run.look_ahead)

        def look_ahead(*arguments: Any) -> Any:
            ahead = look(*arguments)
            ahead.tangent = self.timed("networks", ahead.tangent)
            return ahead

        run.look_ahead = look_ahead  # type: ignore[assignment, method-assign]


def random_images(folder: Path, count: int, size: int, trusted: int) -> PreparedClasses:
    """Images of noise in the cache's own file, with classes in turn; the first ones are trusted."""
    file = folder / "images.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8))
    targets = np.arange(count) % CLASSES
    cases = tuple(
        Case(f"{row}", (file,), None, f"{row}", trusted=row < trusted, target=int(targets[row]), row=row, array="train_images")
        for row in range(count)
    )
    return PreparedClasses(cases, 3, (size, size), file, targets)


def rounds_of(
    name: str, prepared: PreparedClasses, config: ClassTrainConfig, fabric: Fabric, folder: Path, rounds: int
) -> Iterator[Figures]:
    """The rounds of a method, in ms: its sweeps, then its steps, one half of them in each phase."""
    method_name, settings = SETTINGS[name]
    classes = tuple(str(number) for number in range(CLASSES))
    dataset = Dataset(folder, "npz", classes, prepared.cases, 2, task="classification")
    method_config, views = METHODS[method_name].Config(**settings), ClassAugmentation()
    job = Job(
        dataset=dataset, method=method_name, method_config=method_config, config=config, augmentation=views, out=folder / "run"
    )
    method = place(make_method(job, prepared.channels), fabric.device, 2)
    store = LabelState(method.fields(), prepared.shapes, folder / name)
    run = ClassificationRun(fabric, config, views, method, make_optimiser(config, method.parameters()), prepared, store)
    run.epoch = config.epochs - 1
    watch = Stopwatch(fabric.device)
    watch.watch(method, run)
    method.train()
    for _ in range(1 + rounds):
        started = watch.now()
        method.start_epoch(run)
        yield {"sweep": watch.now() - started}
    if hasattr(method, "divisions"):
        method.divisions = dict.fromkeys(NAMES, half(len(prepared)))  # type: ignore[assignment]
    elif hasattr(method, "confident"):
        method.confident = half(len(prepared)).selected
    phases = method.plan(run)
    streams = [run.batches(number, phase) for number, phase in enumerate(phases)]
    for batches in streams if len(streams) == 2 else 2 * streams:
        for _ in range(WARM_UP + rounds):
            whole = step(method, run, batches, watch)
            watch.on, watch.spent = True, defaultdict(float)
            with patch("torch.autograd.backward", watch.timed("networks", torch.autograd.backward)):
                parted = step(method, run, batches, watch)
            watch.on = False
            yield {"step": whole, "parted": parted, **{part: watch.spent[part] for part in PARTS}}
    for batches in streams:
        batches.close()  # type: ignore[attr-defined]  # a generator


def step(method: Method, run: ClassificationRun, batches: Iterator[Any], watch: Stopwatch) -> float:
    """Takes one step; its time in ms."""
    started = watch.now()
    with watch.part("batch"):
        batch = next(batches)
    with run.autocast():
        method.step(batch, run)
    return watch.now() - started


def half(count: int) -> Division:
    """A division that selects every second image, with doubt about all."""
    return Division(torch.arange(count) % 2 == 0, torch.full((count,), 0.5))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, list[Figures]]:
    """The counted rounds of every method, their sweeps first."""
    config = ClassTrainConfig(
        epochs=2,  # the second is after the warm-up
        steps_per_epoch=4 * (WARM_UP + args.rounds),
        batch_size=args.batch_size,
        network=args.network,
        width=args.width,
        device=args.device,
    )
    fabric = Fabric(accelerator=args.device, devices=1)
    prepared = random_images(folder, args.images, args.image_size, max(1, args.images // 10))
    running = {name: rounds_of(name, prepared, config, fabric, folder, args.rounds) for name in SETTINGS}
    found: dict[str, list[Figures]] = {name: [] for name in SETTINGS}
    for round in zip(*running.values(), strict=True):
        for name, figures in zip(SETTINGS, round, strict=True):
            found[name].append(figures)
    phase = WARM_UP + args.rounds
    dropped = {0, *(1 + args.rounds + start + number for start in (0, phase) for number in range(WARM_UP))}
    return {name: [row for number, row in enumerate(rows) if number not in dropped] for name, rows in found.items()}


def table(found: dict[str, list[Figures]], images: int) -> list[str]:
    """The lines of a Markdown table."""
    steps = {name: np.array([row["step"] for row in rows if "step" in row]) for name, rows in found.items()}
    heads = ("", "ms of a step", "/ ce", "/ unicon", *PARTS, "rest", "sweep, s per 1,000 images")
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, rows in found.items():
        whole = sum(row.get("parted", 0.0) for row in rows)
        shares = [sum(row.get(part, 0.0) for row in rows) / whole for part in PARTS]
        sweep = float(np.median([row["sweep"] for row in rows if "sweep" in row])) / images
        swept = f"{sweep:.3f}" if sweeps(name) else "-"
        ratios = [float(np.median(steps[name] / steps[other])) for other in ("ce", "unicon")]
        cells = [name, f"{np.median(steps[name]):.1f}", *(f"{ratio:.2f}" for ratio in ratios)]
        cells += [*(f"{share:.1%}" for share in (*shares, 1 - sum(shares))), swept]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def sweeps(name: str) -> bool:
    """Whether a method does something before its epochs."""
    return METHODS[SETTINGS[name][0]].start_epoch is not Method.start_epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--width", type=int, default=16, help="16 is each network's usual width (default)")
    parser.add_argument("--batch-size", type=int, default=64, help="labelled images of a step (default: 64)")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=2000, help="of the training set; a tenth is trusted (default: 2000)")
    parser.add_argument("--rounds", type=int, default=8, help="that are counted, of sweeps and of steps in each phase")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    device = (
        torch.cuda.get_device_name()
        if args.device == "cuda"
        else f"cpu, {args.threads} thread{'' if args.threads == 1 else 's'}"
    )
    print(f"{args.network} of width {args.width}, batches of {args.batch_size}, images of {args.image_size}^2, ", end="")
    print(f"{2 * args.rounds} steps; {device}, torch {torch.__version__}\n")
    print("\n".join(table(found, args.images)))


if __name__ == "__main__":
    main()
