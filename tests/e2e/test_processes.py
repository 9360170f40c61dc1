"""Two processes with half of each batch give the loss curve of one process with all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training_jobs import small_job, weights

from debride.data.augmentation import Augmentation
from debride.data.open import trust
from debride.files import read_jsonl
from debride.methods.meta_dcseg import MetaDCSeg
from debride.training.fit import fit


@pytest.mark.parametrize("method", ["ce", "gce"])
def test_two_processes_equal_one(method: str, tmp_path: Path) -> None:
    """Instance normalisation: each image's statistics are its own, so the gradients are the same sums in another order.

    The warps bring different shares of "outside" into the two halves of a batch, which the averaging weighs.
    """
    torch.set_num_threads(1)
    settings = {"epochs": 3, "network": "unet", "n": 12, "batch_size": 4}
    for devices in (1, 2):
        fit(small_job(tmp_path, method, out=f"on-{devices}", devices=devices, **settings))
    one, two = ([row["train"]["loss"] for row in read_jsonl(tmp_path / f"on-{d}" / "metrics.jsonl")] for d in (1, 2))
    np.testing.assert_allclose(one, two, rtol=2e-4)
    validated = [[row["val"]["dice"] for row in read_jsonl(tmp_path / f"on-{d}" / "metrics.jsonl")] for d in (1, 2)]
    np.testing.assert_allclose(*validated, atol=5e-3)
    first, second = (weights(tmp_path / f"on-{d}", "epoch-0001") for d in (1, 2))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4)


def test_two_processes_look_ahead_as_one(tmp_path: Path) -> None:
    """With one trusted case and no augmentation both processes look at the same: loss, weights and label state are those of one
    process, whose first update of a batch of two halves sets another eta than each half's own would."""
    torch.set_num_threads(1)
    state = {}
    for devices in (1, 2):
        job = small_job(
            tmp_path, "meta-dcseg", out=f"on-{devices}", devices=devices, epochs=3, network="unet", n=12, batch_size=4,
            augmentation=Augmentation.none(),
        )  # fmt: skip
        config = MetaDCSeg.Config(warm_up=0.0, normalise="image")
        fit(replace(job, dataset=trust(job.dataset, 0.01, 0), method_config=config))
        cases = len(job.dataset.of("train"))
        file = tmp_path / f"on-{devices}" / "resume" / "epoch-0003" / "labels" / "alpha.float32"
        state[devices] = np.fromfile(file, np.float32).reshape(cases, -1)
    one, two = ([row["train"]["loss"] for row in read_jsonl(tmp_path / f"on-{d}" / "metrics.jsonl")] for d in (1, 2))
    np.testing.assert_allclose(one, two, rtol=2e-2)
    moved = np.abs(state[1]).mean(axis=1) > 0
    assert moved.sum() == len(moved) - 1, "every case but the trusted one"
    assert np.corrcoef(state[1][moved].ravel(), state[2][moved].ravel())[0, 1] > 0.9
