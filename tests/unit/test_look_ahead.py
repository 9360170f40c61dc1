"""Look-ahead gradients against differentiation through the virtual step, and against steps taken with changed weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from debride.losses.pixel import along
from debride.networks import Network, adapt, build
from debride.networks.build import Norm
from debride.networks.network import Scope
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE, DataError

RATE = 0.1
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
]
SIZES = {2: (12, 28), 3: (7, 9, 12)}
"""Sizes that networks pad to multiples of 16."""

Losses = Callable[[Tensor], Tensor]


def network_of(name: str, ndim: int, norm: Norm | None = None, dtype: torch.dtype = torch.float64) -> Network:
    torch.manual_seed(0)
    return build(name, ndim=ndim, in_channels=2, classes=3, width=4 if ndim == 2 else 2, norm=norm).to(dtype)


def data_of(ndim: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels with ignored pixels: a batch to train on, and trusted cases of another number and size."""
    generator = torch.Generator().manual_seed(1)
    shapes = (2, 2, *SIZES[ndim]), (3 if ndim == 2 else 1, 2, *(16, 32, 7)[:ndim])
    image, trusted = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    label, trusted_label = (torch.randint(3, (len(x), *x.shape[2:]), generator=generator) for x in (image, trusted))
    label[0, 2:5, 3:] = IGNORE
    trusted_label[0, :, :4] = IGNORE
    return image, label, trusted, trusted_label


def pixel_losses(label: Tensor) -> Losses:
    """Cross-entropy (B, 2, *S) with the given label and with the pseudo-label, over the number of pixels."""

    def losses(logits: Tensor) -> Tensor:
        pseudo = logits.detach().argmax(dim=1).where(label != IGNORE, IGNORE)
        both = [F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none") for target in (label, pseudo)]
        return torch.stack(both, dim=1) / label.numel()

    return losses


def case_losses(label: Tensor) -> Losses:
    """One number per image (B,): its mean cross-entropy and a term in which pixels are not apart."""

    def losses(logits: Tensor) -> Tensor:
        foreground = logits.softmax(dim=1)[:, 1].flatten(1)
        entropy = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none").flatten(1).mean(dim=1)
        return entropy - foreground.square().sum(dim=1) / foreground.sum(dim=1)

    return losses


def trusted_loss_of(label: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: F.cross_entropy(logits, label, ignore_index=IGNORE)


def copied_buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


class Virtual:
    """Eq. 21 as it stands: the trusted loss after a step on the weighted losses, as a function of the weights."""

    def __init__(
        self,
        network: Network,
        image: Tensor,
        losses: Losses,
        trusted: Tensor,
        trusted_loss: Callable[[Tensor], Tensor],
        moves: Callable[[str], bool] = lambda name: True,
        rate: float = RATE,
    ) -> None:
        self.network = copy.deepcopy(network)
        self.image, self.losses, self.trusted, self.trusted_loss, self.rate = image, losses, trusted, trusted_loss, rate
        self.parameters = dict(self.network.named_parameters())
        self.moved = [name for name, value in self.parameters.items() if value.requires_grad and moves(name)]

    def value(self, weights: Tensor, create_graph: bool = False) -> Tensor:
        """L(theta - rate grad sum w l(theta))."""
        first = functional_call(self.network, {**self.parameters, **copied_buffers(self.network)}, (self.image,))
        weighted = (weights * self.losses(first)).sum()
        found = torch.autograd.grad(weighted, [self.parameters[name] for name in self.moved], create_graph=create_graph)
        stepped = {name: self.parameters[name] - self.rate * gradient for name, gradient in zip(self.moved, found, strict=True)}
        after = {**self.parameters, **copied_buffers(self.network), **stepped}
        return self.trusted_loss(functional_call(self.network, after, (self.trusted,)))

    def gradient(self, weights: Tensor) -> Tensor:
        """By differentiating through the gradient of the virtual step."""
        weights = weights.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(self.value(weights, create_graph=True), weights)
        return found

    def difference(self, weights: Tensor, place: tuple[int, ...], step: float) -> float:
        """The central difference by one weight."""
        change = torch.zeros_like(weights)
        change[place] = step
        return float((self.value(weights + change) - self.value(weights - change)).detach()) / (2 * step)


def ahead_gradient(
    network: Network,
    image: Tensor,
    losses: Losses,
    trusted: Tensor,
    trusted_loss: Callable[[Tensor], Tensor],
    weights: Tensor | None,
    scope: Scope = "full",
) -> Tensor:
    """Eq. 29 by forward mode; no weights are zeros."""
    ahead = LookAhead(network, image, scope)
    virtual = None if weights is None else (weights * losses(ahead.logits)).sum()
    return -RATE * along(losses, ahead.logits, ahead.tangent(trusted, trusted_loss, RATE, virtual))


def random_weights(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Every element, up to a part of the largest."""
    largest = float(expected.abs().max())
    assert found.shape == expected.shape and found.dtype == expected.dtype and largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


# The gradient


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


MOVES: dict[Scope, Callable[[str], bool]] = {
    "full": lambda name: True,
    "decoder": lambda name: "upcat_" in name or name.startswith("head."),
    "head": lambda name: name.startswith("head."),
}


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


# A user's own network


class Plain(nn.Module):
    """Layers of a user, one of which is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 5, 3, padding=1)
        self.normal = nn.BatchNorm2d(5)
        self.shared = nn.Conv2d(5, 5, 3, padding=1)
        self.last = nn.Conv2d(5, 3, 1)

    def again(self, values: Tensor) -> Tensor:
        output: Tensor = self.shared(values)
        return output

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.silu(self.shared(F.relu(self.normal(self.first(image)), inplace=True)))
        output: Tensor = self.last(F.gelu(self.again(F.max_pool2d(hidden, 3, stride=1, padding=1))))
        return output


class TwoNames(Plain):
    """The same, where layers are registered by two names, as those of nnU-Net's networks are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self.first, self.normal, self.shared])

    def again(self, values: Tensor) -> Tensor:
        output: Tensor = self.layers[2](values)
        return output


class TiedWeights(Plain):
    """The same, where a second layer has the parameters of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(5, 5, 3, padding=1)
        self.other.weight, self.other.bias = self.shared.weight, self.shared.bias

    def again(self, values: Tensor) -> Tensor:
        output: Tensor = self.other(values)
        return output


def test_a_plain_module_without_a_known_last_layer_has_the_full_scope_alone() -> None:
    torch.manual_seed(0)
    network = Network(Plain().double())
    image, label, trusted, trusted_label = data_of(2)
    assert LookAhead(network, image, "full").features is None
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    assert_close(ahead_gradient(network, *known, weights), Virtual(network, *known).gradient(weights))
    with pytest.raises(DataError, match=r"Plain: has no head .* its last layer is not known.*adapt"):
        LookAhead(network, image, "head")
    with pytest.raises(DataError, match=r"Plain: has no decoder .* its decoder is not known.*`scope` full"):
        LookAhead(network, image, "decoder")


@pytest.mark.parametrize("kind", [TwoNames, TiedWeights])
def test_parameters_that_are_known_by_two_names_count_once_and_stay(kind: type[Plain]) -> None:
    torch.manual_seed(0)
    plain = Plain().double()
    module = kind().double()
    module.load_state_dict(plain.state_dict(), strict=False)
    network, other = Network(module), Network(plain)
    image, label, trusted, trusted_label = data_of(2)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    before, slow = dict(network.named_parameters()), Virtual(other, *known)
    assert len(before) == len(slow.moved)
    assert_close(ahead_gradient(network, *known, weights), slow.gradient(weights))
    other(image)
    after = dict(network.named_parameters())
    assert all(after[name] is value and value.requires_grad for name, value in before.items())
    assert all(torch.equal(network.get_buffer(name), value) for name, value in other.named_buffers())


def test_an_adapted_module_has_a_head_and_the_decoder_that_it_names() -> None:
    torch.manual_seed(0)
    image, label, trusted, trusted_label = data_of(2)
    module = Plain().double()
    with pytest.raises(DataError, match=r"Plain: has no decoder"):
        LookAhead(adapt(copy.deepcopy(module), "last"), image, "decoder")
    with pytest.raises(DataError, match=r"Plain: has no decoder"):
        LookAhead(adapt(copy.deepcopy(module), "last", decoder=("up",)), image, "decoder")
    network = adapt(module, "last", decoder=("shared",))
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    slow = Virtual(network, *known, lambda name: name.startswith(("trunk.shared", "head.")))
    assert len(slow.moved) == 4
    assert_close(ahead_gradient(network, *known, weights, "decoder"), slow.gradient(weights))


# What stays as it is


def with_dropout() -> Network:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)]
    return adapt(nn.Sequential(*layers, nn.Dropout2d(0.4), nn.Conv2d(6, 3, 1)).double(), "6", decoder=("3.", "4."))


def taken(network: Network, scope: Scope, virtual: bool = True) -> tuple[LookAhead, Tensor]:
    """A look-ahead that was asked for its tangent."""
    image, label, trusted, trusted_label = data_of(2)
    ahead = LookAhead(network, image, scope)
    loss = pixel_losses(label)(ahead.logits).sum() if virtual else None
    return ahead, ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, loss)


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("virtual", [True, False])
@pytest.mark.parametrize("make", [with_dropout, lambda: network_of("unet", 2, "batch"), lambda: network_of("unet++", 2)])
def test_the_network_and_the_random_state_stay_as_one_plain_pass_leaves_them(
    make: Callable[[], Network], virtual: bool, scope: Scope
) -> None:
    network, other = make(), make()
    image = data_of(2)[0]
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(5)
    plain = other(image)
    expected = torch.get_rng_state()
    torch.manual_seed(5)
    ahead = LookAhead(network, image, scope)
    assert torch.equal(ahead.logits, plain) and torch.equal(torch.get_rng_state(), expected)
    _, label, trusted, trusted_label = data_of(2)
    loss = pixel_losses(label)(ahead.logits).sum() if virtual else None
    tangent = ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, loss)
    assert torch.equal(torch.get_rng_state(), expected)
    assert torch.equal(tangent, ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, loss)), "it can be asked again"
    assert tangent.shape == plain.shape and not tangent.requires_grad
    assert network.training and all(module.training for module in network.modules())
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None and parameter.requires_grad, name
    assert {name for name, _ in network.named_buffers()} == {name for name, _ in other.named_buffers()}
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name
        assert not torch.equal(buffer, before[name]), "the first pass updates running statistics"


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
def test_the_forward_mode_pass_repeats_the_first_ones_dropout(scope: Scope) -> None:
    network = with_dropout()
    image, label, trusted, trusted_label = data_of(2)
    losses, trusted_loss = pixel_losses(label), trusted_loss_of(trusted_label)
    weights = random_weights(len(label), 2, *label.shape[1:])
    moves: dict[Scope, Callable[[str], bool]] = {
        "full": lambda name: True,
        "decoder": lambda name: not name.startswith("trunk.0."),
        "head": lambda name: name.startswith("head."),
    }
    found = {}
    for seed in (7, 8):
        torch.manual_seed(seed)
        ahead = LookAhead(network, image, scope)
        virtual = (weights * losses(ahead.logits)).sum()
        found[seed] = -RATE * along(losses, ahead.logits, ahead.tangent(trusted, trusted_loss, RATE, virtual))
        torch.manual_seed(seed)  # the slow version's two passes draw in the same order
        expected = Virtual(network, image, losses, trusted, trusted_loss, moves[scope]).gradient(weights)
        assert_close(found[seed], expected)
    assert (found[7] - found[8]).abs().max() > 0.1 * found[7].abs().max(), "another mask, another gradient"


def test_dropout_is_repeated_whatever_was_drawn_in_between() -> None:
    """The mask of the first pass, not the next one: a network that is linear, so that zeros show it."""
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Dropout(0.5), nn.Flatten(2), nn.Unflatten(2, SIZES[2])))
    image, _, _, _ = data_of(2, torch.float32)
    ahead = LookAhead(network, image, "full")
    torch.rand(17)
    tangent = ahead.tangent(image, torch.sum, RATE, None)
    assert torch.equal(tangent == 0, ahead.logits == 0)
    assert 0.4 < float((tangent == 0).float().mean()) < 0.6


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("name", ["unet", "unet++"])
def test_the_first_pass_serves_the_real_step_afterwards(name: str, scope: Scope) -> None:
    network, other = network_of(name, 2, "batch"), network_of(name, 2, "batch")
    image, label, _, _ = data_of(2)
    ahead, tangent = taken(network, scope)
    losses = pixel_losses(label)
    weights = along(losses, ahead.logits, tangent).clamp(min=0)
    torch.autograd.backward((weights * losses(ahead.logits)).sum())
    torch.autograd.backward((weights * losses(other(image))).sum())
    for (place, ours), theirs in zip(network.named_parameters(), other.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad), place


def test_features_and_logits_are_one_pass() -> None:
    network, other = network_of("unet", 2), network_of("unet", 2)
    image = data_of(2)[0]
    ahead = LookAhead(network, image, "full")
    assert ahead.features is not None and network.head is not None
    assert torch.equal(ahead.features, other.features(image))
    assert torch.equal(ahead.logits, network.head(ahead.features)) and ahead.features.requires_grad


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


# The difference of two passes


@pytest.mark.parametrize(("name", "ndim", "norm"), [("unet-small", 2, "batch"), ("unet", 2, "instance"), ("unet", 3, "group")])
def test_a_difference_ranks_pixels_as_the_exact_derivative(name: str, ndim: int, norm: Norm) -> None:
    """In float32, where it is used; the running statistics stay those of one pass."""
    image, label, trusted, trusted_label = data_of(ndim, torch.float32)
    losses, trusted_loss = pixel_losses(label), trusted_loss_of(trusted_label)
    found, buffers = [], []
    for derivative in ("exact", "difference"):
        network = network_of(name, ndim, norm).float()
        ahead = LookAhead(network, image, "full", derivative)
        tangent = ahead.tangent(trusted, trusted_loss, RATE, losses(ahead.logits).sum())
        found.append(along(losses, ahead.logits, tangent).flatten())
        buffers.append(copied_buffers(network))
    exact, difference = found
    assert float((difference - exact).norm() / exact.norm()) < 0.1
    assert float(spearmanr(difference, exact).statistic) > 0.99
    assert all(torch.equal(value, buffers[1][key]) for key, value in buffers[0].items())


def test_a_difference_needs_no_forward_mode_and_no_gradient_gives_no_change() -> None:
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient

    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Opaque.apply(x)  # type: ignore[no-any-return]

    network = Network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Layer(), nn.Tanh(), nn.Conv2d(4, 3, 1)))
    image, _label, trusted, trusted_label = data_of(2, torch.float32)
    ahead = LookAhead(network, image, "full", "difference")
    assert ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, None).abs().max() > 0
    assert not ahead.tangent(trusted, lambda logits: 0 * logits.sum(), RATE, None).any()


def test_a_difference_is_taken_in_full_precision_and_with_the_first_dropout() -> None:
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Dropout(0.5), nn.Tanh(), nn.Conv2d(4, 3, 1)))
    image, _label, trusted, trusted_label = data_of(2, torch.float32)
    found = []
    for enabled, derivative in ((False, "exact"), (False, "difference"), (True, "difference")):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            ahead = LookAhead(network, image, "full", derivative)
            found.append(ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, None).flatten())
    exact, *differences = found
    for difference, least in zip(differences, (0.999, 0.9), strict=True):  # with bfloat16 the trusted gradient is in it
        assert float(torch.nn.functional.cosine_similarity(difference, exact, dim=0)) > least


# Mixed precision


def half_of(dtype: torch.dtype, scope: Scope) -> tuple[Tensor, Tensor, list[torch.dtype]]:
    """A gradient in float32 and under autocast, and the latter's types of the head's output, pass by pass."""
    image, label, trusted, trusted_label = data_of(2, torch.float32)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:]).float()
    network = network_of("unet", 2, "group", torch.float32)
    exact = ahead_gradient(network, *known, weights, scope)
    passes: list[torch.dtype] = []
    assert network.head is not None
    network.head.register_forward_hook(lambda module, inputs, output: passes.append(output.dtype))

    def trusted_loss(logits: Tensor) -> Tensor:
        return trusted_loss_of(trusted_label)(logits.float())

    def losses(logits: Tensor) -> Tensor:
        return pixel_losses(label)(logits.float())

    with torch.autocast("cpu", dtype):
        return exact, ahead_gradient(network, image, losses, trusted, trusted_loss, weights, scope), passes


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize(("dtype", "others"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)])
def test_passes_are_in_half_precision_as_far_as_it_is_safe(dtype: torch.dtype, others: torch.dtype, scope: Scope) -> None:
    exact, found, passes = half_of(dtype, scope)
    assert passes == [dtype, others, others]
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    labelled = exact != 0
    assert spearmanr(exact[labelled], found[labelled]).statistic > (0.95 if dtype == torch.bfloat16 else 0.99)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_small_trusted_gradient_does_not_vanish_in_half_precision(dtype: torch.dtype) -> None:
    image, _, trusted, trusted_label = data_of(2, torch.float32)
    network = network_of("unet", 2, "group", torch.float32)

    def loss(scale: float) -> Callable[[Tensor], Tensor]:
        return lambda logits: scale * trusted_loss_of(trusted_label)(logits.float())

    with torch.autocast("cpu", dtype):
        ahead = LookAhead(network, image, "full")
        whole, small = (ahead.tangent(trusted, loss(scale), RATE, None) for scale in (1.0, 2.0**-30))
    assert whole.dtype == small.dtype == torch.float32
    assert_close(small * 2.0**30, whole, 1e-5)


def test_autocast_and_gradient_modes_are_given_back() -> None:
    with torch.autocast("cpu", torch.float16):
        taken(network_of("unet", 2, dtype=torch.float64), "head")
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16
    assert torch.is_grad_enabled()


# What cannot be differentiated


class Doubled(torch.autograd.Function):
    """A layer that its author gave no ``jvp``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return 2 * values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


class Backward(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = Doubled.apply(values)  # type: ignore[no-untyped-call]
        return output


def test_a_layer_without_forward_mode_is_named_and_the_head_still_serves() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), Backward(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)]
    network = adapt(nn.Sequential(*layers).double(), "4", decoder=("0.",))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for scope in ("full", "decoder"):
        state = torch.get_rng_state()
        with pytest.raises(DataError, match=r"Sequential: has a layer without forward-mode differentiation .*`scope` head"):
            taken(network, scope)
        assert torch.is_grad_enabled() and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(ours, old) for ours, old in zip(network.parameters(), before, strict=True))
    image, label, trusted, trusted_label = data_of(2)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    slow = Virtual(network, *known, MOVES["head"])
    assert_close(ahead_gradient(network, *known, weights, "head"), slow.gradient(weights))


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
