from __future__ import annotations

import pytest
import torch
from torch import nn

from debride.settings import check_bounds
from debride.training.config import TrainConfig
from debride.training.schedule import learning_rate, make_optimiser
from debride.types import DataError


def rates(schedule: str, **settings: object) -> list[float]:
    config = TrainConfig(schedule=schedule, epochs=5, learning_rate=0.1, **settings)  # type: ignore[arg-type]
    return [learning_rate(config, epoch) for epoch in range(5)]


def test_schedules() -> None:
    assert rates("constant") == [0.1] * 5
    assert rates("polynomial") == pytest.approx([0.1 * (1 - e / 5) ** 0.9 for e in range(5)])
    assert rates("step", step_epochs=2, step_factor=0.5) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    assert rates("inverse") == pytest.approx([0.1, 0.1 * 20 / 21, 0.1 * 20 / 22, 0.1 * 20 / 23, 0.1 * 20 / 24])


def test_every_rate_is_above_zero() -> None:
    for schedule in ("constant", "polynomial", "step", "inverse"):
        config = TrainConfig(schedule=schedule, epochs=1000)
        assert learning_rate(config, 0) == 0.01
        found = [learning_rate(config, epoch) for epoch in range(1000)]
        assert min(found) > 0 and found == sorted(found, reverse=True)


def test_optimisers() -> None:
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    sgd = make_optimiser(TrainConfig(learning_rate=0.2, momentum=0.8, weight_decay=1e-4), network.parameters())
    adamw = make_optimiser(TrainConfig(optimiser="adamw", learning_rate=0.3, weight_decay=1e-2), network.parameters())
    assert isinstance(sgd, torch.optim.SGD) and isinstance(adamw, torch.optim.AdamW)
    for optimiser, expected in (
        (sgd, {"lr": 0.2, "momentum": 0.8, "weight_decay": 1e-4, "nesterov": False}),
        (adamw, {"lr": 0.3, "weight_decay": 1e-2, "betas": (0.9, 0.999)}),
    ):
        (group,) = optimiser.param_groups
        assert {name: group[name] for name in expected} == expected
        assert [p is network.weight for p in group["params"]] == [True], "frozen parameters are left out"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": 0}, "epochs: is 0"),
        ({"batch_size": 0}, "batch_size: is 0"),
        ({"width": 0}, "width: is 0"),
        ({"validate_every": 0}, "validate_every: is 0"),
        ({"devices": 0}, "devices: is 0"),
        ({"learning_rate": 0.0}, "learning_rate: is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: is nan"),
        ({"momentum": -0.1}, "momentum: is -0.1"),
        ({"weight_decay": -1e-5}, "weight_decay: is -1e-05"),
        ({"step_factor": 0.0}, "step_factor: is 0.0"),
        ({"keep_last": -1}, "keep_last: is -1"),
        ({"clip": 0.0}, "clip: is 0.0"),
        ({"image_size": (32, 0)}, r"image_size: is \(32, 0\)"),
        ({"patch_size": (-1, 8)}, r"patch_size: is \(-1, 8\)"),
        ({"spacing": (0.0, 1.0)}, r"spacing: is \(0.0, 1.0\)"),
        ({"batch_size": 1, "devices": 2}, "batch_size: 1 is less than `devices` 2"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_bounds(TrainConfig(**settings))  # type: ignore[arg-type]
