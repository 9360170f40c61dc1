"""What a method predicts, as one graph: images to class probabilities, whatever networks the method has."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from debride.methods.base import Method
from debride.networks import Network
from debride.types import DataError

LENGTH = {2: 64, 3: 32}
"""Pixels along each axis of an image that a graph is traced with where the run says no size, by the number of axes."""

CLOSE = 1e-4
"""How far probabilities of a graph may lie from the method's."""


class Predicting(nn.Module):
    """``method.predict``, as a module: images (B, C, *S) to probabilities (B, K, ...), times ``weights`` (K,)."""

    def __init__(self, method: Method, weights: Tensor | None = None) -> None:
        super().__init__()
        self.method = method
        self.weights = weights

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities, weighed where there are weights."""
        probability = self.method.predict(image)
        return probability if self.weights is None else probability * self.weights


@dataclass(frozen=True)
class Traced:
    """A traced graph of a method, with an ``example`` of its input and the shape of its ``output``.

    Sizes are multiples of ``multiple``; where ``fixed`` holds, it takes one image of the example's size alone, else any number
    of any such size.
    """

    graph: Any
    example: Tensor
    output: tuple[int, ...]
    multiple: int
    fixed: bool


def trace(method: Method, channels: int, size: Sequence[int], multiple: int) -> Traced:
    """The graph of a method in evaluation mode on the CPU, traced with an image of a size that ``multiple`` divides.

    It is tried with other images, and with a larger and a second one. The method serves for nothing but prediction after it.
    Raises DataError for a method whose network cannot be
    traced, or predicts otherwise after it.
    """
    generator = torch.Generator().manual_seed(0)
    example = torch.randn((1, channels, *size), generator=generator)
    predicting = Predicting(method)
    for network in [module for module in method.modules() if isinstance(module, Network)]:
        # Tracing reads every attribute, and this one raises an error where a network has no last layer that is known.
        network.__class__ = type(type(network).__name__, (type(network),), {"channels": None})
    with torch.no_grad(), quiet():
        try:
            graph: Any = torch.jit.trace(predicting, example, check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever the network's code raises
            raise _untraceable(method, str(error)) from error
        others = torch.randn(example.shape, generator=generator), -example
        difference = max(_difference(graph, predicting, other) for other in others)
        if not difference <= CLOSE:
            problem = f"its graph differs from it by {difference:.2g}: what it does depends on the values of an image"
            raise _untraceable(method, problem)
        larger = torch.randn((2, channels, size[0] + multiple, *size[1:]), generator=generator)
        try:
            fixed = not _difference(graph, predicting, larger) <= CLOSE
        except Exception:  # of torch, or of a network that takes one size
            fixed = True
        output = tuple(graph(example).shape)
    return Traced(graph, example, output, multiple, fixed)


def multiple_of(method: Method) -> int:
    """What divides the sizes that all networks of a method see without padding."""
    return math.lcm(*(network.stride for network in method.modules() if isinstance(network, Network)))


def traced_size(wanted: Sequence[int] | None, ndim: int, multiple: int) -> tuple[int, ...]:
    """The size that an image of a ``wanted`` one (None: any) is padded to, as ``Network`` pads it."""
    size = [-(-length // multiple) * multiple for length in wanted or (LENGTH[ndim],) * ndim]
    if multiple > 1 and all(length == multiple for length in size):
        size[-1] += multiple
    return tuple(size)


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's warnings on tracing: what they warn of is tried."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _difference(graph: Any, predicting: nn.Module, image: Tensor) -> float:
    expected, found = predicting(image), graph(image)
    if expected.shape != found.shape:
        return math.inf
    return float((expected - found).abs().max())


def _untraceable(method: Method, problem: str) -> DataError:
    network = next(type(each.trunk).__name__ for each in method.modules() if isinstance(each, Network))
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    remedy = "Write its forward pass with operations on tensors alone, without choices that depend on their values."
    return DataError(f"the network {network}", f"cannot be made a graph ({lines[-1] if lines else problem})", remedy)
