"""Meta-Weight-Net: its step against one that unrolls the virtual step, against the public code, and Adam against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import RATE, SIZES, Training, batch_of, labelled, near, small_network
from tests.two_networks import random_labels
from torch import Tensor, nn
from torch.func import functional_call

from debride.batch import Batch
from debride.methods import mw_net as module
from debride.methods.mw_net import MWNet, WeightNet
from debride.networks.network import Network
from debride.types import IGNORE


def mw_net(ndim: int = 2, classes: int = 3, **config: Any) -> MWNet:
    torch.manual_seed(3)
    method = MWNet(MWNet.Config(**{"hidden": 7, **config}), lambda: small_network(ndim, classes), classes)
    return method.double()


def slow_weight(theta: list[Tensor], loss: Tensor) -> Tensor:
    """V of one loss, unit by unit."""
    total = theta[3][0]
    for unit in range(len(theta[1])):
        total = total + theta[2][0, unit] * (theta[0][unit, 0] * loss + theta[1][unit]).clamp(min=0)
    return 1 / (1 + (-total).exp())


def slow_weighted(logits: Tensor, label: Tensor, theta: list[Tensor], config: MWNet.Config) -> tuple[Tensor, dict[Any, Tensor]]:
    """Eq. 1 over the labelled pixels, and V of each: losses are constants to the weight, and its mean is not."""
    logs = logits.log_softmax(dim=1)
    losses = {where: -logs[(where[0], int(label[where]), *where[1:])] for where in labelled(label)}
    weights: dict[Any, Tensor] = {}
    for where, loss in losses.items():
        sample = loss.detach()
        if config.unit == "case":
            own = [other.detach() for place, other in losses.items() if place[0] == where[0]]
            sample = torch.stack(own).mean()
        weights[where] = slow_weight(theta, sample)
    mean = torch.stack(list(weights.values())).mean() if config.normalise else torch.ones(())
    return torch.stack([weights[where] / mean * losses[where] for where in losses]).mean(), weights


def theta_of(method: MWNet) -> list[Tensor]:
    return [parameter.detach().clone().requires_grad_() for parameter in method.weights.layers.parameters()]


def unrolled(method: MWNet, batch: Batch, training: Training) -> Tensor:
    """The derivative of the trusted loss by Theta, through the virtual step as it stands (Eq. 3 and 4), in one row."""
    theta, parameters = theta_of(method), dict(method.network.named_parameters())
    starts = {"full": ("",), "decoder": ("trunk.2.", "head."), "head": ("head.",)}[method.config.scope]
    moved = [name for name in parameters if name.startswith(starts)]
    loss, _ = slow_weighted(method.network(batch.image), batch.label, theta, method.config)
    found = torch.autograd.grad(loss, [parameters[name] for name in moved], create_graph=True)
    step = {name: parameters[name] - RATE * slope for name, slope in zip(moved, found, strict=True)}
    trusted = training.trusted_cases
    logits = functional_call(method.network, {**parameters, **step}, (trusted.image,))
    value = nn.functional.cross_entropy(logits, trusted.label, ignore_index=IGNORE)
    return torch.cat([slope.flatten() for slope in torch.autograd.grad(value, theta)])


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("unit", ["pixel", "case"])
@pytest.mark.parametrize(("ndim", "classes", "scope"), [(2, 2, "full"), (2, 4, "head"), (3, 2, "decoder"), (3, 4, "full")])
def test_a_step_equals_one_that_unrolls_the_virtual_step(
    ndim: int, classes: int, scope: str, unit: str, normalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slope that Adam is given, and the weighted loss with the Theta that comes after it (Eq. 5), twice."""
    method = mw_net(ndim, classes, scope=scope, unit=unit, normalise=normalise)
    batch, training = batch_of(random_labels(*SIZES[ndim], classes=classes)), Training(ndim=ndim, classes=classes)
    slopes, descend = list[Tensor](), WeightNet.descend

    def watched(network: WeightNet, slope: Tensor, rate: float, decay: float) -> None:
        slopes.append(slope)
        descend(network, slope, rate, decay)

    monkeypatch.setattr(WeightNet, "descend", watched)
    for _ in range(2):
        expected = unrolled(method, batch, training)
        found = method.loss(batch, training)["weighted"]  # type: ignore[arg-type]
        assert float(expected.abs().max()) > 1e-6
        near(slopes[-1], expected, 1e-9)
        loss, weights = slow_weighted(method.network(batch.image), batch.label, theta_of(method), method.config)
        assert found.item() == pytest.approx(loss.item(), rel=1e-12)
        assert training.logged["weight"] == pytest.approx(float(torch.stack(list(weights.values())).detach().mean()), rel=1e-12)
        network = list(method.network.parameters())
        for ours, theirs in zip(torch.autograd.grad(found, network), torch.autograd.grad(loss, network), strict=True):
            near(ours, theirs, 1e-9)
    assert training.asked == [4, 4]


PUBLIC: dict[bool, tuple[list[tuple[float, list[float]]], list[float]]] = {
    False: (
        [
            (0.23805380169813645, [0.41574333244140693, 0.4288150952054664, 0.47234233530116215, 0.4172621318296044]),
            (0.21806894907918298, [0.41510964798330796, 0.4254407622687878, 0.4603158281594746, 0.41819644109243426]),
        ],
        [
            *(-1.180001304, 0.6580003429, 1.1408532, -1.157000195, 0.704999216, -1.559000145, 0.09300797976, -1.094000206),
            *(0.1140002556, 0.1730012971, 0.3657952096, 0.4890004611, -0.5469920706),
        ],
    ),
    True: (
        [
            (0.5490921353289354, [0.4157433328559197, 0.4288150956920596, 0.47234233604394615, 0.4172621322524939]),
            (0.4561172811354303, [0.4147553248894904, 0.4216362149440355, 0.44464433180380725, 0.4201924630160488]),
        ],
        [
            *(-1.179990671, 0.6580003429, 1.140915256, -1.157000195, 0.7050154414, -1.559000145, 0.09310820811, -1.094000206),
            *(0.1140252201, 0.1730012971, 0.3659167548, 0.4890004611, -0.546888273),
        ],
    ),
}
"""The loss and the weights, before they are divided, of two steps, and Theta after them."""


@pytest.mark.parametrize("normalise", PUBLIC)
def test_two_steps_are_those_of_the_public_code(normalise: bool) -> None:
    """github.com/xjtushujun/meta-weight-net at 3f1800f: the loops of MW-Net.py and, with ``normalise``, of
    train_WRN-28-10_Meta_PGC.py, with VNet(1, 4, 1) and MetaLinear of resnet.py. Run in float64 with a network of two layers, on
    four images with three trusted ones, at a rate of 0.5; the weight network's Adam is that of MW-Net.py in both."""
    first, head = nn.Linear(2, 3), nn.Linear(3, 2)
    network = Network(nn.Sequential(first, nn.Tanh()), head).double()
    method = MWNet(MWNet.Config(hidden=4, normalise=normalise), lambda: network, 2).double()
    layers = method.weights.layers
    given: list[tuple[Any, list[float]]] = [
        (first.weight, [1.33, 0.588, -0.115, 1.19, 0.41, 0.823]),
        (first.bias, [-0.909, -0.421, 0.23]),
        (head.weight, [-0.489, -0.109, -0.746, -0.334, 0.282, -0.042]),
        (head.bias, [-0.137, -0.214]),
        (layers[0].weight, [-1.178, 0.66, 1.139, -1.159]),
        (layers[0].bias, [0.707, -1.561, 0.095, -1.096]),
        (layers[2].weight, [0.116, 0.175, 0.364, 0.491]),
        (layers[2].bias, [-0.545]),
    ]
    with torch.no_grad():
        for parameter, values in given:
            parameter.copy_(torch.tensor(values, dtype=torch.float64).reshape(parameter.shape))
    image = torch.tensor([0.519, -1.313, 0.192, 0.543, -2.219, 0.259, -1.03, -0.501], dtype=torch.float64).reshape(4, 2)
    known = torch.tensor([0.273, -0.918, -0.04, 0.288, -0.008, -0.914], dtype=torch.float64).reshape(3, 2)
    batch = batch_of(torch.tensor([0, 1, 1, 0]), image=image)
    training = Training(trusted=batch_of(torch.tensor([1, 0, 1]), image=known))
    training.learning_rate = 0.5
    steps, after = PUBLIC[normalise]
    for loss, weight in steps:
        found = method.loss(batch, training)["weighted"]  # type: ignore[arg-type]
        assert found.item() == pytest.approx(loss, rel=1e-9)
        losses = nn.functional.cross_entropy(network(image), batch.label, reduction="none")
        near(method.weights(losses.detach()), torch.tensor(weight, dtype=torch.float64), 1e-9)
        slopes = torch.autograd.grad(found, list(network.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(network.parameters(), slopes, strict=True):
                parameter.sub_(0.5 * slope)
    near(torch.cat([parameter.flatten() for parameter in layers.parameters()]), torch.tensor(after, dtype=torch.float64), 1e-9)


@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_its_adam_is_that_of_pytorch(decay: float) -> None:
    torch.manual_seed(0)
    ours = WeightNet(5).double()
    theirs = [parameter.clone().requires_grad_() for parameter in ours.layers.parameters()]
    adam = torch.optim.Adam(theirs, lr=3e-3, weight_decay=decay)
    for step in range(20):
        slope = torch.randn(16, dtype=torch.float64) * 10.0 ** (step % 3)
        ours.descend(slope, 3e-3, decay)
        pieces = torch.split(slope, [parameter.numel() for parameter in theirs])
        for parameter, piece in zip(theirs, pieces, strict=True):
            parameter.grad = piece.reshape(parameter.shape)
        adam.step()
        for one, other in zip(ours.layers.parameters(), theirs, strict=True):
            near(one, other, 1e-12)


def test_what_it_learns_is_kept_with_the_weights_and_is_no_part_of_the_training_s_optimiser() -> None:
    """A copy that is loaded in between goes on bit for bit."""
    method, batch, training = mw_net(), batch_of(random_labels(*SIZES[2])), Training()
    assert not any(parameter.requires_grad for parameter in method.weights.parameters())
    method.loss(batch, training)  # type: ignore[arg-type]
    other = mw_net()
    other.load_state_dict(method.state_dict())
    for trained in (method, other):
        trained.loss(batch, training)  # type: ignore[arg-type]
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in method.state_dict().items())
    assert int(method.weights.steps) == 2


def test_losses_may_go_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    method, losses, shares = mw_net(), torch.rand(3, 5, 7).double(), torch.rand(3, 5, 7).double()
    whole = method.weights(losses), method.weights.slope(losses, shares)
    monkeypatch.setattr(module, "_AT_ONCE", 11)
    near(method.weights(losses), whole[0], 1e-12)
    near(method.weights.slope(losses, shares), whole[1], 1e-12)


def test_pixels_that_are_labelled_against_the_trusted_cases_come_to_weigh_less() -> None:
    """A network at rest that knows right from wrong: wrong labels cost it more, and what costs more loses weight."""
    head = nn.Conv1d(1, 2, 1, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([-0.5, 0.5]).reshape(2, 1, 1))
    torch.manual_seed(0)
    method = MWNet(MWNet.Config(meta_rate=0.02), lambda: Network(nn.Identity(), head), 2).double()
    image = torch.tensor([[[1.0, 1.0, -1.0, -1.0, 2.0]]], dtype=torch.float64)
    label = torch.tensor([[1, 0, 0, 1, IGNORE]])
    trusted = batch_of(torch.tensor([[1, 0]]), image=torch.tensor([[[1.0, -1.0]]], dtype=torch.float64))
    training = Training(trusted=trusted)
    for _ in range(60):
        method.loss(batch_of(label, image=image), training)  # type: ignore[arg-type]
    losses = nn.functional.cross_entropy(head(image), label, ignore_index=IGNORE, reduction="none").detach()
    right, wrong = method.weights(losses)[0, 0], method.weights(losses)[0, 1]
    assert float(right) > 4 * float(wrong)


def test_pixels_without_a_label_have_no_say() -> None:
    """Of a network that sees one pixel at a time: what an image shows where it has no label changes nothing."""
    label, found = random_labels(*SIZES[2]), list[tuple[float, Tensor]]()
    for extra in (0.0, 9.0):
        torch.manual_seed(1)
        network = Network(nn.Sequential(nn.Conv2d(2, 5, 1), nn.Tanh()), nn.Conv2d(5, 3, 1)).double()
        method, batch = MWNet(MWNet.Config(), lambda network=network: network, 3).double(), batch_of(label)  # type: ignore[misc]
        batch.image[(label == IGNORE)[:, None].expand_as(batch.image)] += extra
        found.append((method.loss(batch, Training())["weighted"].item(), method.weights.mean))  # type: ignore[arg-type]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12) and found[0][1].any()
    near(found[0][1], found[1][1], 1e-9)


def test_a_batch_without_labels_gives_zero() -> None:
    method, batch = mw_net(), batch_of(torch.full((2, 4, 5), IGNORE))
    term = method.loss(batch, Training())["weighted"]  # type: ignore[arg-type]
    assert term.item() == 0 and all(torch.isfinite(parameter).all() for parameter in method.parameters())


def test_the_warm_up_is_plain_cross_entropy() -> None:
    method, batch, training = mw_net(warm_up=0.25), batch_of(random_labels(*SIZES[2])), Training()
    plain = nn.functional.cross_entropy(method.network(batch.image), batch.label, ignore_index=IGNORE).item()
    for epoch, warming_up in ((0, True), (24, True), (25, False)):
        training.epoch = epoch
        value = method.loss(batch, training)["weighted"].item()  # type: ignore[arg-type]
        assert (value == pytest.approx(plain, rel=1e-9)) == warming_up
    assert int(method.weights.steps) == 1 and MWNet.Config().warm_up == 0


def test_half_precision_gives_loss_and_weights_in_float32() -> None:
    method, training, batch = mw_net().float(), Training(), batch_of(random_labels(*SIZES[2]))
    training.trusted_cases = batch_of(training.trusted_cases.label, image=training.trusted_cases.image.float())
    with torch.autocast("cpu", torch.bfloat16):
        losses = torch.linspace(0, 3, 50)
        near(method.weights(losses), mw_net().weights(losses), 1e-6)
        found = method.loss(batch_of(batch.label, image=batch.image.float()), training)["weighted"]  # type: ignore[arg-type]
    assert found.dtype == torch.float32 and method.weights.mean.dtype == torch.float32
    assert np.isfinite(found.item()) and torch.isfinite(method.weights.mean).all()
