"""MetaDCSeg: its loss and its weights against the equations written out, what the store keeps of a view, small trainings."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.meta_stubs import (
    PLACES,
    SIZES,
    Training,
    Virtual,
    batch_of,
    both_at,
    labelled,
    near,
    seen_by,
    slow_bootstrapping,
    slow_boundary,
    slow_dice,
    slow_normalised,
    small_network,
)
from tests.training_jobs import small_job
from tests.two_networks import Array, probabilities, random_labels
from torch import Tensor

from debride.batch import Batch
from debride.data.augmentation import Augmentation
from debride.geometry.edges import Edges
from debride.methods.meta_dcseg import MetaDCSeg
from debride.settings import check_bounds
from debride.state import Field, LabelState
from debride.training.fit import fit
from debride.types import IGNORE, DataError
from debride.warp import Warp

TABLE_5: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"weighted", "boundary", "dice"}),
    ({"meta": False}, {"weighted", "boundary", "dice"}),
    ({"boundary": 0.0}, {"weighted", "dice"}),
    ({"dice": 0.0}, {"weighted", "boundary"}),
    ({"meta": False, "boundary": 0.0, "dice": 0.0}, {"weighted"}),
]
SETTINGS: dict[str, Any] = {"tau": 0.6, "warm_up": 0.1, "meta_rate": 0.1}


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
        seen = shown(batch)
        config = self.method.config
        gradient = Virtual(self.method.network, batch, training, config.scope).gradient(seen)
        if setting:
            places = [np.abs(both_at(gradient, where)).mean() for where in labelled(batch.label)]
            self.changes.append(float(np.mean(places)))
        self.eta = config.meta_rate / np.mean(self.changes)
        return slow_normalised(seen.numpy() - self.eta * gradient, batch.label, config.normalise)


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


# The loss


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
        assert training.logged == pytest.approx({"alpha": means[0], "beta": means[1]}, rel=1e-6)


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("normalise", ["image", "batch", "pixel"])
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


# When weights are brought up to date, and by how much


@pytest.mark.parametrize("epoch", [0, 24])
def test_the_warm_up_is_cross_entropy_and_dice(epoch: int) -> None:
    method, store = meta_dcseg(warm_up=0.25), store_of(3, 7, 9)
    training = Training(epoch=epoch, store=store)
    batch = plain_batch(2, 3, store)
    found = values(method.loss(batch, training))  # type: ignore[arg-type]
    weights = np.stack([np.ones(batch.label.shape), np.zeros(batch.label.shape)], axis=1)
    expected = slow_terms(method, batch, weights)
    assert found == pytest.approx({name: expected[name] for name in ("weighted", "dice")}, rel=1e-9)
    assert not training.asked and not method.derivatives.any() and not training.logged
    assert torch.equal(kept(store, range(3)), torch.from_numpy(weights).float())
    training.epoch = 25
    assert set(method.loss(batch, training)) == {"weighted", "boundary", "dice"}  # type: ignore[arg-type]
    assert training.asked


def test_steps_between_updates_use_the_stored_weights() -> None:
    method, store = meta_dcseg(meta_every=3), store_of(3, 7, 9, seed=4)
    for step in range(7):
        training = Training(step=step, store=store)
        batch, before = plain_batch(2, 3, store), kept(store, range(3))
        found = values(method.loss(batch, training))  # type: ignore[arg-type]
        assert bool(training.asked) == (step in (0, 3, 6)) == (not torch.equal(kept(store, range(3)), before))
        if step % 3:
            assert found["weighted"] == pytest.approx(slow_terms(method, batch, before.double().numpy())["weighted"], rel=1e-6)


def test_eta_is_set_by_the_first_epoch_of_updates_and_kept() -> None:
    """In that epoch a weight changes by meta_rate on average, before clamping and normalising; later by what comes of eta."""
    method, store = meta_dcseg(warm_up=0.25), store_of(3, 7, 9)
    slow, found = Slow(method), list[float]()
    for epoch, step, setting in ((3, 6, True), (3, 7, True), (3, 8, True), (4, 9, False), (9, 20, False)):
        training = Training(epoch=epoch, epochs=10, step=step, store=store)
        batch = plain_batch(2, 3, store, seed=step)
        expected = slow.weights(batch, training, setting)
        assert found or slow.eta * slow.changes[0] == pytest.approx(0.1)
        method.loss(batch, training)  # type: ignore[arg-type]
        near(torch.tensor(training.logged["beta"]), torch.tensor(expected[:, 1].sum() / len(labelled(batch.label))), 1e-5)
        assert method.derivatives.tolist() == pytest.approx([sum(slow.changes), len(slow.changes)], rel=1e-6)
        found.append(slow.eta)
    assert len(set(found)) == 3 and found[2] == found[3] == found[4]
    other = meta_dcseg()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.derivatives, method.derivatives) and other.derivatives.any()


@pytest.mark.parametrize("meta_rate", [0.001, 0.05])
def test_the_first_change_is_the_meta_rate(meta_rate: float) -> None:
    """As the store shows it, where nothing is clamped: before normalising, alpha + beta of 1 has moved by meta_rate."""
    store = store_of(3, 7, 9)
    for name in ("alpha", "beta"):
        store.write(name, range(3), torch.full((3, 7, 9), 0.5 - float(name == "alpha")))
    halves, training = kept(store, range(3)), Training(store=store)
    batch = plain_batch(2, 3, store)
    method = meta_dcseg(meta_rate=meta_rate, normalise="batch")
    method.loss(batch, training)  # type: ignore[arg-type]
    weights = kept(store, range(3)).double().movedim(1, -1)[batch.label != IGNORE]
    assert weights.min() > 0
    gradient = Virtual(method.network, batch, training).gradient(halves)
    share = torch.from_numpy(gradient).movedim(1, -1)[batch.label != IGNORE]
    moved = 0.5 - meta_rate * share / share.abs().mean()
    near(weights, moved * len(moved) / moved.sum(), 1e-6)


@pytest.mark.parametrize("first", [4, 5])
def test_eta_is_set_even_where_updates_are_rarer_than_epochs(first: int) -> None:
    """Two steps in an epoch, an update every fourth step: the first epoch after the warm-up may have none."""
    method, store = meta_dcseg(meta_every=4, warm_up=first / 10), store_of(3, 7, 9)
    for step in range(2 * first, 2 * first + 6):
        training = Training(epoch=step // 2, epochs=10, step=step, store=store)
        method.loss(plain_batch(2, 3, store, seed=step), training)  # type: ignore[arg-type]
    initial = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert (kept(store, range(3)) - initial).abs().max() > 0.01


# What the store keeps


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_what_is_seen_as_it_is_returns_as_it_is(ndim: int, classes: int) -> None:
    """Eq. 22 to 24 as printed, over three steps; what has no label stays as it was, bit for bit."""
    size = SIZES[ndim]
    method, store = meta_dcseg(ndim, classes), store_of(size[0], *size[1:], seed=5)
    first = kept(store, range(size[0]))
    slow = Slow(method)
    for step in range(3):
        training = Training(ndim=ndim, classes=classes, step=step, store=store)
        batch = plain_batch(ndim, classes, store)
        expected = torch.from_numpy(slow.weights(batch, training))
        method.loss(batch, training)  # type: ignore[arg-type]
        found, valid = kept(store, range(size[0])), (batch.label != IGNORE)[:, None].expand_as(first)
        near(found[valid], expected[valid], 1e-6)
        assert torch.equal(found[~valid], first[~valid])
        assert float(found.min()) >= 0
    assert (expected[valid] == 0).any(), "some weights were clamped (Eq. 23)"


def source_of(warp: Warp, image: int, pixel: tuple[int, ...]) -> tuple[int, ...]:
    """The source pixel that a view's pixel shows, of a warp that keeps the lattice."""
    matrix = warp.matrix[image]
    place = matrix[:, :-1] @ torch.tensor(pixel, dtype=torch.float64) + matrix[:, -1]
    return tuple(round(float(number)) for number in place)


def make_warp(ndim: int, length: int, out: int, **changes: Any) -> Warp:
    neutral: dict[str, Any] = {
        "flips": torch.zeros(2, ndim, dtype=torch.bool),
        "angles": torch.zeros(2, ndim * (ndim - 1) // 2),
        "zoom": torch.ones(2),
        "translation": torch.zeros(2, ndim),
        "source_shape": (length,) * ndim,
        "out_shape": (out,) * ndim,
    }
    return Warp.make(**neutral | changes)


def view_batch(warp: Warp, store: LabelState, rows: list[int], origin: Tensor | None = None, seed: int = 0) -> Batch:
    """A view through a warp, of random images and labels; IGNORE outside and at a few pixels inside."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(rows), *warp.out_shape)
    image = torch.randn((shape[0], 2, *shape[1:]), generator=generator, dtype=torch.float64)
    label = torch.randint(3, shape, generator=generator).where(warp.inside(), IGNORE)
    label[:, 1, 2] = IGNORE
    edges = torch.zeros(shape, dtype=torch.int32)
    return seen_by(warp, image, label, rows, store, origin, edges=edges)


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_seen_flipped_and_turned_returns_to_its_place(ndim: int) -> None:
    """One image mirrored, the other turned by a quarter; other rows of the store do not change."""
    length = 6 if ndim == 2 else 4
    method, store = meta_dcseg(ndim), store_of(4, *(length,) * ndim, seed=6)
    flips, angles = torch.zeros(2, ndim, dtype=torch.bool), torch.zeros(2, ndim * (ndim - 1) // 2)
    flips[0, -1], angles[1, 0] = True, math.pi / 2
    warp, rows = make_warp(ndim, length, length, flips=flips, angles=angles), [3, 1]
    training, batch = Training(ndim=ndim, store=store), view_batch(warp, store, rows)
    first, expected = kept(store, range(4)), Slow(method).weights(batch, training)
    method.loss(batch, training)  # type: ignore[arg-type]
    found, moved = kept(store, range(4)), 0
    for where in labelled(batch.label):
        place = (rows[where[0]], *source_of(warp, where[0], where[1:]))
        near(both_at(found, place), both_at(expected, where), 1e-5)
        moved += place[1:] != where[1:]
        both_at(first, place).copy_(both_at(found, place))
    assert moved > len(labelled(batch.label)) / 2
    assert torch.equal(found, first), "nothing else changed"


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("zoom", [2.0, 1.7, 0.8])
def test_a_stored_pixel_gets_the_mean_change_of_the_pixels_that_show_it(ndim: int, zoom: float) -> None:
    """Each view pixel counts as far as it is interpolated from the stored one, whatever the magnification."""
    length, out = (14, 10) if ndim == 2 else (9, 6)
    method, store = meta_dcseg(ndim, meta_rate=0.02), store_of(2, *(length,) * ndim, seed=7)
    warp = make_warp(ndim, length, out, zoom=torch.tensor([zoom, 1.0]), angles=torch.full((2, ndim * (ndim - 1) // 2), 0.1))
    training, batch = Training(ndim=ndim, store=store), view_batch(warp, store, [1, 0])
    change = Slow(method).weights(batch, training) - shown(batch).numpy()
    before = kept(store, [1, 0])
    method.loss(batch, training)  # type: ignore[arg-type]
    after = kept(store, [1, 0])
    lattice = np.indices((length,) * ndim)
    for image, matrix in enumerate(warp.matrix.numpy()):
        total, shares = np.zeros((2, *(length,) * ndim)), np.zeros((length,) * ndim)
        for place in np.ndindex(*(out,) * ndim):
            if int(batch.label[(image, *place)]) != IGNORE:
                source = np.round((matrix[:, :-1] @ place + matrix[:, -1]) * 1024) / 1024
                apart = np.abs(lattice - source.reshape(-1, *(1,) * ndim))
                share = np.clip(1 - apart, 0, None).prod(axis=0)
                total += share * change[(image, slice(None), *place)].reshape(-1, *(1,) * ndim)
                shares += share
        expected = before[image].numpy() + total / np.where(shares > 0, shares, 1)
        np.testing.assert_allclose(after[image].numpy(), expected.clip(min=0), rtol=0, atol=2e-5)
        assert np.abs(after[image] - before[image]).mean() > 1e-3


@pytest.mark.parametrize(("ndim", "zoom"), [(2, 1.0), (2, 2.0), (2, 4.0), (3, 2.0)])
def test_a_change_that_is_the_same_everywhere_is_the_same_in_the_store(ndim: int, zoom: float) -> None:
    """Weights of twice the budget are halved, at any magnification."""
    length, out = (11, 13) if ndim == 2 else (7, 9)
    method, store = meta_dcseg(ndim, meta_rate=1e-6), store_of(2, *(length,) * ndim)
    for name, value in (("alpha", 0.5), ("beta", 0.5)):
        store.write(name, range(2), torch.full((2, *(length,) * ndim), value))
    warp = make_warp(ndim, length, out, zoom=torch.full((2,), zoom))
    batch = view_batch(warp, store, [0, 1])
    covered = warp.inside()
    batch.label.copy_(torch.zeros_like(batch.label).where(covered, IGNORE))
    method.loss(batch, Training(ndim=ndim, store=store))  # type: ignore[arg-type]
    reach = int((out - 1) / 2 / zoom - 1) if zoom > 1 else (length - 1) // 2
    middle = slice((length - 1) // 2 - reach, (length - 1) // 2 + reach + 1)
    found = kept(store, range(2))[:, :, *(middle,) * ndim]
    near(found[:, 0], torch.full_like(found[:, 0], 0.75), 1e-4)
    near(found[:, 1], torch.full_like(found[:, 1], 0.25), 1e-4)


def test_a_patch_changes_its_own_region_alone() -> None:
    """Regions of 6 x 6 at places of their own, one of which reaches beyond the image; each has the budget of its pixels."""
    method, store = meta_dcseg(), store_of(3, 12, 15, seed=8)
    origin, rows = torch.tensor([[4, 7], [-2, 11]]), [2, 0]
    warp = Warp.identity(2, (6, 6))
    batch = view_batch(warp, store, rows, origin)
    batch.label[1, :2] = IGNORE
    batch.label[1, :, 4:] = IGNORE
    training, before = Training(store=store), kept(store, range(3))
    expected = Slow(method).weights(batch, training)
    method.loss(batch, training)  # type: ignore[arg-type]
    found = kept(store, range(3))
    for where in labelled(batch.label):
        place = (rows[where[0]], *(int(start) + step for start, step in zip(origin[where[0]], where[1:], strict=True)))
        near(both_at(found, place), both_at(expected, where), 1e-5)
        both_at(before, place).copy_(both_at(found, place))
    assert torch.equal(found, before)
    for image in range(2):
        share = [both_at(expected, where).sum() for where in labelled(batch.label) if where[0] == image]
        assert np.mean(share) == pytest.approx(1)


def test_weights_stay_above_zero_in_the_store_whatever_the_view() -> None:
    """Changes of several views' pixels meet in one stored pixel; their sum is clamped again (Eq. 23)."""
    method, store = meta_dcseg(meta_rate=2.0), store_of(2, 8, 8)
    for step in range(6):
        angles = torch.tensor([[0.3 * step], [-0.2 * step]])
        warp = make_warp(2, 8, 8, angles=angles, zoom=torch.tensor([1.5, 0.8]))
        method.loss(view_batch(warp, store, [0, 1], seed=step), Training(step=step, store=store))  # type: ignore[arg-type]
    found = kept(store, range(2))
    assert float(found.min()) == 0 and torch.isfinite(found).all()


@pytest.mark.parametrize("epoch", [0, 50])
def test_a_batch_without_labels_gives_zero_finite_gradients_and_leaves_the_store(epoch: int) -> None:
    store = store_of(3, 7, 9, seed=3)
    batch, before = plain_batch(2, 3, store), kept(store, range(3))
    batch.label.fill_(IGNORE)
    method = meta_dcseg(warm_up=0.1)
    training = Training(store=store, epoch=epoch, epochs=100)
    total = torch.stack(list(method.loss(batch, training).values())).sum()  # type: ignore[arg-type]
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 0
    assert all(not parameter.grad.any() for parameter in method.parameters() if parameter.grad is not None)
    assert torch.equal(kept(store, range(3)), before)


# What a method declares


def test_alpha_begins_at_one_and_beta_at_zero() -> None:
    assert meta_dcseg().fields() == (Field("alpha", "pixel"), Field("beta", "pixel"))
    assert torch.equal(kept(store_of(2, 3, 4), [1]), torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, 3, 4))
    assert meta_dcseg(meta=False).fields() == ()


def test_gamma_and_alpha_are_pictured() -> None:
    store = store_of(3, 7, 9, seed=9)
    found = meta_dcseg().pictured(store, np.array([2, 0]))
    weights = kept(store, [2, 0])
    assert set(found) == {"gamma", "alpha"}
    assert torch.equal(found["gamma"], weights[:, 0] + weights[:, 1]) and torch.equal(found["alpha"], weights[:, 0])
    assert meta_dcseg(meta=False).pictured(store, np.array([0])) == {}


def test_the_plan_leaves_trusted_cases_out() -> None:
    training = Training()
    training.cases, training.trusted = 5, np.array([1, 4])
    (phase,) = meta_dcseg().plan(training)  # type: ignore[arg-type]
    (stream,) = phase.streams
    assert stream.cases is not None and stream.cases.tolist() == [0, 2, 3]
    (phase,) = meta_dcseg(train_on_trusted=True).plan(training)  # type: ignore[arg-type]
    assert phase.streams[0].cases is None
    training.trusted = np.arange(5)
    with pytest.raises(DataError, match="`trusted`: names every training case"):
        meta_dcseg().plan(training)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"meta_every": 0}, "meta_every: is 0"),
        ({"trusted_batch": 0}, "trusted_batch: is 0"),
        ({"meta_rate": 0.0}, "meta_rate: is 0.0"),
        ({"meta_rate": math.nan}, "meta_rate: is nan"),
        ({"temperature": -1.0}, "temperature: is -1.0"),
        ({"boundary": -0.1}, "boundary: is -0.1"),
        ({"dice": math.nan}, "dice: is nan"),
        ({"warm_up": 1.5}, "warm_up: is 1.5"),
        ({"edge_ratio": -0.1}, "edge_ratio: is -0.1"),
        ({"edge_threshold": 2.0}, "edge_threshold: is 2.0"),
        ({"tau": 0.4}, "tau: is 0.4"),
        ({"tau": 1.0}, "tau: is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(MetaDCSeg.Config(**config))


def test_the_ends_of_ranges_are_taken() -> None:
    check_bounds(
        MetaDCSeg.Config(meta_every=1, trusted_batch=1, boundary=0, dice=0, warm_up=0, edge_ratio=0, edge_threshold=1, tau=0.5)
    )
    check_bounds(MetaDCSeg.Config(warm_up=1, edge_ratio=1, edge_threshold=0))


# Small trainings


def stored_weights(run: Path, epoch: int, cases: int) -> dict[str, npt.NDArray[np.float32]]:
    folder = run / "resume" / f"epoch-{epoch:04d}" / "labels"
    found = {name: np.fromfile(folder / f"{name}.float32", np.float32).reshape(cases, 32, 32) for name in ("alpha", "beta")}
    return {"alpha": 1 + found["alpha"], "beta": found["beta"]}


@pytest.mark.parametrize("train_on_trusted", [False, True])
def test_a_training_moves_the_weights_of_what_it_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_on_trusted: bool
) -> None:
    config = MetaDCSeg.Config(warm_up=0.5, train_on_trusted=train_on_trusted)
    job = dataclasses.replace(small_job(tmp_path, "meta-dcseg", epochs=2, augmentation=Augmentation()), method_config=config)
    seen, loss = list[int](), MetaDCSeg.loss

    def watched(method: MetaDCSeg, batch: Batch, run: Any) -> dict[str, Tensor]:
        seen.extend(batch.index.tolist())
        if run.epoch == 0:
            assert torch.equal(run.store.read("alpha", range(run.cases)), torch.zeros(run.cases, 32, 32))
        return loss(method, batch, run)

    monkeypatch.setattr(MetaDCSeg, "loss", watched)
    fit(job)
    trusted = np.array([case.trusted for case in job.dataset.of("train")])
    trained = np.ones_like(trusted) if train_on_trusted else ~trusted
    assert 0 < trusted.sum() < len(trusted)
    assert sorted(seen) == sorted([*np.flatnonzero(trained)] * 2)
    found = stored_weights(job.out, 2, len(trusted))
    for name, initial in (("alpha", 1.0), ("beta", 0.0)):
        values = found[name]
        assert np.isfinite(values).all() and values.min() >= 0
        moved = np.abs(values - initial).mean(axis=(1, 2))
        assert (moved[trained] > 1e-3).all() and not moved[~trained].any()
    gamma = (found["alpha"] + found["beta"])[trained].mean(axis=(1, 2))
    np.testing.assert_allclose(gamma, 1, atol=0.2)


def test_without_trusted_cases_there_is_no_training(tmp_path: Path) -> None:
    job = small_job(tmp_path, "meta-dcseg")
    cases = tuple(dataclasses.replace(case, trusted=False) for case in job.dataset.cases)
    with pytest.raises(DataError, match=r"method meta-dcseg: needs trusted training cases.*`trusted`"):
        fit(dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, cases=cases)))
