"""A sweep over prepared cases, with and without one network's features, at once and by windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from debride.data.cache import Prepared
from debride.methods.base import Method, Swept
from debride.networks.network import Network, adapt
from debride.training.inference import sweep
from debride.types import IGNORE, Case

CLASSES, FEATURES = 3, 5
SHAPES: list[tuple[int, ...]] = [(12, 14), (12, 14), (12, 14), (9, 16)]
VOLUMES: list[tuple[int, ...]] = [(6, 12, 10), (6, 12, 10)]


class Two(Method):
    """Two networks whose mean is the prediction."""

    def build(self, make_network: object) -> None:
        self.first, self.second = make_network(), make_network()  # type: ignore[operator]

    def predict(self, image: Tensor) -> Tensor:
        mean: Tensor = (self.first(image).softmax(dim=1) + self.second(image).softmax(dim=1)) / 2
        return mean


def method(dimensions: int, kernel: int) -> Two:
    """Networks whose features depend on ``kernel`` pixels and, in training mode, on chance and on the batch."""
    torch.manual_seed(0)
    convolution, dropout, norm = (
        (nn.Conv2d, nn.Dropout2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.Dropout3d, nn.BatchNorm3d)
    )

    def network() -> Network:
        layers = (
            convolution(2, FEATURES, kernel, padding="same"),
            norm(FEATURES),
            dropout(0.5),
            convolution(FEATURES, CLASSES, 1),
        )
        return adapt(nn.Sequential(*layers), last_layer="3")

    return Two(None, network, CLASSES)


def prepared(folder: Path, shapes: list[tuple[int, ...]]) -> Prepared:
    rng = np.random.default_rng(0)
    images, labels = [], []
    for row, shape in enumerate(shapes):
        images.append(folder / f"image{row}.npy")
        labels.append(folder / f"label{row}.npy")
        np.save(images[-1], rng.normal(size=(2, *shape)).astype(np.float32))
        np.save(labels[-1], rng.choice([0, 1, 2, IGNORE], shape).astype(np.uint8))
    cases = tuple(Case(f"case{row}", (), None, "patient") for row in range(len(shapes)))
    return Prepared(cases, 2, tuple(shapes), (None,) * len(shapes), tuple(images), tuple(labels))


def swept(found: Two, rows: Prepared, patch: tuple[int, ...] | None, network: Network | None, size: int = 2) -> list[Swept]:
    return list(sweep(found, rows, np.arange(len(rows)), patch, size, torch.device("cpu"), network))


def image_of(rows: Prepared, row: int) -> Tensor:
    return torch.from_numpy(rows.image(row).copy())[None]


@pytest.mark.parametrize("shapes", [SHAPES, VOLUMES])
def test_probabilities_and_features_are_those_of_one_network(shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    rows, both = prepared(tmp_path, shapes), method(len(shapes[0]), kernel=3)
    both.train()
    seen = []
    for found in swept(both, rows, None, both.second):
        assert found.features is not None
        for number, row in enumerate(found.rows.tolist()):
            seen.append(row)
            both.eval()
            with torch.no_grad():
                features = both.second.features(image_of(rows, row))[0]
                logits = both.second(image_of(rows, row))[0].double()
            torch.testing.assert_close(found.features[number], features)
            expected = logits.exp() / logits.exp().sum(dim=0)
            torch.testing.assert_close(found.probability[number].double(), expected, rtol=1e-5, atol=1e-6)
            assert torch.equal(found.image[number], image_of(rows, row)[0])
            assert torch.equal(found.label[number], torch.from_numpy(rows.label(row).astype(np.int64)))
        assert found.label.dtype == torch.int64 and not found.features.requires_grad and not found.probability.requires_grad
    assert seen == list(range(len(shapes)))


def test_batches_have_one_shape_and_with_patches_one_case(tmp_path: Path) -> None:
    rows, both = prepared(tmp_path, SHAPES), method(2, kernel=1)
    assert [found.rows.tolist() for found in swept(both, rows, None, both.first)] == [[0, 1], [2], [3]]
    assert [found.rows.tolist() for found in swept(both, rows, (8, 8), both.first)] == [[0], [1], [2], [3]]


@pytest.mark.parametrize(("shapes", "patch"), [(SHAPES, (8, 8)), (SHAPES, (10, 32)), (SHAPES, (16, 16)), (VOLUMES, (4, 8, 6))])
def test_windows_of_a_network_that_sees_one_pixel_change_nothing(
    shapes: list[tuple[int, ...]], patch: tuple[int, ...], tmp_path: Path
) -> None:
    """Images larger than the patch, smaller along one axis, and smaller."""
    rows, both = prepared(tmp_path, shapes), method(len(patch), kernel=1)
    for by_windows, whole in zip(
        swept(both, rows, patch, both.first), swept(both, rows, None, both.first, size=1), strict=True
    ):
        assert by_windows.features is not None and whole.features is not None
        assert by_windows.features.shape == (1, FEATURES, *shapes[by_windows.rows[0]])
        torch.testing.assert_close(by_windows.features, whole.features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(by_windows.probability, whole.probability, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shapes", "patch"), [(SHAPES, (8, 8)), (VOLUMES, (4, 8, 6))])
def test_windows_give_the_probabilities_that_they_give_without_features(
    shapes: list[tuple[int, ...]], patch: tuple[int, ...], tmp_path: Path
) -> None:
    """Near a window's edge a network of 3 pixels sees less, so windows differ from the whole, but not with the features."""
    rows, both = prepared(tmp_path, shapes), method(len(patch), kernel=3)
    both.second = both.first
    whole = swept(both, rows, None, both.first, size=1)
    for found, plain, at_once in zip(swept(both, rows, patch, both.first), swept(both, rows, patch, None), whole, strict=True):
        torch.testing.assert_close(found.probability.sum(dim=1), torch.ones(1, *shapes[found.rows[0]]))
        torch.testing.assert_close(found.probability, plain.probability, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found.probability, at_once.probability, atol=1e-3)


@pytest.mark.parametrize("patch", [None, (8, 8)])
def test_without_a_network_the_method_predicts_and_there_are_no_features(patch: tuple[int, ...] | None, tmp_path: Path) -> None:
    rows, both = prepared(tmp_path, SHAPES), method(2, kernel=1)
    first, second = swept(both, rows, patch, both.first), swept(both, rows, patch, both.second)
    for plain, a, b in zip(swept(both, rows, patch, None), first, second, strict=True):
        assert plain.features is None
        torch.testing.assert_close(plain.probability, (a.probability + b.probability) / 2, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(a.probability, b.probability, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_a_sweep_runs_in_evaluation_mode_and_leaves_the_mode_as_it_was(training: bool, tmp_path: Path) -> None:
    rows, both = prepared(tmp_path, SHAPES), method(2, kernel=1)
    both.train(training)
    before = {name: value.clone() for name, value in both.state_dict().items()}
    for _ in sweep(both, rows, np.arange(4), None, 2, torch.device("cpu"), both.first):
        assert not any(module.training for module in both.modules())
    assert all(module.training == training for module in both.modules())
    assert all(torch.equal(value, before[name]) for name, value in both.state_dict().items()), "not even running means move"
