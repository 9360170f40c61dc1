"""What methods cost: operations against those of every layer counted by hand, and what is kept of a measurement."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.class_grids import grid_of
from tests.datasets import build_folder, build_nnunet_3d
from torch import nn

from debride.bench.cell_base import Cell
from debride.bench.grid import cells, make_grid
from debride.bench.papers import costs as measuring
from debride.bench.papers.costs import Cost, costs, measure_cost, table
from debride.networks import build

TRAINING = {"epochs": 8, "network": "unet-small", "width": 4, "batch_size": 2, "device": "cpu"}


def grid_cells(root: Path, methods: dict[str, Any], **training: Any) -> list[Cell]:
    if not (root / "data").exists():
        build_folder(root / "data", n=12, size=32)
    grid = {
        "datasets": {"toy": {"path": str(root / "data"), "trusted": 0.4}},
        "noises": {"clean": {}, "S_R": {"noise": "markov", "dice": 0.8}},
        "methods": methods,
        "training": {**TRAINING, **training},
    }
    return cells(make_grid(grid, "grid"), root / "out")


def of_layers(network: nn.Module, image: torch.Tensor) -> int:
    """Two operations for every weight of a convolution at every pixel that it gives, of a pass forward."""
    total = 0

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += 2 * layer.weight.numel() * math.prod(output.shape) // output.shape[1]

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network(image)
    return total


def test_operations_are_those_of_the_layers(tmp_path: Path) -> None:
    (cell, *_) = grid_cells(tmp_path, {"ce": {}})
    found = measure_cost(cell, 1)
    network = build("unet-small", ndim=2, in_channels=3, classes=2, width=4)
    one = of_layers(network, torch.zeros(1, 3, 32, 32))
    assert found.predict_gflops == pytest.approx(one / 1e9)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    no_gradient = 2 * first.weight.numel() * 32 * 32  # nobody asks how the loss changes with the image
    assert found.step_gflops == pytest.approx(2 * (3 * one - no_gradient) / 1e9)  # two images; backward takes two passes more
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_two_networks_cost_twice_and_a_look_ahead_more(tmp_path: Path) -> None:
    methods = {"ce": {}, "co-teaching": {"config": {"noise_rate": "measured"}}, "meta": {"method": "meta-dcseg"}}
    found = {cell.name: measure_cost(cell, 1) for cell in grid_cells(tmp_path, methods) if cell.noise == "clean"}
    for name in ("parameters", "step_gflops", "predict_gflops"):
        assert getattr(found["co-teaching"], name) == pytest.approx(2 * getattr(found["ce"], name))
    assert found["meta"].step_gflops > 1.5 * found["ce"].step_gflops
    assert found["meta"].predict_gflops == found["ce"].predict_gflops


def test_time_of_a_training_is_that_of_its_steps(tmp_path: Path) -> None:
    (cell, *_) = grid_cells(tmp_path, {"ce": {}})
    found = measure_cost(cell, 1)
    assert 60 * found.epoch_min >= 4 * found.step_ms / 1e3 > 0  # 8 training images in batches of 2
    assert found.training_min == pytest.approx(8 * found.epoch_min)
    assert found.predict_ms > 0
    longer = measure_cost(grid_cells(tmp_path, {"ce": {}}, steps_per_epoch=1000)[0], 1)
    assert 60 * longer.epoch_min >= 1000 * longer.step_ms / 1e3


def test_volumes_and_classes_have_costs_too(tmp_path: Path) -> None:
    build_nnunet_3d(tmp_path / "volumes")
    training = {**TRAINING, "patch_size": [8, 8, 8]}
    grid = {"datasets": {"v": {"path": str(tmp_path / "volumes")}}, "noises": {"n": {}}, "methods": {"jocor": {}}}
    of_volumes = measure_cost(cells(make_grid({**grid, "training": training}, "grid"), tmp_path / "out")[0], 1)
    assert of_volumes.step_gflops > 0
    raw = grid_of(tmp_path, methods={"dividemix": {}}, cells=[{}])
    of_classes = measure_cost(cells(make_grid(raw, "grid"), tmp_path / "out")[0], 1)
    assert of_classes.step_gflops > 3 * of_classes.predict_gflops > 0


def test_memory_grows_with_the_batch(tmp_path: Path) -> None:
    sizes = {"small": {"method": "ce"}, "large": {"method": "ce", "training": {"batch_size": 8, "width": 16}}}
    found = {cost.method: cost for cost in costs(grid_cells(tmp_path, sizes, image_size=[128, 128]))}
    assert found["small"].memory is not None and found["large"].memory is not None
    activations = 8 * 16 * 128 * 128 * 4 / 2**30  # one map at full size, of which a U-Net keeps a dozen
    assert found["large"].memory > found["small"].memory + 4 * activations


def test_a_cost_is_measured_once_for_all_noises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def apart(cell: Cell) -> Cost:
        measured.append(cell.name)
        return Cost(
            dataset=cell.dataset,
            method=cell.name,
            device="cpu",
            parameters=1234,
            step_gflops=2.0,
            predict_gflops=0.5,
            memory=None,
            step_ms=10.0,
            epoch_min=0.05,
            training_min=0.4,
            predict_ms=1.5,
        )

    monkeypatch.setattr(measuring, "apart", apart)
    todo = grid_cells(tmp_path, {"ce": {}, "gce": {}})
    first = list(costs(todo))
    assert measured == ["ce", "gce"]
    assert list(costs(todo)) == first and measured == ["ce", "gce"]
    list(costs(grid_cells(tmp_path, {"ce": {}}, batch_size=4)))
    assert measured == ["ce", "gce", "ce"]
    kept = json.loads((todo[0].folder / "cost.json").read_text())
    assert kept["settings"]["noise"] is None
    assert table(first).splitlines()[2] == "| toy | ce | 1,234 | 2.00 | 0.50 | - | 10.0 | 3.0 | 0.40 | 1.50 |"
