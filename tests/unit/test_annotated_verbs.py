"""Cases in which one of two organs was drawn, and cases of several sites: what evaluate, audit, repair and corrupt make of
them."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import save_json, save_png
from tests.unit.test_annotated_training import CLASSES, two_organs

from debride.audit.evidence import predicted_classes
from debride.audit.findings import Finding
from debride.audit.gather import find
from debride.audit.raters.compare import audit_raters
from debride.audit.repair.apply import repair
from debride.audit.repair.decisions import Acceptance
from debride.cli import main
from debride.data.masks.annotated import as_drawn
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.evaluation.evaluate import evaluate_folder
from debride.noise import NOISES
from debride.types import Case, DataError, Dataset


def ids_of(dataset: Dataset, case: Case) -> Any:
    assert case.label
    return read_label(case.label, dataset)[0]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def describe(root: Path, **entries: Any) -> None:
    path = root / "dataset.json"
    save_json(path, {**json.loads(path.read_text()), **entries})


def test_evaluate_has_no_value_for_what_was_not_drawn(tmp_path: Path) -> None:
    root = two_organs(tmp_path / "data", {"c6": ["liver"]})
    describe(root, groups={"site": {"c6": "A", "c7": "B"}, "scanner": {"c7": "S"}})
    dataset = open_dataset(root)
    for case in dataset.of("val"):
        label = ids_of(dataset, case)
        prediction = label.copy()
        prediction[:2] = 1  # liver where the whole image says there is none
        prediction[label == 2] = 1 if case.id == "c6" else 2
        save_png(tmp_path / "predictions" / f"{case.id}.png", prediction)
    evaluate_folder(tmp_path / "predictions", dataset, tmp_path / "out", splits=("val",), distances=False)
    lines = rows_of(tmp_path / "out" / "cases.csv")
    assert [(line["case"], line["class"], line["site"], line["scanner"]) for line in lines] == [
        ("c6", "liver", "A", ""),
        ("c7", "liver", "B", "S"),
        ("c7", "spleen", "B", "S"),
    ]
    extra = 24 + 20  # the rows above, and the spleen that was called liver
    first, second = 2 * 24 / (24 + 24 + extra), 2 * 24 / (24 + 24 + 24)
    assert [float(line["dice"]) for line in lines] == pytest.approx([first, second, 1.0], abs=1e-6)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["mean_dice"] == pytest.approx(((first + second) / 2 + 1) / 2)
    a, b = summary["groups"]["site"]
    dice = pytest.approx(first)
    assert a == {"value": "A", "cases": 1, "patients": 1, "Dice": dice, "liver": dice, "spleen": None}
    assert (b["value"], b["spleen"]) == ("B", 1.0)
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "## By site" in page and "| A | 1 | 1 |" in page and "| undefined |" in page and "| – | 1 |" in page


def test_evaluate_says_nothing_of_groups_where_there_are_none(tmp_path: Path) -> None:
    dataset = open_dataset(two_organs(tmp_path / "data", {}))
    shutil.copytree(dataset.root / "masks", tmp_path / "predictions")
    evaluate_folder(tmp_path / "predictions", dataset, tmp_path / "out", splits=("val",), distances=False)
    assert "site" not in (tmp_path / "out" / "cases.csv").read_text()
    assert "groups" not in json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "## By" not in (tmp_path / "out" / "summary.md").read_text()


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A set of which half the labels lack the spleen, which nobody drew there, and one lacks its liver; what a network that
    finds both says of it; and its audit."""
    folder = tmp_path_factory.mktemp("audited")
    root = two_organs(folder / "data", {f"c{n}": ["liver"] for n in (2, 4, 8)}, n=16, size=24)
    describe(root, groups={"site": {f"c{n}": "AB"[n % 2] for n in range(16)}})
    dataset = open_dataset(root)
    for case in dataset.cases:
        label = ids_of(dataset, case)
        save_png(folder / "predictions" / f"{case.id}.png", label)
        if case.annotated == (1,):
            label[label == 2] = 0
        if case.id == "c4":
            label[label == 1] = 0
        save_png(root / "masks" / f"{case.id}.png", label)
    masks, out = folder / "predictions", folder / "audit"
    assert main(["audit", str(root), "--predictions", str(masks), "--out", str(out), "--pictures", "0"]) == 0
    return open_dataset(root), out


def findings(out: Path) -> list[Finding]:
    return [Finding(**json.loads(line)) for line in (out / "findings.jsonl").read_text().splitlines()]


def test_an_audit_misses_nothing_that_nobody_drew(audited: tuple[Dataset, Path]) -> None:
    dataset, out = audited
    found = findings(out)
    assert {finding.case for finding in found} == {"c4"}
    assert {(finding.given, finding.proposed) for finding in found} == {(0, 1)}
    scores = [(line["case"], line["class"]) for line in rows_of(out / "scores.csv")]
    assert len(scores) == 29 and ("c4", "spleen") not in scores and ("c5", "spleen") in scores
    sites = {line["case"]: line["site"] for line in rows_of(out / "cases.csv")}
    assert sites == {case.id: dict(case.groups)["site"] for case in dataset.cases}


def test_what_was_not_drawn_is_missing_where_nothing_is_said_of_it() -> None:
    whole = Case("a", (), None, "a")
    label = np.zeros((24, 24), np.uint8)
    label[3:10, 3:10] = 1
    seen = label.copy()
    seen[14:20, 14:20], seen[3:8, 15:19] = 2, 1
    probability = np.moveaxis(0.9 * np.eye(3, dtype=np.float32)[seen] + 0.1 / 3, -1, 0)

    def missing(case: Case) -> list[tuple[str, int, int]]:
        given, shown = as_drawn(case, label, probability)
        odds = {"missing": 1.0, "any": 1.0}
        found, _, _ = find("a", given, shown, predicted_classes(shown), None, wrong=1.0, odds=odds, typical=0.9, least=0.3)
        return sorted((finding.kind, finding.given, finding.proposed) for finding in found)

    assert missing(whole) == [("missing", 0, 1), ("missing", 0, 2)]
    assert missing(replace(whole, annotated=(1,))) == [("missing", 0, 1)]
    assert missing(replace(whole, annotated=(0,))) == []


def test_repair_never_writes_a_class_that_nobody_drew(audited: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, out = audited
    changed = tmp_path / "audit"
    shutil.copytree(out, changed)
    with np.load(changed / "proposals" / "c4.npz") as file:
        numbers, proposed = file["number"], file["proposed"]
    proposed[numbers > 0] = 2  # as an audit from before would say
    np.savez_compressed(changed / "proposals" / "c4.npz", number=numbers, proposed=proposed)
    accept = Acceptance(kinds=frozenset({"missing", "empty"}), confidence=0.0)
    repair(dataset, changed, tmp_path / "none", accept)
    repair(dataset, out, tmp_path / "repaired", accept)
    for name, values in (("none", [0]), ("repaired", [0, 1])):
        copied = open_dataset(tmp_path / name)
        (case,) = [case for case in copied.cases if case.id == "c4"]
        assert case.annotated == (1,) and np.unique(ids_of(copied, case)).tolist() == values


@pytest.mark.parametrize("name", ["dilate-erode", "swap", "shift", "flip", "missing", "extra"])
def test_noise_neither_touches_nor_makes_what_was_not_drawn(tmp_path: Path, name: str) -> None:
    dataset = open_dataset(two_organs(tmp_path / "data", {f"c{n}": ["liver"] for n in range(0, 6, 2)}, size=20))
    report = corrupt_dataset(dataset, tmp_path / "out", NOISES[name](), seed=0)
    noisy = open_dataset(tmp_path / "out")
    assert [case.annotated for case in noisy.cases] == [case.annotated for case in dataset.cases]
    touched = 0
    for before, after in zip(dataset.cases, noisy.cases, strict=True):
        clean, changed = ids_of(dataset, before), ids_of(noisy, after)
        if before.annotated == (1,):
            np.testing.assert_array_equal(changed == 2, clean == 2)
        touched += int((clean != changed).any())
    assert touched
    if name == "swap":  # with nothing to swap it with the liver stays
        assert report["cases"]["c2"]["dice"] == 1.0 and report["cases"]["c3"]["dice"] == 0.0


def test_raters_who_drew_other_classes_are_not_compared(tmp_path: Path) -> None:
    root = tmp_path / "data"
    label = np.zeros((8, 8), np.uint8)
    label[2:5, 2:5] = 1
    lines = ["case,image,label,rater,annotated,split"]
    for rater, drawn in (("A", "liver"), ("B", "liver"), ("C", "")):
        save_png(root / f"{rater}.png", label)
        lines.append(f"scan,image.png,{rater}.png,{rater},{drawn},train")
    save_png(root / "image.png", label * 100)
    save_json(root / "dataset.json", {"classes": CLASSES})
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="other annotated classes than scan@A"):
        audit_raters(open_dataset(root), tmp_path / "out", identities=False)
    (root / "manifest.csv").write_text("\n".join(lines[:-1]) + "\n")
    audit_raters(open_dataset(root), tmp_path / "out", identities=False)
    assert {line["class_id"] for line in rows_of(tmp_path / "out" / "agreement.csv")} == {"1"}


def test_check_counts_what_was_drawn_and_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = two_organs(tmp_path / "data", {"c0": ["liver"], "c1": ["background", "spleen"]})
    describe(root, groups={"site": {"c0": "A", "c1": "B", "c2": "A"}})
    assert main(["check", str(root)]) == 0
    said = capsys.readouterr()
    assert "annotated, of 8 cases: background in 7, liver in 7, spleen in 7; site: A 2, B 1, none 5." in said.out
    assert "has pixels of spleen, which is not among the annotated classes" in said.err
