"""How much of a training step passes outside the networks: reading, warp, intensity, loss, selection, optimiser.

Run ``python benchmarks/step_cost.py`` (or with ``--device cuda``). Every method takes the steps of ``fit`` with its own plan
(a weak view by default) on prepared cases on disk, 2D (8 x 3 x 128 x 128, unet-small) and 3D (patches of 64^3 from volumes of
80 x 96 x 96, 2 x 1 x 64^3, unet), width 16, with the default augmentation, optimiser and clipping.

Method of measurement. A step is what ``fit`` does from asking for a batch until ``Method.step`` returns. In it, hooks note each
call of a network, its input, and the gradient that came back to its output. Right after it the same calls are made again on
the same input, forward and, with that gradient, backward: that is the time of the networks, and the rest of the step is
outside. The methods take turns step by step, so that a change of the machine's speed meets all of them alike. Times are means
over the steps; on a CPU they are CPU time of the process, its reading thread included, which hardly depends on what else runs.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared
from debride.labels import LabelStore
from debride.methods import METHODS
from debride.methods.base import Method
from debride.networks import Network
from debride.training.config import TrainConfig
from debride.training.fit import Job, make_method, place
from debride.training.run import TrainingRun
from debride.training.schedule import make_optimiser
from debride.types import Case, Dataset

WARM_UP = 3
STEPS = {"2D": 20, "3D": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "2D": {"shape": (128, 128), "channels": 3, "config": {"batch_size": 8, "network": "unet-small"}},
    "3D": {"shape": (80, 96, 96), "channels": 1, "config": {"batch_size": 2, "network": "unet", "patch_size": (64, 64, 64)}},
}


@dataclass
class Call:
    """A call of a part of a network: its input, and what came back to its output."""

    module: nn.Module
    image: Tensor
    differentiable: bool
    gradients: list[Tensor] = field(default_factory=list)


class Recorder:
    """Notes the calls of a method's networks while it is ``on``."""

    def __init__(self, method: Method) -> None:
        self.on = True
        self.calls: list[Call] = []
        for network in (module for module in method.modules() if isinstance(module, Network)):
            for part in (network.trunk, network.head):
                if part is not None:
                    part.register_forward_hook(self._note)

    def _note(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if self.on:
            (image,) = inputs
            call = Call(module, image.detach(), image.requires_grad)
            self.calls.append(call)
            if output.requires_grad:
                output.register_hook(call.gradients.append)

    def replay(self) -> None:
        """The noted calls once more, all forward and then all backward."""
        outputs = []
        for call in self.calls:
            with torch.set_grad_enabled(bool(call.gradients)):
                outputs.append(call.module(call.image.requires_grad_(call.differentiable and bool(call.gradients))))
        for call, output in zip(reversed(self.calls), reversed(outputs), strict=True):
            for number, gradient in enumerate(call.gradients, start=1):
                output.backward(gradient, retain_graph=number < len(call.gradients))


def now(device: torch.device) -> float:
    """Milliseconds: CPU time of the process, or time on the clock when the GPU has done what it was asked to."""
    if device.type == "cpu":
        return 1e3 * time.process_time()
    torch.cuda.synchronize()
    return 1e3 * time.perf_counter()


def prepared_cases(folder: Path, cases: int, channels: int, shape: tuple[int, ...]) -> Prepared:
    """Cases in the cache's own files: balls in noise, every second one trusted."""
    rng = np.random.default_rng(0)
    axes = np.ix_(*(np.linspace(-1, 1, length) for length in shape))
    files = [(folder / f"image{row}.npy", folder / f"label{row}.npy") for row in range(cases)]
    for image_file, label_file in files:
        label = (
            sum((axis - shift) ** 2 for axis, shift in zip(axes, rng.uniform(-0.2, 0.2, len(shape)), strict=True)) < 0.3
        ) * 1
        np.save(label_file, label.astype(np.uint8))
        np.save(image_file, (2.0 * label + rng.normal(size=(channels, *shape))).astype(np.float32))
    named = tuple(Case(f"case{row}", (), None, f"case{row}", trusted=row % 2 == 0) for row in range(cases))
    spacings = ((1.0,) * len(shape),) * cases if len(shape) == 3 else (None,) * cases
    images, labels = zip(*files, strict=True)
    return Prepared(named, channels, (shape,) * cases, spacings, images, labels)


def steps(name: str, prepared: Prepared, config: TrainConfig, fabric: Fabric, folder: Path) -> Iterator[tuple[float, float]]:
    """The steps of a training, epoch after epoch: (ms of the step, ms of its networks)."""
    dataset = Dataset(folder, "folder", ("background", "object"), prepared.cases, len(prepared.shapes[0]))
    augmentation = Augmentation()
    job = Job(
        dataset=dataset, method=name, method_config=METHODS[name].Config(), config=config, augmentation=augmentation, out=folder
    )
    method = place(make_method(job, prepared.channels), fabric.device, dataset.ndim)
    recorder = Recorder(method)
    store = LabelStore(method.fields(), prepared.shapes, folder / name)
    run = TrainingRun(fabric, config, augmentation, method, make_optimiser(config, method.parameters()), prepared, store)
    for run.epoch in itertools.count():
        method.train()
        recorder.on = False
        method.start_epoch(run)
        for number, phase in enumerate(method.plan(run)):
            batches = run.batches(number, phase)
            while True:
                recorder.on, recorder.calls = True, []
                started = now(fabric.device)
                batch = next(batches, None)
                if batch is None:
                    break
                method.step(batch, run)
                ended = now(fabric.device)
                recorder.on = False
                method.zero_grad(set_to_none=True)
                replayed = now(fabric.device)
                recorder.replay()
                yield ended - started, now(fabric.device) - replayed
        recorder.on = False
        method.end_epoch(run)


def measure(kind: str, names: list[str], fabric: Fabric) -> None:
    """Prints one line for each method: ms of a step, of its networks and outside them."""
    settings, count = SETTINGS[kind], STEPS[kind]
    config = TrainConfig(epochs=1000, width=16, **settings["config"])
    with tempfile.TemporaryDirectory() as folder:
        cases = 4 * config.batch_size
        prepared = prepared_cases(Path(folder), cases, settings["channels"], settings["shape"])
        running = {name: steps(name, prepared, config, fabric, Path(folder)) for name in names}
        rounds = [{name: next(timed) for name, timed in running.items()} for _ in range(WARM_UP + count)][WARM_UP:]
        for timed in running.values():
            timed.close()
    shape = "x".join(map(str, (config.batch_size, settings["channels"], *(config.patch_size or settings["shape"]))))
    print(f"\n{kind} {shape}, {config.network}, mean of {count} steps on {fabric.device}")
    print(f"{'ms':16}{'step':>9}{'networks':>10}{'outside':>9}{'share':>8}{'/ ce':>7}")
    whole = {name: float(np.mean([one[name][0] for one in rounds])) for name in names}
    for name in names:
        inside = float(np.mean([one[name][1] for one in rounds]))
        outside = whole[name] - inside
        ratio = whole[name] / whole["ce"]
        print(f"{name:16}{whole[name]:9.1f}{inside:10.1f}{outside:9.1f}{outside / whole[name]:8.1%}{ratio:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="default: all; ce always")
    parser.add_argument("--kinds", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fabric = Fabric(accelerator=arguments.device, devices=1)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    for kind in arguments.kinds:
        measure(kind, ["ce", *(name for name in arguments.methods if name != "ce")], fabric)


if __name__ == "__main__":
    main()
