"""MetaDCSeg's weights: when they are brought up to date and by how much, and what the store keeps of a view."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_dcseg_stubs import Slow, kept, meta_dcseg, plain_batch, shown, slow_terms, store_of, values
from tests.meta_stubs import PLACES, SIZES, Training, Virtual, both_at, labelled, near, seen_by, weight_at
from torch import Tensor

from debride.batch import Batch
from debride.state import LabelState
from debride.types import IGNORE
from debride.warp import Warp


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


def test_the_warm_up_lasts_until_the_network_has_foreground() -> None:
    """Half as many pixels as given: over an epoch, and then for good, in a resumed training too."""
    method, store = meta_dcseg(warm_up=0.0, start=0.5), store_of(3, 7, 9)
    batch = plain_batch(2, 3, store)
    head = method.network.head
    assert isinstance(head, torch.nn.Conv2d) and head.bias is not None
    head.weight.data.zero_()

    def terms(epoch: int) -> set[str]:
        training = Training(epoch=epoch, step=epoch, store=store)
        method.start_epoch(training)  # type: ignore[arg-type]
        found = set(method.loss(batch, training))  # type: ignore[arg-type]
        assert bool(training.asked) == ("boundary" in found)
        method.end_epoch(training)  # type: ignore[arg-type]
        return found

    background, foreground = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    head.bias.data.copy_(background)
    assert terms(0) == terms(1) == {"weighted", "dice"} and method.first == torch.inf
    head.bias.data.copy_(foreground)
    assert terms(2) == {"weighted", "dice"} and method.first == 3
    resumed = meta_dcseg(warm_up=0.0, start=0.5)
    resumed.load_state_dict(method.state_dict())
    method, head.bias.data = resumed, background.double()
    assert terms(3) == terms(4) == {"weighted", "boundary", "dice"} and method.first == 3


def test_foreground_is_counted_over_an_epoch_and_all_processes() -> None:
    method, store = meta_dcseg(warm_up=0.0, start=0.5), store_of(3, 7, 9)
    batch, training = plain_batch(2, 3, store), Training(epoch=4, store=store)
    pseudo = method.network(batch.image).argmax(dim=1)
    for _ in range(2):
        method.loss(batch, training)  # type: ignore[arg-type]
    pixels = labelled(batch.label)
    counts = [2 * sum(int(ids[where]) > 0 for where in pixels) for ids in (pseudo, batch.label)]
    assert method.foreground.tolist() == counts and counts[0] > 0
    seen: list[list[float]] = []
    training.summed = lambda values: seen.append(values.tolist()) or torch.tensor([49.0, 100.0])  # type: ignore[attr-defined,func-returns-value]
    method.end_epoch(training)  # type: ignore[arg-type]
    assert seen == [counts] and method.first == torch.inf and not method.foreground.any()
    training.summed = lambda values: torch.tensor([50.0, 100.0])  # type: ignore[attr-defined]
    method.end_epoch(training)  # type: ignore[arg-type]
    assert method.first == 5


@pytest.mark.parametrize(("number", "few", "asked"), [(9, 12, 9), (12, 12, 12), (13, 12, 4), (3, 12, 4), (9, 0, 4)])
def test_all_trusted_cases_take_part_where_they_are_few(number: int, few: int, asked: int) -> None:
    method, training = meta_dcseg(few=few), Training(store=store_of(3, 7, 9))
    training.trusted = np.arange(number)
    method.loss(plain_batch(2, 3, training.store), training)  # type: ignore[arg-type]
    assert training.asked == [asked]


def test_beta_is_forgotten_where_the_pseudo_label_is_the_given_one() -> None:
    """It leaves the store at once, and grows anew where they part; with the setting off it stays."""
    found = []
    for forget in (True, False):
        method, store = meta_dcseg(forget=forget, meta_rate=1e-6), store_of(3, 7, 9, seed=4)
        batch, before = plain_batch(2, 3, store), kept(store, range(3))
        own = method.network(batch.image).argmax(dim=1) != batch.label
        method.loss(batch, Training(store=store))  # type: ignore[arg-type]
        after, valid = kept(store, range(3)), batch.label != IGNORE
        assert before.min() > 0 and (own & valid).any() and (~own & valid).any()
        assert (after[:, 1][own & valid] > 0.1).all() and (after[:, 0][valid] > 0.1).all()
        assert torch.equal(after[:, 1][~valid], before[:, 1][~valid])
        found.append(after[:, 1][~own & valid])
    near(found[0], torch.zeros_like(found[0]), 1e-6)
    assert (found[1] > 0.1).all()


def test_steps_between_updates_use_the_stored_weights() -> None:
    method, store = meta_dcseg(meta_every=3), store_of(3, 7, 9, seed=4)
    for step in range(7):
        training = Training(step=step, store=store)
        batch, before = plain_batch(2, 3, store), kept(store, range(3))
        found = values(method.loss(batch, training))  # type: ignore[arg-type]
        assert bool(training.asked) == (step in (0, 3, 6)) == (not torch.equal(kept(store, range(3)), before))
        if step % 3:
            for where in Slow(method).forgotten(batch):
                before[weight_at(1, where)] = 0
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
    method = meta_dcseg(meta_rate=meta_rate, normalise="batch", forget=False)
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
    method, store = meta_dcseg(ndim, meta_rate=1e-6, forget=False), store_of(2, *(length,) * ndim)
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
