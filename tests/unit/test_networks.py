"""Networks: shapes in 2D and 3D, features and head, any image size, a user's own constructor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from debride.networks import InstanceNorm, Network, adapt, build
from debride.types import DataError

CASES = [
    ("unet", 2),
    ("unet3d", 3),
    ("unet-small", 2),
    ("unet-small", 3),
    ("unet++", 2),
    ("unet++", 3),
    ("residual-unet", 2),
    ("residual-unet", 3),
    ("vnet", 2),
    ("vnet", 3),
    ("vit-unet", 2),
    ("vit-unet", 3),
]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "ndim"), CASES)
def test_maps_images_to_logits_and_trains_every_parameter(name: str, ndim: int) -> None:
    network = build(name, ndim=ndim, in_channels=3, classes=4, width=2)
    size = (16, 32, 16)[:ndim]
    logits = network(torch.randn(2, 3, *size))
    assert logits.shape == (2, 4, *size)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("name", "ndim"), CASES)
def test_logits_are_the_head_of_the_features(name: str, ndim: int) -> None:
    network = build(name, ndim=ndim, in_channels=1, classes=2, width=2).eval()
    image = torch.randn(1, 1, *(10, 17, 16)[:ndim])
    features = network.features(image)
    assert features.shape == (1, network.channels, *image.shape[2:])
    assert network.head is not None
    assert torch.equal(network(image), network.head(features))


@pytest.mark.parametrize(
    ("size", "padded"), [((16, 16), (16, 32)), ((5, 7), (16, 32)), ((33, 48), (48, 48)), ((16, 33), (16, 48))]
)
def test_any_size_is_padded_at_the_far_border_and_cut_back(size: tuple[int, int], padded: tuple[int, int]) -> None:
    network = build("unet", ndim=2, in_channels=1, classes=2, width=2)
    assert network.stride == 16
    image = torch.randn(1, 1, *size)
    rows, columns = (torch.arange(length).clamp(max=limit - 1) for length, limit in zip(padded, size, strict=True))
    whole = network(image[..., rows, :][..., columns])
    assert whole.shape[2:] == padded
    assert torch.allclose(network(image), whole[..., : size[0], : size[1]], atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_the_normalisation_is_the_one_asked_for(norm: str) -> None:
    kinds = {"batch": nn.BatchNorm2d, "instance": InstanceNorm, "group": nn.GroupNorm}
    network = build("unet", ndim=2, in_channels=1, classes=2, width=6, norm=norm)  # type: ignore[arg-type]
    found = {type(module) for module in network.modules() if isinstance(module, tuple(kinds.values()))}
    assert found == {kinds[norm]}
    assert torch.isfinite(network(torch.randn(1, 1, 16, 16))).all()


def test_sizes_are_the_documented_ones() -> None:
    small = build("unet-small", ndim=2, in_channels=3, classes=2)
    assert parameters(small) == 1_126_322
    assert any(isinstance(module, nn.BatchNorm2d) for module in small.modules())
    assert build("unet", ndim=2, in_channels=3, classes=2, width=8).features(torch.zeros(1, 3, 32, 32)).shape[1] == 8
    assert parameters(build("unet", ndim=2, in_channels=3, classes=2)) == 1_948_434
    assert parameters(build("vit-unet", ndim=2, in_channels=3, classes=2)) == 5_550_370


def test_the_3d_unet_is_the_unet_of_volumes() -> None:
    shapes = [
        [parameter.shape for parameter in build(name, ndim=3, in_channels=1, classes=2, width=2).parameters()]
        for name in ("unet", "unet3d")
    ]
    assert shapes[0] == shapes[1]


def test_weights_depend_on_the_seed_only() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return list(build("unet++", ndim=2, in_channels=1, classes=2, width=2).parameters())

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_unknown_and_unfit_names_say_what_to_choose() -> None:
    with pytest.raises(DataError, match=r"no network 'v-net'.*unet-small.*package.module:constructor"):
        build("v-net", ndim=2, in_channels=1, classes=2)
    with pytest.raises(DataError, match=r"unet3d is for volumes.*Choose unet"):
        build("unet3d", ndim=2, in_channels=1, classes=2)


def layers(ndim: int, in_channels: int, classes: int) -> nn.Sequential:
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[ndim]
    body = nn.Sequential(convolution(in_channels, 5, 3, padding=1), nn.ReLU(), convolution(5, 6, 3, padding=1))
    return nn.Sequential(body, nn.ReLU(), convolution(6, classes, 1))


def test_adapt_cuts_before_the_named_layer() -> None:
    torch.manual_seed(0)
    module = layers(2, 1, 3)
    image = torch.randn(2, 1, 9, 11)
    before = module(image)
    network = adapt(module, "2")
    assert network.features(image).shape == (2, 6, 9, 11)
    assert torch.equal(network(image), before)


def test_adapt_finds_a_nested_layer_and_pads_to_the_stride() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.MaxPool2d(4), nn.Upsample(scale_factor=4), nn.Sequential(nn.Conv2d(1, 3, 1)))
    network = adapt(module, "2.0", stride=4)
    image = torch.randn(1, 1, 7, 9)
    assert network.features(image).shape == (1, 1, 7, 9)
    assert network(image).shape == (1, 3, 7, 9)


def test_adapt_names_the_layers_that_there_are() -> None:
    with pytest.raises(DataError, match=r"no layer named 'head'.*0\.2, 1, 2"):
        adapt(layers(2, 1, 3), "head")


OWN = """
import torch
from torch import nn
from debride.networks import adapt

def _layers(ndim, in_channels, classes):
    return nn.Sequential(getattr(nn, f"Conv{ndim}d")(in_channels, 4, 3, padding=1), getattr(nn, f"Conv{ndim}d")(4, classes, 1))

def plain(ndim, in_channels, classes):
    return _layers(ndim, in_channels, classes)

def adapted(ndim, in_channels, classes):
    return adapt(_layers(ndim, in_channels, classes), last_layer="1")

def halved(ndim, in_channels, classes):
    return nn.Sequential(_layers(ndim, in_channels, classes), nn.MaxPool2d(2))

def softened(ndim, in_channels, classes):
    return nn.Sequential(_layers(ndim, in_channels, classes), nn.Softmax(dim=1))

def mismatched(ndim, in_channels, classes):
    return _layers(ndim, in_channels + 1, classes)

class Pair(nn.Module):
    def forward(self, image):
        return image, image

def pair(ndim, in_channels, classes):
    return Pair()

def number(ndim, in_channels, classes):
    return 7

def nothing():
    return None
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    return "own_networks"


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_users_constructor_is_called_with_the_data_sets_shape(own: str, ndim: int) -> None:
    network = build(f"{own}:adapted", ndim=ndim, in_channels=2, classes=3)
    image = torch.randn(1, 2, *(10,) * ndim)
    assert network.training
    assert network(image).shape == (1, 3, *(10,) * ndim)
    assert network.features(image).shape == (1, 4, *(10,) * ndim)


def test_a_users_plain_module_works_but_has_no_features(own: str) -> None:
    network = build(f"{own}:plain", ndim=2, in_channels=1, classes=2)
    assert isinstance(network, Network)
    assert network(torch.randn(1, 1, 9, 9)).shape == (1, 2, 9, 9)
    with pytest.raises(DataError, match=r"has no features.*networks\.adapt"):
        network.features(torch.randn(1, 1, 9, 9))


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        ("missing", r"cannot import 'own_networks:missing' \(own_networks has no missing\)\. Correct the name"),
        ("nothing", r"own_networks:nothing\(ndim=2, in_channels=1, classes=2\) failed with TypeError"),
        ("number", r"returned int\. Return a torch\.nn\.Module"),
        ("halved", r"returns \(1, 2, 32, 32\) instead of \(1, 2, 64, 64\)"),
        ("softened", r"returns probabilities.*leave out the softmax"),
        ("mismatched", r"fails on an image of \(64, 64\) with RuntimeError"),
        ("pair", r"returns tuple instead of"),
    ],
)
def test_an_unfit_constructor_is_refused_with_a_remedy(own: str, constructor: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(f"{own}:{constructor}", ndim=2, in_channels=1, classes=2)


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match=r"cannot import 'no\.such\.module:make'.*Install the package"):
        build("no.such.module:make", ndim=2, in_channels=1, classes=2)
