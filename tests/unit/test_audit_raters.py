"""What an audit of raters writes: its tables and its consensus, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, save_json, save_nifti, save_png, save_rows
from tests.several_raters import random_labels, rows_of

from debride.audit.raters.compare import audit_raters, write_consensus
from debride.audit.raters.consensus import majority, staple
from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.types import IGNORE, DataError


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_of_an_audit(tmp_path):
    data = open_dataset(build_manifest(tmp_path / "data"))
    before = {path: path.read_bytes() for path in data.root.rglob("*") if path.is_file()}
    seen = []
    out = tmp_path / "out"
    summary = audit_raters(data, out, identities=True, consensus="staple", progress=lambda *step: seen.append(step))
    assert {path.name for path in out.iterdir()} == {
        "agreement.csv",
        "raters.csv",
        "raters.md",
        "raters.json",
        "staple.csv",
        "consensus",
    }
    assert seen == [(i, 8) for i in range(1, 9)]
    rows = read_rows(out / "agreement.csv")
    assert [(line["image"], line["rater"]) for line in rows] == [(f"scan{i}", f"rater{j}") for i in range(4) for j in (1, 2, 3)]
    labels = np.stack([read_label(case.label, data)[0] for case in data.cases[:3]])
    assert [float(line["dice_to_others"]) for line in rows[:3]] == pytest.approx([r.dice_to_others for r in rows_of(labels, 2)])
    assert {line["rater"] for line in read_rows(out / "raters.csv")} == {"rater1", "rater2", "rater3"}
    assert json.loads((out / "raters.json").read_text()) == summary
    assert (summary["images"], summary["labels"], summary["single"], summary["rejected"]) == (4, 12, 0, 0)
    assert "| all | 1 | rater" in (out / "raters.md").read_text()
    estimated = read_rows(out / "staple.csv")
    assert len(estimated) == 12 and all(0.5 < float(line["sensitivity"]) <= 1 for line in estimated)
    assert {path: path.read_bytes() for path in data.root.rglob("*") if path.is_file()} == before


def test_without_identities_there_is_no_table(tmp_path):
    data = open_dataset(build_manifest(tmp_path / "data"))
    audit_raters(data, tmp_path / "out", identities=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"agreement.csv", "raters.md", "raters.json"}
    assert "no table of raters" in (tmp_path / "out/raters.md").read_text()


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_the_consensus_opens_with_one_case_per_image(tmp_path, method):
    data = open_dataset(build_manifest(tmp_path / "data"))
    performance = write_consensus(data, tmp_path / "out", method)
    assert len(performance) == (12 if method == "staple" else 0)
    found = open_dataset(tmp_path / "out")
    assert not find_problems(tmp_path / "out")
    assert [case.id for case in found.cases] == [f"scan{i}" for i in range(4)]
    assert [case.split for case in found.cases] == ["train", "train", "val", "val"]
    assert [case.patient for case in found.cases] == ["P0", "P0", "P1", "P1"]
    assert not any(case.trusted or case.rater for case in found.cases)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"images", "labels", "manifest.csv", "dataset.json"}
    for i, case in enumerate(found.cases):
        labels = np.stack([read_label(each.label, data)[0] for each in data.cases[3 * i : 3 * i + 3]])
        expected = majority(labels, 2) if method == "majority" else staple(labels, 2).label
        assert case.label.name == f"scan{i}.png"
        assert np.array_equal(read_label(case.label, found)[0], expected)
        assert not any(np.array_equal(expected, label) for label in (labels[0], labels[2]))


def test_volumes_keep_their_geometry_their_meaning_and_pixels_without_a_label(tmp_path):
    root = tmp_path / "data"
    rows = []
    labels = random_labels(10, 3, (4, 9, 8), 3).astype(np.int16)
    labels[labels == IGNORE] = 9
    labels[:, 0, 0, 0] = 9
    save_nifti(root / "images/a.v1.nii.gz", np.zeros((4, 9, 8), np.int16))
    for i, label in enumerate(labels):
        save_nifti(root / f"r{i}/a.v1.nii.gz", label)
        rows.append(
            {"case": "a.v1", "image": "images/a.v1.nii.gz", "label": f"r{i}/a.v1.nii.gz", "rater": f"r{i}", "split": "train"}
        )
    save_nifti(root / "images/b.nii.gz", np.zeros((4, 9, 8), np.int16))
    rows += [{"case": "b", "image": "images/b.nii.gz", "label": "", "rater": rater, "split": "test"} for rater in ("r0", "r1")]
    save_rows(root / "manifest.csv", rows)
    save_json(root / "dataset.json", {"classes": ["background", "x", "y|z"], "ignore": 9})
    data = open_dataset(root)
    summary = audit_raters(data, tmp_path / "out", identities=True, consensus="majority")
    assert (summary["images"], summary["labels"]) == (1, 3)
    assert {line["unit"] for line in read_rows(tmp_path / "out/agreement.csv")} == {"mm"}
    table = read_rows(tmp_path / "out/raters.csv")
    assert [line["class_id"] for line in table] == ["", "", "", "1", "1", "1", "2", "2", "2"]
    assert "| y\\|z | 1 |" in (tmp_path / "out/raters.md").read_text()
    found = open_dataset(tmp_path / "out/consensus")
    assert [(case.id, case.label and case.label.name) for case in found.cases] == [("a.v1", "a.v1.nii.gz"), ("b", None)]
    label, geometry = read_label(found.cases[0].label, found)
    assert label[0, 0, 0] == IGNORE
    assert np.array_equal(label, majority(np.where(labels == 9, IGNORE, labels).astype(np.uint8), 3))
    assert geometry == read_label(data.cases[0].label, data)[1]


def test_an_image_with_one_label_is_counted_and_copied(tmp_path):
    root = build_manifest(tmp_path / "data", n=3)
    lines = (root / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join(line for line in lines if not line.startswith("scan1") or "rater2" in line))
    data = open_dataset(root)
    summary = audit_raters(data, tmp_path / "out", identities=False, consensus="staple")
    assert (summary["images"], summary["labels"], summary["single"]) == (2, 6, 1)
    assert (tmp_path / "out/consensus/labels/scan1.png").read_bytes() == (root / "masks/rater2/scan1.png").read_bytes()


@pytest.mark.parametrize("consensus", [None, "staple"])
def test_labels_on_different_grids_are_refused_by_name(tmp_path, consensus):
    root = build_manifest(tmp_path / "data")
    save_png(root / "masks/rater2/scan1.png", np.zeros((30, 32), np.uint8))
    with pytest.raises(DataError, match=r"rater2.scan1\.png: does not lie on the grid of its image.*\(30, 32\)"):
        audit_raters(open_dataset(root), tmp_path / "out", identities=False, consensus=consensus)
    assert not list((tmp_path / "out").glob("*"))


def test_unusable_folders_are_refused(tmp_path):
    data = open_dataset(build_manifest(tmp_path / "data"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(DataError, match="is not empty"):
        audit_raters(data, tmp_path / "full", identities=False)
    with pytest.raises(DataError, match="lies in the data set"):
        audit_raters(data, data.root / "out", identities=False)
    plain = open_dataset(build_folder(tmp_path / "plain"))
    with pytest.raises(DataError, match="no image with the labels of several raters"):
        audit_raters(plain, Path(tmp_path / "new"), identities=False)
