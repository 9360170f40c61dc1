"""Audit and repair as a user meets them: what is found, what is written, what is refused, and that sources stay as they are."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from tests.datasets import build_folder, build_manifest, build_npz, save_json, save_nifti, save_png, save_rows
from tests.e2e.conftest import Command

from debride.audit.findings.record import read_record
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]

SMALL = ["--epochs", 1, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--image-size", 32, 32]
QUICK = ["--planted", 6, "--pictures", 0]
KINDS = ("missing", "extra", "swap", "flip", "shift", "boundary")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def right_label(rng: np.random.Generator, shape: tuple[int, ...]) -> Label:
    """Two ellipses (of classes 1 and 2) and a small one (of class 1), side by side: no mirror image of itself."""
    height, width = shape[-2:]
    y, x = np.mgrid[:height, :width]
    label = np.zeros(shape, np.uint8)
    for value, cy, cx, ry, rx in ((1, 0.35, 0.25, 0.16, 0.12), (2, 0.62, 0.42, 0.12, 0.2), (1, 0.2, 0.7, 0.08, 0.08)):
        cy, cx = (cy + rng.normal(0, 0.02)) * height, (cx + rng.normal(0, 0.02)) * width
        inside = ((y - cy) / (ry * height)) ** 2 + ((x - cx) / (rx * width)) ** 2 < rng.uniform(0.8, 1.2)
        label[..., inside] = value
    if len(shape) == 3:
        label[:2], label[-2:] = 0, 0
    return label


def with_error(label: Label, kind: str) -> Label:
    """A label with one error."""
    wrong = label.copy()
    height, width = label.shape[-2:]
    if kind == "missing":
        wrong[..., : height // 2, width // 2 + 3 :] = 0
    elif kind == "extra":
        place = np.zeros(label.shape, bool)
        place[..., -10:-3, -10:-3] = (label > 0).any(axis=(-2, -1), keepdims=True)
        wrong[place] = 1
    elif kind == "swap":
        wrong = np.array([0, 2, 1], np.uint8)[label]
    elif kind == "flip":
        wrong = label[..., ::-1].copy()
    elif kind == "shift":
        wrong = np.roll(label, (height // 6, width // 6), (-2, -1))
    elif kind == "boundary":
        size = (1,) * (label.ndim - 2) + (9, 9)
        grown = ndimage.grey_dilation(np.where(label == 2, 2, 0), size=size)
        wrong = np.where((label == 0) & (grown > 0), np.uint8(2), label)
    return wrong


def probability_of(label: Label, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """What a good network says: soft outlines, a little noise."""
    sharp = np.stack([label == value for value in range(3)]).astype(np.float32)
    soft = ndimage.gaussian_filter(sharp, (0,) * (label.ndim - 1) + (1, 1)) + rng.random(sharp.shape) * 0.05 + 1e-3
    shares: npt.NDArray[np.float32] = (soft / soft.sum(axis=0)).astype(np.float32)
    return shares


def picture_set(root: Path, n: int = 30, size: int = 40, every: int = 5) -> dict[str, str]:
    """A data set of pictures in ``data``, each ``every``-th with an error, probabilities in ``probability``; two per patient.
    Returns the kinds by case."""
    rng, rows = np.random.default_rng(0), []
    errors: dict[str, str] = {}
    for at in range(n):
        label, name = right_label(rng, (size, size)), f"p{at // 2:02d}_{at}"
        image = 60 + 70 * label + rng.normal(0, 6, label.shape)
        save_png(root / "data" / "images" / f"{name}.png", image.clip(0, 255).astype(np.uint8))
        (root / "probability").mkdir(exist_ok=True)
        np.save(root / "probability" / f"{name}.npy", probability_of(label, rng))
        if every and at % every == every - 1:
            errors[name] = KINDS[len(errors) % len(KINDS)]
        save_png(root / "data" / "masks" / f"{name}.png", with_error(label, errors.get(name, "")))
        row = {"case": name, "patient": name[:3], "image": f"images/{name}.png", "label": f"masks/{name}.png"}
        rows.append({**row, "split": "train" if at % 4 else "val", "trusted": "0"})
    save_rows(root / "data" / "manifest.csv", rows)
    save_json(root / "data" / "dataset.json", {"classes": ["background", "round", "flat"]})
    return errors


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def about(audit: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((audit / "audit.json").read_text())
    return value


def refused(answer: Any, *words: str) -> None:
    """One message, code 2, no traceback (the fixture looks for one)."""
    assert answer.code == 2, answer.err
    *_, line = answer.err.strip().splitlines()  # after what a training says
    assert line.startswith("debride: ") and answer.err.count("debride: ") == 1
    for word in words:
        assert word in line, line


class Audited:
    """Pictures with errors, and an audit of them by a folder of probabilities; the name of a case, to be trusted later."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.audit = root, root / "data", root / "audit"
        self.errors = picture_set(root)
        self.before = contents(self.data)
        self.trusted = root / "trusted.txt"
        self.trusted.write_text("p02_4\n")

    def dataset(self) -> Any:
        return open_dataset(self.data)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    from debride.cli import main

    done = Audited(tmp_path_factory.mktemp("audited"))
    words = ["audit", done.data, "--predictions", done.root / "probability", "--out", done.audit]
    assert main([str(word) for word in words]) == 0
    return done


# ---------------------------------------------------------------- by a folder of probabilities


def test_planted_errors_are_found_first(audited: Audited) -> None:
    cases = table(audited.audit / "cases.csv")
    assert [int(row["rank"]) for row in cases] == list(range(1, 31))
    assert {row["case"] for row in cases[: len(audited.errors)]} == set(audited.errors)
    first = {row["case"]: row for row in cases}
    for case, kind in audited.errors.items():
        assert (first[case]["kind"], first[case]["flagged"]) == (kind, "1"), case
        assert float(first[case]["wrong"]) > 0.5
    assert sum(row["flagged"] == "1" for row in cases) == len(audited.errors)
    wrong = [float(row["wrong"]) for row in cases]
    assert wrong == sorted(wrong, reverse=True)
    dataset = {case.id: case for case in audited.dataset().cases}
    for row in cases:
        case = dataset[row["case"]]
        assert (row["patient"], row["split"], row["trusted"]) == (case.patient, case.split, str(int(case.trusted)))


def test_the_folder_of_an_audit_is_whole(audited: Audited) -> None:
    record = read_record(audited.audit)
    cases = {case.id: case for case in audited.dataset().cases}
    assert set(record.labels) == set(cases) and record.ndim == 2 and record.classes == ("background", "round", "flat")
    summary = about(audited.audit)["summary"]
    low, high = summary["share_wrong_interval"]
    assert (summary["cases"], summary["flagged"]) == (30, len(audited.errors))
    assert 0 <= low <= summary["share_wrong"] <= high <= 1
    assert summary["share_wrong"] == pytest.approx(len(audited.errors) / 30, abs=0.08)
    assert "Nothing tells whether" in about(audited.audit)["predictions"]["warning"]
    maps = {path.name for path in (audited.audit / "proposals").iterdir()}
    assert maps == {f"{case}.npz" for case in record.by_case()}
    pictures = {path.name for path in (audited.audit / "pictures").iterdir()}
    assert pictures == {f"{finding.case}-{finding.number}.png" for finding in record.findings}
    for case, findings in record.by_case().items():
        label = read_label(cases[case].label, audited.dataset())[0]
        with np.load(audited.audit / "proposals" / f"{case}.npz", allow_pickle=False) as arrays:
            number, proposed = arrays["number"], arrays["proposed"]
        assert (number.dtype, proposed.dtype, number.shape) == (np.uint16, np.uint8, label.shape)
        for finding in findings:
            at = number == finding.number
            assert finding.voxels == np.count_nonzero(at) and (label[at] != proposed[at]).all()
    scores = table(audited.audit / "scores.csv")
    assert [(row["case"], row["class"]) for row in scores[:2]] == [
        (table(audited.audit / "cases.csv")[0]["case"], name) for name in ("round", "flat")
    ]
    assert len(scores) == 60
    assert len(table(audited.audit / "worklist" / "worklist.csv")) == len(record.findings)
    page = (audited.audit / "report.html").read_text(encoding="utf-8")
    assert all(case in page for case in audited.errors)
    leftover = [path for path in audited.audit.rglob("*") if path.name.startswith(".tmp-")]
    assert leftover == []


def test_a_trusted_label_is_not_called_wrong(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", "--out", tmp_path / "a"]
    answer = debride(*words, "--trusted", audited.trusted)
    assert answer.code == 0, answer.err
    assert "29 labels and 1 trusted ones, about" in answer.out
    before, after = ({row["case"]: row for row in table(folder / "cases.csv")} for folder in (audited.audit, tmp_path / "a"))
    (trusted,) = (row for row in after.values() if row["trusted"] == "1")
    assert trusted["case"] == "p02_4" and before["p02_4"]["flagged"] == "1"
    assert (trusted["wrong"], trusted["flagged"], trusted["kind"], trusted["findings"]) == ("0", "0", "", "0")
    assert list(after) == list(before) and all(after[case]["score"] == before[case]["score"] for case in after)
    assert {case for case, row in after.items() if row["flagged"] == "1"} == set(audited.errors) - {"p02_4"}
    summary = about(tmp_path / "a")["summary"]
    assert summary["flagged"] == len(audited.errors) - 1
    (tmp_path / "all.txt").write_text("\n".join(row for row in before if row not in audited.errors))
    words[-1] = tmp_path / "b"
    assert debride(*words, *QUICK, "--trusted", tmp_path / "all.txt", "--fail-on", 0.25).code == 1  # of 6 others
    assert summary["share_wrong"] == pytest.approx(5 / 29, abs=0.1)
    assert "p02_4" not in read_record(tmp_path / "a").by_case()


def test_the_source_is_not_touched(audited: Audited) -> None:
    assert contents(audited.data) == audited.before


def test_a_second_audit_is_the_same_and_not_into_the_same_folder(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", "--out"]
    refused(debride(*words, audited.audit), "holds an audit already")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / ".debride-audit").touch()
    (tmp_path / "cut" / "proposals").mkdir()
    (tmp_path / "cut" / "proposals" / "stale.npz").write_bytes(b"cut off")
    answer = debride(*words, tmp_path / "cut")
    assert answer.code == 0, answer.err
    again, first = contents(tmp_path / "cut"), contents(audited.audit)
    assert again == first


def test_what_the_terminal_says(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", "--out", tmp_path / "a", "--pictures", 2]
    answer = debride(*words, "--fail-on", 0.1)
    assert answer.code == 1  # 6 of 30
    assert "30 labels, about" in answer.out and f"{len(audited.errors)} flagged" in answer.out
    assert all(case in answer.out for case in audited.errors) and str(tmp_path / "a" / "report.html") in answer.out
    assert len(list((tmp_path / "a" / "pictures").iterdir())) == 2
    assert debride(*words[:4], "--out", tmp_path / "b", *QUICK, "--fail-on", 1).code == 0
    assert not (tmp_path / "b" / "pictures").exists() and (tmp_path / "b" / "report.html").exists()


def test_splits_and_partial_predictions(audited: Audited, debride: Command, tmp_path: Path) -> None:
    shutil.copytree(audited.root / "probability", tmp_path / "some")
    gone = sorted(audited.errors)[:2]
    for case in gone:
        (tmp_path / "some" / f"{case}.npy").unlink()
    words = ["audit", audited.data, "--predictions", tmp_path / "some", "--out", tmp_path / "a"]
    refused(debride(*words), "has no prediction for 2 of 30 cases", gone[0])
    assert not (tmp_path / "a" / "audit.json").exists()
    assert debride(*words, "--partial", *QUICK).code == 0
    assert {row["case"] for row in table(tmp_path / "a" / "cases.csv")}.isdisjoint(gone)
    assert about(tmp_path / "a")["summary"]["cases"] == 28
    val = [case.id for case in audited.dataset().of("val")]
    assert debride(*words[:5], tmp_path / "v", "--splits", "val", "--partial", *QUICK).code == 0
    assert {row["case"] for row in table(tmp_path / "v" / "cases.csv")} == set(val) - set(gone)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def change(how: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda path: np.save(path, how(np.load(path)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change(lambda p: p[:, :-1]), "shape"),
        (change(lambda p: p[:2]), ""),
        (change(lambda p: np.where(p > 0.9, np.nan, p)), "p02_5"),
        (change(np.log), "p02_5"),
        (change(lambda p: p * 0.5), "p02_5"),
        (change(lambda p: np.array([{"a": 1}], object)), "p02_5"),
        (truncate, "p02_5"),
        (lambda path: path.write_bytes(b""), "p02_5"),
    ],
    ids=["shape", "classes", "nan", "logits", "sum", "objects", "cut off", "empty"],
)
def test_unusable_predictions_are_refused(
    damage: Callable[[Path], None], words: str, audited: Audited, debride: Command, tmp_path: Path
) -> None:
    shutil.copytree(audited.root / "probability", tmp_path / "p")
    damage(tmp_path / "p" / "p02_5.npy")
    answer = debride("audit", audited.data, "--predictions", tmp_path / "p", "--out", tmp_path / "a", *QUICK)
    refused(answer, "p02_5.npy", words)
    assert not (tmp_path / "a" / "audit.json").exists()


def test_an_audit_that_was_refused_can_be_done_again(audited: Audited, debride: Command, tmp_path: Path) -> None:
    shutil.copytree(audited.root / "probability", tmp_path / "p")
    truncate(tmp_path / "p" / "p14_29.npy")
    words = ["audit", audited.data, "--predictions", tmp_path / "p", "--out", tmp_path / "a", *QUICK]
    refused(debride(*words), "p14_29.npy")
    shutil.copy(audited.root / "probability" / "p14_29.npy", tmp_path / "p")
    assert debride(*words).code == 0


def test_refusals(audited: Audited, debride: Command, tmp_path: Path) -> None:
    maps = audited.root / "probability"
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")

    def audit(*words: object, out: object = tmp_path / "a", data: object = audited.data) -> Any:
        return debride("audit", data, "--out", out, *words)

    refused(audit("--predictions", maps, out=tmp_path / "used"), "is not empty")
    refused(audit("--predictions", maps, out=tmp_path / "file"), "is a file")
    refused(audit("--predictions", maps, out=tmp_path / "file" / "a"))
    refused(audit("--predictions", maps, out=audited.data / "audit"), "lies in the data set")
    refused(audit("--predictions", maps, out=maps), "lies in the folder of predictions")
    refused(audit("--predictions", maps, out=maps / "a"), "lies in the folder of predictions")
    refused(audit("--predictions", maps, data=tmp_path / "none"), str(tmp_path / "none"))
    refused(audit("--predictions", tmp_path / "none"), "is no folder")
    refused(audit("--run", maps), "holds no training")
    refused(audit("--run", maps, out=maps / "a"), "lies in the folder of predictions")
    refused(audit("--run", tmp_path / "none"), "holds no training")
    refused(audit("--predictions", maps, "--fail-on", 1.5), "--fail-on")
    refused(audit("--predictions", maps, "--fail-on", "nan"), "--fail-on")
    refused(audit("--predictions", maps, "--planted", 0), "--planted")
    refused(audit("--predictions", maps, "--least", 0), "--least")
    refused(audit("--predictions", maps, "--pictures", -1), "--pictures")
    refused(audit("--predictions", maps, "--splits", "test"), "has no labelled case")
    refused(audit("--predictions", maps, "--identities"), "--identities")
    refused(audit("--predictions", maps, "--consensus", "staple"), "--consensus")
    refused(audit("--method", "nothing"), "--method")
    refused(audit("--folds", 1), "--folds")
    refused(audit("--folds", 16), "of 15 patient")
    refused(audit("--config", tmp_path / "none.yaml"), "none.yaml")
    refused(audit("--predictions", maps, data=build_npz(tmp_path / "classes")), "classification")
    assert audit("--predictions", maps, "--run", maps).code == 2
    assert audit("--predictions", maps, "--consensus", "mean").code == 2
    assert not (tmp_path / "a" / "audit.json").exists()
    assert (tmp_path / "used" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert contents(audited.data) == audited.before


def test_what_an_audit_predicted_is_for_other_folders(audited: Audited, debride: Command, tmp_path: Path) -> None:
    """Also where that audit was cut off, whose folder may be written to."""
    kept = tmp_path / "cut" / "predictions"
    shutil.copytree(audited.root / "probability", kept)
    (tmp_path / "cut" / ".debride-audit").touch()
    before = contents(kept)
    words = ["audit", audited.data, "--predictions", kept, *QUICK, "--out"]
    refused(debride(*words, tmp_path / "cut"), "holds the folder of predictions")
    refused(debride(*words, kept / ".." / "predictions" / "a"), "lies in the folder of predictions")
    assert debride(*words, tmp_path / "other").code == 0
    assert contents(kept) == before


def test_masks_by_case_are_predictions_too(audited: Audited, debride: Command, tmp_path: Path) -> None:
    for path in (audited.root / "probability").iterdir():
        save_png(tmp_path / "masks" / f"{path.stem}.png", np.load(path).argmax(axis=0).astype(np.uint8))
    answer = debride("audit", audited.data, "--predictions", tmp_path / "masks", "--out", tmp_path / "a", "--pictures", 0)
    assert answer.code == 0, answer.err
    first = {row["case"] for row in table(tmp_path / "a" / "cases.csv")[: len(audited.errors)]}
    assert len(first & set(audited.errors)) >= len(audited.errors) - 1


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


# ---------------------------------------------------------------- by networks


def test_by_a_run(debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=10, size=32)
    train = debride("train", "ce", tmp_path / "data", "--out", tmp_path / "run", *SMALL, "--no-tensorboard")
    assert train.code == 0, train.err
    words = ["audit", tmp_path / "data", "--run", tmp_path / "run", "--out", tmp_path / "a", "--device", "cpu"]
    answer = debride(*words)
    assert answer.code == 0, answer.err
    told = about(tmp_path / "a")["predictions"]
    assert told["runs"] == [str((tmp_path / "run").resolve())]
    trained = [case.id for case in open_dataset(tmp_path / "data").of("train")]
    assert f"trained on the labels of {len(trained)} of these 10 cases" in told["warning"]
    assert sorted(row["case"] for row in table(tmp_path / "a" / "cases.csv") if row["seen"] == "1") == sorted(trained)
    first = contents(tmp_path / "a")
    (tmp_path / "a" / "audit.json").unlink()  # as if it had been cut off: what was predicted is kept
    before = (tmp_path / "a" / "predictions" / "p00_0.npz").stat().st_mtime_ns
    assert debride(*words).code == 0
    assert contents(tmp_path / "a") == first
    assert (tmp_path / "a" / "predictions" / "p00_0.npz").stat().st_mtime_ns == before
    (tmp_path / "a" / "audit.json").unlink()
    other = debride("train", "ce", tmp_path / "data", "--out", tmp_path / "other", *SMALL, "--no-tensorboard", "--seed", 1)
    assert other.code == 0
    assert debride(*words[:3], tmp_path / "other", *words[4:]).code == 0  # another network: predicted anew
    assert (tmp_path / "a" / "predictions" / "p00_0.npz").stat().st_mtime_ns != before


def test_by_cross_validation(debride: Command, tmp_path: Path) -> None:
    """Two folds; cut off after the first and begun again; then all there."""
    picture_set(tmp_path, n=10, size=32)
    before = contents(tmp_path / "data")
    words = ["audit", tmp_path / "data", "--out", tmp_path / "a", "--folds", 2, *SMALL]
    answer = debride(*words)
    assert answer.code == 0, answer.err
    assert contents(tmp_path / "data") == before
    runs = [tmp_path / "a" / "cross-validation" / f"fold-{number}" for number in (1, 2)]
    assert sorted(about(tmp_path / "a")["predictions"]["runs"]) == [str(run.resolve()) for run in runs]
    assert "warning" not in about(tmp_path / "a")["predictions"]
    assert {row["seen"] for row in table(tmp_path / "a" / "cases.csv")} == {"0"}
    trained = [{name for name, *_ in json.loads((run / "run.json").read_text())["train"]} for run in runs]
    assert trained[0].isdisjoint(trained[1]) and len(trained[0] | trained[1]) == 10
    assert {name[:3] for name in trained[0]}.isdisjoint(name[:3] for name in trained[1])
    kept = {path.stem for path in (tmp_path / "a" / "predictions").glob("*.npz")}
    assert len(kept) == 10
    first = contents(tmp_path / "a")

    (tmp_path / "a" / "audit.json").unlink()
    shutil.rmtree(runs[1])  # killed in the second training
    shutil.rmtree(tmp_path / "a" / "predictions")
    weights = (runs[0] / "weights").stat().st_mtime_ns
    answer = debride(*words)
    assert answer.code == 0, answer.err
    assert (runs[0] / "weights").stat().st_mtime_ns == weights
    again = contents(tmp_path / "a")
    for name in ("cases.csv", "scores.csv", "findings.jsonl", "audit.json"):
        assert again[name] == first[name], name

    (tmp_path / "a" / "audit.json").unlink()
    refused(debride(*words[:5], 5, *SMALL), "fold-1")  # another cross-validation
    refused(debride(*words, "--width", 8), "fold-1")


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


# ---------------------------------------------------------------- repair


def test_repair_and_back_bit_for_bit(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["repair", audited.data, audited.audit, "--out", tmp_path / "fixed", "--accept", "all"]
    answer = debride(*words, "--flagged", "--allow-removal", "--trusted", audited.trusted, "--trusted-too")
    assert answer.code == 0, answer.err
    fixed, given = open_dataset(tmp_path / "fixed"), audited.dataset()
    for old, new in zip(given.cases, fixed.cases, strict=True):
        assert old.label is not None and new.label is not None
        predicted = np.load(audited.root / "probability" / f"{old.id}.npy").argmax(axis=0)
        before, after = (read_label(path, given)[0] for path in (old.label, new.label))
        if old.id in audited.errors:
            assert (after != predicted).mean() < 0.5 * (before != predicted).mean() and (after != predicted).mean() < 0.03
        else:
            assert old.label.read_bytes() == new.label.read_bytes()
    back = debride("repair", tmp_path / "fixed", "--reverse", "--out", tmp_path / "given")
    assert back.code == 0, back.err
    restored = contents(tmp_path / "given")
    assert {name: restored[name] for name in audited.before if name.startswith(("masks", "images"))} == {
        name: value for name, value in audited.before.items() if name.startswith(("masks", "images"))
    }
    assert contents(audited.data) == audited.before
    refused(debride(*words), "")


def test_trusted_cases_are_left_alone(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["repair", audited.data, audited.audit, "--out", tmp_path / "f", "--accept", "all", "--allow-removal"]
    assert "p02_4" in read_record(audited.audit).by_case() and debride(*words, "--trusted", audited.trusted).code == 0
    assert (tmp_path / "f" / "masks" / "p02_4.png").read_bytes() == (audited.data / "masks" / "p02_4.png").read_bytes()
    changed = [name for name, value in contents(tmp_path / "f" / "masks").items() if audited.before[f"masks/{name}"] != value]
    assert {f"{case}.png" for case in audited.errors} - {"p02_4.png"} <= set(changed)


def test_decisions_overrule(audited: Audited, debride: Command, tmp_path: Path) -> None:
    record = read_record(audited.audit)
    chosen = next(case for case, kind in audited.errors.items() if kind == "swap")
    (finding, *_) = record.by_case()[chosen]
    save_rows(tmp_path / "d.csv", [{"case": chosen, "number": str(finding.number), "decision": "accept"}])
    words = ["repair", audited.data, audited.audit, "--decisions", tmp_path / "d.csv", "--out"]
    assert debride(*words, tmp_path / "one").code == 0
    changed = [name for name, value in contents(tmp_path / "one" / "masks").items() if audited.before[f"masks/{name}"] != value]
    assert changed == [f"{chosen}.png"]
    save_rows(tmp_path / "d.csv", [{"case": chosen, "number": str(finding.number), "decision": "reject"}])
    assert debride(*words, tmp_path / "rest", "--accept", "all", "--allow-removal").code == 0
    assert (tmp_path / "rest" / "masks" / f"{chosen}.png").read_bytes() == audited.before[f"masks/{chosen}.png"]


def test_repair_refusals(audited: Audited, debride: Command, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("case,number,decision\nnobody,1,accept\n")

    def repair(*words: object) -> Any:
        return debride("repair", *words, "--out", tmp_path / "f")

    refused(repair(audited.data), "AUDIT", "is missing")
    refused(repair(audited.data, audited.audit), "--accept")
    refused(repair(audited.data, audited.audit, "--accept", "mising"), "Did you mean missing?")
    refused(repair(audited.data, audited.audit, "--accept", "all", "--class", "square"), "--class")
    refused(repair(audited.data, audited.audit, "--accept", "all", "--confidence", 2), "--confidence")
    refused(repair(audited.data, audited.audit, "--decisions", tmp_path / "d.csv"), "nobody")
    refused(repair(audited.data, audited.root / "probability", "--accept", "all"), "no audit.json")
    refused(repair(audited.data, "--reverse"), "")
    refused(repair(audited.data, audited.audit, "--reverse"), "--reverse")
    refused(repair(build_folder(tmp_path / "other", classes=3), audited.audit, "--accept", "all"), "")
    shutil.copytree(audited.data, tmp_path / "changed")
    case = next(iter(audited.errors.keys() - {"p02_4"}))
    save_png(tmp_path / "changed" / "masks" / f"{case}.png", np.zeros((40, 40), np.uint8))
    refused(repair(tmp_path / "changed", audited.audit, "--accept", "all"), "changed since the audit", case)
    shutil.copytree(audited.audit, tmp_path / "damaged")
    truncate(tmp_path / "damaged" / "proposals" / f"{case}.npz")
    refused(repair(audited.data, tmp_path / "damaged", "--accept", "all"), f"{case}.npz")
    (tmp_path / "damaged" / "findings.jsonl").write_text("{")
    refused(repair(audited.data, tmp_path / "damaged", "--accept", "all"), "findings.jsonl")
    assert not (tmp_path / "f").exists()


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize("verb", ["audit", "repair"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = f"""
import sys
from debride.cli import main
assert main([{verb!r}, "--help"]) == 0
loaded = {{"torch", "monai", "numpy", "scipy", "sklearn", "lightning_fabric", "matplotlib"}} & set(sys.modules)
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def no_arrays(value: object) -> bool:
    """Whether nothing of more than a number is held."""
    if isinstance(value, dict):
        return all(map(no_arrays, value.values()))
    return value is None or (isinstance(value, (int, float, str)) and not isinstance(value, np.ndarray))


def test_no_array_is_kept_between_the_passes(
    audited: Audited, debride: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from debride.audit.evidence import ranking

    seen: list[Sequence[Any]] = []
    rank = ranking.rank

    def spy(given: Any, planted: Any, *others: Any) -> Any:
        seen.extend((given, planted))
        return rank(given, planted, *others)

    monkeypatch.setattr("debride.audit.passes.rank", spy)
    words = ["--predictions", audited.root / "probability", "--out", tmp_path / "a", "--pictures", 0, "--planted", 5]
    assert debride("audit", audited.data, *words).code == 0
    given, planted = seen
    assert len(given) == len(planted) == 30
    assert sum(bool(each) for each in planted) == 5
    assert all(no_arrays(each) for each in (*given, *planted))
