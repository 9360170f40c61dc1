"""Methods that break one rule each, and one that keeps them all: what the checks of a method are tried on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import MakeNetwork, Method, Paper, Run
from debride.settings import setting
from debride.types import IGNORE


class Sound(Method):
    """Cross-entropy, times a factor."""

    paper = Paper(title="A paper", authors="Someone", year=2026, reference="a journal", sections="3")

    @dataclass(frozen=True, kw_only=True)
    class Config:
        factor: float = setting(1.0, "of the loss", above=0)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        loss = masked_mean(cross_entropy(self.network(batch.image), batch.label), batch.label != IGNORE)
        return {"loss": self.config.factor * loss}


class Untold(Sound):
    """Its setting does not say what it is."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        factor: float = 1.0


class Clashing(Sound):
    """Its setting has the name of one of a training."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        factor: float = setting(1.0, "of the loss", above=0)
        epochs: int = setting(1, "of nothing", least=1)


class Twins(Sound):
    """Two networks with the same weights."""

    def build(self, make_network: MakeNetwork) -> None:
        super().build(make_network)
        self.other = make_network()
        self.other.load_state_dict(self.network.state_dict())


class Unseeded(Sound):
    """Draws from a generator of its own."""

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        return {"loss": (1 + np.random.default_rng().random()) * super().loss(batch, run)["loss"]}


class Forgetful(Sound):
    """Keeps a number that a resumed training does not have."""

    steps = 0

    def build(self, make_network: MakeNetwork) -> None:
        super().build(make_network)
        self.steps = 0

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        self.steps += 1
        return {"loss": super().loss(batch, run)["loss"] / self.steps}


class Starving(Sound):
    """Says that it takes images without a label, and divides by the number of labelled pixels."""

    paper = Paper(title="A", authors="B", year=2026, reference="C", sections="3", unlabelled="left out")

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        loss = cross_entropy(self.network(batch.image), batch.label)
        return {"loss": loss.sum() / (batch.label != IGNORE).sum()}


class Unsure(Sound):
    """Predicts numbers that do not sum to one."""

    def predict(self, image: Tensor) -> Tensor:
        return super().predict(image) / 2


class Idle(Sound):
    """Learns nothing."""

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        return {"loss": 0 * torch.nan_to_num(super().loss(batch, run)["loss"])}
