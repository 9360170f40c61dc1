"""A training on regions from end to end: learnt, resumed, validated, predicted with, and refused where regions cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.region_sets import REGIONS, build_regions_2d, build_regions_3d
from tests.training_jobs import SMALL, same, weights

from debride.data.augmentation import Augmentation
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.export.plan import plan_export
from debride.methods import METHODS
from debride.plugins import NOTHING
from debride.training.calibrate import calibrate_run, refuse_calibration
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.inference import painted
from debride.training.job import Job
from debride.training.predict import load_run, predict_folder
from debride.training.predict_masks import predict_whole
from debride.training.run import TrainingRun
from debride.training.run_calibration import Applied
from debride.types import DataError


def region_job(root: Path, method: str = "ce", out: str = "run", *, volumes: bool = False, **settings: Any) -> Job:
    """A small training on slices of 32 x 32, or on patches of small volumes that are resampled and cropped."""
    data = root / "data"
    if not data.exists():
        build_regions_3d(data) if volumes else build_regions_2d(data, n=10)
    patches = {"image_size": None, "patch_size": (8, 8, 16), "spacing": (2.0, 1.5, 1.3), "crop": True, "batch_size": 2}
    return Job(
        dataset=open_dataset(data),
        method=method,
        method_config=METHODS[method].Config(),
        config=TrainConfig(**{**SMALL, **(patches if volumes else {}), **settings}),
        augmentation=Augmentation(),
        out=root / out,
        cache=root / "cache",
    )


def slow_dice(run: Path, which: str, job: Job) -> list[float]:
    """The mean Dice of each region over the validation cases, from whole predictions."""
    trained = load_run(run, which, torch.device("cpu"))
    dice: list[list[float]] = [[] for _ in REGIONS]
    for case in job.dataset.of("val"):
        assert case.label is not None
        label, _ = read_label(case.label, job.dataset)
        for number, (map, region) in enumerate(zip(predict_whole(trained, case, torch.device("cpu")), REGIONS, strict=True)):
            inside, given = map > 0.5, np.isin(label, region.classes)
            if inside.any() or given.any():
                dice[number].append(2 * (inside & given).sum() / (inside.sum() + given.sum()))
    return [float(np.mean(values)) for values in dice]


def test_regions_are_learnt_and_validated_and_predicted(tmp_path: Path) -> None:
    job = region_job(tmp_path, epochs=16, learning_rate=0.02, optimiser="adamw", width=8)
    fit(job)
    described = json.loads((job.out / "run.json").read_text())
    assert described["task"] == "regions" and len(described["classes"]) == 4
    assert described["regions"][1] == {"name": "left", "classes": [2, 3], "paints": 2}
    rows = [json.loads(line) for line in (job.out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["val"]["per_class"] == pytest.approx(slow_dice(job.out, "last", job), abs=1e-6)
    assert rows[-1]["best"]["dice"] > 0.5
    predict_folder(job.out, tmp_path / "data", tmp_path / "predicted", probabilities=True, device="cpu")
    for case in job.dataset.of("test"):
        maps = np.load(tmp_path / "predicted" / f"{case.id}.npy")
        assert maps.shape == (3, 32, 32) and maps.dtype == np.float32 and maps.max() <= 1
        painted = np.zeros((32, 32), int)
        for map, region in zip(maps, REGIONS, strict=True):
            painted[map > 0.5] = region.paints
        mask, _ = read_label(tmp_path / "predicted" / f"{case.id}.png", job.dataset)
        assert mask.tolist() == painted.tolist() and mask.any()


@pytest.mark.parametrize("method", ["gce", "sce", "t-loss"])
def test_robust_losses_learn_regions(method: str, tmp_path: Path) -> None:
    job = region_job(tmp_path, method, epochs=1)
    fit(job)
    row = json.loads((job.out / "metrics.jsonl").read_text())
    assert np.isfinite(list(row["train"].values())).all()
    assert row["val"]["per_class"] == pytest.approx(slow_dice(job.out, "last", job), abs=1e-6)


class StopError(Exception):
    """Stops a training."""


def test_a_training_on_regions_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def stop(run: TrainingRun[Any]) -> None:
        if run.epoch == 1:
            raise StopError

    whole, stopped = region_job(tmp_path, "t-loss", epochs=3), region_job(tmp_path, "t-loss", "stopped", epochs=3)
    fit(whole)
    with pytest.raises(StopError):
        fit(stopped, stop)
    fit(replace(stopped, resume=True))
    assert same(weights(whole.out, "epoch-0003"), weights(stopped.out, "epoch-0003"))
    others = replace(stopped.dataset, regions=REGIONS[:2])
    with pytest.raises(DataError, match="with other regions"):
        fit(replace(stopped, resume=True, dataset=others))


def test_volumes_go_by_windows_and_back_to_their_own_shape(tmp_path: Path) -> None:
    job = region_job(tmp_path, volumes=True, epochs=1)
    fit(job)
    fit(replace(job, out=tmp_path / "second", config=replace(job.config, seed=1)))
    case = job.dataset.of("train")[0]
    assert case.label is not None
    device = torch.device("cpu")
    both = [predict_whole(load_run(run, "last", device), case, device) for run in (job.out, tmp_path / "second")]
    label, _ = read_label(case.label, job.dataset)
    assert all(maps.shape == (3, *label.shape) and maps.min() >= 0 and maps.max() <= 1 for maps in both)
    assert not np.allclose(both[0].sum(axis=0), 1, atol=0.01)
    runs = [job.out, tmp_path / "second"]
    predict_folder(
        runs, tmp_path / "data", tmp_path / "mean", probabilities=True, checkpoint="last", device="cpu", splits=("train",)
    )
    mean = np.load(tmp_path / "mean" / f"{case.id}.npy")
    assert np.allclose(mean, (both[0].astype(float) + both[1]) / 2, atol=2e-3)


def test_the_largest_piece_of_each_region_is_kept() -> None:
    maps = torch.zeros(3, 6, 6)
    maps[0, :, :4] = maps[0, 5, 5] = 1
    maps[1, 0, 0] = maps[1, 3:5, 1:3] = 1
    ids = painted(maps, REGIONS, (6, 6), largest=True)
    assert ids[5, 5] == 0 and ids[0, 0] == 1 and ids[3, 1] == 2 and ids[4, 2] == 2
    assert painted(maps, REGIONS, (6, 6))[0, 0] == 2


def test_what_takes_classes_alone_refuses_regions(tmp_path: Path) -> None:
    job = region_job(tmp_path, epochs=1)
    for method in ("nr-dice", "elr", "alc"):
        with pytest.raises(DataError, match=rf"method {method}: is not for regions.*ce, gce, sce, t-loss.*\"cavity\": 3"):
            fit(replace(job, method=method, method_config=METHODS[method].Config()))
    assert not job.out.exists()
    with pytest.raises(DataError, match="has the regions heart, left, cavity"):
        refuse_calibration(job.dataset, "ce", hold_out=False)
    fit(job)
    with pytest.raises(DataError, match="has the regions heart"):
        calibrate_run(job.out, job.dataset)
    with pytest.raises(DataError, match="is a run on regions"):
        plan_export(job.out, Applied("best"), NOTHING)
    description = json.loads((job.out / "run.json").read_text())
    (job.out / "run.json").write_text(json.dumps({**description, "task": "segmentation"}))
    with pytest.raises(DataError, match="regions that are not of its task"):
        load_run(job.out, "best", torch.device("cpu"))
