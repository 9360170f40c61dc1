"""Methods that only tests use: one that keeps label state per pixel and per case, through the same contracts as the real
ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import Look, MakeNetwork, Method, Paper, Phase, Run, Stream
from debride.state import Field, LabelState
from debride.types import IGNORE


class Remembering(Method):
    """Weights pixels by a state that its own loss changes, through the warp and back; counts how often a case was seen."""

    paper = Paper(title="none", authors="none", year=2026, reference="none", sections="none")

    @dataclass(frozen=True, kw_only=True)
    class Config:
        rate: float = 0.1

    def fields(self) -> tuple[Field, ...]:
        return Field("weight", "pixel", initial=1.0), Field("seen", "case")

    def pictured(self, store: LabelState, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        return {"weight": store.read("weight", rows)}

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        view = batch.views[0]
        loss = cross_entropy(self.network(batch.image), batch.label)
        increment = -self.config.rate * loss.detach()
        run.store.add_through("weight", batch.index, view.warp, increment, view.origin)
        run.store.add("seen", batch.index, torch.ones(len(batch)))
        return {"weighted": masked_mean(loss * batch.fields["weight"], batch.label != IGNORE)}


class RememberingTwice(Method):
    """Two networks, each weighted by a state of its own that the other one's loss changes."""

    paper = Paper(title="none", authors="none", year=2026, reference="none", sections="none")

    @dataclass(frozen=True, kw_only=True)
    class Config:
        rate: float = 0.1

    def build(self, make_network: MakeNetwork) -> None:
        self.first, self.second = make_network(), make_network()

    def fields(self) -> tuple[Field, ...]:
        return Field("first", "pixel", initial=1.0), Field("second", "pixel", initial=1.0, dtype="float16")

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        view, valid = batch.views[0], batch.label != IGNORE
        losses = {name: cross_entropy(getattr(self, name)(batch.image), batch.label) for name in ("first", "second")}
        for name, other in (("first", "second"), ("second", "first")):
            run.store.add_through(name, batch.index, view.warp, -self.config.rate * losses[other].detach(), view.origin)
        return {name: masked_mean(loss * batch.fields[name], valid) for name, loss in losses.items()}

    def predict(self, image: Tensor) -> Tensor:
        both: Tensor = self.first(image).float().softmax(1) + self.second(image).float().softmax(1)
        return both / 2


class TwoStreams(Method):
    """Asks for trusted and other cases in one batch, in a weak and a strong view, and for a look-ahead batch of trusted
    cases."""

    paper = Paper(title="none", authors="none", year=2026, reference="none", sections="none", needs=frozenset({"trusted"}))

    @dataclass(frozen=True, kw_only=True)
    class Config:
        trusted: int = 1
        other: int = 3

    def plan(self, run: Run) -> tuple[Phase, ...]:
        self.seen: list[tuple[Batch, Batch]] = []
        others = torch.arange(run.cases)[~torch.isin(torch.arange(run.cases), torch.from_numpy(run.trusted))].numpy()
        streams = (Stream(others, self.config.other), Stream(run.trusted, self.config.trusted))
        looks = (Look("weak"), Look("strong"), Look("weak", own_warp=True))
        return (Phase("two", streams, looks),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        trusted = run.trusted_batch(2)
        self.seen.append((batch, trusted))
        losses = [cross_entropy(self.network(view.image), view.label) for view in (*batch.views, trusted.views[0])]
        labels = [view.label for view in (*batch.views, trusted.views[0])]
        return {
            f"view {n}": masked_mean(loss, label != IGNORE) for n, (loss, label) in enumerate(zip(losses, labels, strict=True))
        }
