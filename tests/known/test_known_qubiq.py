"""QUBIQ: one structure of one task, with the masks of its readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.known_archives import converted, described, nifti, zipped

from debride.known.qubiq import convert
from debride.types import DataError

Shape = tuple[int, ...]


def mask(seed: int, shape: Shape) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)


def case(
    root: str, seed: int, readers: int, *, shape: Shape = (8, 7), image: Shape | None = None, structure: int = 1
) -> dict[str, bytes]:
    """A case as it lies in an archive. Headers of masks say another place than that of the image, as some do."""
    values = np.random.default_rng(1000 + seed).normal(size=image or shape)
    files = {f"{root}/image.nii.gz": nifti(values)}
    for reader in range(1, readers + 1):
        drawn = mask(seed * 10 + reader, shape).astype(np.float64)
        files[f"{root}/task{structure:02d}_seg{reader:02d}.nii.gz"] = nifti(drawn, origin=(0.0, 0.0, 0.0))
    return files


def test_each_reader_has_a_mask_and_splits_stay(tmp_path: Path) -> None:
    root = "training_data_v3_QC/brain-growth/Training"
    training = (
        case(f"{root}/case01", 1, 7) | case(f"{root}/case02", 2, 7) | {f"{root}/case01/task01_seg_majority.nii.gz": b"own"}
    )
    training |= case("training_data_v3_QC/kidney/Training/case01", 3, 3)
    validation = case("validation_data_qubiq2021_QC/brain-growth/Validation/case35", 4, 7)
    test = case("QUBIQ21_test/brain-growth/case40", 5, 0)
    archives = [zipped(tmp_path / f"{name}.zip", files) for name, files in {"a": training, "b": validation, "c": test}.items()]
    cases = converted(convert, tmp_path / "out", *archives, jobs=2, task="brain-growth")
    assert sorted(cases) == sorted(
        [f"{name}@rater{reader}" for name in ("train_case01", "train_case02", "val_case35") for reader in range(1, 8)]
        + ["test_case40"]
    )
    image, label, found = cases["train_case02@rater3"]
    assert (label == mask(23, (8, 7)).T).all() and found.rater == "rater3" and found.split == "train"
    assert np.allclose(image[0], np.random.default_rng(1002).normal(size=(8, 7)).T.astype(np.float32))
    assert cases["val_case35@rater1"][2].split == "val" and cases["test_case40"][2].split == "test"
    assert described(tmp_path / "out")["classes"] == ["background", "brain-growth"]


def test_planes_of_brain_tumours_are_channels_and_structures_are_told_apart(tmp_path: Path) -> None:
    files = {}
    for split, number in (("Training", 1), ("Training", 2), ("Validation", 3)):
        for structure in (1, 3):
            files |= case(
                f"x/brain-tumor/{split}/case{number:02d}", number + structure, 3, image=(8, 7, 4), structure=structure
            )
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files), task="brain-tumor", structure=3)
    image, label, _ = cases["train_case02@rater2"]
    assert image.shape == (4, 7, 8) and (label == mask(52, (8, 7)).T).all()
    assert np.allclose(image, np.random.default_rng(1005).normal(size=(8, 7, 4)).T.astype(np.float32))
    assert described(tmp_path / "out")["classes"] == ["background", "brain-tumor 3"]


def test_a_validation_set_without_masks_becomes_test_images(tmp_path: Path) -> None:
    files = (
        case("t/kidney/Training/case01", 1, 3)
        | case("t/kidney/Training/case02", 2, 3)
        | case("t/kidney/Validation/case03", 3, 0)
    )
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files), task="kidney")
    assert cases["val_case03"][1] is None and cases["val_case03"][2].split == "test"


def test_two_scans_of_a_patient_stay_together(tmp_path: Path) -> None:
    files = {}
    for name in ("case1-1", "case1-2", "case2-1"):
        files |= case(f"training_data_v3_QC/pancreas/{name}", len(files), 2, shape=(8, 7, 3))
    files |= case("validation_data/pancreas/case13-1", 9, 2, shape=(8, 7, 3))
    cases = converted(convert, tmp_path / "out", zipped(tmp_path / "a.zip", files), task="pancreas")
    assert cases["train_case1-1@rater1"][2].patient == cases["train_case1-2@rater1"][2].patient == "train_case1"
    assert cases["train_case2-1@rater1"][1].shape == (3, 7, 8)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = "training/kidney/Training"
    whole = case(f"{root}/case01", 1, 3) | case(f"{root}/case02", 2, 3)
    wrong = [
        ({f"{root}/case02/task01_seg02.nii.gz": nifti(mask(1, (7, 8)))}, {}, "has the shape"),
        ({f"{root}/case02/task01_seg02.nii.gz": nifti(np.full((8, 7), 3, np.uint8))}, {}, "label value 3"),
        (case(f"{root}/case03", 3, 0), {}, r"has no task01_seg01.nii.gz"),
        (case("kidney/case03", 3, 3), {}, "says its split"),
        ({}, {"task": "prostate"}, "no case of prostate"),
        (case("x/pancreas/Validation/case09", 3, 2), {"task": "pancreas"}, "no training case of pancreas"),
        ({}, {"task": "liver"}, "QUBIQ does not have"),
        ({}, {"task": ""}, "is not given"),
        ({}, {"structure": 2}, "has 1"),
    ]
    for number, (change, options, said) in enumerate(wrong):
        with pytest.raises(DataError, match=said):
            archive = zipped(tmp_path / f"{number}.zip", {**whole, **change})
            converted(convert, tmp_path / f"out{number}", archive, **{"task": "kidney", **options})
