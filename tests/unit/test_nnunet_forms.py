"""The forms of nnU-Net's raw data sets that nnU-Net reads, and the other folders that it makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.datasets import build_nnunet_2d, build_nnunet_3d, save_json

from debride.cli import main
from debride.data.check import find_problems
from debride.data.copy import copy_dataset
from debride.data.open import open_dataset
from debride.types import DataError


def edit(root: Path, **changes: Any) -> None:
    said = json.loads((root / "dataset.json").read_text())
    save_json(root / "dataset.json", {**said, **changes})


def test_labels_given_as_texts(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path, classes=3)
    edit(root, labels={"background": "0", "first": "1", "second": 2})
    assert open_dataset(root).classes == ("background", "first", "second")


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "first", "2": "second"},
        {"Background": 0, "first": 1, "second": 2},
        {"background": 0, "first": 1, "second": 2, "whole": [1, 2]},
        {"background": 0, "whole": [1, 2], "core": [2]},
    ],
)
def test_the_remedy_for_labels_helps(tmp_path: Path, labels: dict[str, Any]) -> None:
    root = build_nnunet_2d(tmp_path, classes=3)
    edit(root, labels=labels)
    with pytest.raises(DataError) as raised:
        open_dataset(root)
    remedy = raised.value.remedy
    if "in place of" in remedy:
        edit(root, labels={"background": 0, "first": 1, "second": 2})
    else:
        edit(root, **json.loads(remedy[remedy.index("{") : remedy.rindex("}") + 1]))
    dataset = open_dataset(root)
    assert len(dataset.classes) == 3 and not find_problems(root)


def test_channels_that_are_numbered_with_a_gap(tmp_path: Path) -> None:
    """nnU-Net takes the files of a case in the order of their numbers."""
    root = build_nnunet_3d(tmp_path)
    for path in [*root.glob("images*/*_0001.nii.gz")]:
        path.rename(path.with_name(path.name.replace("_0001", "_0002")))
    assert [path.name[-12:] for path in open_dataset(root).cases[0].image] == ["_0000.nii.gz"[-12:], "_0002.nii.gz"[-12:]]
    edit(root, channel_names={"0": "T1", "2": "T2"})
    assert not find_problems(root)
    (root / "imagesTr" / "vol01_0002.nii.gz").rename(root / "imagesTr" / "vol01_0001.nii.gz")
    found = [problem for problem in find_problems(root) if "vol01" in problem.file]
    assert found[0].problem.startswith("stands with the channels [0, 1]") and "_0000, _0002" in found[0].remedy


def listed(root: Path) -> Path:
    """A data set whose training cases are listed with their files."""
    build_nnunet_3d(root)
    (root / "raw").mkdir()
    lists = {}
    for label in sorted((root / "labelsTr").iterdir()):
        name = label.name.removesuffix(".nii.gz")
        images = [f"raw/{name}_{channel:04d}.nii.gz" for channel in range(2)]
        for image in images:
            shutil.move(root / "imagesTr" / Path(image).name, root / image)
        shutil.move(label, root / "raw" / label.name)
        lists[name] = {"images": images, "label": f"raw/{label.name}"}
    (root / "imagesTr").rmdir()
    (root / "labelsTr").rmdir()
    edit(root, dataset=lists)
    return root


def test_cases_that_dataset_json_lists(tmp_path: Path) -> None:
    root = listed(tmp_path / "data")
    assert not find_problems(root)
    dataset = open_dataset(root)
    assert dataset.format == "nnunet" and len(dataset.cases) == 6
    copy_dataset(dataset, tmp_path / "out", lambda case, ids, geometry: ids * 0)
    copy = open_dataset(tmp_path / "out")
    assert [(case.id, case.split) for case in copy.cases] == [(case.id, case.split) for case in dataset.cases]
    assert (tmp_path / "out" / "dataset.json").read_bytes() == (root / "dataset.json").read_bytes()
    drawn = open_dataset(root, test_fraction=0.0, seed=1)
    copy_dataset(drawn, tmp_path / "other", lambda case, ids, geometry: ids)
    assert {case.id: case.split for case in open_dataset(tmp_path / "other").cases} == {c.id: c.split for c in drawn.cases}


def test_drawn_test_cases_leave_the_list(tmp_path: Path) -> None:
    root = listed(tmp_path / "data")
    shutil.rmtree(root / "imagesTs")
    drawn = open_dataset(root, test_fraction=0.4)
    copy_dataset(drawn, tmp_path / "out", lambda case, ids, geometry: ids)
    copy = open_dataset(tmp_path / "out")
    assert {case.id: case.split for case in copy.cases} == {case.id: case.split for case in drawn.cases}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"images": ["raw/vol00_0000.nii.gz"], "label": "raw/vol00.nii.gz"}, "lists 1 images of 'vol00', and names 2 channels"),
        ({"images": ["../a.nii.gz", "b.nii.gz"], "label": "raw/vol00.nii.gz"}, "leads out of the folder"),
        ({"images": "raw/vol00_0000.nii.gz", "label": "raw/vol00.nii.gz"}, "does not list images and a label"),
        ({"images": ["raw/vol00_0000.nii.gz", "raw/gone.nii.gz"], "label": "raw/vol00.nii.gz"}, "does not exist"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, entry: dict[str, Any], problem: str) -> None:
    root = listed(tmp_path)
    lists = json.loads((root / "dataset.json").read_text())["dataset"]
    edit(root, dataset={**lists, "vol00": entry})
    with pytest.raises(DataError, match=problem):
        open_dataset(root)


def test_folders_of_nnunet_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "Dataset007_Parts"
    raw = tmp_path / "nnUNet_raw"
    build_nnunet_2d(raw / name)
    made = tmp_path / "nnUNet_preprocessed" / name
    (made / "nnUNetPlans_2d").mkdir(parents=True)
    for place in ("dataset.json", "splits_final.json"):
        shutil.copy(raw / name / place, made / place)
    save_json(made / "nnUNetPlans.json", {})
    save_json(made / "dataset_fingerprint.json", {})
    shutil.copytree(raw / name / "labelsTr", made / "gt_segmentations")
    trained = tmp_path / "nnUNet_results" / name / "nnUNetTrainer__nnUNetPlans__2d"
    shutil.copytree(raw / name / "labelsTr", trained / "fold_0" / "validation")
    save_json(trained / "plans.json", {})
    save_json(trained / "dataset.json", {})
    for folder in (raw, made.parent, made, trained.parents[1], trained.parent, trained, trained / "fold_0"):
        assert main(["check", str(folder)]) == 1
        said = capsys.readouterr()
        assert f"{raw / name}." in said.out and "1 problem found" in said.err, folder
        assert main(["corrupt", str(folder), str(tmp_path / "x"), "--noise", "dilate-erode"]) == 2
        assert f"{raw / name}." in capsys.readouterr().err
    assert main(["check", str(raw / name / "imagesTr")]) == 1
    assert f"is a part of a data set of nnU-Net. Give the whole: {raw / name}." in capsys.readouterr().out
    assert main(["check", str(raw / name)]) == 0  # as all these remedies say
