"""Graphs of methods: every network that is built in, at sizes and numbers of images that it was not traced with."""

from __future__ import annotations

import pytest
import torch

from debride.export.tracing import multiple_of, trace, traced_size
from debride.methods import METHODS
from debride.networks import CLASSIFIERS, NETWORKS, Network, build, build_classifier


def close(network: Network, ndim: int, multiple: int | None = None) -> None:
    method = METHODS["ce"](METHODS["ce"].Config(), lambda: network, 2).eval()
    multiple = multiple or multiple_of(method)
    traced = trace(method, 1, traced_size((2 * multiple,) * ndim, ndim, multiple), multiple)
    assert not traced.fixed
    image = torch.randn(3, 1, 3 * multiple, *[2 * multiple] * (ndim - 1))
    with torch.no_grad():
        torch.testing.assert_close(traced.graph(image), method.predict(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "unet3d"])
def test_every_network(name: str) -> None:
    close(build(name, ndim=2, in_channels=1, classes=2, width=4), 2)


def test_volumes() -> None:
    close(build("unet3d", ndim=3, in_channels=1, classes=2, width=2), 3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str) -> None:
    close(build_classifier(name, in_channels=1, classes=2, width=4), 2, multiple=32)


def test_sizes_are_those_that_networks_pad_to() -> None:
    assert traced_size((24, 40), 2, 16) == (32, 48)
    assert traced_size((9, 16), 2, 16) == (16, 32)  # two strides along one axis
    assert traced_size((9, 16), 2, 1) == (9, 16)
    assert traced_size(None, 3, 16) == (32, 32, 32)
