"""Folders of predictions: which file is whose, and what the network has seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_manifest, save_json, save_png
from tests.prediction_files import only, pictures, predicted, random_map, save_map, save_npy

from debride.audit.predictions import sources
from debride.audit.predictions.sources import FolderPredictions, warn_seen
from debride.data.open import open_dataset
from debride.types import Case, DataError, Dataset


def test_predictions_of_an_image_serve_all_its_raters(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data", n=4, size=12))
    for number in range(4):
        save_npy(tmp_path / "p" / f"scan{number}.npy", random_map(2, (12, 12), number))
    save_npy(tmp_path / "p" / "scan1@rater2.npy", random_map(2, (12, 12), 9))
    found = FolderPredictions(tmp_path / "p", dataset)
    by_id = {case.id: case for case in dataset.cases}
    for id, seed in (("scan0@rater1", 0), ("scan0@rater3", 0), ("scan1@rater1", 1), ("scan1@rater2", 9)):
        np.testing.assert_array_equal(predicted(found, by_id[id], dataset).probability, random_map(2, (12, 12), seed))


def test_missing_predictions_are_counted_and_others_ignored(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, n=9)
    for name in ("case000", "case001", "other"):
        save_npy(tmp_path / "p" / f"{name}.npy", random_map(3, (12, 12)))
    (tmp_path / "p" / "case000.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"no prediction for 7 of 9 cases \(case002, .*case006 and 2 more\); 1 others .*\(other\)"
    ):
        FolderPredictions(tmp_path / "p", dataset)
    found = FolderPredictions(tmp_path / "p", dataset, missing_ok=True)
    assert found.missing == tuple(f"case{n:03d}" for n in range(2, 9))
    assert found.about["missing"] == 7 and found.about["of_no_case"] == 1
    with pytest.raises(DataError, match="no prediction for the case case005"):
        predicted(found, dataset.cases[5], dataset)
    with pytest.raises(DataError, match=r"for 3 of 3 cases.* named by the cases, such as "):
        FolderPredictions(tmp_path / "p", dataset, dataset.cases[5:8], missing_ok=True)
    with pytest.raises(DataError, match="is no folder"):
        FolderPredictions(tmp_path / "absent", dataset)


def test_two_files_of_a_kind_are_refused_and_a_jpeg_is_the_last_choice(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    folder = tmp_path / "p"
    save_png(folder / "case000.jpg", np.zeros((12, 12), np.uint8))
    assert only(dataset, folder).about["files"] == {".jpg": 1}
    save_png(folder / "case000.png", np.zeros((12, 12), np.uint8))
    assert only(dataset, folder).about["files"] == {".png": 1}
    save_png(folder / "case000.tif", np.zeros((12, 12), np.uint8))
    with pytest.raises(DataError, match=r"case000\.tif: predicts the same case as case000\.png"):
        only(dataset, folder)
    (folder / "case000.tif").unlink()
    save_npy(folder / "case000.npy", random_map(3, (12, 12)))
    save_map(folder / "case000.npz", probabilities=random_map(3, (12, 12)))
    with pytest.raises(DataError, match="predicts the same case"):
        only(dataset, folder)


# ---------------------------------------------------------------- what was seen


def test_the_folds_of_nnunet(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, n=6)
    trainer = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    for number in range(6):
        path = trainer / f"fold_{number % 3}" / "validation" / f"case{number:03d}.npz"
        save_map(path, probabilities=random_map(3, (1, 12, 12), number))
    save_json(trainer / "fold_0" / "progress.json", {})
    found = FolderPredictions(trainer, dataset)
    assert found.about["folds"] == ["0", "1", "2"]
    assert [found.seen(case) for case in dataset.cases] == [False] * 6 and warn_seen(found, dataset.cases) is None
    np.testing.assert_array_equal(predicted(found, dataset.cases[4], dataset).probability, random_map(3, (12, 12), 4))
    patients = ("p0", "p0", "q2", "q0", "q1", "q2")
    cases = tuple(replace(case, patient=patient) for case, patient in zip(dataset.cases, patients, strict=True))
    shared = replace(dataset, cases=cases)
    found = FolderPredictions(trainer, shared)
    assert [found.seen_patient(case) for case in shared.cases] == [True, True, False, False, False, False]
    assert "For 2 of these 6 cases the network was trained on another image" in str(warn_seen(found, shared.cases))
    for part in (trainer / "fold_1", trainer / "fold_1" / "validation"):
        inner = FolderPredictions(part, dataset, [dataset.cases[1], dataset.cases[4]])
        assert inner.seen(dataset.cases[1]) is False and inner.about["folds"] == ["1"]
    save_map(trainer / "fold_all" / "validation" / "case000.npz", probabilities=random_map(3, (12, 12)))
    assert FolderPredictions(trainer, dataset).about["folds"] == ["0", "1", "2"]  # and not the one that saw all cases
    save_map(trainer / "fold_1" / "validation" / "case000.npz", probabilities=random_map(3, (12, 12)))
    with pytest.raises(DataError, match="both predict the case case000"):
        FolderPredictions(trainer, dataset)
    whole = FolderPredictions(trainer / "fold_all", dataset, dataset.cases[:1])
    assert whole.seen(dataset.cases[0]) is True
    assert "trained on the labels of 1 of these 1 cases" in str(warn_seen(whole, dataset.cases[:1]))


def test_the_collected_cross_validation_of_nnunet(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    folder = tmp_path / "crossval_results_folds_0_1_2"
    for part in (folder, folder / "postprocessed"):
        for case in dataset.cases:
            save_png(part / f"{case.id}.png", np.zeros((12, 12), np.uint8))
        found = FolderPredictions(part, dataset)
        assert [found.seen(case) for case in dataset.cases] == [False] * 3
        assert found.seen_patient(dataset.cases[0]) is None and warn_seen(found, dataset.cases) is None


def test_a_plain_folder_does_not_tell_unless_its_note_does(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data", n=4, size=12))
    for number in range(4):
        save_npy(tmp_path / "p" / f"scan{number}.npy", random_map(2, (12, 12)))
    found = FolderPredictions(tmp_path / "p", dataset)
    assert {found.seen(case) for case in dataset.cases} == {None}
    assert "Nothing tells whether the network was trained on the labels of 12 of these 12" in str(
        warn_seen(found, dataset.cases)
    )
    (tmp_path / "p" / "predictions.json").write_text(json.dumps({"trained_on": ["scan0@rater1", "scan2@rater9"]}))
    found = FolderPredictions(tmp_path / "p", dataset)
    for asked, images in ((found.seen, (0, 2)), (found.seen_patient, (1, 3))):
        assert {case.id for case in dataset.cases if asked(case)} == {f"scan{n}@rater{r}" for n in images for r in (1, 2, 3)}
    warning = str(warn_seen(found, dataset.cases))
    assert "labels of 6 of these 12" in warning and "For 6 of these 12" in warning and "Nothing tells" not in warning
    for wrong in ({"trained_on": "scan0"}, [1]):
        (tmp_path / "p" / "predictions.json").write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="trained_on"):
            FolderPredictions(tmp_path / "p", dataset)


def test_who_was_trained_on_is_found_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With twice as many cases each is looked at as often: a training on cases that the data set lacks, of one patient."""
    looked: list[str] = []
    real = sources.image_id

    def counted(case: Case) -> str:
        looked.append(case.id)
        return real(case)

    monkeypatch.setattr(sources, "image_id", counted)
    counts = []
    for number in (20, 40):
        cases = tuple(Case(f"s{at}@r0", (tmp_path / "a.png",), None, "train", "patient", rater="r0") for at in range(number))
        dataset = Dataset(tmp_path, "manifest", ("background", "a"), cases, 2)
        looked.clear()
        trained = sources._Trained([f"s{at}@r1" for at in range(number - 1)], dataset)
        assert [trained.on(case) for case in cases] == [True] * (number - 1) + [False]
        assert [trained.on_patient(case) for case in cases] == [True] * number
        counts.append(len(looked))
    assert counts[1] == 2 * counts[0]
