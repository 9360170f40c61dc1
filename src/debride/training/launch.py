"""Where a training computes: its device, its processes, and the memory format of its weights."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from debride.company import in_company
from debride.data.pixels import outside_pixels, use_pixels
from debride.networks import InstanceNorm
from debride.spawning import not_run_again
from debride.started import Started, started
from debride.stopping import ending_processes, stoppable
from debride.training.config import TrainConfig
from debride.types import DataError

STOPPED = 130
"""The exit code of a process that was told to stop."""

WAIT = timedelta(hours=6)
"""How long a process waits for the others in a step that all take: longer than writing any state lasts."""

_LOST = re.compile("gloo|nccl|monitoredBarrier|TCPStore|by peer|broken pipe", re.IGNORECASE)
"""What an error says that comes of another process that is gone."""

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


class _Here(LightningEnvironment):  # type: ignore[misc]
    """Processes that this one starts on its machine, whatever a job around it says of others."""

    def __init__(self) -> None:
        super().__init__()
        self._port = 0

    @property
    def creates_processes_externally(self) -> bool:
        return False

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        if not self._port:
            self._port = find_free_network_port()
        return self._port

    def node_rank(self) -> int:
        return 0


class _Given(ClusterEnvironment):  # type: ignore[misc]
    """Processes that torchrun or srun started."""

    def __init__(self, found: Started) -> None:
        super().__init__()
        self._found = found

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._found.host

    @property
    def main_port(self) -> int:
        return self._found.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._found.world

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._found.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._found.local

    def node_rank(self) -> int:
        return self._found.node


def alone(accelerator: str) -> Fabric:
    """One process that computes, also where a job around it has several."""
    return Fabric(accelerator=accelerator, devices=1, plugins=[_Here()])


def with_started(config: TrainConfig, given: Collection[str]) -> TrainConfig:
    """The settings with the numbers of machines and processes that torchrun or srun has started.

    ``given`` are the names of settings that were given. Tasks of srun train together only where these ask for several
    processes. Raises DataError for a number that was given and is another.
    """
    found = started()
    if found is None or (found.by == "srun" and config.processes == 1):
        return config
    for name in ("nodes", "devices"):
        if name in given:
            _refuse_other(config, found, name)
    return replace(config, nodes=found.nodes, devices=found.devices)


def company_of(config: TrainConfig) -> Started | None:
    """The processes that were started for a training; None where it has one process, or starts others itself. DataError where
    others were started than it asks for, or none on other machines."""
    if config.processes == 1:
        return None
    found = started()
    if found is None and config.nodes > 1:
        problem = f"is {config.nodes}, and nothing has started processes on other machines"
        raise DataError("`nodes`", problem, "Start the training by `srun` or `torchrun` on each of them.")
    if found:
        _refuse_other(config, found, "nodes")
        _refuse_other(config, found, "devices")
    return found


def _refuse_other(config: TrainConfig, found: Started, name: str) -> None:
    asked, there = getattr(config, name), getattr(found, name)
    if asked != there:
        what = f"{found.world} processes on {found.nodes} machine{'s' if found.nodes > 1 else ''}"
        problem = f"is {asked}, and {found.by} has started {what}, {found.devices} on each"
        raise DataError(f"`{name}`", problem, f"Give {there}, or start others.")


def devices_here(config: TrainConfig, found: Started | None) -> int:
    """How many devices this process must see: SLURM may show to each process its own alone."""
    return 1 if found and found.by == "srun" and torch.cuda.device_count() == 1 else config.devices


def launch(
    train: Callable[[Fabric], None],
    accelerator: str,
    config: TrainConfig,
    found: Started | None,
    before: Callable[[], object],
    smaller: str,
    names: Sequence[str] = (),
) -> None:
    """Calls a picklable ``train`` in one process, in those that were ``found``, or in several that are started here. Before
    these ``before`` is called, in this process.

    ``names`` are those of methods and networks that it finds by name. ``smaller`` says which settings need less memory. What
    several processes refuse is raised here too, where they leave only the text of a traceback.
    """
    if config.processes == 1:
        alone(accelerator).launch(train)
    elif found:
        with _naming_lost():
            _connect(found, accelerator)
            _among(found, accelerator, config).launch(train)
            dist.destroy_process_group()
    else:
        before()
        _spawn(train, accelerator, config.devices, smaller, names)


def _connect(found: Started, accelerator: str) -> None:
    """Connects this process with those that were started with it, by a store of theirs alone. In the one of torchrun there may
    be addresses of processes that are gone, which torch would take for theirs."""
    company = in_company()
    assert company, "processes that were found have met"
    backend, store = "nccl" if accelerator == "cuda" else "gloo", company.store("torch")
    dist.init_process_group(backend, store=store, rank=found.rank, world_size=found.world, timeout=WAIT)


def _among(found: Started, accelerator: str, config: TrainConfig) -> Fabric:
    """This process among those that were started with it."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # which would say that all are there
    devices = devices_here(config, found) if accelerator == "cuda" else config.devices
    own = [torch.device("cuda", 0)] * config.devices if devices < config.devices else None
    strategy = DDPStrategy(parallel_devices=own, cluster_environment=_Given(found), timeout=WAIT)
    return Fabric(accelerator=accelerator, devices=devices, num_nodes=config.nodes, strategy=strategy)


@contextmanager
def _naming_lost() -> Iterator[None]:
    """Turns the error of a process that waits for one that is gone into DataError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not _LOST.search(str(error)):
            raise
        problem = f"was ended from outside, or its machine is not reached any more ({str(error).splitlines()[0]})"
        raise DataError(
            "a process of the training", problem, "Look for what the others said, and go on with `resume`."
        ) from error


def _spawn(train: Callable[[Fabric], None], accelerator: str, devices: int, smaller: str, names: Sequence[str]) -> None:
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn", plugins=[_Here()])
    refusals = torch.multiprocessing.get_context("spawn").SimpleQueue()
    port = os.environ.get("MASTER_PORT")
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
    finally:
        if port is None:  # Fabric leaves the one that it chose
            os.environ.pop("MASTER_PORT", None)
        else:
            os.environ["MASTER_PORT"] = port


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
