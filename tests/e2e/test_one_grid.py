"""Where files lie, through the command line: what is turned, what is refused, and what is said of it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from tests.datasets import build_nnunet_3d
from tests.e2e.conftest import Command
from tests.turned_files import oblique, orientation, save_volume, store_turned

from debride.data.pixels.images import read_values

SMALL = ["--epochs", 1, "--batch-size", 2, "--width", 4, "--device", "cpu", "--steps-per-epoch", 2, "--image-size", 8, 16, 16]
AFFINE = oblique((0.5, 0.8, 3.0), (10, -20, 35), (12, -33, 7))
PLAIN = np.diag([0.5, 0.5, 3.0, 1.0])


def build(root: Path, affine: Any = AFFINE, unit: str = "mm", n: int = 5) -> Path:
    build_nnunet_3d(root, n=n, shape=(8, 16, 20), classes=2)
    for path in root.glob("*/*.nii.gz"):
        save_volume(path, read_values(path)[0], affine, unit)
    return root


def move(path: Path, mm: float) -> None:
    volume: Any = nib.load(path)
    affine = volume.affine.copy()
    affine[2, 3] += mm
    save_volume(path, np.asarray(volume.dataobj).T, affine)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predictions(root: Path, out: Path) -> Path:
    """The labels themselves, rolled by one voxel along z, as predictions."""
    out.mkdir()
    for path in sorted((root / "labelsTr").iterdir()):
        volume: Any = nib.load(path)
        nib.save(type(volume)(np.roll(np.asarray(volume.dataobj), 1, 2), volume.affine, volume.header), out / path.name)
    return out


def test_turned_channels_are_noted_and_moved_ones_refused_by_check_and_train(debride: Command, tmp_path: Path) -> None:
    data = build(tmp_path / "d")
    store_turned(data / "imagesTr/vol01_0001.nii.gz", ((0, -1), (1, 1), (2, 1)))
    note = "vol01_0001.nii.gz is stored in another orientation than the first channel, and is read turned."
    assert debride("check", data).code == 0
    answer = debride("check", data)
    assert note in answer.err
    for name in ("vol02_0001", "vol03_0001"):
        move(data / f"imagesTr/{name}.nii.gz", 30)
    move(data / "labelsTr/vol02.nii.gz", 30)
    answer = debride("check", data)
    assert answer.code == 1 and note in answer.err and "3 problems found" in answer.err
    for name in ("imagesTr/vol02_0001", "imagesTr/vol03_0001", "labelsTr/vol02"):
        assert f"{name}.nii.gz: does not lie on the grid of" in answer.out
    answer = debride("train", "ce", data, "--out", tmp_path / "run", *SMALL)
    assert answer.code == 2 and "_0001.nii.gz: does not lie on the grid of the first channel" in answer.err


def test_a_network_and_its_masks_do_not_depend_on_how_files_are_stored(debride: Command, tmp_path: Path) -> None:
    plain, other = build(tmp_path / "plain"), tmp_path / "other"
    shutil.copytree(plain, other)
    rng = np.random.default_rng(0)
    for path in [*other.glob("labelsTr/*"), *other.glob("images*/*_0001.nii.gz")]:
        store_turned(path, orientation(rng))
    runs = {}
    for root in (plain, other):
        out = tmp_path / f"{root.name} out"
        assert debride("train", "ce", root, "--out", out / "run", *SMALL).code == 0
        assert debride("predict", out / "run", root, "--out", out / "masks").code == 0
        assert debride("predict", out / "run", root, "--splits", "train", "val", "--out", out / "labelled").code == 0
        assert debride("evaluate", out / "labelled", root, "--splits", "train", "val", "--out", out / "evaluation").code == 0
        answer = debride("audit", root, "--run", out / "run", "--out", out / "audit")
        assert answer.code == 0, answer.err
        runs[root.name] = out
    one, two = runs["plain"], runs["other"]
    for file in (*(path.relative_to(one) for path in one.rglob("*.safetensors")), "masks/vol05.nii.gz"):
        assert (one / file).read_bytes() == (two / file).read_bytes(), file
    for mine, theirs in zip(rows(one / "evaluation/cases.csv"), rows(two / "evaluation/cases.csv"), strict=True):
        assert mine["dice"] == theirs["dice"] and float(mine["hd95"] or 0) == pytest.approx(
            float(theirs["hd95"] or 0), rel=1e-5
        )
    dice = [{row["case"]: row["dice"] for row in rows(out / "audit/cases.csv")} for out in (one, two)]
    assert dice[0] == dice[1]
    image, mask = (
        SimpleITK.ReadImage(str(path)) for path in (plain / "imagesTs/vol05_0000.nii.gz", one / "masks/vol05.nii.gz")
    )
    assert (image.GetOrigin(), image.GetSpacing(), image.GetDirection(), image.GetSize()) == (
        mask.GetOrigin(),
        mask.GetSpacing(),
        mask.GetDirection(),
        mask.GetSize(),
    )


def test_every_label_mirrored_by_its_affine_is_noted_by_all(debride: Command, tmp_path: Path) -> None:
    data = build(tmp_path / "d")
    for path in data.glob("labelsTr/*"):
        store_turned(path, ((0, -1), (1, 1), (2, 1)))
    for words, done in (
        (["check", data], "is read turned"),
        (["corrupt", data, tmp_path / "n", "--noise", "dilate-erode", "--set", "nearest=1", "farthest=1"], "stays so"),
        (["evaluate", predictions(data, tmp_path / "p"), data, "--splits", "train", "val", "--out", tmp_path / "e"], ""),
        (["check", tmp_path / "n"], "is read turned"),
    ):
        answer = debride(*words)
        assert answer.code == 0
        note = f"is stored in another orientation than its image, and {done} (and 4 more like it)."
        assert (note in answer.err) == bool(done), answer.err
    for path in data.glob("labelsTr/*"):
        given, noisy = (SimpleITK.ReadImage(str(file)) for file in (path, tmp_path / "n/labelsTr" / path.name))
        assert given.GetDirection() == noisy.GetDirection() and given.GetOrigin() == noisy.GetOrigin()


def test_a_pixdim_that_contradicts_is_a_problem_and_distances_go_by_the_sform(debride: Command, tmp_path: Path) -> None:
    data = build(tmp_path / "d", PLAIN)
    for path in data.glob("*/*.nii.gz"):
        volume: Any = nib.load(path)
        volume.header["qform_code"] = 0
        volume.header["pixdim"][1:4] = 1
        nib.save(type(volume)(np.asarray(volume.dataobj), None, volume.header), path)
    answer = debride("check", data)
    assert answer.code == 1
    assert "vol00.nii.gz: has the voxel spacing (1, 1, 1) by its pixdim, and (0.5, 0.5, 3) by its sform" in answer.out
    masks = predictions(data, tmp_path / "p")
    answer = debride("evaluate", masks, data, "--splits", "train", "val", "--out", tmp_path / "e")
    assert answer.code == 0 and "has a header that contradicts itself, and is read by its sform" in answer.err
    assert min(float(row["hausdorff"]) for row in rows(tmp_path / "e/cases.csv")) == 3.0


def test_micrometres_are_read_in_millimetres(debride: Command, tmp_path: Path) -> None:
    data = build(tmp_path / "d", np.diag([400.0, 400.0, 400.0, 1.0]), "micron")
    masks = predictions(data, tmp_path / "p")
    assert debride("evaluate", masks, data, "--splits", "train", "val", "--out", tmp_path / "e").code == 0
    assert min(float(row["hausdorff"]) for row in rows(tmp_path / "e/cases.csv")) == pytest.approx(0.4)


def test_cases_unlike_the_others_are_a_note(debride: Command, tmp_path: Path) -> None:
    data = build(tmp_path / "d", PLAIN)
    for path in data.glob("*/vol01*.nii.gz"):
        store_turned(path, ((2, 1), (0, -1), (1, 1)))
    for path in data.glob("*/vol02*.nii.gz"):
        save_volume(path, read_values(path)[0], PLAIN * [4, 4, 1, 1])
    far = "vol02_0000.nii.gz (2, 2, 3 mm) has a spacing more than 3 times as large or small as the median, 0.5, 0.5, 3 mm."
    way = "vol01_0000.nii.gz has its axes in the orientation PSR, most images in RAS."
    train = ["train", "ce", data, "--out", tmp_path / "run", *SMALL]
    for words in (["check", data], train):
        answer = debride(*words)
        assert answer.code == 0, answer
        assert far in answer.err and way in answer.err and answer.err.count("note:") == 2
