"""L2B: its weights, which no step inherits, and its loss against the equations written out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
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
    slow_bootstrapping,
    slow_normalised,
    small_network,
)
from tests.training_jobs import small_job
from tests.two_networks import Array, random_labels
from torch import Tensor, nn

from debride.batch import Batch
from debride.methods.l2b import L2B
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.training.fit import fit
from debride.types import IGNORE, DataError


def l2b(ndim: int = 2, classes: int = 3, **config: Any) -> L2B:
    return L2B(L2B.Config(**config), lambda: small_network(ndim, classes), classes)


def some_batch(ndim: int = 2, classes: int = 3) -> Batch:
    return batch_of(random_labels(*SIZES[ndim], classes=classes))


def slow_weights(method: L2B, batch: Batch, training: Training) -> Array:
    """The negative derivatives from weights of zero, of pixels or summed over cases, rectified and normalised."""
    scale = -Virtual(method.network, batch, training, method.config.scope).gradient(None)
    if method.config.unit == "case":
        for image in range(len(batch)):
            pixels = [where for where in labelled(batch.label) if where[0] == image]
            for kind in (0, 1):
                scale[image, kind] = sum(float(scale[image, kind, *where[1:]]) for where in pixels)
    return slow_normalised(scale, batch.label, method.config.normalise)


def slow_loss(method: L2B, batch: Batch, weights: Array) -> float:
    loss = slow_bootstrapping(method.network(batch.image), batch.label, weights)
    return sum(float(loss[where]) for where in labelled(batch.label)) / len(labelled(batch.label))


@pytest.mark.parametrize("unit", ["pixel", "case"])
@pytest.mark.parametrize("normalise", ["batch", "class", "image", "pixel"])
@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_the_loss_equals_the_slow_version(ndim: int, classes: int, normalise: str, unit: str) -> None:
    method, batch = l2b(ndim, classes, normalise=normalise, unit=unit), some_batch(ndim, classes)
    training = Training(ndim=ndim, classes=classes)
    weights = slow_weights(method, batch, training)
    (term,) = method.loss(batch, training).values()  # type: ignore[arg-type]
    assert term.item() == pytest.approx(slow_loss(method, batch, weights), rel=1e-9)
    alpha, beta = (np.mean([weights[where[0], kind, *where[1:]] for where in labelled(batch.label)]) for kind in (0, 1))
    logged = {name: training.logged[name] for name in ("alpha", "beta")}
    assert logged == pytest.approx({"alpha": alpha, "beta": beta}, rel=1e-9)
    assert training.asked == [4]
    assert unit == "case" or ((weights == 0).any() and alpha > 0 and beta > 0)


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
def test_scopes_and_the_number_of_trusted_cases_are_handed_on(scope: str) -> None:
    method, batch, training = l2b(scope=scope, trusted_batch=9), some_batch(), Training()
    expected = slow_loss(method, batch, slow_weights(method, batch, training))
    assert method.loss(batch, training)["weighted"].item() == pytest.approx(expected, rel=1e-9)  # type: ignore[arg-type]
    assert training.asked == [9]


def test_all_pixels_of_a_case_share_its_weights() -> None:
    """In proportion to the sums of its derivatives, rectified; the trusted labels are mostly what the network says."""
    method, batch, training = l2b(unit="case", normalise="batch"), some_batch(), Training()
    trusted = training.trusted_cases
    trusted.label[:, :3] = method.network(trusted.image).argmax(dim=1)[:, :3]
    sums = -Virtual(method.network, batch, training).gradient(None).sum(axis=(2, 3))
    share = sums.clip(min=0)
    assert (share > 0).any(axis=0).all() and (share == 0).any()
    weights, count = slow_weights(method, batch, training), 0.0
    for where in labelled(batch.label):
        count += share[where[0]].sum()
    for where in labelled(batch.label):
        expected = share[where[0]] * len(labelled(batch.label)) / count
        np.testing.assert_allclose(both_at(weights, where), expected, rtol=1e-9)
    found = method.loss(batch, training)["weighted"].item()  # type: ignore[arg-type]
    assert found == pytest.approx(slow_loss(method, batch, weights), rel=1e-9)


@pytest.mark.parametrize("unit", ["pixel", "case"])
def test_weights_are_constants_to_the_gradient(unit: str) -> None:
    method, batch, training = l2b(unit=unit), some_batch(), Training()
    weights = torch.from_numpy(slow_weights(method, batch, training))
    parameters = list(method.parameters())
    found = torch.autograd.grad(method.loss(batch, training)["weighted"], parameters)  # type: ignore[arg-type]
    logs = method.network(batch.image).log_softmax(dim=1)
    losses = [-logs.gather(1, y.where(batch.label != IGNORE, 0)[:, None])[:, 0] for y in (batch.label, logs.argmax(dim=1))]
    total = (weights[:, 0] * losses[0] + weights[:, 1] * losses[1]).sum() / len(labelled(batch.label))
    for ours, theirs in zip(found, torch.autograd.grad(total, parameters), strict=True):
        near(ours, theirs, 1e-9)


def line() -> Network:
    """Two logits in proportion to the image's one channel, at zero."""
    head = nn.Conv1d(1, 2, 1, bias=False).double()
    nn.init.zeros_(head.weight)
    return Network(nn.Identity(), head)


def on_a_line(image: list[float], label: list[int]) -> Batch:
    return batch_of(torch.tensor([label]), image=torch.tensor([[image]], dtype=torch.float64))


def test_wrong_labels_weigh_nothing_and_right_ones_by_their_help() -> None:
    """By hand: the trusted case says 1 at x = 1, so that 1 is right at positive x and 0, the pseudo-label, at negative x."""
    method = L2B(L2B.Config(), line, 2)
    training = Training(trusted=on_a_line([1.0], [1]))
    batch = on_a_line([1.0, 1.0, -1.0, -2.0, 3.0], [1, 0, 0, 1, IGNORE])
    # -derivatives, in units of lr / 2: alpha 1, -1, 1, -2 and beta -1, -1, 1, 2; their positive parts sum to 5.
    found = method.loss(batch, training)["weighted"]  # type: ignore[arg-type]
    assert training.logged == pytest.approx(
        {"alpha": 2 / 5, "beta": 3 / 5, "alpha_foreground": 2 / 5, "alpha_background": 2 / 5}
    )
    (gradient,) = torch.autograd.grad(found, list(method.parameters()))
    # dl / d theta = x (1/2 - [k = y]): 1 (1), 1 (-1) as given, 1 (-1) and 2 (-2) by the pseudo-label; scaled by 4 / 5 over 4.
    slope = (1 * 1 + 1 * 1 + 1 * 1 + 2 * 2) / 2 / 5
    near(gradient.flatten(), torch.tensor([slope, -slope], dtype=torch.float64))


@pytest.mark.parametrize("unit", ["pixel", "case"])
@pytest.mark.parametrize("normalise", ["batch", "class", "image", "pixel"])
def test_where_nothing_would_help_the_loss_is_zero(normalise: Any, unit: Any) -> None:
    method = L2B(L2B.Config(normalise=normalise, unit=unit), line, 2)
    batch = on_a_line([1.0, 2.0, 0.5], [0, 0, IGNORE])
    for trusted in (on_a_line([1.0], [1]), on_a_line([1.0], [IGNORE])):
        training = Training(trusted=trusted)
        found = method.loss(batch, training)["weighted"]  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(found, list(method.parameters()))
        assert found.item() == 0 and not gradient.any() and torch.isfinite(gradient).all()
        assert training.logged == {"alpha": 0, "beta": 0, "alpha_foreground": 1, "alpha_background": 0}


def test_a_batch_without_labels_gives_zero_and_no_gradient() -> None:
    method, batch = l2b(), some_batch()
    batch.label.fill_(IGNORE)
    for epoch in (0, 50):
        found = method.loss(batch, Training(epoch=epoch))["weighted"]  # type: ignore[arg-type]
        gradients = torch.autograd.grad(found, list(method.parameters()))
        assert found.item() == 0 and not any(gradient.any() for gradient in gradients)


def test_weights_are_found_from_scratch() -> None:
    """No state is declared, and a step's loss does not depend on steps before."""
    method, training = l2b(), Training()
    assert method.fields() == () and method.maps() == {} and not list(method.buffers())
    alone = method.loss(some_batch(), training)["weighted"].item()  # type: ignore[arg-type]
    method.loss(batch_of(random_labels(*SIZES[2], seed=3), seed=3), training)  # type: ignore[arg-type]
    assert method.loss(some_batch(), training)["weighted"].item() == alone  # type: ignore[arg-type]


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_the_warm_up_is_plain_cross_entropy(ndim: int, classes: int) -> None:
    method, batch, training = l2b(ndim, classes, warm_up=0.25), some_batch(ndim, classes), Training(ndim=ndim, classes=classes)
    weights = np.zeros((len(batch), 2, *batch.label.shape[1:]))
    weights[:, 0] = 1
    plain = slow_loss(method, batch, weights)
    for epoch, warming_up in ((0, True), (24, True), (25, False), (99, False)):
        training.epoch = epoch
        training.asked.clear()
        value = method.loss(batch, training)["weighted"].item()  # type: ignore[arg-type]
        assert (value == pytest.approx(plain, rel=1e-6)) == warming_up == (not training.asked)
    method = l2b(ndim, classes, warm_up=0.0)
    training.epoch = 0
    assert method.loss(batch, training)["weighted"].item() != pytest.approx(plain, rel=1e-6)  # type: ignore[arg-type]


def test_half_precision_gives_the_loss_in_float32() -> None:
    method, training, batch = l2b().float(), Training(), some_batch()
    training.trusted_cases = batch_of(training.trusted_cases.label, image=training.trusted_cases.image.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = method.loss(batch_of(batch.label, image=batch.image.float()), training)["weighted"]  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    torch.autograd.backward(found)
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in method.parameters())


def test_the_plan_leaves_trusted_cases_out_where_they_are_not_to_be_trained_on() -> None:
    training = Training()
    training.cases, training.trusted = 5, np.array([1, 4])
    (phase,) = l2b(train_on_trusted=False).plan(training)  # type: ignore[arg-type]
    (stream,) = phase.streams
    assert stream.cases is not None and stream.cases.tolist() == [0, 2, 3]
    (phase,) = l2b().plan(training)  # type: ignore[arg-type]
    assert phase.streams[0].cases is None
    training.trusted = np.arange(5)
    with pytest.raises(DataError, match="`trusted`: names every training case"):
        l2b(train_on_trusted=False).plan(training)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"trusted_batch": 0}, "trusted_batch: is 0"),
        ({"warm_up": -0.1}, "warm_up: is -0.1"),
        ({"warm_up": 1.5}, "warm_up: is 1.5"),
        ({"warm_up": float("nan")}, "warm_up: is nan"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(L2B.Config(**config))


def test_without_trusted_cases_there_is_no_training(tmp_path: Path) -> None:
    job = small_job(tmp_path, "l2b")
    cases = tuple(dataclasses.replace(case, trusted=False) for case in job.dataset.cases)
    with pytest.raises(DataError, match=r"method l2b: needs trusted training cases.*`trusted`"):
        fit(dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, cases=cases)))


@pytest.mark.parametrize("train_on_trusted", [False, True])
def test_a_training_leaves_trusted_cases_out_of_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_on_trusted: bool
) -> None:
    config = L2B.Config(warm_up=0.0, train_on_trusted=train_on_trusted)
    job = dataclasses.replace(small_job(tmp_path, "l2b", epochs=1), method_config=config)
    seen, loss = list[int](), L2B.loss

    def watched(method: L2B, batch: Batch, run: Any) -> dict[str, Tensor]:
        seen.extend(batch.index.tolist())
        assert run.trusted_batch(2).trusted.all()
        return loss(method, batch, run)

    monkeypatch.setattr(L2B, "loss", watched)
    fit(job)
    trusted = [case.trusted for case in job.dataset.of("train")]
    assert any(trusted)
    assert sorted(seen) == [row for row, known in enumerate(trusted) if train_on_trusted or not known]
