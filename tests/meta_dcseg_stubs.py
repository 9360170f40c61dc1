"""What tests of MetaDCSeg share: the method, its stored weights and its batches, and its loss and updates written out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from debride.batch import Batch
from debride.methods.meta_dcseg import MetaDCSeg
from debride.state import LabelState
from tests.meta_stubs import (
    SIZES,
    Pixel,
    Training,
    Virtual,
    batch_of,
    both_at,
    labelled,
    seen_by,
    slow_bootstrapping,
    slow_boundary,
    slow_dice,
    slow_normalised,
    slow_pseudo,
    small_network,
    weight_at,
)
from tests.two_networks import Array, probabilities, random_labels

SETTINGS: dict[str, Any] = {"tau": 0.6, "warm_up": 0.1, "meta_rate": 0.1, "start": 0.0}


def meta_dcseg(ndim: int = 2, classes: int = 3, **config: Any) -> MetaDCSeg:
    return MetaDCSeg(MetaDCSeg.Config(**SETTINGS | config), lambda: small_network(ndim, classes), classes).double()


def store_of(images: int, *shape: int, seed: int | None = None) -> LabelState:
    """The weights of ``images``: 1 and 0, or random ones that are nowhere zero."""
    store = LabelState(meta_dcseg().fields(), [shape] * images, None)
    if seed is not None:
        for number, name in enumerate(("alpha", "beta")):
            values = torch.rand((images, *shape), generator=torch.Generator().manual_seed(seed + number))
            store.write(name, range(images), 0.5 + values - float(name == "alpha"))
    return store


def kept(store: LabelState, rows: Any) -> Tensor:
    """alpha and beta of whole rows (B, 2, *S)."""
    return torch.stack([1 + store.read("alpha", rows), store.read("beta", rows)], dim=1)


def shown(batch: Batch) -> Tensor:
    """alpha and beta (B, 2, *S) as a view shows them, in float64."""
    return torch.stack([1 + batch.fields["alpha"], batch.fields["beta"]], dim=1).double()


def plain_batch(ndim: int, classes: int, store: LabelState | None, seed: int = 0) -> Batch:
    """Images that are seen as they are, a third of their pixels edges."""
    label = random_labels(*SIZES[ndim], classes=classes, seed=seed)
    batch = batch_of(label, seed=seed)
    edges = (torch.rand(label.shape, generator=torch.Generator().manual_seed(seed)) < 0.3).int()
    view = batch.views[0]
    return seen_by(view.warp, view.image, label, batch.index.tolist(), store, edges=edges)


def in_float32(batch: Batch) -> Batch:
    view = batch.views[0]
    fields = {name: values.float() for name, values in view.fields.items()}
    return dataclasses.replace(batch, views=(dataclasses.replace(view, image=view.image.float(), fields=fields),))


class Slow:
    """Eq. 21 to 24 step by step, with eta from the updates seen so far while ``setting``."""

    def __init__(self, method: MetaDCSeg) -> None:
        self.method, self.changes = method, list[float]()

    def weights(self, batch: Batch, training: Training, setting: bool = True) -> Array:
        seen, config = shown(batch), self.method.config
        forgotten = self.forgotten(batch) if config.forget else []
        for where in forgotten:
            seen[weight_at(1, where)] = 0
        gradient = Virtual(self.method.network, batch, training, config.scope).gradient(seen)
        if setting:
            places = [np.abs(both_at(gradient, where)).mean() for where in labelled(batch.label)]
            self.changes.append(float(np.mean(places)))
        self.eta = config.meta_rate / np.mean(self.changes)
        moved = seen.numpy() - self.eta * gradient
        for where in forgotten:
            moved[weight_at(1, where)] = 0
        return slow_normalised(moved, batch.label, config.normalise)

    def forgotten(self, batch: Batch) -> list[Pixel]:
        """The pixels whose pseudo-label is the given one."""
        pseudo = slow_pseudo(self.method.network(batch.image), batch.label)
        return [where for where in labelled(batch.label) if pseudo[where] == batch.label[where]]


def slow_terms(method: MetaDCSeg, batch: Batch, weights: Array) -> dict[str, float]:
    """Eq. 13, with means for sums, in an epoch without default centres."""
    config, label = method.config, batch.label
    with torch.no_grad():
        features, logits = method.network.features(batch.image).double(), method.network(batch.image).double()
    loss = slow_bootstrapping(logits, label, weights)
    terms = {"weighted": sum(float(loss[where]) for where in labelled(label)) / len(labelled(label))}
    p = probabilities(logits)
    if config.boundary:
        edges = batch.maps["edges"] == 1 if config.edges == "gradient" else torch.zeros(label.shape)
        gamma = torch.from_numpy(weights.sum(axis=1))
        known = torch.from_numpy(p), edges, label, gamma, torch.from_numpy(loss)
        terms["boundary"] = config.boundary * float(slow_boundary(features, *known, config.tau, config.temperature))
    if config.dice:
        terms["dice"] = config.dice * slow_dice(p, label)
    return terms


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}
