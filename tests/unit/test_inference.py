"""From windows to class ids: the same bits as by the plain ways that need more memory."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from debride.data.cache import resize
from debride.data.cropping import Box
from debride.methods.base import Method
from debride.methods.ce import CrossEntropy
from debride.networks import build
from debride.training import inference
from debride.training.inference import largest_components, probabilities, segment, stitching_device

CPU = torch.device("cpu")


def method(ndim: int) -> Method:
    torch.manual_seed(0)
    return CrossEntropy(
        CrossEntropy.Config(), lambda: build("unet-small", ndim=ndim, in_channels=2, classes=3, width=2), 3
    ).eval()


@pytest.mark.parametrize(("shape", "patch"), [((40, 50), (32, 16)), ((20, 36, 18), (16, 16, 16)), ((20, 12), (16, 16))])
def test_windows_are_those_of_two_at_a_time(shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    """Half overlapping, weighted by a Gaussian, two at a time, then divided by the sum over classes: bit by bit."""
    trained, image = method(len(shape)), torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain: Tensor = sliding_window_inference(image, patch, 2, trained.predict, overlap=0.5, mode="gaussian")
    plain = plain / plain.sum(dim=1, keepdim=True)
    assert torch.equal(probabilities(trained, image, patch), plain)
    assert torch.equal(probabilities(trained, image, patch, CPU), plain)


def test_windows_that_are_large_pass_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Counting(CrossEntropy):
        def predict(self, image: Tensor) -> Tensor:
            seen.append(len(image))
            return super().predict(image)

    counting = Counting(CrossEntropy.Config(), lambda: build("unet-small", ndim=2, in_channels=2, classes=3, width=2), 3).eval()
    image = torch.randn(1, 2, 32, 48, generator=torch.Generator().manual_seed(0))
    together = probabilities(counting, image, (32, 16))
    assert seen == [2, 2, 1]
    monkeypatch.setattr(inference, "WINDOW_PIXELS", 2 * 32 * 16 - 1)
    torch.testing.assert_close(probabilities(counting, image, (32, 16)), together, rtol=1e-5, atol=1e-6)
    assert seen[3:] == [1] * 5


def test_where_windows_are_stitched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image, probabilities and weights, in 4 bytes each, may take a quarter of a GPU."""
    gpu, shape = torch.device("cuda"), (300, 512, 512)
    for memory, expected in ((4 * 4 * (1 + 14 + 1) * 300 * 512 * 512, "cuda"), (4 * 4 * 16 * 300 * 512 * 512 - 1, "cpu")):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, memory=memory: SimpleNamespace(total_memory=memory))
        assert stitching_device(gpu, 1, 14, shape).type == expected
        assert stitching_device(gpu, 1, 13, shape).type == "cuda"
    assert stitching_device(CPU, 1, 1000, shape) == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_windows_of_a_gpu_stitched_in_the_main_memory() -> None:
    trained, image = method(3).cuda(), torch.randn(1, 2, 20, 36, 18)
    found = probabilities(trained, image, (16, 16, 16), torch.device("cuda"))
    assert found.device == CPU
    torch.testing.assert_close(found, probabilities(trained, image.cuda(), (16, 16, 16)).cpu(), rtol=1e-4, atol=1e-5)


# Class ids


@pytest.mark.parametrize(
    ("working", "shape", "box"),
    [
        ((9, 11), (9, 11), None),
        ((9, 11), (17, 6), None),
        ((4, 9, 11), (4, 9, 11), None),
        ((4, 9, 11), (7, 5, 30), None),
        ((9, 11), (12, 20), ((2, 11), (5, 16))),
        ((4, 9, 11), (9, 12, 20), ((1, 8), (0, 12), (3, 7))),
    ],
)
def test_ids_are_the_argmax_of_what_was_resized(working: tuple[int, ...], shape: tuple[int, ...], box: Box | None) -> None:
    """The first of equal classes, as ties of rounded probabilities show; background outside the box."""
    inside = tuple(stop - start for start, stop in box) if box else shape
    where = tuple(slice(*ends) for ends in box) if box else (...,)
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        probability = (torch.rand(5, *working, generator=generator) * 4).round().to(dtype) / 4
        expected = np.zeros(shape, np.uint8)
        expected[where] = resize(probability.float(), inside).argmax(dim=0).numpy()
        found = segment(probability, shape, box)
        assert found.dtype == np.uint8 and len(np.unique(found)) > 3
        np.testing.assert_array_equal(found, expected)


# The largest connected piece


def pieces_by_hand(ids: npt.NDArray[np.uint8], value: int) -> list[set[tuple[int, ...]]]:
    """The connected pieces of a class, each pixel with all that it touches at sides, edges or corners."""
    left = {tuple(map(int, where)) for where in np.argwhere(ids == value)}
    found = []
    while left:
        piece, edge = set(), {left.pop()}
        while edge:
            here = edge.pop()
            piece.add(here)
            near = {
                tuple(a + b for a, b in zip(here, step, strict=True)) for step in itertools.product((-1, 0, 1), repeat=ids.ndim)
            }
            edge |= near & left
            left -= near
        found.append(piece)
    return found


@pytest.mark.parametrize("shape", [(12, 14), (6, 8, 7)])
def test_every_class_keeps_its_largest_piece(shape: tuple[int, ...]) -> None:
    rng, several, ties = np.random.default_rng(0), 0, 0
    for _ in range(60):
        density = 0.2 if len(shape) == 2 else 0.06
        ids = rng.choice([0, 1, 2, 4], shape, p=[1 - 3 * density, density, density, density]).astype(np.uint8)
        found = largest_components(ids.copy())
        for value in range(5):
            pieces = pieces_by_hand(ids, value)
            kept = {tuple(map(int, where)) for where in np.argwhere(found == value)}
            if value == 0:
                assert kept >= set().union(*pieces)
                continue
            largest = max(map(len, pieces), default=0)
            several += len(pieces) > 1
            ties += sum(len(piece) == largest for piece in pieces) > 1
            assert len(kept) == largest and (kept in pieces or not pieces)
    assert several > 100 and ties < several


def test_ids_of_one_class_and_no_class() -> None:
    for value in (0, 3):
        ids = np.full((5, 6), value, np.uint8)
        np.testing.assert_array_equal(largest_components(ids.copy()), ids)
