"""Two processes with half of each batch give the loss curve of one process with all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.datasets import save_png
from tests.training_jobs import small_job, weights

from debride.data.augmentation import Augmentation
from debride.data.open import trust
from debride.files import read_jsonl
from debride.methods.confident_learning import ConfidentLearning
from debride.methods.meta_dcseg import MetaDCSeg
from debride.methods.self_cleansing import SelfCleansing
from debride.state import saved_files
from debride.training.fit import fit


@pytest.mark.parametrize("method", ["ce", *(pytest.param(name, marks=pytest.mark.system) for name in ("gce", "cdr"))])
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
        config = MetaDCSeg.Config(warm_up=0.0, start=0.0, train_on_trusted=False, normalise="image")
        fit(replace(job, dataset=trust(job.dataset, 0.01, 0), method_config=config))
        cases = len(job.dataset.of("train"))
        file = saved_files(tmp_path / f"on-{devices}" / "resume" / "epoch-0003" / "labels") / "alpha.float32"
        state[devices] = np.fromfile(file, np.float32).reshape(cases, -1)
    one, two = ([row["train"]["loss"] for row in read_jsonl(tmp_path / f"on-{d}" / "metrics.jsonl")] for d in (1, 2))
    np.testing.assert_allclose(one, two, rtol=2e-2)
    moved = np.abs(state[1]).mean(axis=1) > 0
    assert moved.sum() == len(moved) - 1, "every case but the trusted one"
    assert np.corrcoef(state[1][moved].ravel(), state[2][moved].ravel())[0, 1] > 0.9


@pytest.mark.system
def test_two_processes_cleanse_as_one(tmp_path: Path) -> None:
    """Each sweeps half of the cases, and the mixtures are fitted to the losses of all: the same labels are replaced by the same
    ones, and with the Dice of each image the loss curve is the same too."""
    torch.set_num_threads(1)
    config = SelfCleansing.Config(warm_up=0.0, every=2, dice="image")
    wrecked = np.pad(np.ones((4, 4), np.uint8), ((0, 28), (0, 28)))
    for devices in (1, 2):
        job = small_job(
            tmp_path, "self-cleansing", out=f"on-{devices}", devices=devices, epochs=3, network="unet", n=12, batch_size=4,
            augmentation=Augmentation.none(),
        )  # fmt: skip
        for name in ("case000", "case001", "case002"):
            save_png(tmp_path / "data" / "masks" / f"{name}.png", wrecked)
        fit(replace(job, method_config=config))
    records = [[row["train"] for row in read_jsonl(tmp_path / f"on-{d}" / "metrics.jsonl")] for d in (1, 2)]
    for one, two in zip(*records, strict=True):
        assert one == pytest.approx(two, rel=2e-4)
    assert records[0][0]["cleansed"] > 0
    states = [saved_files(tmp_path / f"on-{d}" / "resume" / "epoch-0003" / "labels") for d in (1, 2)]
    for name, near in (("source.uint8", 0), ("pseudo.uint8", 0.01)):
        first, second = (np.fromfile(state / name, np.uint8) for state in states)
        assert (first != second).mean() <= near
    losses = [np.fromfile(state / "loss.float32", np.float32) for state in states]
    np.testing.assert_allclose(losses[0], losses[1], atol=0.02)


@pytest.mark.system
def test_two_processes_correct_labels_as_one(tmp_path: Path) -> None:
    """The thresholds are those of all cases: before any step both relabel the same pixels."""
    torch.set_num_threads(1)
    for devices in (1, 2):
        job = small_job(tmp_path, "cl", out=f"on-{devices}", devices=devices, epochs=1, n=12)
        fit(replace(job, method_config=ConfidentLearning.Config(warm_up=0.0)))
    states = [saved_files(tmp_path / f"on-{d}" / "resume" / "epoch-0001" / "labels") for d in (1, 2)]
    first, second = (np.fromfile(state / "corrected.uint8", np.uint8) for state in states)
    assert (first != second).mean() < 1e-3
    shares = [np.fromfile(state / "changed.float32", np.float32) for state in states]
    assert shares[0].all()
    np.testing.assert_allclose(shares[0], shares[1], atol=2e-3)
    scores = [(tmp_path / f"on-{d}" / "label_scores.csv").read_text().splitlines() for d in (1, 2)]
    assert len(scores[0]) == len(scores[1]) == len(shares[0]) + 1
