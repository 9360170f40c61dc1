"""Which predictions are meant by a folder of nnU-Net's, or by an id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_nnunet_2d, save_json, save_png
from tests.prediction_files import random_map, save_map

from debride.api.auditing import audit_dataset
from debride.audit.predictions.nnunet_results import find_predictions
from debride.audit.predictions.sources import FolderPredictions
from debride.cli import main
from debride.data.open import open_dataset
from debride.notes import take_notes
from debride.types import DataError, Dataset

NAME = "Dataset007_Parts"
USUAL = "nnUNetTrainer__nnUNetPlans__2d"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """The raw data set, without splits of its own."""
    root = build_nnunet_2d(tmp_path / "nnUNet_raw" / NAME, size=12)
    (root / "splits_final.json").unlink()
    dataset = open_dataset(root)
    take_notes()
    return dataset


def trained(tmp_path: Path, dataset: Dataset, name: str = USUAL, folds: int = 5, *, maps: bool = True) -> Path:
    """A configuration with so many folds, which share the labelled cases."""
    folder = tmp_path / "nnUNet_results" / NAME / name
    for at, case in enumerate(case for case in dataset.cases if case.label):
        part = folder / f"fold_{at % folds}" / "validation"
        save_png(part / f"{case.id}.png", np.zeros((12, 12), np.uint8))
        if maps:
            save_map(part / f"{case.id}.npz", probabilities=random_map(4, (1, 12, 12), at))
    save_json(folder / "plans.json", {})
    return folder


def test_the_only_network_is_taken_from_wherever_it_is_named(
    tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path, data)
    (folder.parent / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0").mkdir(parents=True)  # begun, and not validated
    for other in ("Dataset008_Other", "Dataset070_More"):
        (folder.parents[1] / other / USUAL).mkdir(parents=True)
    results = folder.parents[1]
    for given in (results, results / NAME):
        assert find_predictions(given, data) == folder
        assert take_notes() == [f"{given} is taken for {folder}: no other network there has predictions."]
    monkeypatch.setenv("nnUNet_results", str(results))
    for word in ("7", "007", NAME):
        assert find_predictions(Path(word), data) == folder
    take_notes()
    assert find_predictions(folder, data) == folder and find_predictions(folder / "fold_0", data) == folder / "fold_0"
    plain = tmp_path / "plain"
    plain.mkdir()
    assert find_predictions(plain, data) == plain and not take_notes()


def test_links_lead_to_where_they_point(tmp_path: Path, data: Dataset) -> None:
    folder = trained(tmp_path, data, maps=False)
    (tmp_path / "scratch").mkdir()
    moved = tmp_path / "scratch" / NAME
    shutil.move(folder.parent, moved)
    folder.parent.symlink_to(moved)
    (tmp_path / "here").symlink_to(moved / USUAL)
    assert find_predictions(folder.parents[1], data) == folder
    take_notes()
    assert find_predictions(tmp_path / "here", data) == tmp_path / "here"
    assert "nnUNetv2_train 007 2d 0 --npz makes maps, fold by fold" in take_notes()[0]


def test_several_networks_are_listed(tmp_path: Path, data: Dataset) -> None:
    folder = trained(tmp_path, data)
    lesser = trained(tmp_path, data, "nnUNetTrainer__nnUNetResEncUNetMPlans__2d", folds=2, maps=False)
    (lesser / "fold_1" / "validation" / f"{data.cases[1].id}.png").unlink()
    whole = folder.parent / "mine__nnUNetPlans__2d"
    shutil.copytree(folder / "fold_0", whole / "fold_all")
    ensemble = folder.parent / "ensembles" / f"ensemble___{folder.name}___{lesser.name}___0_1_2_3_4"
    for case in data.cases:
        save_png(ensemble / f"{case.id}.png", np.zeros((12, 12), np.uint8))
    n = len([case for case in data.cases if case.label])
    with pytest.raises(DataError) as refused:
        find_predictions(folder.parent, data)
    said = str(refused.value)
    assert "holds predictions of 4 networks" in said and said.endswith("Give one of these folders.")
    date = "20[0-9]{2}-[0-9]{2}-[0-9]{2}"
    for line in (
        rf"{folder} \(folds 0, 1, 2, 3 and 4, {n} of {n} cases, {date}, with probabilities\)",
        rf"{lesser} \(folds 0 and 1, {n - 1} of {n} cases, {date}, masks alone\)",
        rf"{whole} \(fold all, trained on all cases, {-(-n // 5)} of {n} cases, {date}, with probabilities\)",
        rf"{ensemble} \(folds together, {n} of {n} cases, {date}, masks alone\)",
    ):
        assert refused.match(line)
    found = FolderPredictions(find_predictions(ensemble, data), data)  # as the message says
    assert {found.seen(case) for case in data.cases if case.label} == {False}


def test_collected_predictions_stand_for_folds_that_are_gone(tmp_path: Path, data: Dataset) -> None:
    folder = trained(tmp_path, data, maps=False)
    collected = folder / "crossval_results_folds_0_1_2_3_4"
    for part in sorted(folder.glob("fold_*")):
        shutil.copytree(part / "validation", collected, dirs_exist_ok=True)
    assert find_predictions(folder.parent, data) == folder
    for part in sorted(folder.glob("fold_*")):
        shutil.rmtree(part)
    assert find_predictions(folder.parent, data) == collected == find_predictions(folder, data)


def test_what_has_no_predictions_says_how_they_are_made(tmp_path: Path, data: Dataset) -> None:
    folder = tmp_path / "nnUNet_results" / NAME / "nnUNetTrainerDebrideGCE__mine__2d"
    for fold, file in ((0, "checkpoint_final.pth"), (1, "checkpoint_latest.pth")):
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / file).write_bytes(b"")
    for given in (folder, folder.parent):
        with pytest.raises(DataError, match="fold 0 is not validated, fold 1 is not trained to its end") as refused:
            find_predictions(given, data)
        assert refused.value.remedy == "Run nnUNetv2_train 007 2d 0 -tr nnUNetTrainerDebrideGCE -p mine --val --npz."
    empty = tmp_path / "empty" / NAME
    empty.mkdir(parents=True)
    assert find_predictions(empty, data) == empty
    with pytest.raises(DataError, match=f"no data set named {NAME}, but Dataset009_Z") as refused:
        (tmp_path / "results" / "Dataset009_Z").mkdir(parents=True)
        find_predictions(tmp_path / "results", data)
    with pytest.raises(DataError, match="is the data set itself"):
        find_predictions(data.root, data)


def test_cases_of_folds_that_are_missing(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(tmp_path, data)
    labelled = [case for case in data.cases if case.label]
    shutil.rmtree(folder / "fold_3")
    shutil.rmtree(folder / "fold_4" / "validation")
    (folder / "fold_4" / "checkpoint_latest.pth").write_bytes(b"")
    gone = [case.id for at, case in enumerate(labelled) if at % 5 in (3, 4)]
    with pytest.raises(DataError) as refused:
        FolderPredictions(folder, data)
    assert f"no prediction for {len(gone)} of {len(labelled)} cases" in refused.value.problem
    assert refused.value.problem.endswith("fold 3 is not there; fold 4 is not trained to its end")
    commands = "nnUNetv2_train 007 2d 3 --npz and nnUNetv2_train 007 2d 4 --c --npz"
    assert refused.value.remedy == f"Run {commands}, or leave these cases out by `partial`."
    assert set(FolderPredictions(folder, data, missing_ok=True).missing) == set(gone)
    made = tmp_path / "nnUNet_preprocessed" / NAME / "splits_final.json"
    save_json(made, [{"train": [], "val": [case.id for at, case in enumerate(labelled) if at % 5 == k]} for k in range(5)])
    monkeypatch.setenv("nnUNet_preprocessed", str(made.parents[1]))
    with pytest.raises(DataError) as refused:
        FolderPredictions(folder, data)
    assert f"fold 3 is not there ({labelled[3].id}" in refused.value.problem
    made.write_text("{")
    with pytest.raises(DataError, match="fold 3 is not there; fold 4"):
        FolderPredictions(folder, data)


def test_ids_that_are_not_there(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    with pytest.raises(DataError, match=r"`predictions`: has no folder 7, and nnUNet_results, .* is not set"):
        find_predictions(Path("7"), data)
    folder = trained(tmp_path, data)
    monkeypatch.setenv("nnUNet_results", str(folder.parents[1]))
    with pytest.raises(DataError, match=f"holds no data set 77, but {NAME}"):
        find_predictions(Path("77"), data)
    (folder.parents[1] / "Dataset007_Again").mkdir()
    with pytest.raises(DataError, match=f"holds several: Dataset007_Again and {NAME}"):
        find_predictions(Path("7"), data)
    assert find_predictions(Path(NAME), data) == folder
    take_notes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    assert find_predictions(Path("7"), data) == Path("7")
    assert take_notes() == ["7 is a folder here, and is taken for that rather than for an id of nnU-Net's."]


def test_another_data_sets_name_is_noted_and_its_cases_are_refused(tmp_path: Path, data: Dataset) -> None:
    folder = trained(tmp_path, data)
    other = tmp_path / "nnUNet_results" / "Dataset008_Other" / USUAL
    shutil.copytree(folder, other)
    assert find_predictions(other.parent, data) == other
    assert any("is of Dataset008_Other, and the data set is Dataset007_Parts" in said for said in take_notes())
    for file in sorted(other.glob("fold_*/validation/*")):
        file.rename(file.with_name(f"z{file.name}"))
    with pytest.raises(DataError, match=r"others belong to no case.*whose files are named by the cases"):
        audit_dataset(data, tmp_path / "audit", predictions=other.parent, jobs=1)


def test_verbs_take_an_id(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit and the calibration of an id are those of the folder."""
    folder = trained(tmp_path, data)
    monkeypatch.setenv("nnUNet_results", str(folder.parents[1]))
    assert main(["audit", str(data.root), "--predictions", "7", "--out", str(tmp_path / "a"), "--jobs", "1"]) == 0
    about = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert about["predictions"]["folder"] == str(folder) and about["predictions"]["folds"] == ["0", "1", "2", "3", "4"]
    verified = tmp_path / "verified.txt"
    verified.write_text("".join(f"{case.id}\n" for case in data.cases if case.label))
    words = ["calibrate", str(data.root), "--predictions", "7", "--out", str(tmp_path / "c"), "--trusted", str(verified)]
    assert main([*words, "--jobs", "1"]) == 0
    assert sorted(path.stem for path in (tmp_path / "c").glob("*.png")) == sorted(c.id for c in data.cases if c.label)
