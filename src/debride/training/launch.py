"""Where a training computes: its device, its processes, and the memory format of its weights."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from debride.data.pixels import outside_pixels, use_pixels
from debride.networks import InstanceNorm
from debride.spawning import not_run_again
from debride.stopping import ending_processes, stoppable
from debride.types import DataError

STOPPED = 130
"""The exit code of a process that was told to stop."""

M = TypeVar("M", bound=nn.Module)


def choose_device(name: str, number: int = 1) -> str:
    """ "cpu" or "cuda"; "auto" is cuda where there is one. Raises DataError for GPUs that this machine does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DataError("`device` cuda", "finds no such GPU", "Use `device` cpu or auto.")
    if name == "cuda" and torch.cuda.device_count() < number:
        raise DataError("`devices`", f"asks for {number} GPUs, there are {torch.cuda.device_count()}", "Use fewer processes.")
    return name


def place(module: M, device: torch.device, ndim: int, *, training: bool = True) -> M:
    """The module on a device, the weights of each of its parts in the memory format that it is fastest with."""
    module.to(device)
    for part in module.children():
        move: Any = part.to  # torch's annotations lack the memory format
        move(memory_format=_memory_format(part, device, ndim, training))
    return module


def _memory_format(part: nn.Module, device: torch.device, ndim: int, training: bool) -> torch.memory_format:
    """Channels last, but for instance normalisation where it would give that format up, as it does on GPUs, or where its
    gradient takes longer in it, as in 2D on CPUs."""
    if any(isinstance(layer, InstanceNorm) for layer in part.modules()) and (device.type == "cuda" or (training and ndim == 2)):
        return torch.contiguous_format
    return torch.channels_last if ndim == 2 else torch.channels_last_3d


def launch(
    train: Callable[[Fabric], None],
    accelerator: str,
    devices: int,
    before: Callable[[], object],
    smaller: str,
    names: Sequence[str] = (),
) -> None:
    """Calls a picklable ``train`` in one process or in several, where ``before`` is called first, in this process.

    ``names`` are those of methods and networks that it finds by name. ``smaller`` says which settings need less memory. What
    several processes refuse is raised here too, where they leave only the text of a traceback.
    """
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn" if devices > 1 else "auto")
    if devices == 1:
        fabric.launch(train)
        return
    before()
    refusals = torch.multiprocessing.get_context("spawn").SimpleQueue()
    try:
        with ending_processes(), not_run_again(*names, *outside_pixels()):
            fabric.launch(functools.partial(_train_or_tell, train=train, refusals=refusals, pixels=outside_pixels()))
    except ProcessRaisedException:
        if refusals.empty():
            raise
        raise refusals.get() from None
    except ProcessExitedException as error:
        if error.exit_code == STOPPED:
            raise KeyboardInterrupt from None
        problem = f"was ended from outside ({error.signal_name or f'exit code {error.exit_code}'})"
        remedy = f"Go on with `resume`. If there was not enough memory: `devices` is {devices}: try fewer; or {smaller}"
        raise DataError("a process of the training", problem, remedy) from None


def _train_or_tell(fabric: Fabric, train: Callable[[Fabric], None], refusals: Any, pixels: tuple[str, ...]) -> None:
    try:
        with stoppable():
            for name in pixels:
                use_pixels(name)
            train(fabric)
    except DataError as error:
        refusals.put(error)
        raise
    except KeyboardInterrupt:  # which torch would take for the end of the work
        os._exit(STOPPED)
