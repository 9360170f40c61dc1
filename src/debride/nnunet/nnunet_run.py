"""What a method sees of a training (``methods.base.Run``), made real on nnU-Net's loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from debride.batch import Batch, View
from debride.data.augment import apply_intensity
from debride.data.augmentation import Augmentation
from debride.methods.base import ChangeGradients, Look, Method, Phase, Swept
from debride.networks.network import Derivative, Network, Scope
from debride.nnunet.pixel_state import PixelState, PreprocessedCases
from debride.nnunet.places import Places
from debride.nnunet.preprocessed_maps import PreprocessedMaps
from debride.rng import derive
from debride.state import LabelState
from debride.training import inference
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE, DataError

CLIP = 12.0
"""The largest norm of the gradients of all networks together, as nnU-Net's of its one."""


@dataclass(frozen=True)
class Parts:
    """What a run is made of: nnU-Net's optimiser and scaler of gradients, its preprocessed cases, what is kept of them, and
    the loader of trusted cases, which ``trusted_batches`` makes for a size."""

    method: Method
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    device: torch.device
    cases: PreprocessedCases
    state: PixelState
    maps: PreprocessedMaps
    patch: tuple[int, ...]
    ignore: int | None
    trusted: npt.NDArray[np.int64]
    trusted_batches: Callable[[int], Iterator[Mapping[str, Any]]]


class NNUNetRun:
    """The training in nnU-Net's one process, of ``epochs`` epochs; the trainer counts ``epoch`` and ``step``.

    Rows are cases, in a 2d configuration slices. An epoch is one phase of nnU-Net's batches. The first view is nnU-Net's patch
    as it augmented it; others have its geometry, and the method's changes of intensity besides. nnU-Net's schedule sets
    the learning rate.
    """

    def __init__(self, parts: Parts, epochs: int, seed: int) -> None:
        self.parts, self.epochs, self.seed = parts, epochs, seed
        self.epoch = self.step = 0
        self.phase = "train"
        self.store: LabelState = parts.state.store
        self.trusted = parts.trusted
        self.cases = len(parts.cases)
        self.is_trusted = np.isin(np.arange(self.cases), parts.trusted)
        self.generator = torch.Generator()
        self.looks: tuple[Look, ...] = (Look(),)
        self.losses: list[Tensor] = []
        self._logged: dict[str, list[Tensor]] = defaultdict(list)
        self._trusted_batches: dict[int, Iterator[Mapping[str, Any]]] = {}

    @property
    def learning_rate(self) -> float:
        """nnU-Net's learning rate of the current epoch."""
        return float(self.parts.optimiser.param_groups[0]["lr"])

    @property
    def kinds(self) -> tuple[int, int]:
        """Raises DataError: nnU-Net's batches are not made of two kinds."""
        raise DataError("the method", "asks for trusted and other cases in one batch", "Use `debride train`.")

    def train(self, batch: Mapping[str, Any]) -> Tensor:
        """One step on a batch of nnU-Net's, whose loss () it returns: the sum of those that were minimised."""
        self.losses.clear()
        self.generator.manual_seed(derive(self.seed, "step", self.epoch, self.step))
        device = self.parts.device
        with torch.autocast(device.type, enabled=device.type == "cuda"):  # as nnU-Net: on a CPU it would be slow
            self.parts.method.step(self.batch(batch, self.looks), self)
        self.step += 1
        return torch.stack(self.losses).sum()

    def batch(self, batch: Mapping[str, Any], looks: Sequence[Look]) -> Batch:
        """What a step receives: a batch of a ``PlacedLoader`` as views."""
        parts, places = self.parts, Places.of(batch)
        device, rows, warp = parts.device, parts.cases.rows(places), places.warp.to(parts.device)
        image = batch["data"].to(device, non_blocking=True)
        label = batch["target"].to(device, non_blocking=True)[:, 0].long()
        if parts.ignore is not None:
            label = label.masked_fill(label == parts.ignore, IGNORE)
        view = View(image, label, warp, places.origin, parts.state.seen(places, device), parts.maps.seen(places, warp))
        return Batch(
            views=(view, *(self._look(view, number, look) for number, look in enumerate(looks[1:], start=1))),
            index=torch.from_numpy(rows).to(device),
            stream=torch.zeros(len(rows), dtype=torch.int64, device=device),
            trusted=torch.from_numpy(self.is_trusted[rows]).to(device),
            cases={field.name: self.store.read(field.name, rows).to(device) for field in self.store.case_fields},
        )

    def plan(self) -> Phase:
        """The one phase of the next epoch. Raises DataError for plans that nnU-Net's batches cannot follow."""
        phases = self.parts.method.plan(self)
        if len(phases) != 1 or len(phases[0].streams) != 1 or any(look.own_warp for look in phases[0].looks):
            raise DataError(
                type(self.parts.method).__name__,
                "asks for several phases, kinds of cases or geometries, which nnU-Net's loop has not",
                "Use `debride train`.",
            )
        return phases[0]

    def optimise(
        self, loss: Tensor, networks: Sequence[nn.Module] | None = None, change: ChangeGradients | None = None
    ) -> None:
        """Backward, clipping at nnU-Net's norm and one step of its optimiser, for all networks or those that are given."""
        parts = self.parts
        self.losses.append(loss.detach())
        chosen = networks or [parts.method]
        parameters = [p for network in chosen for p in network.parameters() if p.requires_grad]
        parts.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(parts.device.type, enabled=False):
            scaled = loss if parts.scaler is None else parts.scaler.scale(loss)
            scaled.backward(inputs=parameters if networks else None)  # type: ignore[no-untyped-call]
        if parts.scaler is not None:
            parts.scaler.unscale_(parts.optimiser)
        if change is not None:
            change(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        if parts.scaler is None:
            parts.optimiser.step()
        else:
            parts.scaler.step(parts.optimiser)
            parts.scaler.update()

    @property
    def own(self) -> npt.NDArray[np.int64]:
        """All rows: there is one process."""
        return np.arange(self.cases)

    def summed(self, values: Tensor) -> Tensor:
        """The tensor itself: there is one process."""
        return values

    def sweep(self, rows: npt.NDArray[np.int64], network: Network | None = None) -> Iterator[Swept]:
        """Rows as nnU-Net preprocessed them, by windows of its patch size."""
        parts = self.parts
        return inference.sweep(parts.method, parts.cases, rows, parts.patch, 1, parts.device, network)

    def trusted_batch(self, size: int) -> Batch:
        """Patches of trusted cases, augmented like all others, drawn anew for every step."""
        if size not in self._trusted_batches:
            self._trusted_batches[size] = self.parts.trusted_batches(size)
        return self.batch(next(self._trusted_batches[size]), (Look(),))

    def look_ahead(self, network: Network, image: Tensor, scope: Scope, derivative: Derivative) -> LookAhead:
        """Passes images forward through a network; the result looks ahead."""
        return LookAhead(network, image, scope, derivative)

    def log(self, **values: Tensor | float) -> None:
        """Records scalars, whose means the trainer writes to nnU-Net's log after each epoch."""
        for name, value in values.items():
            self._logged[name].append(torch.as_tensor(value).detach().double())

    def epoch_means(self) -> dict[str, float]:
        """The means of what was logged since the last call."""
        means = {name: float(torch.stack([v.to("cpu") for v in values]).mean()) for name, values in self._logged.items()}
        self._logged.clear()
        return means

    def _look(self, view: View, number: int, look: Look) -> View:
        """A further look at the patches, which nnU-Net has changed already."""
        seed, samples = derive(self.seed, "look", self.epoch, self.step, number), np.arange(len(view.image))
        return replace(view, image=apply_intensity(view.image, look.intensity, Augmentation(), seed, samples))
