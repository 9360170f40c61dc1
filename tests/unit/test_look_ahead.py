"""Look-ahead gradients against differentiation through the virtual step, and against steps taken with changed weights."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tests.look_ahead_stubs import (
    MOVES,
    RATE,
    Virtual,
    ahead_gradient,
    assert_close,
    case_losses,
    copied_buffers,
    data_of,
    network_of,
    pixel_losses,
    random_weights,
    trusted_loss_of,
)
from torch import Tensor
from torch.nn import functional as F

from debride.losses.pixel import along
from debride.networks.build import Norm
from debride.networks.network import Scope
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE

CASES: list[tuple[str, int, Norm]] = [
    ("unet", 2, "batch"),
    ("unet", 2, "instance"),
    ("unet", 2, "group"),
    ("unet", 3, "batch"),
    ("unet", 3, "instance"),
    ("unet-small", 2, "batch"),
    ("unet-small", 3, "group"),
    ("unet++", 2, "batch"),
    ("unet++", 2, "group"),
    ("vit-unet", 2, "batch"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ndim", "norm"), CASES)
def test_pixel_weights_have_the_gradient_of_double_backward(name: str, ndim: int, norm: Norm) -> None:
    network = network_of(name, ndim, norm)
    image, label, trusted, trusted_label = data_of(ndim)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    slow = Virtual(network, *known)
    found = ahead_gradient(network, *known, weights)
    assert_close(found, slow.gradient(weights))
    assert (found.movedim(1, 0)[:, label == IGNORE] == 0).all()
    at_zero = ahead_gradient(network, *known, None)
    assert_close(at_zero, slow.gradient(torch.zeros_like(weights)))
    assert (at_zero - found).abs().max() > 1e-6 * found.abs().max(), "the virtual step changes something"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ndim", "norm"),
    [("unet", 2, "instance"), ("unet-small", 2, "batch"), ("unet++", 2, "group"), ("unet", 3, "batch")],
)
def test_pixel_weights_have_the_gradient_of_finite_differences(name: str, ndim: int, norm: Norm) -> None:
    network = network_of(name, ndim, norm)
    image, label, trusted, trusted_label = data_of(ndim)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    slow = Virtual(network, *known)
    found = ahead_gradient(network, *known, weights)
    labelled = (label != IGNORE).nonzero().tolist()
    generator = torch.Generator().manual_seed(3)
    for term in (0, 1):
        case, *pixel = labelled[int(torch.randint(len(labelled), (), generator=generator))]
        place = (case, term, *pixel)
        assert float(found[place]) == pytest.approx(slow.difference(weights, place, step=1e-4), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ndim", "norm"), [("unet", 2, "batch"), ("unet++", 2, "instance"), ("unet-small", 3, "batch")]
)
def test_case_weights_have_the_gradient_of_double_backward(name: str, ndim: int, norm: Norm) -> None:
    network = network_of(name, ndim, norm)
    image, label, trusted, trusted_label = data_of(ndim)
    known = (image, case_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label))
    slow = Virtual(network, *known)
    found = ahead_gradient(network, *known, weights)
    assert_close(found, slow.gradient(weights))
    assert float(found[1]) == pytest.approx(slow.difference(weights, (1,), step=1e-6), rel=1e-5)
    assert_close(ahead_gradient(network, *known, None), slow.gradient(torch.zeros_like(weights)))


@pytest.mark.parametrize(("name", "ndim"), [("unet", 2), ("unet-small", 2), ("unet++", 2), ("unet", 3)])
def test_a_scope_moves_its_parameters_alone(name: str, ndim: int) -> None:
    network = network_of(name, ndim, "batch")
    image, label, trusted, trusted_label = data_of(ndim)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    found = {}
    for scope, moves in MOVES.items():
        slow = Virtual(network, *known, moves)
        found[scope] = ahead_gradient(network, *known, weights, scope)
        assert_close(found[scope], slow.gradient(weights))
        assert_close(ahead_gradient(network, *known, None, scope), slow.gradient(torch.zeros_like(weights)))
    largest = found["full"].abs().max()
    assert (found["full"] - found["decoder"]).abs().max() > 1e-3 * largest
    assert (found["decoder"] - found["head"]).abs().max() > 1e-3 * largest


def test_frozen_parameters_do_not_move() -> None:
    network = network_of("unet", 2)
    frozen = [name for name, _ in network.named_parameters() if "down_" in name]
    for name in frozen:
        network.get_parameter(name).requires_grad_(False)
    image, label, trusted, trusted_label = data_of(2)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    assert_close(ahead_gradient(network, *known, weights), Virtual(network, *known).gradient(weights))
    assert frozen and not any(network.get_parameter(name).requires_grad for name in frozen)


def test_evaluation_mode_is_differentiated_as_it_is() -> None:
    """Where batch normalisation uses its running statistics."""
    network = network_of("unet-small", 2)
    image, label, trusted, trusted_label = data_of(2)
    network(image)
    network.eval()
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    before = copied_buffers(network)
    assert_close(ahead_gradient(network, *known, weights), Virtual(network, *known).gradient(weights))
    assert not network.training and all(torch.equal(before[name], value) for name, value in network.named_buffers())


def test_the_memory_format_of_trainings_changes_nothing() -> None:
    network = network_of("unet-small", 2)
    image, label, trusted, trusted_label = data_of(2)
    known = (pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    expected = ahead_gradient(network, image, *known, weights)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert_close(ahead_gradient(network, image.to(memory_format=torch.channels_last), *known, weights), expected)


# Several processes


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
def test_both_gradients_are_averaged(scope: Scope) -> None:
    """An average that doubles the virtual gradient and triples the trusted one."""
    network = network_of("unet", 2)
    image, label, trusted, trusted_label = data_of(2)
    losses, trusted_loss = pixel_losses(label), trusted_loss_of(trusted_label)
    seen: list[list[torch.Size]] = []

    def average(gradients: Sequence[Tensor]) -> list[Tensor]:
        seen.append([gradient.shape for gradient in gradients])
        return [(1 + len(seen)) * gradient for gradient in gradients]

    weights = random_weights(len(label), 2, *label.shape[1:])
    ahead = LookAhead(network, image, scope, average=average)
    tangent = ahead.tangent(trusted, trusted_loss, RATE, (weights * losses(ahead.logits)).sum())
    slow = Virtual(network, image, losses, trusted, trusted_loss, MOVES[scope], rate=2 * RATE)
    assert_close(-2 * RATE * along(losses, ahead.logits, tangent), 3 * slow.gradient(weights))
    shapes = [network.get_parameter(name).shape for name in slow.moved]
    assert seen == [shapes, shapes]
    ahead.tangent(trusted, trusted_loss, RATE, None)
    assert len(seen) == 3, "without a virtual step there is one gradient"


def test_the_virtual_gradient_counts_by_the_share_of_the_batch() -> None:
    """As the real one does where a process has more or fewer labelled pixels than the mean; the trusted one does not."""
    network = network_of("unet", 2)
    image, label, trusted, trusted_label = data_of(2)
    losses, trusted_loss = pixel_losses(label), trusted_loss_of(trusted_label)
    weights = random_weights(len(label), 2, *label.shape[1:])
    ahead = LookAhead(network, image, "full", share=torch.tensor(0.5, dtype=torch.float64))
    tangent = ahead.tangent(trusted, trusted_loss, RATE, (weights * losses(ahead.logits)).sum())
    slow = Virtual(network, image, losses, trusted, trusted_loss, rate=RATE / 2)
    assert_close(-RATE / 2 * along(losses, ahead.logits, tangent), slow.gradient(weights))


# The derivative along a direction of logits


def test_along_is_the_directional_derivative_pixel_by_pixel() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, tangent = torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64).unbind(0)
    label = torch.randint(3, (2, 4, 5), generator=generator)
    logits.requires_grad_()
    found = along(lambda values: F.cross_entropy(values, label, reduction="none"), logits, tangent)
    assert found.shape == (2, 4, 5) and not found.requires_grad and logits.grad is None
    p = logits.detach().softmax(dim=1)
    for case, row, column in ((0, 0, 0), (0, 3, 4), (1, 2, 1), (1, 3, 2)):
        direction = tangent[case, :, row, column]
        expected = p[case, :, row, column] @ direction - direction[label[case, row, column]]
        assert float(found[case, row, column]) == pytest.approx(float(expected), rel=1e-10)


def test_along_raises_half_precision_logits() -> None:
    logits = torch.tensor([[[1.0, -2.0], [0.5, 3.0]]], dtype=torch.float16)
    tangent = torch.tensor([[[1e-9, 2e-9], [-1e-9, 0.0]]])
    found = along(lambda values: values.square().sum(dim=1), logits, tangent)
    assert found.dtype == torch.float32
    # 2 sum_k x_k t_k: 2 (1 - 0.5) and 2 (-4) billionths.
    torch.testing.assert_close(found, torch.tensor([[1e-9, -8e-9]]), rtol=1e-6, atol=0)
