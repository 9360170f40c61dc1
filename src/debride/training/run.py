"""What a method sees of the training (``methods.base.Run``), made real on lightning-fabric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from debride.batch import Batch
from debride.data.loader import Raw, Selection, select
from debride.data.prepared import PreparedCases
from debride.methods.base import ChangeGradients, Look, Method, Phase, Swept
from debride.networks.network import Derivative, Network, Scope
from debride.rng import derive
from debride.state import LabelState
from debride.training.arriving import Checked, arriving
from debride.training.config import TrainConfig
from debride.training.look_ahead import LookAhead
from debride.training.precision import AUTOCAST
from debride.training.schedule import learning_rate
from debride.types import IGNORE, DataError

P = TypeVar("P", bound=PreparedCases)


class TrainingRun(ABC, Generic[P]):
    """The state of one training in one process. Networks stay plain modules: gradients are averaged here, in ``optimise``.

    A task says how its cases are read, seen and swept. ``augmentation`` holds the settings of its views.

    Of several processes each takes every n-th case of a batch. Gradients are weighted by each one's labelled pixels, so that a
    mean over pixels is that of the whole batch. Selection by loss is per process. Batch normalisation sees each process's own
    part of the batch, and running statistics are averaged after every epoch.
    """

    least = 1
    """Cases that every process needs of a batch: smaller batches are left out."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        augmentation: Any,
        method: Method,
        optimiser: torch.optim.Optimizer,
        prepared: P,
        store: LabelState,
    ) -> None:
        self.fabric, self.config = fabric, config
        self.method, self.optimiser, self.prepared, self.store = method, optimiser, prepared, store
        self.epoch = self.step = 0
        self.epochs = config.epochs
        self.cases = len(prepared)
        self.phase = ""
        self.is_trusted = np.array([case.trusted for case in prepared.cases])
        self.trusted = np.flatnonzero(self.is_trusted)
        self.set_views(augmentation)
        self.scaler = torch.amp.GradScaler(fabric.device.type, enabled=config.precision == "16")
        self.exchange: Callable[[], None] = lambda: None
        """Brings the rows of the label state that changed on other machines here; all processes call it at the same places."""
        self.generator = torch.Generator()
        self.on_gpu = fabric.device.type == "cuda"
        self._unchecked: deque[Checked] = deque()
        self._share: Tensor | float = 1.0
        self._cases: npt.NDArray[np.int64] = np.array([], np.int64)
        self._logged: dict[str, list[Tensor]] = defaultdict(list)

    @abstractmethod
    def set_views(self, augmentation: Any) -> None:
        """How views are cut from images and changed."""

    @abstractmethod
    def raw_batches(self, selections: Sequence[Selection], seed: int) -> Iterator[Raw]:
        """The selected cases of each batch, from disk, in order."""

    @abstractmethod
    def make_batch(self, raw: Raw, looks: Sequence[Look], seed: int) -> Batch:
        """The views of a raw batch, on the device."""

    @abstractmethod
    def sweep(self, rows: npt.NDArray[np.int64], network: Network | None = None) -> Iterator[Swept]:
        """Rows of the training set, un-augmented, in evaluation mode, batch by batch; with one ``network`` of the method its
        own probabilities, and its features."""

    @property
    def learning_rate(self) -> float:
        """The learning rate of the current epoch."""
        return learning_rate(self.config, self.epoch)

    @property
    def kinds(self) -> tuple[int, int]:
        """How many trusted and how many other cases make a batch of both; DataError where it has room for one kind only."""
        if self.config.batch_size < 2:
            raise DataError("`batch_size`", "is 1, too few for trusted and other cases in every batch", "Give at least 2.")
        trusted = self.config.trusted_per_batch or max(1, round(self.config.batch_size / 6))
        return trusted, self.config.batch_size - trusted

    def batches(self, number: int, phase: Phase) -> Iterator[Batch]:
        """The batches of an epoch's phase. Each is ready for ``Method.step``: generators seeded, step counted."""
        self.phase = phase.name
        seed = derive(self.config.seed, "epoch", self.epoch, number)
        everything = np.arange(len(self.prepared))
        streams = [(everything if s.cases is None else s.cases, s.size or self.config.batch_size) for s in phase.streams]
        rank, world = self.fabric.global_rank, self.fabric.world_size
        steps = self.config.steps_per_epoch or (-(-phase.length // streams[0][1]) if phase.length else None)
        selections = select(streams, derive(seed, "order"), rank, world, steps, self.least)
        for raw in self.raw_batches(selections, derive(seed, "read")):
            self._seed_step()
            batch = self.make_batch(raw, phase.looks, seed)
            self._share = self._share_of(batch)
            self._cases = raw.selection.rows
            yield batch
            self.step += 1
        self._refuse_nan(0)

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision as configured."""
        dtype = AUTOCAST[self.config.precision]
        return torch.autocast(self.fabric.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)

    def optimise(
        self, loss: Tensor, networks: Sequence[nn.Module] | None = None, change: ChangeGradients | None = None
    ) -> None:
        """Backward, averaging across processes, clipping and one optimiser step, for all parameters or those of ``networks``.
        ``change`` may change their gradients before they are clipped.

        Raises DataError with the step and the cases where the loss is not finite. On a GPU it does so in the next step, or
        after the last: nothing here waits for the device, which is then busy with the step in between.
        """
        value = arriving(self._mean_over_processes(loss.detach().double()))
        self._unchecked.append(Checked(value, loss.detach(), self.step, self._cases))
        self._refuse_nan(1 if self.on_gpu else 0)
        self._record("loss", loss)
        chosen = networks or [self.method]
        parameters = [p for network in chosen for p in network.parameters() if p.requires_grad]
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.fabric.device.type, enabled=False):
            self.scaler.scale(loss).backward(inputs=parameters if networks else None)  # type: ignore[no-untyped-call]
        self._average_gradients(parameters)
        self.scaler.unscale_(self.optimiser)
        if change is not None:
            change(parameters)
        if self.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    @property
    def own(self) -> npt.NDArray[np.int64]:
        """The rows that this process answers for: all of them where there is one process."""
        return np.arange(self.fabric.global_rank, self.cases, self.fabric.world_size)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over processes."""
        if self.fabric.world_size == 1:
            return values
        total = values.detach().clone().to(self.fabric.device)
        dist.all_reduce(total)
        summed: Tensor = total.to(values.device)
        return summed

    def trusted_batch(self, size: int) -> Batch:
        """A batch of ``size`` trusted cases (fewer if there are fewer), drawn anew for every step; each process draws its
        own."""
        if not len(self.trusted):
            raise DataError(
                "`trusted`",
                "names no case of the training set",
                "List cases whose labels were verified: the method needs some.",
            )
        seed = derive(self.config.seed, "trusted", self.epoch, self.step, self.fabric.global_rank)
        rows = np.random.default_rng(seed).choice(self.trusted, min(size, len(self.trusted)), replace=False)
        (raw,) = self.raw_batches([Selection(rows, np.zeros_like(rows), rows)], derive(seed, "read"))
        return self.make_batch(raw, (Look(),), seed)

    def look_ahead(self, network: Network, image: Tensor, scope: Scope, derivative: Derivative) -> LookAhead:
        """Passes images (B, C, *S) forward; the result can be asked what weights on their pixels would do to a trusted loss."""
        return LookAhead(network, image, scope, derivative, self._averaged, self._share)

    def log(self, **values: Tensor | float) -> None:
        """Records scalars; each epoch's mean over steps and processes goes to ``metrics.jsonl``."""
        prefix = "" if self.phase in ("", "train") else f"{self.phase}/"
        for name, value in values.items():
            self._record(prefix + name, value)

    def _record(self, name: str, value: Tensor | float) -> None:
        self._logged[name].append(torch.as_tensor(value).detach().double() * self._share)

    def epoch_means(self) -> dict[str, float]:
        """The means of what was logged since the last call."""
        device = self.fabric.device
        means = {name: torch.stack([value.to(device) for value in values]).mean() for name, values in self._logged.items()}
        self._logged.clear()
        return {name: float(self._mean_over_processes(value)) for name, value in means.items()}

    def seed_epoch(self) -> None:
        """Seeds torch's global generator for what a method draws outside its steps."""
        torch.manual_seed(derive(self.config.seed, "outside steps", self.epoch, self.fabric.global_rank))

    def average_buffers(self) -> None:
        """Averages floating-point buffers (running statistics) over processes, so that all go on from the same ones."""
        if self.fabric.world_size > 1:
            for buffer in self.method.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.fabric.world_size

    def _seed_step(self) -> None:
        key = derive(self.config.seed, "step", self.epoch, self.step, self.fabric.global_rank)
        self.generator.manual_seed(key)
        torch.manual_seed(key)

    def _share_of(self, batch: Batch) -> Tensor | float:
        """This process's labelled pixels relative to the mean over processes: the weight that makes their average the
        global mean."""
        if self.fabric.world_size == 1:
            return 1.0
        count = (batch.label != IGNORE).sum().double()
        return count / self._mean_over_processes(count).clamp_min(1)

    def _mean_over_processes(self, value: Tensor) -> Tensor:
        mean: Tensor = self.summed(value) / self.fabric.world_size
        return mean

    def _average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """One all-reduce over all gradients, weighted by labelled pixels; a parameter without a gradient anywhere stays
        without."""
        if self.fabric.world_size == 1:
            return
        reached = torch.tensor([float(p.grad is not None) for p in parameters], device=self.fabric.device)
        dist.all_reduce(reached)
        parameters = [p for p, count in zip(parameters, reached.tolist(), strict=True) if count]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        for parameter, mean in zip(parameters, self._averaged(gradients, self._share), strict=True):
            parameter.grad = mean

    def _averaged(self, gradients: Sequence[Tensor], share: Tensor | float = 1.0) -> list[Tensor]:
        """The mean of gradients over processes, each times its ``share``, by one all-reduce."""
        if self.fabric.world_size == 1:
            return list(gradients)
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * (share / self.fabric.world_size)
        dist.all_reduce(flat)
        pieces = flat.split([gradient.numel() for gradient in gradients])
        return [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)]

    def _blamed(self, checked: Checked) -> list[str]:
        """The cases of the processes whose own loss is not finite."""
        finite = bool(torch.isfinite(checked.loss).all())
        own = [] if finite else [self.prepared.cases[row].id for row in checked.rows]
        if self.fabric.world_size == 1:
            return own
        every: list[list[str]] = [[] for _ in range(self.fabric.world_size)]
        dist.all_gather_object(every, own)
        return [name for names in every for name in names]

    def _refuse_nan(self, behind: int) -> None:
        """Looks at the losses of all steps but the last ``behind``."""
        while self._unchecked and self._unchecked[0].step <= self.step - behind:
            checked = self._unchecked.popleft()
            value = checked.value()
            if not np.isfinite(value):
                names = ", ".join(self._blamed(checked))
                raise DataError(
                    f"epoch {self.epoch + 1}, step {checked.step + 1}",
                    f"the loss is {value} on the cases {names}",
                    "Lower `learning_rate` or `clip`, use `precision` 32, or look at these cases with `debride check`.",
                )
