"""Real trainings by nnU-Net with losses of debride: killed, continued, validated, and predicted by nnU-Net alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.nnunet.homes import SHORT, found, kill_after_checkpoint, weights_of
from tests.nnunet_sets import HEART, NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

DATA = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None
TRAINERS = tuple(f"nnUNetTrainerDebride{name}" for name in ("GCE", "SCE", "TLoss", "ELR", "Weighted"))
SEEDED = {**SHORT, "DEBRIDE_NNUNET_SEED": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("home"))
    write_heart(made.raw, DATA, cases=12, tests=2)
    prepare_home(made)
    shrink_plans(made.plans)
    write_two_folds(made)
    write_maps(made.raw / NAME)
    yield made
    shutil.rmtree(made.root)


def write_maps(raw: Path) -> None:
    """A map of weights for every other case: nothing counts where its label is the wall of the ventricle."""
    (raw / "weightsTr").mkdir()
    for file in sorted((raw / "labelsTr").iterdir())[::2]:
        label = np.asarray(Image.open(file))
        Image.fromarray(np.where(label == 2, 0, 255).astype(np.uint8)).save(raw / "weightsTr" / file.name)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_killed_continued_validated_predicted(home: Home, trainer: str, tmp_path: Path) -> None:
    import torch

    whole = Home(tmp_path, home.bin)
    for part in ("raw", "preprocessed"):
        (tmp_path / part).symlink_to(home.root / part)
    whole.train(trainer, 0, **found(**SEEDED))
    expected = weights_of(whole.fold(trainer) / "checkpoint_final.pth")

    folder = kill_after_checkpoint(home, trainer, **found(**SEEDED))
    said = home.train(trainer, 0, "--c", "--npz", **found(**SEEDED))
    assert "Epoch 0" not in said and "Epoch 2" in said
    held = weights_of(folder / "checkpoint_final.pth")
    assert held["trainer_name"] == trainer and held["current_epoch"] == 3
    for name, value in expected["network_weights"].items():
        assert torch.equal(value, held["network_weights"][name]), name
    assert held["init_args"]["debride"] == expected["init_args"]["debride"]
    if trainer.endswith("Weighted"):
        assert "of 6 training cases have a map of weights" in said

    home.train(trainer, 1, "--npz", **found(**SHORT))
    for fold in (0, 1):
        cases = json.loads((home.preprocessed / NAME / "splits_final.json").read_text())[fold]["val"]
        written = home.fold(trainer, fold) / "validation"
        assert {file.stem for file in written.glob("*.npz")} == set(cases)
        p = np.load(written / f"{cases[0]}.npz")["probabilities"].astype(np.float64)
        assert np.allclose(p.sum(axis=0), 1, atol=2e-3) and p.min() >= 0

    words = ("-i", home.raw / NAME / "imagesTr", "-o", home.root / f"predicted_{trainer}", "-d", HEART, "-c", "2d")
    home.run("nnUNetv2_predict", *words, "-f", 0, 1, "-tr", trainer, "-device", "cpu", "-npp", 1, "-nps", 1, **found())
    images = {file.name.replace("_0000", "") for file in (home.raw / NAME / "imagesTr").iterdir()}
    assert {file.name for file in (home.root / f"predicted_{trainer}").glob("*.png")} == images


def test_stock_trainings_are_as_ever(home: Home) -> None:
    """The folder of ours changes nothing of nnU-Net's own trainers."""
    assert "Training done" in home.train("nnUNetTrainer_1epoch", 0, **found())


def test_what_cannot_be_is_said_in_the_last_line(home: Home) -> None:
    with pytest.raises(AssertionError, match=r"DEBRIDE_NNUNET_EPOCH: is no variable .* Use DEBRIDE_NNUNET_EPOCHS\.\s*$"):
        home.train(TRAINERS[0], 0, **found(DEBRIDE_NNUNET_EPOCH=1))
    with pytest.raises(AssertionError, match=r"DEBRIDE_NNUNET_SETTINGS: q: is 2\.0\. .*\s*$"):
        home.train(TRAINERS[0], 0, **found(DEBRIDE_NNUNET_SETTINGS="q=2"))
