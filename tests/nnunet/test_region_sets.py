"""Sets of regions as nnU-Net has them: it takes our copies, and paints masks as we do."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from tests.nnunet.homes import SHORT, found
from tests.nnunet_sets import NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.api.corrupting import corrupt_dataset
from debride.api.evaluating import evaluate
from debride.api.predicting import predict
from debride.api.trainings import train
from debride.data.label_regions import paint, region_table
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label

DATA = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None


def test_nnunet_takes_a_noisy_copy_of_a_region_set(tmp_path: Path) -> None:
    source = write_heart(tmp_path / "given", DATA, cases=6, tests=2, regions=True)
    home = Home(tmp_path / "home")
    home.raw.mkdir(parents=True)
    corrupt_dataset(source, home.raw / NAME, noise="markov", jobs=1)
    assert open_dataset(home.raw / NAME).regions == open_dataset(source).regions
    prepare_home(home)  # with --verify_dataset_integrity
    assert (home.preprocessed / NAME / "nnUNetPlans.json").is_file()


def test_masks_are_painted_as_nnunet_does(tmp_path: Path) -> None:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    source = write_heart(tmp_path, None, cases=4, regions=True)
    dataset = open_dataset(source)
    manager = LabelManager({"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3}, [1, 2, 3])
    maps = np.random.default_rng(0).random((3, 40, 50), dtype=np.float32)
    maps[:, 0] = 0.5
    painted = paint((map > 0.5 for map in maps), dataset.regions)
    assert np.array_equal(painted, manager.convert_probabilities_to_segmentation(maps))
    ids = np.arange(4, dtype=np.uint8)
    table = region_table(dataset.regions)
    for of_class, region in zip(table, manager.foreground_regions, strict=True):
        held = region if isinstance(region, tuple) else (region,)
        assert (of_class[ids] == 1).tolist() == [id in held for id in ids]


def test_a_region_set_through_nnunet_and_back(tmp_path: Path) -> None:
    """A short training by nnU-Net gives maps and masks of regions that are measured here; its plans train here."""
    home, trainer = Home(tmp_path), "nnUNetTrainerDebrideGCE"
    write_heart(home.raw, DATA, cases=8, tests=2, regions=True)
    prepare_home(home)
    shrink_plans(home.plans)
    write_two_folds(home)
    home.train(trainer, 0, "--npz", **found(**{**SHORT, "DEBRIDE_NNUNET_EPOCHS": 6}))
    shutil.copyfile(home.preprocessed / NAME / "splits_final.json", home.raw / NAME / "splits_final.json")
    dataset, validation = open_dataset(home.raw / NAME), home.fold(trainer) / "validation"
    maps = tmp_path / "maps"
    maps.mkdir()
    for case in dataset.of("val"):
        held = np.load(validation / f"{case.id}.npz")["probabilities"]
        assert held.shape[0] == 3
        mask, _ = read_label(validation / f"{case.id}.png", dataset)
        painted = paint((map > 0.5 for map in held.reshape(3, *mask.shape).astype(np.float32)), dataset.regions)
        assert (painted != mask).mean() < 1e-3  # probabilities are stored in half precision
        shutil.copy(validation / f"{case.id}.npz", maps)
    evaluate(validation, dataset, tmp_path / "of-masks", splits="val", jobs=1)
    measured = evaluate(maps, dataset, tmp_path / "of-maps", splits="val", jobs=1)
    for row in measured.rows():
        case = next(case for case in dataset.cases if case.id == row["case"])
        assert case.label is not None
        label, _ = read_label(case.label, dataset)
        number, region = next(each for each in enumerate(dataset.regions) if each[1].name == row["class"])
        inside = np.load(maps / f"{case.id}.npz")["probabilities"][number].reshape(label.shape) > 0.5
        given = np.isin(label, region.classes)
        assert (row["predicted"], row["overlap"]) == (inside.sum(), (inside & given).sum())
    plans = home.preprocessed / NAME / "nnUNetPlans.json"
    settings = {"epochs": 1, "steps_per_epoch": 2, "device": "cpu", "log_to": ()}
    weights = home.fold(trainer) / "checkpoint_final.pth"
    run = train(
        "ce", dataset, tmp_path / "run", plans=plans, configuration="2d", init=weights, cache=tmp_path / "cache", **settings
    )
    described = json.loads((run.out / "run.json").read_text())
    assert described["task"] == "regions" and len(described["regions"]) == 3
    masks = predict(run.out, dataset, tmp_path / "predicted", splits="val", device="cpu", probabilities=True, jobs=1)
    assert np.load(masks.out / f"{dataset.of('val')[0].id}.npy").shape[0] == 3
