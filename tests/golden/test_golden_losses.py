"""Frozen loss values for three classes and an ignored region: the code, and formulas written out in NumPy, must give them."""

from __future__ import annotations

import json
from math import lgamma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from debride.losses.agreement import joint_loss, symmetric_kl
from debride.losses.pixel import cross_entropy, generalized_cross_entropy, reverse_cross_entropy, symmetric_cross_entropy
from debride.losses.region import soft_dice, squared_dice, t_loss

GOLDEN = json.loads((Path(__file__).parent / "losses.json").read_text())
IGNORED = 255


def formulas(
    logits: np.ndarray[Any, Any], second: np.ndarray[Any, Any], target: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """Every loss from its definition, on probabilities (B, K, H, W); ``second`` are another network's logits."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    q = np.exp(second) / np.exp(second).sum(axis=1, keepdims=True)
    y = np.stack([target == k for k in range(3)], axis=1).astype(float)
    valid = (target != IGNORED).astype(float)
    p_y = (p * y).sum(axis=1) + (1 - valid)
    ce = -np.log(p_y)
    divergence = (p * np.log(p / q)).sum(axis=1) + (q * np.log(q / p)).sum(axis=1)
    both = ce - np.log((q * y).sum(axis=1) + (1 - valid))
    rce = -(p * np.where(y == 1, 0.0, -4.0)).sum(axis=1) * valid
    p = p * valid[:, None]
    space, everything = (2, 3), (1, 2, 3)
    dice = 1 - (2 * (p * y).sum(axis=space) + 1) / (p.sum(axis=space) + y.sum(axis=space) + 1)
    squared = 1 - (2 * (p * y).sum(axis=everything) + 1) / ((p**2).sum(axis=everything) + (y**2).sum(axis=everything) + 1)
    nu, d = 2.5, 2 * valid.sum(axis=(1, 2))
    distance = ((p - y)[:, 1:] ** 2).sum(axis=everything)
    gammas = np.array([lgamma(nu / 2) - lgamma((nu + length) / 2) for length in d])
    return {
        "cross_entropy": ce,
        "generalized_cross_entropy": (1 - p_y**0.7) / 0.7,
        "reverse_cross_entropy": rce,
        "symmetric_cross_entropy": 0.1 * ce + rce,
        "symmetric_kl": divergence,
        "joint_loss": both + 0.5 * divergence,
        "soft_dice": dice[:, 1:],
        "squared_dice": squared,
        "t_loss": gammas + d / 2 * np.log(np.pi * nu) + (nu + d) / 2 * np.log(1 + distance / nu),
    }


def test_the_formulas_give_the_frozen_values() -> None:
    values = formulas(np.array(GOLDEN["logits"]), np.array(GOLDEN["second"]), np.array(GOLDEN["target"]))
    assert values.keys() == GOLDEN["losses"].keys()
    for name, expected in GOLDEN["losses"].items():
        assert values[name].ravel().tolist() == pytest.approx(np.array(expected).ravel().tolist(), rel=1e-8, abs=1e-8), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_losses_give_the_frozen_values(dtype: torch.dtype) -> None:
    logits, target = torch.tensor(GOLDEN["logits"], dtype=dtype), torch.tensor(GOLDEN["target"])
    second = torch.tensor(GOLDEN["second"], dtype=dtype)
    p = logits.softmax(dim=1)
    values = {
        "cross_entropy": cross_entropy(logits, target),
        "generalized_cross_entropy": generalized_cross_entropy(logits, target, q=0.7),
        "reverse_cross_entropy": reverse_cross_entropy(logits, target, log_zero=-4.0),
        "symmetric_cross_entropy": symmetric_cross_entropy(logits, target, alpha=0.1, beta=1.0, log_zero=-4.0),
        "symmetric_kl": symmetric_kl(logits, second),
        "joint_loss": joint_loss(logits, second, target, agreement=0.5),
        "soft_dice": soft_dice(p, target, smooth=1.0),
        "squared_dice": squared_dice(p, target, smooth=1.0),
        "t_loss": t_loss(p, target, torch.tensor(2.5, dtype=dtype)),
    }
    assert values.keys() == GOLDEN["losses"].keys()
    tolerance = 1e-8 if dtype == torch.float64 else 1e-5
    for name, expected in GOLDEN["losses"].items():
        assert torch.allclose(values[name], torch.tensor(expected, dtype=dtype), rtol=tolerance, atol=tolerance), name
