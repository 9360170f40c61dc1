"""MetaDCSeg's loss and its gradients against the equations written out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_dcseg_stubs import Slow, in_float32, kept, meta_dcseg, plain_batch, slow_terms, store_of, values
from tests.meta_stubs import PLACES, SIZES, Training, labelled, near, slow_boundary

from debride.geometry.edges import Edges
from debride.types import IGNORE

TABLE_5: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"weighted", "boundary", "dice"}),
    ({"meta": False}, {"weighted", "boundary", "dice"}),
    ({"boundary": 0.0}, {"weighted", "dice"}),
    ({"dice": 0.0}, {"weighted", "boundary"}),
    ({"meta": False, "boundary": 0.0, "dice": 0.0}, {"weighted"}),
]


@pytest.mark.parametrize(("config", "names"), TABLE_5)
@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_the_whole_loss_equals_the_slow_version(ndim: int, classes: int, config: dict[str, Any], names: set[str]) -> None:
    """For each row of Table 5, after an update of weights that were other than 1 and 0."""
    method, training = meta_dcseg(ndim, classes, **config), Training(ndim=ndim, classes=classes)
    size = SIZES[ndim]
    training.store = store_of(size[0], *size[1:], seed=3) if method.config.meta else None
    batch = plain_batch(ndim, classes, training.store)
    weights = np.zeros((size[0], 2, *size[1:]))
    weights[:, 0] = 1
    if method.config.meta:
        weights = Slow(method).weights(batch, training)
    else:
        method, batch = method.float(), in_float32(batch)
    expected = slow_terms(method, batch, weights)
    found = method.loss(batch, training)  # type: ignore[arg-type]
    assert set(found) == names
    assert values(found) == pytest.approx(expected, rel=1e-9 if method.config.meta else 1e-4)
    assert len(training.asked) == method.config.meta
    if method.config.meta:
        means = [np.mean([weights[where[0], kind, *where[1:]] for where in labelled(batch.label)]) for kind in (0, 1)]
        logged = [training.logged[name] for name in ("alpha", "beta")]
        assert logged == pytest.approx(means, rel=1e-6)


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("normalise", ["class", "image", "batch", "pixel"])
def test_scopes_and_budgets_equal_the_slow_version(normalise: str, scope: str) -> None:
    method, training = meta_dcseg(normalise=normalise, scope=scope, trusted_batch=7), Training(store=store_of(3, 7, 9, seed=1))
    batch = plain_batch(2, 3, training.store)
    weights = Slow(method).weights(batch, training)
    assert values(method.loss(batch, training)) == pytest.approx(slow_terms(method, batch, weights), rel=1e-6)  # type: ignore[arg-type]
    assert training.asked == [7]


def test_edges_belong_to_the_boundary_only_where_they_are_used() -> None:
    training = Training(store=store_of(3, 7, 9, seed=1))
    batch = plain_batch(2, 3, training.store)
    found = []
    for edges in ("gradient", "none"):
        method = meta_dcseg(edges=edges, meta=False).float()
        assert method.maps() == ({"edges": Edges(0.14, 0.08)} if edges == "gradient" else {})
        view = in_float32(batch).views[0]
        maps = {name: view.maps[name] for name in method.maps()}
        seen = dataclasses.replace(batch, views=(dataclasses.replace(view, maps=maps),))
        weights = np.stack([np.ones(batch.label.shape), np.zeros(batch.label.shape)], axis=1)
        found.append(values(method.loss(seen, training)))  # type: ignore[arg-type]
        assert found[-1] == pytest.approx(slow_terms(method, seen, weights), rel=1e-4)
    assert abs(found[0]["boundary"] - found[1]["boundary"]) > 1e-3
    assert meta_dcseg(boundary=0.0).maps() == {}
    assert meta_dcseg(edge_ratio=0.2, edge_threshold=0.3).maps() == {"edges": Edges(0.2, 0.3)}


def test_weights_are_constants_to_the_gradient() -> None:
    """The gradient of the first term is that of the loss with the new weights as numbers."""
    method, training = meta_dcseg(boundary=0.0), Training(store=store_of(3, 7, 9, seed=1))
    batch = plain_batch(2, 3, training.store)
    weights = torch.from_numpy(Slow(method).weights(batch, training))
    found = torch.autograd.grad(method.loss(batch, training)["weighted"], list(method.parameters()))  # type: ignore[arg-type]
    logs = method.network(batch.image).log_softmax(dim=1)
    pseudo = logs.argmax(dim=1)
    total = torch.zeros((), dtype=torch.float64)
    for where in labelled(batch.label):
        given, own = (logs[where[0], int(target[where]), *where[1:]] for target in (batch.label, pseudo))
        total = total - weights[where[0], 0, *where[1:]] * given - weights[where[0], 1, *where[1:]] * own
    expected = torch.autograd.grad(total / len(labelled(batch.label)), list(method.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        near(ours, theirs, 1e-6)


@pytest.mark.parametrize("through", [True, False])
def test_gradients_through_the_boundary_weights_are_a_switch(through: bool) -> None:
    """Of Eq. 43's second term: with regions, gamma and alpha, beta as numbers, and w as a function of the features or not."""
    method, training = meta_dcseg(through_weights=through), Training(store=store_of(3, 7, 9, seed=1))
    batch = plain_batch(2, 3, training.store)
    weights = torch.from_numpy(Slow(method).weights(batch, training))
    parameters = list(method.parameters())
    found = torch.autograd.grad(method.loss(batch, training)["boundary"], parameters)  # type: ignore[arg-type]
    features = method.network.features(batch.image)
    assert method.network.head is not None
    logs = method.network.head(features).log_softmax(dim=1)
    loss = torch.zeros(batch.label.shape, dtype=torch.float64)
    for target, weight in zip((batch.label, logs.argmax(dim=1)), weights.unbind(1), strict=True):
        chosen = logs.gather(1, target.where(batch.label != IGNORE, 0)[:, None])[:, 0]
        loss = loss - weight * chosen
    known = logs.exp(), batch.maps["edges"], batch.label, weights.sum(dim=1), loss
    value = slow_boundary(features if through else features.detach(), *known, 0.6, method.config.temperature)
    for ours, theirs in zip(found, torch.autograd.grad(0.35 * value, parameters), strict=True):
        near(ours, theirs, 1e-6)


def test_default_centres_change_hands_at_the_end_of_an_epoch() -> None:
    method, training = meta_dcseg(), Training(store=store_of(3, 7, 9))
    batch = plain_batch(2, 3, training.store)
    method.loss(batch, training)  # type: ignore[arg-type]
    state = method.state_dict()
    assert not state["boundary_term.last"].any()
    seen = state["boundary_term.current"].clone()
    method.end_epoch(training)  # type: ignore[arg-type]
    assert seen.any() and torch.equal(method.state_dict()["boundary_term.last"], seen)
    without = meta_dcseg(boundary=0.0)
    without.end_epoch(training)  # type: ignore[arg-type]
    assert not any("boundary" in name for name in without.state_dict())


def test_half_precision_gives_terms_in_float32() -> None:
    method, training = meta_dcseg().float(), Training(store=store_of(3, 7, 9))
    training.trusted_cases = in_float32(training.trusted_cases)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.loss(in_float32(plain_batch(2, 3, training.store)), training)  # type: ignore[arg-type]
    assert all(term.dtype == torch.float32 and torch.isfinite(term) for term in terms.values())
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_a_batch_without_labels_changes_nothing() -> None:
    method, store = meta_dcseg(), store_of(3, 7, 9, seed=2)
    training, before = Training(store=store), kept(store, range(3))
    batch = plain_batch(2, 3, store)
    batch.label.fill_(IGNORE)
    total = torch.stack(list(method.loss(batch, training).values())).sum()  # type: ignore[arg-type]
    torch.autograd.backward(total)
    assert total.item() == 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in method.parameters())
    assert torch.equal(kept(store, range(3)), before)
