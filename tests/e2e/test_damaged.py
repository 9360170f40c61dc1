"""Damaged data sets: ``find_problems`` names each file, opening and reading raise DataError or work, and no source changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.damages import (
    Kind,
    all_masks,
    copy,
    cut,
    empty,
    entries,
    flipped_affine,
    in_both_parts,
    link_in_a_circle,
    link_outside,
    move,
    one_slice,
    palette_image,
    picture,
    remove,
    rows,
    volume,
    with_nan,
    write,
)
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json

from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label
from debride.types import DataError

F, N2, N3, M = build_folder, build_nnunet_2d, build_nnunet_3d, build_manifest
KINDS = [
    Kind("images folder missing", F, remove("images"), "images", "is no folder"),
    Kind("masks folder missing", F, remove("masks"), "masks", "is no folder"),
    Kind("image missing", F, remove("images/case001.png"), "masks/case001.png", "has no image"),
    Kind("mask missing", F, remove("masks/case001.png"), "images/case001.png", "has no label"),
    Kind("image truncated", F, cut("images/case001.png", 0.5), "images/case001.png", "cannot be decoded"),
    Kind("image empty", F, cut("images/case000.png", 0), "images/case000.png", "is empty"),
    Kind("mask empty", F, cut("masks/case001.png", 0), "masks/case001.png", "is empty"),
    Kind("image is a web page", F, write("images/case001.png", "<html>" * 9), "images/case001.png", "cannot be decoded"),
    Kind(
        "mask of another shape",
        F,
        picture("masks/case001.png", np.eye(16, dtype=np.uint8) * 255),
        "masks/case001.png",
        "shape",
        False,
    ),
    Kind(
        "mask with an unknown value",
        F,
        picture("masks/case001.png", np.eye(32, dtype=np.uint8) * 7),
        "masks/case001.png",
        "value 7",
    ),
    Kind(
        "mask is a grey picture", F, copy("images/case002.png", "masks/case001.png"), "masks/case001.png", "is a colour picture"
    ),
    Kind(
        "image in grey among colours",
        F,
        picture("images/case001.png", np.eye(32, dtype=np.uint8)),
        "images/case001.png",
        "1 channel",
        False,
    ),
    Kind("palette image", F, palette_image, "images/case001.png", "palette"),
    Kind(
        "constant image",
        F,
        picture("images/case001.png", np.full((32, 32, 3), 9, np.uint8)),
        "images/case001.png",
        "same value 9",
        False,
    ),
    Kind(
        "same image twice",
        F,
        copy("images/case000.png", "images/case001.png"),
        "images/case001.png",
        "same pixels as case000",
        False,
    ),
    Kind(
        "test image in training",
        F,
        copy("images/case000.png", "images/case005.png"),
        "images/case005.png",
        "another split",
        False,
    ),
    Kind("two images of one name", F, copy("images/case001.png", "images/case001.jpg"), "images/case001.png", "same name"),
    Kind("two masks of one name", F, copy("masks/case001.png", "masks/case001.tif"), "masks/case001.tif", "same name"),
    Kind("no foreground", F, all_masks(0), "", "no foreground", False),
    Kind("foreground only", F, all_masks(255), "", "no pixel of the class 'background'", False),
    Kind(
        "class that never occurs",
        F,
        entries("dataset.json", classes=["a", "b", "c"], values={"0": 0, "255": 1, "9": 2}),
        "",
        "class 'c'",
        False,
    ),
    Kind("unread kind of image", F, write("images/scan.mnc", "x"), "images/scan.mnc", "not read", False),
    Kind("splits.json cut", F, cut("splits.json", 0.7), "splits.json:1", "not valid JSON"),
    Kind("splits.json not in UTF-8", F, write("splits.json", "\xe9"), "splits.json", "UTF-8"),
    Kind("splits.json of another form", F, write("splits.json", "[1]"), "splits.json", "not a JSON object"),
    Kind("unknown split", F, entries("splits.json", holdout=[]), "splits.json", "split 'holdout'"),
    Kind("unknown case in a split", F, entries("splits.json", test=["case5", "case005"]), "splits.json", "'case5'"),
    Kind("case in two splits", F, entries("splits.json", test=["case005", "case001"]), "splits.json", "'case001'"),
    Kind("case in no split", F, entries("splits.json", test=[]), "splits.json", "'case005'"),
    Kind(
        "nothing to train on",
        F,
        write("splits.json", json.dumps({"test": [f"case{i:03d}" for i in range(6)]})),
        "",
        "split train",
        False,
    ),
    Kind("dataset.json broken", F, write("dataset.json", '{"classes":\n["a",}'), "dataset.json:2", "not valid JSON"),
    Kind("nnU-Net dataset.json missing", N2, remove("dataset.json"), "dataset.json", "is missing"),
    Kind("nnU-Net dataset.json broken", N2, cut("dataset.json", 0.9), "dataset.json:1", "not valid JSON"),
    Kind("nnU-Net regions", N2, entries("dataset.json", labels={"background": 0, "a": [1, 2]}), "dataset.json", "regions"),
    Kind(
        "image without channel number",
        N2,
        move("imagesTr/p00_s0_0000.png", "imagesTr/p00_s0.png"),
        "imagesTr/p00_s0.png",
        "not named",
    ),
    Kind("no training label", N2, empty("labelsTr"), "imagesTr/p00_s0_0000.png", "nor has any other"),
    Kind("test label missing", N2, remove("labelsTs/p03_s1.png"), "imagesTs/p03_s1_0000.png", "no label"),
    Kind(
        "label 9 of 4 classes",
        N2,
        picture("labelsTr/p01_s0.png", np.eye(32, dtype=np.uint8) * 9),
        "labelsTr/p01_s0.png",
        "values 9",
    ),
    Kind(
        "case in Tr and Ts",
        N2,
        in_both_parts,
        "imagesTs/p00_s0_0000.png",
        "case of imagesTr",
    ),
    Kind("splits_final.json of another form", N2, write("splits_final.json", "{}"), "splits_final.json", "list of folds"),
    Kind(
        "splits_final.json with an unknown case",
        N2,
        write("splits_final.json", '[{"train":["p0"],"val":[]}]'),
        "splits_final.json",
        "'p0'",
    ),
    Kind("channel file missing", N3, remove("imagesTr/vol01_0001.nii.gz"), "imagesTr/vol01_0000.nii.gz", "names 2"),
    Kind("volume truncated", N3, cut("imagesTr/vol01_0001.nii.gz", 0.6), "imagesTr/vol01_0001.nii.gz", "cannot be decoded"),
    Kind("volume label truncated", N3, cut("labelsTr/vol01.nii.gz", 0.6), "labelsTr/vol01.nii.gz", "cannot be decoded"),
    Kind("NaN", N3, volume("imagesTr/vol01_0001.nii.gz", with_nan), "imagesTr/vol01_0001.nii.gz", "NaN"),
    Kind("label of fractions", N3, volume("labelsTr/vol01.nii.gz", lambda x: x + 0.5), "labelsTr/vol01.nii.gz", "not integers"),
    Kind(
        "channels of different shape",
        N3,
        volume("imagesTr/vol01_0001.nii.gz", lambda x: x[1:]),
        "imagesTr/vol01_0001.nii.gz",
        "shape",
    ),
    Kind(
        "label of another shape", N3, volume("labelsTr/vol01.nii.gz", lambda x: x[1:]), "labelsTr/vol01.nii.gz", "shape", False
    ),
    Kind(
        "label of another spacing",
        N3,
        volume("labelsTr/vol01.nii.gz", lambda x: x, (2.0, 1.5, 1.1)),
        "labelsTr/vol01.nii.gz",
        "spacing",
        False,
    ),
    Kind("label flipped in space", N3, flipped_affine, "labelsTr/vol01.nii.gz", "it lies 19 mm away", False),
    Kind("one slice among volumes", N3, one_slice, "imagesTs/vol05_0000.nii.gz", "is 2D with 2", False),
    Kind("manifest without a column", M, rows("label,", "mask,"), "manifest.csv:1", "no column label"),
    Kind("row with too few fields", M, rows(",rater1,train,1", ",rater1"), "manifest.csv:2", "as many fields"),
    Kind("row with an open quote", M, rows("scan3,P1", '"scan3,P1'), "manifest.csv:", "not valid CSV"),
    Kind("path that does not exist", M, rows("images/scan1.png", "images/scan9.png"), "manifest.csv:5", "does not exist"),
    Kind("path with ..", M, rows("images/scan1.png", "../set/images/scan1.png"), "manifest.csv:5", "leads out"),
    Kind("absolute path", M, rows("images/scan1.png", "/etc/hostname"), "manifest.csv:5", "leads out"),
    Kind("link that leads out", M, link_outside, "manifest.csv:5", "leads out"),
    Kind("link in a circle", M, link_in_a_circle, "manifest.csv:5", "does not exist"),
    Kind("path with a null byte", M, rows("images/scan1.png", "images/\0"), "manifest.csv:5", "null character"),
    Kind("case name with a slash", M, rows("scan1,P0", "a/b,P0"), "manifest.csv:5", "'a/b'"),
    Kind("row twice", M, rows("png,rater2,", "png,rater1,"), "manifest.csv:3", "again"),
    Kind("row of an unknown split", M, rows(",train,1", ",training set,1"), "manifest.csv:2", "'training set'"),
    Kind("trusted is a word", M, rows(",train,1", ",train,maybe"), "manifest.csv:2", "'maybe'"),
    Kind("training row without label", M, rows("masks/rater1/scan0.png", ""), "manifest.csv:2", "has no label"),
    Kind("raters in different splits", M, rows("rater3,train", "rater3,val"), "manifest.csv", "same split"),
    Kind("raters of different patients", M, rows("scan0,P0", "scan0,P7"), "manifest.csv", "same patient"),
    Kind("raters of different images", M, rows("images/scan0.png", "images/scan1.png"), "manifest.csv", "same image"),
    Kind("one row without rater", M, rows(",rater1,", ",,"), "manifest.csv", "presence of a rater"),
    Kind("raters of one label file", M, rows("masks/rater2/scan0", "masks/rater1/scan0"), "manifest.csv", "same label file"),
    Kind("patient in two splits", M, rows("scan2,P1", "scan2,P0", 3), "", "patient P0 in the splits train, val", False),
]


def contents(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() or path.is_symlink()
    }


def read_everything(root: Path) -> None:
    dataset = open_dataset(root)
    for case in dataset.cases:
        read_image(case.image)
        if case.label:
            read_label(case.label, dataset)


@pytest.mark.parametrize("build", [F, N2, N3, M])
def test_healthy_sets_have_no_problems(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    root = build(tmp_path / "set")
    done: list[tuple[int, int]] = []
    assert find_problems(root, lambda number, total: done.append((number, total))) == []
    assert done == [(i + 1, len(done)) for i in range(len(done))]
    read_everything(root)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damage_is_named_with_a_remedy(tmp_path: Path, kind: Kind) -> None:
    root = kind.build(tmp_path / "set").resolve()
    kind.damage(root)
    before = contents(root)
    problems = find_problems(root)
    named = [problem for problem in problems if problem.file.startswith(str(root / kind.file)) and kind.says in problem.problem]
    assert named, problems
    assert all(problem.remedy.endswith((".", "?")) for problem in problems)
    assert len(set(problems)) == len(problems)
    if kind.raises:
        with pytest.raises(DataError):
            read_everything(root)
    else:
        read_everything(root)
    assert contents(root) == before


def test_all_damage_is_found_at_once(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "set", n=12).resolve()
    for damage in (
        cut("images/case000.png", 0.5),
        remove("masks/case001.png"),
        picture("masks/case002.png", np.eye(16, dtype=np.uint8) * 255),
        copy("images/case003.png", "images/case004.png"),
        entries("splits.json", holdout=["case9"]),
        write("dataset.json", "{"),
    ):
        damage(root)
    found = {Path(problem.file).name for problem in find_problems(root)}
    assert found == {"case000.png", "case001.png", "case002.png", "case004.png", "splits.json", "dataset.json:1"}


def test_options_are_those_of_opening(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "set")
    leak = [{"train": ["p00_s0", "p01_s0", "p01_s1"], "val": ["p00_s1", "p02_s0", "p02_s1"]}]
    save_json(root / "splits_final.json", leak)
    assert find_problems(root) == []
    assert [problem.problem for problem in find_problems(root, patient_pattern="^(p..)")] == [
        "has the patient p00 in the splits train, val"
    ]
    (tmp_path / "trusted.txt").write_text("p00_s0\nnobody\n")
    assert ["'nobody'" in problem.problem for problem in find_problems(root, trusted=tmp_path / "trusted.txt")] == [True]
    assert [problem.remedy for problem in find_problems(root, fold=5)] == ["Give a fold from 0 to 0."]


def test_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    assert [problem.file for problem in find_problems(tmp_path)] == [str(tmp_path.resolve())]
    assert [problem.file for problem in find_problems(tmp_path / "missing")] == [str((tmp_path / "missing").resolve())]
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    assert ["has no cases" in problem.problem for problem in find_problems(tmp_path)] == [True]
