"""What is cut away and normalised before training, and what comes back of it in predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.datasets import build_folder, build_nnunet_3d, save_nifti
from tests.e2e.conftest import Command
from tests.unit.test_inference import pieces_by_hand
from torch import nn

from debride.bench import mask_cell
from debride.data.cache import prepare
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label, read_values
from debride.training.predict import load_run
from debride.types import Dataset

SMALL = ["--epochs", 1, "--batch-size", 2, "--network", "unet-small", "--width", 4, "--device", "cpu", "--log-to", "none"]
PATCH = ["--patch-size", 8, 16, 16]
RULES = ["--intensity", "percentile:1:99,clip:0:400"]
INSIDE = (slice(3, 9), slice(2, 18), slice(1, 21))


def bordered(root: Path) -> Path:
    """Volumes of two channels (10, 22, 24) that are 0 outside of ``INSIDE``, where some labels have foreground."""
    build_nnunet_3d(root, n=6)
    for file in sorted(root.rglob("*.nii.gz")):
        is_label = "labels" in file.parent.name
        wide = np.pad(read_values(file)[0] + (not is_label), ((3, 1), (2, 4), (1, 3)))
        if is_label:
            wide[0, :3, :3] = 2
        save_nifti(file, wide)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bordered(tmp_path_factory.mktemp("bordered") / "data")


def outside(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    mask = np.ones(values.shape[-3:], bool)
    mask[INSIDE] = False
    return values[..., mask]


@pytest.mark.parametrize("spacing", [[], ["--spacing", 2, 2, 2]], ids=["as it is", "resampled"])
def test_a_cropped_training_predicts_whole_images(spacing: list[object], data: Path, debride: Command, tmp_path: Path) -> None:
    """Masks and probabilities have the files' shape, background where nothing was; and a bench measures the same masks."""
    words = [data, "--out", tmp_path / "run", "--crop", *RULES, *PATCH, *SMALL, *spacing]
    answer = debride("train", "ce", *words)
    assert answer.code == 0 and "9 foreground pixels lie where the image is 0 and was cropped" in answer.err
    shown = debride("predict", tmp_path / "run", data, "--out", tmp_path / "masks", "--splits", "val", "--probabilities")
    assert shown.code == 0, shown.err
    dataset = open_dataset(data)
    trained = load_run(tmp_path / "run", "best", torch.device("cpu"))
    test = prepare(dataset, dataset.of("val"), trained.preparation, tmp_path / "cache")
    measured = list(mask_cell._predictions(trained, test, dataset, torch.device("cpu")))
    assert len(measured) == len(test) > 0
    for case, predicted, reference, _ in measured:
        found = read_label(tmp_path / "masks" / f"{case.id}.nii.gz", dataset)[0]
        probability = np.load(tmp_path / "masks" / f"{case.id}.npy")
        assert found.shape == reference.shape == (10, 22, 24) and probability.shape == (3, 10, 22, 24)
        np.testing.assert_array_equal(found, predicted)
        np.testing.assert_array_equal(found, probability.argmax(axis=0))
        assert (outside(probability)[0] == 1).all() and not outside(probability)[1:].any()
        assert not outside(found).any() and found[INSIDE].any()
        np.testing.assert_allclose(probability.sum(axis=0), 1, rtol=1e-5)


def test_a_cropped_image_is_predicted_as_one_without_a_border(data: Path, debride: Command, tmp_path: Path) -> None:
    """The same voxels in a file of their own, and an image of zeros, which is not cropped."""
    assert debride("train", "ce", data, "--out", tmp_path / "run", "--crop", *RULES, *PATCH, *SMALL).code == 0
    image, geometry = read_image(open_dataset(data).cases[0].image)
    assert geometry.spacing is not None
    for number in range(2):
        save_nifti(tmp_path / "images" / f"wide_{number:04d}.nii.gz", image[number], geometry.spacing)
        save_nifti(tmp_path / "images" / f"narrow_{number:04d}.nii.gz", image[number][INSIDE], geometry.spacing)
        save_nifti(tmp_path / "images" / f"zero_{number:04d}.nii.gz", np.zeros((6, 9, 9), np.int16), geometry.spacing)
    answer = debride("predict", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "masks")
    assert (answer.code, answer.out) == (0, f"{tmp_path / 'masks'}: 3 masks\n"), answer.err
    wide, narrow, zero = (read_values(tmp_path / "masks" / f"{name}.nii.gz")[0] for name in ("wide", "narrow", "zero"))
    np.testing.assert_array_equal(wide[INSIDE], narrow)
    assert not outside(wide).any() and zero.shape == (6, 9, 9)


def test_cleansed_labels_of_cropped_images(data: Path, debride: Command, tmp_path: Path) -> None:
    words = [data, "--out", tmp_path / "run", "--cleansed", "--crop", *PATCH, *SMALL, "--warm-up", 0, "--no-filter"]
    answer = debride("train", "self-cleansing", *words, "--cleanse", "predictions")
    assert answer.code == 0, answer.err
    dataset = open_dataset(data)
    trained = dataset.of("train")
    changed = 0
    for case in trained:
        assert case.label is not None
        given = read_label(case.label, dataset)[0]
        right = read_label(tmp_path / "run" / "cleansed" / f"{case.id}.nii.gz", dataset)[0]
        assert right.shape == given.shape and outside(given).any()
        if (right != given).any():
            changed += 1
            assert not outside(right).any() and (right[INSIDE] != given[INSIDE]).any()
    assert changed


def test_a_wrong_number_of_rules_names_the_file(data: Path, debride: Command, tmp_path: Path) -> None:
    words = [data, "--out", tmp_path / "run", *PATCH, *SMALL, "--intensity", "zscore,unit,zscore"]
    answer = debride("train", "ce", *words)
    assert answer.code == 2
    assert (
        f"{open_dataset(data).of('train')[0].image[0]}: has 2 channels, and --intensity zscore,unit,zscore has 3" in answer.err
    )


def pointwise(ndim: int, in_channels: int, classes: int) -> nn.Module:
    """A network that sees one pixel: noise in its images is noise in its masks."""
    assert ndim == 2
    return nn.Conv2d(in_channels, classes, 1)


def test_the_largest_component_alone(debride: Command, tmp_path: Path) -> None:
    """Masks have what is left of those without the option, and nothing else changes."""
    data = build_folder(tmp_path / "data", n=8, classes=3)
    network = ["--network", "tests.e2e.test_preparation:pointwise", "--epochs", 8, "--learning-rate", 0.1]
    words = [data, "--out", tmp_path / "run", *SMALL, *network, "--image-size", 32, 32]
    assert debride("train", "ce", *words).code == 0
    words = ["predict", tmp_path / "run", data, "--splits", "train", "val", "test", "--probabilities"]
    words += ["--network", "tests.e2e.test_preparation:pointwise"]
    assert debride(*words, "--out", tmp_path / "all").code == 0
    assert debride(*words, "--out", tmp_path / "largest", "--largest-component").code == 0
    dataset: Dataset = open_dataset(data)
    several = 0
    for case in dataset.cases:
        plain, largest = (read_label(tmp_path / folder / f"{case.id}.png", dataset)[0] for folder in ("all", "largest"))
        for value in (1, 2):
            pieces = pieces_by_hand(plain, value)
            several += len(pieces) > 1
            kept = {tuple(map(int, where)) for where in np.argwhere(largest == value)}
            assert (kept in pieces and len(kept) == max(map(len, pieces))) if pieces else not kept
        same = [(tmp_path / folder / f"{case.id}.npy").read_bytes() for folder in ("all", "largest")]
        assert same[0] == same[1]
    assert several > 3
