"""How much of a training step passes outside the networks: reading, warp, intensity, loss, selection, optimiser.

Run ``python benchmarks/step_cost.py`` (or with ``--device cuda``). Every method takes the steps of ``fit`` with its own plan
(a weak view by default) on prepared cases on disk, 2D (8 x 3 x 128 x 128, unet-small) and 3D (patches of 64^3 from volumes of
80 x 96 x 96, 2 x 1 x 64^3, unet), width 16, with the default augmentation, optimiser and clipping.

Method of measurement. A step is what ``fit`` does from asking for a batch until ``Method.step`` returns. Every second step,
the networks are replaced by what they did in the step before: a call gives the logits of then, and their gradient, once it
has come back to the logits, the parameters' gradients of then. What such a step takes is "outside"; the forward and backward
passes are the difference to a full step. The methods take turns step by step, so that a change of the machine's speed meets
all alike. A look-ahead belongs to the networks: all but its first pass is left out of such a step. Times are means; on a CPU
they are CPU time of the process, its reading thread included, which depends little on what else runs.
"""

from __future__ import annotations

import argparse
import copy
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from debride.batch import Batch
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared
from debride.methods import METHODS, methods_for
from debride.methods.base import Method
from debride.networks import Network
from debride.state import LabelState
from debride.training.config import TrainConfig
from debride.training.job import Job, make_method
from debride.training.launch import place
from debride.training.look_ahead import LookAhead
from debride.training.schedule import make_optimiser
from debride.training.segmentation import SegmentationRun
from debride.training.task import TASKS
from debride.types import Case, Dataset

WARM_UP = 1
PAIRS = {"2D": 6, "3D": 3}
FILES = 16
TRUSTED = 8
SETTINGS: dict[str, dict[str, Any]] = {
    "2D": {"shape": (128, 128), "channels": 3, "config": {"batch_size": 8, "network": "unet-small"}},
    "3D": {"shape": (80, 96, 96), "channels": 1, "config": {"batch_size": 2, "network": "unet", "patch_size": (64, 64, 64)}},
}
SMALLEST: dict[str, dict[str, Any]] = {
    "2D": {"shape": (32, 32), "channels": 3, "config": {"batch_size": 2, "network": "unet-small"}},
    "3D": {"shape": (16, 20, 20), "channels": 1, "config": {"batch_size": 2, "network": "unet-small", "patch_size": (16,) * 3}},
}
"""Settings that show that everything works, and nothing of its cost."""


WHOLE_STEPS: dict[str, dict[str, Any]] = {
    **{name: {"warm_up": 0.0} for name in ("cl", "gsd-net", "l2b", "slsr")},
    "meta-dcseg": {"warm_up": 0.0, "start": 0.0},
    "rmd": {"ramp": 0.0},
    "self-cleansing": {"warm_up": 0.0, "settled": 0.0},
}
"""Settings with which the first epoch's steps do all that later ones do."""


class Replaced(torch.autograd.Function):
    """A network that gives logits and gradients that are known."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, *ctx.gradients


class Switch:
    """Makes the networks of a method ``real``, or replaces them by what they gave when they were last."""

    def __init__(self, method: Method, run: SegmentationRun) -> None:
        self.real = True
        self.ahead: Ahead | None = None
        self.logits: list[Tensor] = []
        self.gradients: dict[nn.Parameter, Tensor] = {}
        for network in [module for module in method.modules() if isinstance(module, Network)]:
            network.forward = functools.partial(self._forward, network, network.forward)
        run.look_ahead = functools.partial(self._look_ahead, run.look_ahead)  # type: ignore[method-assign]

    def _look_ahead(self, look: Callable[..., LookAhead], network: Network, *arguments: Any) -> Ahead:
        if self.real:
            self.ahead = Ahead(look(network, *arguments))
            return self.ahead
        assert self.ahead is not None
        parameters = [parameter for parameter in network.parameters() if parameter in self.gradients]
        logits = Replaced.apply(
            self.ahead.logits.detach(), [self.gradients[parameter] for parameter in parameters], *parameters
        )
        return self.ahead.replaced(logits)

    def _forward(self, network: Network, forward: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
        if self.ahead is not None:  # a pass of a look-ahead
            return forward(image)
        if self.real:
            logits = forward(image)
            self.logits.append(logits.detach())
            return logits
        parameters = [parameter for parameter in network.parameters() if parameter in self.gradients]
        return Replaced.apply(self.logits.pop(0), [self.gradients[parameter] for parameter in parameters], *parameters)


class Ahead:
    """A look-ahead that remembers its tangent."""

    def __init__(self, real: LookAhead) -> None:
        self.logits, self.features, self._tangent = real.logits, real.features, real.tangent
        self.found: Tensor | None = None

    def tangent(self, *arguments: Any) -> Tensor:
        self.found = self._tangent(*arguments)
        return self.found

    def replaced(self, logits: Tensor) -> Ahead:
        """The same with other logits, without its passes."""
        again = copy.copy(self)
        again.logits, again.features = logits, None if self.features is None else self.features.detach().requires_grad_()
        again._tangent = lambda *_: self.found
        return again


def now(device: torch.device) -> float:
    """Milliseconds: CPU time of the process, or time on the clock when the GPU has done what it was asked to."""
    if device.type == "cpu":
        return 1e3 * time.process_time()
    torch.cuda.synchronize()
    return 1e3 * time.perf_counter()


def prepared_cases(folder: Path, rows: int, channels: int, shape: tuple[int, ...]) -> Prepared:
    """Cases in the cache's own files, balls in noise, the first TRUSTED of them trusted; ``FILES`` of them again and again."""
    rng = np.random.default_rng(0)
    axes = np.ix_(*(np.linspace(-1, 1, length) for length in shape))
    files = [(folder / f"image{number}.npy", folder / f"label{number}.npy") for number in range(FILES)]
    for image_file, label_file in files:
        centre = rng.uniform(-0.2, 0.2, len(shape))
        label = (sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True)) < 0.3).astype(np.uint8)
        np.save(label_file, label)
        np.save(image_file, (2.0 * label + rng.normal(size=(channels, *shape))).astype(np.float32))
    images, labels = zip(*(files[row % FILES] for row in range(rows)), strict=True)
    cases = tuple(Case(f"case{row}", (), None, f"case{row}", trusted=row < TRUSTED) for row in range(rows))
    return Prepared(cases, channels, (shape,) * rows, ((1.0,) * len(shape),) * rows, images, labels)


def steps(name: str, prepared: Prepared, config: TrainConfig, fabric: Fabric, folder: Path) -> Iterator[tuple[float, float]]:
    """The steps of one epoch in pairs: (ms of a full step, ms of a step without its networks)."""
    dataset = Dataset(folder, "folder", ("background", "object"), prepared.cases, len(prepared.shapes[0]))
    settings, views = METHODS[name].Config(**WHOLE_STEPS.get(name, {})), Augmentation()
    job = Job(dataset=dataset, method=name, method_config=settings, config=config, augmentation=views, out=folder)
    method = place(make_method(job, prepared.channels), fabric.device, dataset.ndim)
    prepared = TASKS[dataset.task].with_extras(prepared, method, config, folder / "maps", False)
    store = LabelState(method.fields(), prepared.shapes, folder / name)
    run = SegmentationRun(fabric, config, views, method, make_optimiser(config, method.parameters()), prepared, store)
    method.train()
    method.start_epoch(run)
    switch = Switch(method, run)
    for number, phase in enumerate(method.plan(run)):
        batches = run.batches(number, phase)

        def step(batches: Iterator[Batch] = batches) -> float | None:
            started = now(fabric.device)
            if (batch := next(batches, None)) is None:
                return None
            method.step(batch, run)
            return now(fabric.device) - started

        while True:
            switch.real, switch.logits = True, []
            if (full := step()) is None:
                break
            switch.gradients = {parameter: parameter.grad for parameter in method.parameters() if parameter.grad is not None}
            switch.real = False
            if (outside := step()) is None:
                break
            yield full, outside


def measure(kind: str, names: list[str], fabric: Fabric, settings: dict[str, Any], count: int, width: int = 16) -> None:
    """Prints one line for each method: ms of a step, of its networks and outside them."""
    config = TrainConfig(epochs=1, width=width, **settings["config"])
    with tempfile.TemporaryDirectory() as folder:
        rows = TRUSTED + 2 * (WARM_UP + count) * config.batch_size
        prepared = prepared_cases(Path(folder), rows, settings["channels"], settings["shape"])
        running = [steps(name, prepared, config, fabric, Path(folder)) for name in names]
        times = np.array([[next(timed) for timed in running] for _ in range(WARM_UP + count)])[WARM_UP:].mean(axis=0)
        for timed in running:
            timed.close()
    shape = "x".join(map(str, (config.batch_size, settings["channels"], *(config.patch_size or settings["shape"]))))
    print(f"\n{kind} {shape}, {config.network}, mean of {count} steps on {fabric.device}")
    print(f"{'ms':16}{'step':>9}{'networks':>10}{'outside':>9}{'share':>8}{'/ ce':>7}")
    for name, (full, outside) in zip(names, times, strict=True):
        share, ratio = outside / full, full / times[0, 0]
        print(f"{name:16}{full:9.1f}{full - outside:10.1f}{outside:9.1f}{share:8.1%}{ratio:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = methods_for("segmentation")
    parser.add_argument("--methods", nargs="+", default=known, choices=known, help="default: all; ce always")
    parser.add_argument("--kinds", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--smallest", action="store_true", help="a tiny step of each, to see whether everything works")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fabric = Fabric(accelerator=arguments.device, devices=1)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    for kind in arguments.kinds:
        names = ["ce", *(name for name in arguments.methods if name != "ce")]
        if arguments.smallest:
            measure(kind, names, fabric, SMALLEST[kind], 1, width=4)
        else:
            measure(kind, names, fabric, SETTINGS[kind], PAIRS[kind])


if __name__ == "__main__":
    main()
