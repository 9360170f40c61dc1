"""Functions for a training step of one's own: selection, look-ahead weights of any module, refined labels."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks import nets
from tests.two_networks import random_labels
from tests.two_networks import small_losses as slow_small_losses
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from debride import losses, steps
from debride.losses.pixel import cross_entropy
from debride.networks import adapt
from debride.types import IGNORE, DataError

RATE = 0.3


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("keep", [Fraction(0), Fraction(71, 100), Fraction(4, 5), Fraction(1)])
@pytest.mark.parametrize("size", [(5, 10), (4, 5, 5), ()])
def test_small_losses_are_selected_as_one_pixel_at_a_time(size: tuple[int, ...], keep: Fraction, per_class: bool) -> None:
    label = random_labels(2, *size) if size else random_labels(2, 50).flatten()
    loss = torch.rand(label.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = steps.small_losses(loss, float(keep), label, per_class=per_class)
    assert {tuple(where) for where in found.nonzero().tolist()} == slow_small_losses(loss.numpy(), label, keep, per_class)
    assert torch.equal(steps.small_losses(loss[:, None], float(keep), label[:, None], per_class=per_class), found[:, None])


def test_without_labels_every_image_counts() -> None:
    loss = torch.tensor([0.3, 0.1, 0.4, 0.1, 0.5])
    assert steps.small_losses(loss, 0.6).tolist() == [True, True, False, True, False]
    assert steps.small_losses(loss, steps.keep_rate(5, 0.4, 10)).sum() == 4


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((torch.ones(3), 1.5), {}, "a share of 0 to 1"),
        ((torch.ones(3), 0.5, torch.ones(3, 1)), {}, "`class_ids`"),
        ((torch.ones(3), 0.5), {"per_class": True}, "not given"),
        ((torch.ones(3), 0.5, torch.tensor([0, -100, 1])), {}, "below 0, such as -100"),
    ],
)
def test_selections_that_cannot_be_are_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        steps.small_losses(*arguments, **options)


def test_class_ids_of_monai_s_labels() -> None:
    label = torch.tensor([[[[0.0, 2.0], [255.0, 1.0]]]])
    assert torch.equal(steps.class_ids(label), torch.tensor([[[0, 2], [255, 1]]]))
    assert torch.equal(steps.class_ids(label, ignore_index=2), torch.tensor([[[0, 255], [255, 1]]]))


LABEL = torch.tensor([[[0, 1], [1, IGNORE]], [[1, 1], [0, 0]]])
CHANNEL = LABEL[:, None]
HALF = torch.full((2, 2, 2, 2), 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: steps.masked_mean(HALF[:, 0], CHANNEL != IGNORE),
        lambda: steps.masked_mean(HALF[:, :1], LABEL != IGNORE),
        lambda: steps.confidence_sums(HALF, CHANNEL),
        lambda: steps.corrected(HALF, CHANNEL, torch.zeros(2)),
        lambda: steps.label_errors(HALF, CHANNEL, "both"),
        lambda: steps.label_errors(HALF, CHANNEL, "confusion"),
        lambda: steps.superpixel_labels(HALF, CHANNEL, LABEL, LABEL > 0),
        lambda: steps.superpixel_labels(HALF, LABEL, CHANNEL, LABEL > 0),
        lambda: steps.superpixel_labels(HALF, LABEL, LABEL, CHANNEL > 0),
        lambda: steps.prototype_labels(HALF, CHANNEL, 2),
    ],
)
def test_labels_of_one_channel_are_not_taken_for_more_pixels(wrong: Any) -> None:
    """Two images of two classes: (2, 1, 2, 2) and (2, 2, 2) go together by chance."""
    with pytest.raises(DataError, match="class_ids` takes out an axis of one channel"):
        wrong()


@pytest.mark.parametrize("label", [F.one_hot(LABEL % 3, 3).movedim(-1, 1), LABEL, torch.zeros(2)])
def test_class_ids_of_other_labels_are_refused(label: Tensor) -> None:
    with pytest.raises(DataError, match="argmax"):
        steps.class_ids(label)


def test_an_unknown_rule_of_errors_is_refused() -> None:
    with pytest.raises(DataError, match="Give one of confusion, joint, class, noise-rate, both"):
        steps.label_errors(HALF, LABEL, "all")  # type: ignore[arg-type]


class Plain(nn.Module):
    """A network that nothing is known of: normalised by batches, with a way around, and a last layer in a function."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        convolution: Any = {0: nn.Linear, 2: nn.Conv2d, 3: nn.Conv3d}[ndim]
        kernel = () if ndim == 0 else (3,)
        more = {} if ndim == 0 else {"padding": 1}
        self.first, self.second = convolution(2, 4, *kernel, **more), convolution(4, 4, *kernel, **more)
        self.norm: Any = {0: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[ndim](4)
        self.last = convolution(4, 3, *(() if ndim == 0 else (1,)))

    def forward(self, image: Tensor) -> Tensor:
        features = F.silu(self.norm(self.first(image)))
        found: Tensor = self.last(features + F.silu(self.second(features)))
        return found


def data(ndim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = {0: (), 2: (6, 7), 3: (4, 5, 3)}[ndim]
    image, trusted = (torch.randn(n, 2, *size, generator=generator, dtype=torch.float64) for n in (4, 3))
    label, trusted_label = (torch.randint(3, (len(x), *x.shape[2:]), generator=generator) for x in (image, trusted))
    label[(1, ..., slice(1)) if size else 1] = IGNORE
    return image, label, trusted, trusted_label


def double_backward(network: nn.Module, batch: tuple[Tensor, ...], loss: Any, weights: Tensor) -> Tensor:
    """The trusted loss after the virtual step, differentiated by the weights through the step's own gradient."""
    image, label, trusted, trusted_label = batch
    weights = weights.clone().requires_grad_()
    valid, trusted_valid = label != IGNORE, trusted_label != IGNORE
    parameters = dict(network.named_parameters())
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    values = loss(functional_call(network, {**parameters, **buffers}, (image,)), label)
    mean = (weights * values).sum() / valid.sum()
    slopes = torch.autograd.grad(mean, list(parameters.values()), create_graph=True)
    stepped = {name: value - RATE * slope for (name, value), slope in zip(parameters.items(), slopes, strict=True)}
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    trusted_mean = loss(functional_call(network, {**stepped, **buffers}, (trusted,)), trusted_label).sum() / trusted_valid.sum()
    (gradient,) = torch.autograd.grad(trusted_mean, weights)
    return gradient * valid.sum()  # by a weight's share of the mean


LOSSES = {
    "cross-entropy": cross_entropy,
    "generalised": losses.GeneralizedCrossEntropyLoss(0.5, reduction="none"),
    "bootstrapping": losses.BootstrappingLoss("hard", reduction="none"),
    "absolute": losses.MeanAbsoluteErrorLoss(reduction="none"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("ndim", [0, 2, 3])
def test_look_ahead_weights_of_any_module_are_those_of_double_backward(ndim: int, moved: bool, name: str) -> None:
    torch.manual_seed(0)
    network, batch = Plain(ndim).double(), data(ndim)
    weights = torch.rand(batch[1].shape, dtype=torch.float64) if moved else torch.zeros(batch[1].shape, dtype=torch.float64)
    expected = double_backward(network, batch, LOSSES[name], weights)
    found = steps.look_ahead_weights(network, *batch, learning_rate=RATE, loss=LOSSES[name], weights=weights if moved else None)
    torch.testing.assert_close(found.gradient, expected, rtol=1e-8, atol=1e-12)
    wanted = (-expected).clamp(min=0)
    known = batch[1] != IGNORE
    torch.testing.assert_close(found.weights, wanted * known.sum() / wanted.sum())
    torch.testing.assert_close(found.losses, LOSSES[name](found.logits, batch[1]))
    torch.testing.assert_close(found.loss, (found.weights * found.losses).sum() / known.sum())
    assert found.weights[known].mean().item() == pytest.approx(1)
    found.loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["UNet", "AttentionUnet", "SegResNet"])
def test_networks_of_monai_are_looked_ahead_with(name: str) -> None:
    torch.manual_seed(0)
    options = {"init_filters": 8} if name == "SegResNet" else {"channels": (4, 8), "strides": (2,)}
    network = getattr(nets, name)(spatial_dims=2, in_channels=2, out_channels=3, **options).double()
    generator = torch.Generator().manual_seed(1)
    image, trusted = torch.randn(2, 2, 2, 16, 16, generator=generator, dtype=torch.float64)
    label, trusted_label = torch.randint(3, (2, 2, 16, 16), generator=generator)
    weights = torch.rand(label.shape, dtype=torch.float64)
    batch = image, label, trusted, trusted_label
    expected = double_backward(network, batch, cross_entropy, weights)
    found = steps.look_ahead_weights(network, *batch, learning_rate=RATE, weights=weights)
    torch.testing.assert_close(found.gradient, expected, rtol=1e-7, atol=1e-10)


def test_cases_have_the_sums_of_their_pixels() -> None:
    torch.manual_seed(0)
    network, batch = Plain(2).double(), data(2)
    pixels = steps.look_ahead_weights(network, *batch, learning_rate=RATE).gradient
    cases = steps.look_ahead_weights(network, *batch, learning_rate=RATE, unit="case")
    sums = pixels.flatten(1).sum(dim=1)
    for row, weight in enumerate(cases.weights):
        known = batch[1][row] != IGNORE
        assert (weight[known] == weight[known][0]).all() and (weight[~known] == 0).all()
        assert (weight[known][0] > 0) == (sums[row] < 0)


def test_both_labels_have_weights() -> None:
    """L2B as a function: the given label and the pseudo-label of each pixel."""
    torch.manual_seed(0)
    network, (image, label, trusted, trusted_label) = Plain(2).double(), data(2)

    def both(logits: Tensor, label: Tensor) -> Tensor:
        return steps.both_losses(logits, label, steps.pseudo_label(logits, label))

    found = steps.look_ahead_weights(
        network, image, label, trusted, trusted_label, learning_rate=RATE, loss=both, trusted_loss=cross_entropy
    )
    alone = steps.look_ahead_weights(network, image, label, trusted, trusted_label, learning_rate=RATE)
    assert found.weights.shape == (4, 2, 6, 7)
    torch.testing.assert_close(found.gradient[:, 0], alone.gradient)
    assert found.weights.sum(dim=1)[label != IGNORE].mean().item() == pytest.approx(1)


def test_labels_with_a_channel_and_modules_do_the_same() -> None:
    torch.manual_seed(0)
    network, (image, label, trusted, trusted_label) = Plain(3).double(), data(3)
    loss = LOSSES["generalised"]
    flat = steps.look_ahead_weights(network, image, label, trusted, trusted_label, learning_rate=RATE, loss=loss)
    ids, trusted_ids = label[:, None].float(), trusted_label[:, None].float()
    found = steps.look_ahead_weights(network, image, ids, trusted, trusted_ids, learning_rate=RATE, loss=loss)
    assert found.weights.shape == found.losses.shape == ids.shape
    plain = steps.look_ahead_weights(network, image, ids, trusted, trusted_ids, learning_rate=RATE)
    assert plain.weights.shape == plain.losses.shape == ids.shape
    torch.testing.assert_close(found.weights[:, 0], flat.weights)
    torch.testing.assert_close(found.loss, flat.loss)


def test_the_head_alone_of_an_adapted_network() -> None:
    torch.manual_seed(0)
    network, batch = Plain(2).double(), data(2)
    with pytest.raises(DataError, match="last layer is not known"):
        steps.look_ahead_weights(network, *batch, learning_rate=RATE, scope="head")
    for parameter in (*network.first.parameters(), *network.second.parameters(), *network.norm.parameters()):
        parameter.requires_grad_(False)
    whole = steps.look_ahead_weights(network, *batch, learning_rate=RATE)
    head = steps.look_ahead_weights(adapt(network, "last"), *batch, learning_rate=RATE, scope="head")
    torch.testing.assert_close(head.gradient, whole.gradient)


def test_a_loss_without_a_number_for_each_pixel_is_refused() -> None:
    with pytest.raises(DataError, match='reduction="none"'):
        steps.look_ahead_weights(Plain(2).double(), *data(2), learning_rate=RATE, loss=losses.MeanAbsoluteErrorLoss())


@pytest.mark.parametrize("name", ["unit", "over", "scope", "derivative"])
def test_options_of_a_look_ahead_are_words(name: str) -> None:
    options: dict[str, Any] = {name: "images"}
    with pytest.raises(DataError, match=f"{name}: is 'images'. Give one of"):
        steps.look_ahead_weights(Plain(2).double(), *data(2), learning_rate=RATE, **options)


def test_other_labels_and_weights_of_a_look_ahead_are_refused() -> None:
    image, label, *trusted = data(2)
    with pytest.raises(DataError, match="argmax"):
        hard = F.one_hot(label.clamp(max=2), 3).movedim(-1, 1)
        steps.look_ahead_weights(Plain(2).double(), image, hard, *trusted, learning_rate=RATE)
    with pytest.raises(DataError, match="weights: are"):
        steps.look_ahead_weights(Plain(2).double(), image, label, *trusted, learning_rate=RATE, weights=torch.ones(4))


def test_weights_do_not_depend_on_the_rate_of_a_step_that_stays() -> None:
    """A schedule that starts or ends at 0 too: weights of zero would be a step on nothing."""
    network, batch = Plain(2).double().eval(), data(2)
    found, still = (steps.look_ahead_weights(network, *batch, learning_rate=rate) for rate in (RATE, 0.0))
    assert still.loss > 0 and (still.gradient == 0).all()
    torch.testing.assert_close(still.weights, found.weights)


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)])
def test_superpixel_labels_equal_the_slow_version(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(2, 3, *size, generator=generator).softmax(dim=1)
    label, segments = random_labels(2, *size), torch.randint(4, (2, *size), generator=generator)
    clean = torch.rand(label.shape, generator=generator) < 0.5
    found = steps.superpixel_labels(probability, label, segments, clean)
    for where in np.ndindex(*label.shape):
        expected = int(label[where])
        if not clean[where] and expected != IGNORE:
            inside = segments[where[0]] == segments[where]
            expected = int(probability[where[0]][:, inside].mean(dim=1).argmax())
        assert found[where] == expected


def test_prototype_labels_equal_the_slow_version() -> None:
    """With cells of one pixel: all pixels of a class are its cells."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)
    predicted = torch.randint(3, (2, 5, 6), generator=generator)
    features[:, 1:3] += 3 * torch.stack([predicted == number for number in (1, 2)], dim=1)
    found = steps.prototype_labels(features, predicted, 3, sigma=0.5, mu=0.4)
    for row in range(2):
        vectors = F.normalize(features[row].flatten(1), dim=0).T.tolist()
        kept: dict[int, list[list[float]]] = {}
        for number in (1, 2):
            cells = [vector for vector, own in zip(vectors, predicted[row].flatten().tolist(), strict=True) if own == number]
            degrees = [sum(dot(cell, other) for other in cells) for cell in cells]
            kept[number] = [cell for cell, degree in zip(cells, degrees, strict=True) if degree / max(degrees) > 0.5]
        for vector, label in zip(vectors, found[row].flatten().tolist(), strict=True):
            scores = {number: sum(dot(vector, cell) for cell in cells) / len(cells) for number, cells in kept.items()}
            best = max(scores, key=lambda number: scores[number])
            assert label == (best if scores[best] > 0.4 else 0)
    assert {0, 1, 2} == set(found.flatten().tolist())


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))
