"""Audits of odd labels, of hardly any case, of several raters, and of volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tests.audits import contents, picture_set, probability_of, refused, right_label, table, with_error
from tests.datasets import build_manifest, save_json, save_nifti, save_png
from tests.e2e.conftest import Command

from debride.audit.findings.record import read_record
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.types import IGNORE


def test_odd_labels_go_through(debride: Command, tmp_path: Path) -> None:
    """Labels without an object, of an object everywhere, and without a single labelled pixel."""
    picture_set(tmp_path, n=8, every=0)
    save_json(tmp_path / "data" / "dataset.json", {"classes": ["background", "round", "flat"], "ignore": IGNORE})
    for at, value in enumerate((0, 1, IGNORE)):
        save_png(tmp_path / "data" / "masks" / f"p{at // 2:02d}_{at}.png", np.full((40, 40), value, np.uint8))
    answer = debride("audit", tmp_path / "data", "--predictions", tmp_path / "probability", "--out", tmp_path / "a")
    assert answer.code == 0, answer.err
    cases = {row["case"]: row for row in table(tmp_path / "a" / "cases.csv")}
    assert len(cases) == 8 and cases["p01_2"]["findings"] == "0"


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_case(n: int, debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=n, every=0)
    answer = debride("audit", tmp_path / "data", "--predictions", tmp_path / "probability", "--out", tmp_path / "a")
    assert answer.code == 0, answer.err
    assert read_record(tmp_path / "a").labels.keys() == {row["case"] for row in table(tmp_path / "a" / "cases.csv")}


# ---------------------------------------------------------------- several raters


def manifest_probabilities(data: Path, out: Path) -> None:
    out.mkdir()
    rng = np.random.default_rng(0)
    dataset = open_dataset(data)
    for case in dataset.cases:
        if case.label is not None and case.rater == "rater1":
            label = read_label(case.label, dataset)[0]
            inside = ndimage.gaussian_filter((label == 1).astype(float), 1) * 0.9 + 0.05 * rng.random(label.shape)
            np.save(out / f"{case.id.removesuffix('@rater1')}.npy", np.stack([1 - inside, inside]).astype(np.float32))


def test_several_raters(debride: Command, tmp_path: Path) -> None:
    build_manifest(tmp_path / "data", n=6)
    manifest_probabilities(tmp_path / "data", tmp_path / "p")
    before = contents(tmp_path / "data")
    words = ["audit", tmp_path / "data", "--predictions", tmp_path / "p", "--pictures", 0, "--out"]
    assert debride(*words, tmp_path / "a").code == 0
    assert len(table(tmp_path / "a" / "cases.csv")) == 18
    assert {path.name for path in (tmp_path / "a" / "raters").iterdir()} == {"agreement.csv", "raters.md", "raters.json"}
    assert debride(*words, tmp_path / "b", "--identities", "--consensus", "majority").code == 0
    assert [row["rater"] for row in table(tmp_path / "b" / "raters" / "raters.csv") if row["rater"]]
    consensus = open_dataset(tmp_path / "b" / "raters" / "consensus")
    assert len(consensus.cases) == 6
    assert contents(tmp_path / "data") == before
    (tmp_path / "b" / "audit.json").unlink()  # cut off: the raters are compared anew
    assert debride(*words, tmp_path / "b").code == 0
    assert not (tmp_path / "b" / "raters" / "consensus").exists()


def test_raters_of_one_label_each_are_not_compared(debride: Command, tmp_path: Path) -> None:
    build_manifest(tmp_path / "data", n=6, raters=1)
    manifest_probabilities(tmp_path / "data", tmp_path / "p")
    words = ["audit", tmp_path / "data", "--predictions", tmp_path / "p", "--pictures", 0, "--out", tmp_path / "a"]
    refused(debride(*words, "--consensus", "staple"), "--consensus")
    answer = debride(*words)
    assert answer.code == 0, answer.err
    assert len(table(tmp_path / "a" / "cases.csv")) == 6 and not (tmp_path / "a" / "raters").exists()


# ---------------------------------------------------------------- volumes


def volume_set(root: Path, n: int = 14) -> dict[str, str]:
    rng = np.random.default_rng(3)
    errors: dict[str, str] = {}
    (root / "probability").mkdir(parents=True)
    for at in range(n):
        name, label = f"vol.{at}", right_label(rng, (8, 32, 36))
        image = (100 * label + rng.normal(0, 10, label.shape)).astype(np.int16)
        save_nifti(root / "data" / "imagesTr" / f"{name}_0000.nii.gz", image)
        np.save(root / "probability" / f"{name}.npy", probability_of(label, rng).astype(np.float16))
        if at in (2, 5):
            errors[name] = "missing" if at == 2 else "boundary"
        given = np.where(label == 2, 0, label).astype(np.uint8) if at == 2 else with_error(label, errors.get(name, ""))
        save_nifti(root / "data" / "labelsTr" / f"{name}.nii.gz", given)
    labels = {"background": 0, "round": 1, "flat": 2}
    description = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": n, "file_ending": ".nii.gz"}
    save_json(root / "data" / "dataset.json", description)
    return errors


def test_volumes(debride: Command, tmp_path: Path) -> None:
    errors = volume_set(tmp_path)
    before = contents(tmp_path / "data")
    answer = debride("audit", tmp_path / "data", "--predictions", tmp_path / "probability", "--out", tmp_path / "a")
    assert answer.code == 0, answer.err
    assert contents(tmp_path / "data") == before
    cases = table(tmp_path / "a" / "cases.csv")
    assert {row["case"]: row["kind"] for row in cases[:2]} == errors
    record = read_record(tmp_path / "a")
    for case, kind in errors.items():
        finding = record.by_case()[case][0]
        assert finding.kind == kind and finding.volume == pytest.approx(finding.voxels * 2 * 1.5 / 1000)
        worklist = tmp_path / "a" / "worklist"
        (fiducial, *_) = json.loads((worklist / f"{case}.mrk.json").read_text())["markups"]
        assert len(fiducial["controlPoints"]) == len(record.by_case()[case])
        assert finding.kind in (worklist / f"{case}.txt").read_text()
        volume: Any = nib.load(worklist / f"{case}.nii.gz")
        given: Any = nib.load(tmp_path / "data" / "labelsTr" / f"{case}.nii.gz")
        np.testing.assert_allclose(volume.affine, given.affine)
        with np.load(tmp_path / "a" / "proposals" / f"{case}.npz") as arrays:
            np.testing.assert_array_equal(np.asarray(volume.dataobj).T, arrays["number"])
    answer = debride("repair", tmp_path / "data", tmp_path / "a", "--out", tmp_path / "fixed", "--accept", "all")
    assert answer.code == 0, answer.err
    for case in errors:
        fixed: Any = nib.load(tmp_path / "fixed" / "labelsTr" / f"{case}.nii.gz")
        predicted = np.load(tmp_path / "probability" / f"{case}.npy").astype(np.float32).argmax(axis=0)
        assert (predicted != np.asarray(fixed.dataobj).T).mean() < 0.01
    back = debride("repair", tmp_path / "fixed", "--reverse", "--out", tmp_path / "given")
    assert back.code == 0, back.err
    assert contents(tmp_path / "given" / "labelsTr") == contents(tmp_path / "data" / "labelsTr")
