"""nnU-Net's layout with files of NRRD, MetaImage and uncompressed NIfTI, through every verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from tests.datasets import build_nnunet_3d
from tests.e2e.conftest import Command

from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import files_of, read_header, read_label

SMALL = ["--epochs", 1, "--batch-size", 2, "--network", "unet-small", "--width", 4, "--device", "cpu", "--log-to", "none"]


def converted(root: Path, ending: str) -> Path:
    """Volumes of nnU-Net's layout, written as another kind of file by SimpleITK."""
    build_nnunet_3d(root, n=5)
    for file in sorted(root.rglob("*.nii.gz")):
        image = SimpleITK.ReadImage(str(file))
        image.SetOrigin((10.5, -20.25, 30.0))
        image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
        SimpleITK.WriteImage(image, str(file.with_name(file.name.replace(".nii.gz", ending))))
        file.unlink()
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**description, "file_ending": ending}))
    return root


def labels_of(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for case in open_dataset(root).cases if case.label for file in files_of([case.label])}


@pytest.mark.parametrize("ending", [".nrrd", ".seg.nrrd", ".mha", ".mhd", ".nii"])
def test_a_copy_has_the_kind_and_place_of_its_source(ending: str, debride: Command, tmp_path: Path) -> None:
    root = converted(tmp_path / "data", ending)
    assert find_problems(root) == []
    answer = debride("corrupt", root, tmp_path / "noisy", "--noise", "dilate-erode", "--set", "nearest=1", "farthest=2")
    assert answer.code == 0, answer.err
    noisy = open_dataset(tmp_path / "noisy")
    assert find_problems(tmp_path / "noisy") == [] and noisy.classes == open_dataset(root).classes
    changed = 0
    pairs = [pair for pair in zip(open_dataset(root).cases, noisy.cases, strict=True) if pair[0].label]
    for given, case in pairs:
        assert case.label and given.label and case.label.name == given.label.name
        a, b = SimpleITK.ReadImage(str(case.label)), SimpleITK.ReadImage(str(given.label))
        assert a.GetOrigin() == b.GetOrigin() and a.GetDirection() == b.GetDirection() and a.GetSpacing() == b.GetSpacing()
        assert a.GetPixelID() == b.GetPixelID()
        changed += not np.array_equal(SimpleITK.GetArrayFromImage(a), SimpleITK.GetArrayFromImage(b))
    assert changed


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_every_verb(ending: str, debride: Command, tmp_path: Path) -> None:
    root = converted(tmp_path / "data", ending)
    given = labels_of(root)
    answer = debride("train", "ce", root, "--out", tmp_path / "run", "--patch-size", 8, 16, 16, *SMALL)
    assert answer.code == 0, answer.err
    answer = debride("predict", tmp_path / "run", root, "--out", tmp_path / "masks", "--splits", "train", "val")
    assert answer.code == 0, answer.err
    dataset = open_dataset(root)
    for case in dataset.of("train", "val"):
        mask = tmp_path / "masks" / f"{case.id}{ending}"
        assert read_header(mask).geometry == read_header(case.image[0]).geometry
        assert read_label(mask, dataset)[0].shape == read_header(case.image[0]).shape
    answer = debride("evaluate", tmp_path / "masks", root, "--out", tmp_path / "scores", "--splits", "train", "val")
    assert answer.code == 0, answer.err
    words = [root, "--predictions", tmp_path / "masks", "--out", tmp_path / "audit"]
    answer = debride("audit", *words)
    assert answer.code == 0, answer.err
    answer = debride("repair", root, tmp_path / "audit", "--out", tmp_path / "repaired", "--accept", "all")
    assert answer.code == 0, answer.err
    assert find_problems(tmp_path / "repaired") == []
    answer = debride("repair", "--reverse", tmp_path / "repaired", "--out", tmp_path / "before")
    assert answer.code == 0, answer.err
    assert labels_of(tmp_path / "before") == labels_of(root) == given
