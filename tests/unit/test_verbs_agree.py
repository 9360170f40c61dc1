"""What one verb accepts every verb accepts: hidden files, class ids as predictions, JPEG predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder, build_nnunet_2d, build_npz, save_json, save_png

from debride.audit.predictions import FolderPredictions
from debride.data.check import find_problems
from debride.data.formats.dataset_json import SPLITS
from debride.data.open import dataset_or_images, open_dataset
from debride.data.pixels.images import read_header, read_label
from debride.evaluation.evaluate import evaluate_folder, match_predictions
from debride.notes import take_notes
from debride.types import DataError

HIDDEN = ("._case000.png", ".DS_Store", "Thumbs.db", "desktop.ini")


def hide(*folders: Path) -> None:
    for folder in folders:
        for name in HIDDEN:
            (folder / name).write_bytes(b"\0\5\26\7")
        (folder / "__MACOSX").mkdir()


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "folder")
    hide(root, root / "images", root / "masks")
    assert not find_problems(root)
    predictions = tmp_path / "p"
    predictions.mkdir()
    for path in (root / "masks").glob("case*.png"):
        save_png(predictions / path.name, np.asarray(Image.open(path)))
    hide(predictions)
    dataset = open_dataset(root)
    assert len(match_predictions(predictions, dataset, SPLITS)) == 6
    assert FolderPredictions(predictions, dataset).about["of_no_case"] == 0
    assert evaluate_folder(predictions, dataset, tmp_path / "e", splits=SPLITS)[0].metrics["dice"].mean == 1

    nnunet = build_nnunet_2d(tmp_path / "nnunet")
    hide(nnunet, nnunet / "imagesTr", nnunet / "labelsTr", nnunet / "imagesTs", nnunet / "labelsTs")
    assert not find_problems(nnunet)
    npz = build_npz(tmp_path / "npz")
    hide(npz)
    (npz / "._tiny.npz").write_bytes(b"\0")
    assert not find_problems(npz)


@pytest.mark.parametrize("kind", ["ids", "one bit", "JPEG", "own values"])
def test_predictions_are_read_alike(tmp_path: Path, kind: str) -> None:
    root = build_folder(tmp_path / "data")
    dataset = open_dataset(root)
    take_notes()
    for case in dataset.cases:
        assert case.label is not None
        ids, _ = read_label(case.label, dataset)
        pixels = {"ids": ids, "one bit": ids.astype(bool)}.get(kind, ids * np.uint8(255))
        save_png(tmp_path / "p" / f"{case.id}.{'jpg' if kind == 'JPEG' else 'png'}", pixels)
    summary = evaluate_folder(tmp_path / "p", dataset, tmp_path / "e", splits=SPLITS)
    assert summary[0].metrics["dice"].mean == 1
    predictions = FolderPredictions(tmp_path / "p", dataset)
    for case in dataset.cases:
        assert case.label is not None
        ids, geometry = read_label(case.label, dataset)
        found = predictions.of(case, read_header(case.label).shape, geometry).probability.argmax(axis=0)
        np.testing.assert_array_equal(found, ids)
    assert any("holds class ids in place of" in said for said in take_notes()) == (kind in ("ids", "one bit"))


def test_class_ids_that_may_mean_something_else_are_refused(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data", classes=3)
    save_json(root / "dataset.json", {"classes": ["a", "b", "c"], "values": {"0": 1, "1": 0, "2": 2}, "ignore": 255})
    dataset = open_dataset(root)
    save_png(tmp_path / "case000.png", np.full((32, 32), 3, np.uint8))
    for read in (
        lambda: FolderPredictions(tmp_path, dataset, dataset.cases[:1]).of(
            dataset.cases[0], (32, 32), read_header(root / "masks/case000.png").geometry
        ),
        lambda: evaluate_folder(tmp_path, dataset, tmp_path / "e", splits=["train"]),
    ):
        with pytest.raises(DataError):
            read()


def test_cases_that_differ_in_capitals_are_noted(tmp_path: Path) -> None:
    root = build_folder(tmp_path, splits=False)
    for place in ("images", "masks"):
        (root / place / "case001.png").rename(root / place / "Case000.png")
    take_notes()
    open_dataset(root)
    assert any("has the cases Case000 and case000, whose files are one" in said for said in take_notes())


@pytest.mark.parametrize(
    ("ids", "pattern"),
    [
        ([f"patient{i // 3:03d}_slice{i % 3:02d}" for i in range(12)], "^(patient[0-9]+)"),
        ([f"P{i // 3:02d}-{i % 3:02d}" for i in range(12)], "^(P[0-9]+)"),
        ([f"case_{i // 3}_slice_{i % 3}" for i in range(12)], "^(case_[0-9]+)"),
        ([f"BraTS20_Training_{i // 3:03d}_{i % 3}" for i in range(12)], "^(BraTS[0-9]+_Training_[0-9]+)"),
        ([f"{i // 3}_{i % 3}" for i in range(12)], "^([0-9]+)"),
        ([f"img_{i:03d}" for i in range(12)], None),
        ([f"ISIC_{i:07d}_1" for i in range(12)], None),
        ([f"cju{i // 3}qkwl35piu{i}" for i in range(12)], None),
    ],
)
def test_patients_on_both_sides_of_a_split_are_hinted_at(tmp_path: Path, ids: list[str], pattern: str | None) -> None:
    root = build_folder(tmp_path, n=12, splits=False)
    for i, id in enumerate(ids):
        for place in ("images", "masks"):
            (root / place / f"case{i:03d}.png").rename(root / place / f"{id}.png")
    take_notes()
    open_dataset(root)
    said = [sentence for sentence in take_notes() if "several splits" in sentence]
    assert len(said) == (pattern is not None)
    if pattern:
        assert f"`patient_pattern` '{pattern}'" in said[0]
        dataset = open_dataset(root, patient_pattern=pattern)  # what the note says to do
        assert not take_notes()
        by_patient = {
            case.patient: {other.split for other in dataset.cases if other.patient == case.patient} for case in dataset.cases
        }
        assert len(by_patient) == 4 and all(len(splits) == 1 for splits in by_patient.values())
        save_json(root / "dataset.json", {"patients": {id: id for id in ids}})
        open_dataset(root)
        assert not take_notes(), "the data set says who the patients are"


def test_plain_images_are_still_found(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path)
    assert dataset_or_images(root / "imagesTs", "segmentation", {}) == root / "imagesTs"
