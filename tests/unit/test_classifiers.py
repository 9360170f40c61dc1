"""Networks for classification: their size, their layers against the papers, features, forward mode, a user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from debride.networks import Network
from debride.networks.classifiers import CLASSIFIERS, build_classifier, projection_head
from debride.types import DataError

FEATURES = {"cnn": 4, "preact-resnet18": 8, "resnet50": 32}
"""Features per unit of width."""


def network_of(name: str, *, width: int = 4, in_channels: int = 3, classes: int = 5, seed: int = 0) -> Network:
    """A network whose running statistics, scales and shifts are not those it begins with."""
    torch.manual_seed(seed)
    network = build_classifier(name, in_channels=in_channels, classes=classes, width=width)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.2, 0.1)
    return network


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(before: int, after: int, kernel: int) -> int:
    """Values of a convolution without bias."""
    return before * after * kernel * kernel


def preact_resnet18_values(channels: int, classes: int) -> int:
    """Parameters by hand: the stem with its normalisation, then per block two normalisations and two convolutions."""
    total = convolution(channels, 64, 3) + 2 * 64
    for before, after in ((64, 64), (64, 128), (128, 256), (256, 512)):
        total += 2 * before + convolution(before, after, 3) + 2 * after + convolution(after, after, 3)
        total += convolution(before, after, 1) if before != after else 0
        total += 2 * after + convolution(after, after, 3) + 2 * after + convolution(after, after, 3)
    return total + 512 * classes + classes


@pytest.mark.parametrize(("channels", "classes"), [(3, 10), (1, 9), (3, 100)])
def test_the_preactivation_network_has_the_published_size(channels: int, classes: int) -> None:
    network = build_classifier("preact-resnet18", in_channels=channels, classes=classes)
    assert parameters(network) == preact_resnet18_values(channels, classes)
    if (channels, classes) == (3, 10):
        assert parameters(network) == 11_171_274
    assert network.channels == 512


def test_the_bottleneck_network_has_the_published_size() -> None:
    network = build_classifier("resnet50", in_channels=3, classes=1000)
    assert parameters(network) == 25_557_032
    assert network.channels == 2048
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 49 + 4, "and four shortcuts"


def test_the_small_network_is_small() -> None:
    network = build_classifier("cnn", in_channels=3, classes=10).eval()
    counted = 0

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        counted += module.weight.numel() * output.shape[2] * output.shape[3]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, 32, 32))
    assert network.channels == 128
    assert 3e6 < counted < 5e6


def normalised(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Normalisation in evaluation mode, by hand."""
    mean, var, scale, shift = (
        state[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def slow_layer(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution without bias whose padding keeps the size, normalisation and ReLU."""
    weight = state[f"{name}.0.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
    return normalised(state, f"{name}.1", x).clamp(min=0)


def slow_cnn(state: dict[str, Tensor], image: Tensor) -> Tensor:
    x = slow_layer(state, "trunk.0", image)
    x = torch.stack([x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]).amax(dim=0)
    x = slow_layer(state, "trunk.2", x, 2)
    x = slow_layer(state, "trunk.3", x, 2)
    return x + slow_layer(state, "trunk.4.part", x)


def slow_preact_resnet18(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """DivideMix's: normalisation and ReLU after the stem, none at the end, shortcuts from the normalised input."""
    x = slow_layer(state, "trunk.0", image)
    for block in range(1, 9):
        name, stride = f"trunk.{block}", 2 if block in (3, 5, 7) else 1
        active = normalised(state, f"{name}.norm_1", x).clamp(min=0)
        inner = F.conv2d(active, state[f"{name}.conv_1.weight"], stride=stride, padding=1)
        inner = normalised(state, f"{name}.norm_2", inner).clamp(min=0)
        if stride == 2:
            x = F.conv2d(active, state[f"{name}.shortcut.weight"], stride=2)
        x = x + F.conv2d(inner, state[f"{name}.conv_2.weight"], padding=1)
    return x


def slow_resnet50(state: dict[str, Tensor], image: Tensor) -> Tensor:
    x = slow_layer(state, "trunk.0", image, 2)
    x = F.max_pool2d(x, 3, 2, 1)
    block = 1
    for stage, depth in enumerate((3, 4, 6, 3)):
        for number in range(depth):
            block += 1
            name, stride = f"trunk.{block}", 2 if number == 0 and stage > 0 else 1
            inner = slow_layer(state, f"{name}.conv", slow_layer(state, f"{name}.reduce", x), stride)
            inner = normalised(state, f"{name}.expand.1", F.conv2d(inner, state[f"{name}.expand.0.weight"]))
            if number == 0:
                x = F.conv2d(x, state[f"{name}.shortcut.0.weight"], stride=stride)
                x = normalised(state, f"{name}.shortcut.1", x)
            x = (inner + x).clamp(min=0)
    return x


SLOW: dict[str, Callable[[dict[str, Tensor], Tensor], Tensor]] = {
    "cnn": slow_cnn,
    "preact-resnet18": slow_preact_resnet18,
    "resnet50": slow_resnet50,
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_is_the_network_described(name: str) -> None:
    network = network_of(name).double().eval()
    image = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        last = SLOW[name](network.state_dict(), image)
        features = torch.stack([torch.stack([channel.sum() / channel.numel() for channel in one]) for one in last])
        torch.testing.assert_close(network.features(image), features)
        weight, bias = network.state_dict()["head.weight"], network.state_dict()["head.bias"]
        torch.testing.assert_close(network(image), features @ weight.T + bias)
    assert features.std(dim=0).min() > 0 or name != "preact-resnet18", "images differ in every feature"


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (28, 28)), (4, (9, 33)), (2, (64, 40))])
def test_images_of_any_size_and_number_of_channels_have_one_row(name: str, channels: int, size: tuple[int, int]) -> None:
    if name == "resnet50" and min(size) < 32:
        size = (32, 45)
    network = network_of(name, width=2, in_channels=channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(2, channels, *size).contiguous(memory_format=torch.channels_last)
    assert network.stride == 1
    assert network(image).shape == (2, 5)
    network.eval()
    with torch.no_grad():
        features = network.features(image)
        assert features.shape == (2, FEATURES[name] * 2) == (2, network.channels)
        assert isinstance(network.head, nn.Linear) and torch.equal(network(image), network.head(features))
        torch.testing.assert_close(network(image[:1]), network(image)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_layout_of_memory_changes_nothing(name: str) -> None:
    image = torch.randn(2, 3, 33, 40, dtype=torch.float64)
    plain = network_of(name, width=2).double()
    last = network_of(name, width=2).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(plain(image), last(image.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_parameter_is_trained_and_the_seed_alone_decides_their_start(name: str) -> None:
    def fresh(seed: int) -> Network:
        torch.manual_seed(seed)
        return build_classifier(name, in_channels=1, classes=3, width=2)

    network = fresh(0)
    network(torch.randn(4, 1, 40, 40)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    first, again, other = (list(fresh(seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_forward_mode_is_the_derivative_of_the_pass(name: str) -> None:
    network = network_of(name, width=2).double()
    network.train()
    image = torch.randn(4, 3, 40, 40, dtype=torch.float64)
    values = {key: value.detach() for key, value in network.named_parameters()}
    direction = {key: torch.randn_like(value) for key, value in values.items()}

    def at(step: float) -> Tensor:
        moved = {key: value + step * direction[key] for key, value in values.items()}
        result: Tensor = functional_call(network, moved, (image,))
        return result

    with torch.no_grad(), forward_mode.dual_level():
        dual = {
            key: forward_mode.make_dual(value, direction[key])  # type: ignore[no-untyped-call]
            for key, value in values.items()
        }
        tangent = forward_mode.unpack_dual(functional_call(network, dual, (image,))).tangent  # type: ignore[no-untyped-call]
    with torch.no_grad():
        difference = (at(1e-8) - at(-1e-8)) / 2e-8
    torch.testing.assert_close(tangent, difference, rtol=1e-4, atol=1e-4 * float(difference.abs().max()))
    assert difference.abs().min() > 0


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_parts_are_all_and_the_last_layer_and_there_is_no_decoder(name: str) -> None:
    network = network_of(name, width=2)
    assert network.part("full").keys() == dict(network.named_parameters()).keys()
    assert network.part("head").keys() == {"head.weight", "head.bias"}
    with pytest.raises(DataError, match=r"has no decoder to look ahead with.*`scope` full"):
        network.part("decoder")


def test_convolutions_begin_as_the_published_code_has_them() -> None:
    torch.manual_seed(0)
    bottleneck = build_classifier("resnet50", in_channels=3, classes=10, width=32)
    preactivation = build_classifier("preact-resnet18", in_channels=3, classes=10, width=32)
    for module in bottleneck.trunk.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert float(module.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
            assert module.weight.abs().max() > 3 * module.weight.std(), "normal"
    for module in preactivation.trunk.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            limit = (module.in_channels * module.kernel_size[0] ** 2) ** -0.5
            assert 0.98 * limit < module.weight.abs().max() <= limit
            assert float(module.weight.detach().std()) == pytest.approx(limit / 3**0.5, rel=0.03)


def test_an_unknown_name_says_what_to_choose() -> None:
    with pytest.raises(DataError, match=r"no network 'unet' for classification.*cnn, preact-resnet18, resnet50 or package"):
        build_classifier("unet", in_channels=3, classes=2)


@pytest.mark.parametrize(("hidden", "between"), [(None, 6), (9, 9)])
def test_the_projection_head_is_two_layers_with_relu_between(hidden: int | None, between: int) -> None:
    torch.manual_seed(0)
    head = projection_head(6, hidden, out=4)
    features = torch.randn(3, 6)
    state = head.state_dict()
    assert [tuple(value.shape) for value in state.values()] == [(between, 6), (between,), (4, between), (4,)]
    first, first_bias, second, second_bias = state.values()
    expected = (features @ first.T + first_bias).clamp(min=0) @ second.T + second_bias
    torch.testing.assert_close(head(features), expected)
    assert projection_head(6, None)(features).shape == (3, 128)


OWN = """
import torch
from torch import nn
from debride.networks import adapt

def plain(ndim, in_channels, classes):
    assert ndim == 2
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

def adapted(ndim, in_channels, classes):
    return adapt(plain(ndim, in_channels, classes), last_layer="3")

def normalised(ndim, in_channels, classes):
    return nn.Sequential(plain(ndim, in_channels, 4), nn.BatchNorm1d(4), nn.Linear(4, classes))

def padded(ndim, in_channels, classes):
    return adapt(plain(ndim, in_channels, classes), last_layer="3", stride=16)

def segmenting(ndim, in_channels, classes):
    return nn.Conv2d(in_channels, classes, 1)

def softened(ndim, in_channels, classes):
    return nn.Sequential(plain(ndim, in_channels, classes), nn.Softmax(dim=1))

def mismatched(ndim, in_channels, classes):
    return plain(ndim, in_channels + 1, classes)

class Pair(nn.Module):
    def forward(self, image):
        return image, image

def pair(ndim, in_channels, classes):
    return Pair()

def number(ndim, in_channels, classes):
    return 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_classifiers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_classifiers", raising=False)
    return "own_classifiers"


def test_a_users_constructor_is_called_with_the_data_sets_shape(own: str) -> None:
    network = build_classifier(f"{own}:adapted", in_channels=2, classes=3)
    image = torch.randn(2, 2, 20, 24)
    assert network.training
    assert network(image).shape == (2, 3)
    assert network.features(image).shape == (2, 4) and network.channels == 4


def test_a_users_network_is_looked_at_without_changing_it(own: str) -> None:
    state = build_classifier(f"{own}:normalised", in_channels=1, classes=2).state_dict()
    assert torch.equal(state["trunk.1.running_var"], torch.ones(4)) and state["trunk.1.num_batches_tracked"] == 0


def test_a_users_plain_module_works_but_has_no_features(own: str) -> None:
    network = build_classifier(f"{own}:plain", in_channels=1, classes=2)
    assert isinstance(network, Network)
    assert network(torch.randn(2, 1, 9, 9)).shape == (2, 2)
    with pytest.raises(DataError, match=r"has no features.*networks\.adapt"):
        network.features(torch.randn(1, 1, 9, 9))


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        ("missing", r"cannot import 'own_classifiers:missing' \(own_classifiers has no missing\)\. Correct the name"),
        ("number", r"returned int\. Return a torch\.nn\.Module"),
        ("padded", r"pads images to multiples of 16.*Leave out the stride"),
        ("segmenting", r"returns \(1, 2, 32, 32\) instead of \(1, 2\)"),
        ("softened", r"returns probabilities.*leave out the softmax"),
        ("mismatched", r"fails on an image of \(32, 32\) with RuntimeError"),
        ("pair", r"returns tuple instead of"),
    ],
)
def test_an_unfit_constructor_is_refused_with_a_remedy(own: str, constructor: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_classifier(f"{own}:{constructor}", in_channels=1, classes=2)
