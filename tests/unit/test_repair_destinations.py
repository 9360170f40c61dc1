"""Repairs that change no class: pixels without a label, maps of weights, folds without flagged cases, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.audits import contents
from tests.datasets import (
    build_folder,
    build_manifest,
    build_nnunet_2d,
    build_nnunet_3d,
    build_npz,
    save_json,
    save_nifti,
    save_png,
)
from tests.written_audits import ALL, box, given_label, label_files, lines_of, two_findings, write_audit

import debride
from debride.audit.repair import Destination, repair, reverse
from debride.data.check import find_problems
from debride.data.formats.nnunet_folds import drawn_folds
from debride.data.open import open_dataset
from debride.data.pixels.images import read_header, read_values
from debride.types import IGNORE, DataError, Dataset

TO_IGNORE, TO_WEIGHTS = Destination(to="ignore"), Destination(to="weights")
WORDS: dict[str, Any] = {"kind": "missing", "confidence": 0.75}


def audit_of(folder: Path, dataset: Dataset) -> Path:
    """A sure finding and a less sure one in the second training case; flagged are the last training and validation case."""
    case = [case for case in dataset.of("train") if not case.trusted][1]
    shape = given_label(dataset, case.id).shape
    found = [
        (box(shape, (0, 2), *[(0, 5)] * (len(shape) - 1)), 1, WORDS),
        (box(shape, (shape[0] // 2, shape[0] // 2 + 2), *[(3, 30)] * (len(shape) - 1)), 0, {**WORDS, "confidence": 0.25}),
    ]
    flagged = [dataset.of("train")[-1].id, dataset.of("val")[-1].id]
    return write_audit(folder, dataset, {case.id: found}, flagged)


def by_pixels(dataset: Dataset, audit: Path, case: str) -> tuple[Any, Any, int]:
    """The label with IGNORE, the weights, and how many pixels are concerned: pixel by pixel, in plain Python."""
    label, arrays = given_label(dataset, case), np.load(audit / "proposals" / f"{case}.npz")
    confidence = {1: 0.75, 2: 0.25}
    ignored, weights, count = label.copy(), np.full(label.shape, 255), 0
    for place in np.ndindex(label.shape):
        number = int(arrays["number"][place])
        if number and label[place] != arrays["proposed"][place] and label[place] != IGNORE:
            ignored[place] = IGNORE
            weights[place] = round(255 * (1 - confidence[number]))
            count += 1
    return ignored, weights, count


@pytest.mark.parametrize(
    ("build", "value"), [(build_folder, 128), (build_nnunet_2d, 4), (build_nnunet_3d, 3), (build_manifest, 255)]
)
def test_ignored_pixels_lose_their_label_and_come_back(tmp_path: Path, build: Callable[[Path], Path], value: int) -> None:
    source = open_dataset(build(tmp_path / "source"))
    audit = audit_of(tmp_path / "audit", source)
    before = contents(tmp_path / "source")
    summary = repair(source, audit, tmp_path / "out", ALL, TO_IGNORE)
    assert contents(tmp_path / "source") == before and not find_problems(tmp_path / "out")
    copy = open_dataset(tmp_path / "out", seed=7)
    assert (source.ignore, copy.ignore, copy.classes, copy.values) == (None, value, source.classes, source.values)
    (case,) = {case for case, _ in lines_of(tmp_path / "out")}
    expected, _, count = by_pixels(source, audit, case)
    np.testing.assert_array_equal(given_label(copy, case), expected)
    assert count and (summary["to"], summary["voxels"], summary["cases"], summary["guarded"]) == ("ignore", count, 1, 0)
    given, now = label_files(source), label_files(copy)
    assert {id for id in given if given[id] != now[id]} == {case}
    assert reverse(tmp_path / "out", tmp_path / "back") == {"cases": 1}
    back = {name: content for name, content in contents(tmp_path / "back").items() if name in before or "split" not in name}
    assert back == before


@pytest.mark.parametrize("build", [build_folder, build_nnunet_2d, build_nnunet_3d, build_manifest])
def test_weights_lie_beside_labels_that_stay(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    source = open_dataset(build(tmp_path / "source"))
    audit = audit_of(tmp_path / "audit", source)
    summary = repair(source, audit, tmp_path / "out", ALL, TO_WEIGHTS)
    assert label_files(open_dataset(tmp_path / "out")) == label_files(source)
    assert not find_problems(tmp_path / "out")
    line = lines_of(tmp_path / "out")[next(iter(lines_of(tmp_path / "out")))]
    case = next(case for case in source.cases if case.id == line["case"])
    assert case.label is not None
    folder = "weightsTr" if source.format == "nnunet" else "weights"
    name = f"{folder}/{case.id}{''.join(case.label.suffixes)}"
    assert [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out" / folder).iterdir()] == [name]
    assert (line["status"], line["to"], line["weights"]) == ("applied", "weights", name)
    weights, geometry = read_values(tmp_path / "out" / name)
    _, expected, count = by_pixels(source, audit, case.id)
    np.testing.assert_array_equal(weights, expected)
    assert weights.dtype == np.uint8 and geometry == read_header(case.label).geometry
    assert (summary["voxels"], summary["cases"]) == (count, 1)
    repair(source, audit, tmp_path / "none", ALL, replace(TO_WEIGHTS, weight=0.0), jobs=2)
    np.testing.assert_array_equal(read_values(tmp_path / "none" / name)[0], np.where(expected < 255, 0, 255))
    assert reverse(tmp_path / "out", tmp_path / "back") == {"cases": 0}
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)
    assert not (tmp_path / "back" / folder).exists()


def test_folds_are_drawn_as_nnunet_draws_them() -> None:
    """The numbers are those of ``generate_crossval_split`` of nnunetv2 2.8.1, nnunetv2/utilities/crossval_split.py."""
    validated = [["case_005", "case_020"], ["case_001", "case_007"], ["case_002"], ["case_011"], ["case_003"]]
    cases = [f"case_{number:03d}" for number in (3, 1, 11, 7, 2, 20, 5)]
    folds = drawn_folds(cases)
    assert [fold["val"] for fold in folds] == validated
    assert [fold["train"] for fold in folds] == [[id for id in sorted(cases) if id not in val] for val in validated]


def test_flagged_cases_leave_the_folds_and_come_back(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "source")
    folds = [
        {"train": ["p00_s0", "p00_s1", "p01_s0"], "val": ["p01_s1", "p02_s0", "p02_s1"]},
        {"train": ["p01_s1", "p02_s0", "p02_s1"], "val": ["p01_s0", "p00_s1"]},
    ]
    (root / "splits_final.json").write_text(json.dumps(folds))
    before = contents(root)
    source = open_dataset(root)
    changes: Any = {"p00_s1": [(box((32, 32), (0, 3), (0, 4)), 2, WORDS)]}
    audit = write_audit(tmp_path / "audit", source, changes, flagged=["p00_s1", "p02_s0"])
    repaired = debride.repair_dataset(source, audit, tmp_path / "left", leave_out="flagged")
    left = json.loads((tmp_path / "left" / "splits_final.json").read_text())
    assert left == [{name: [id for id in ids if id not in ("p00_s1", "p02_s0")] for name, ids in f.items()} for f in folds]
    assert repaired.summary["applied"] == 0 and repaired.summary["left_out"] == ["p00_s1", "p02_s0"]
    assert "2 cases are in no list of" in repaired.said()[1] and "nnUNet_preprocessed" in repaired.said()[2]
    assert "has no fold 2 3 4: for these nnU-Net draws from all cases" in repaired.said()[3]
    copy = open_dataset(tmp_path / "left")
    assert {case.id for case in copy.of("train")} == {"p00_s0", "p01_s0"}
    assert label_files(source) == label_files(replace(copy, cases=(*copy.cases, *(copy.rest or ()))))
    summary = repair(source, audit, tmp_path / "out", ALL, Destination(to="ignore", leave_out="unrepaired"))
    assert summary["left_out"] == ["p02_s0"]
    every = {case.id: [(box((32, 32), (0, 3), (0, 4)), 2, WORDS)] for case in source.of("train")}
    all_flagged = write_audit(tmp_path / "all", source, every, flagged=list(every))
    with pytest.raises(DataError, match='would have no case in "train" of fold 0'):
        repair(source, all_flagged, tmp_path / "none", ALL, Destination(leave_out="flagged"))
    summary = repair(source, all_flagged, tmp_path / "spared", ALL, Destination(leave_out="unrepaired"))
    assert summary["left_out"] == [] and summary["cases"] == len(every)
    for out in ("left", "out"):
        reverse(tmp_path / out, tmp_path / f"{out}-back")
        assert contents(tmp_path / f"{out}-back") == before


def test_a_data_set_without_folds_gets_those_of_nnunet_without_flagged_cases(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "source")
    (root / "splits_final.json").unlink()
    before = contents(root)
    source = open_dataset(root)
    trained = [case.id for case in source.of("train", "val")]
    doubted = drawn_folds(trained)[0]["val"][0]
    audit = write_audit(tmp_path / "audit", source, {}, flagged=[doubted])
    repair(source, audit, tmp_path / "out", replace(ALL, kinds=frozenset(), nothing=True), Destination(leave_out="flagged"))
    wanted = [{name: [id for id in ids if id != doubted] for name, ids in fold.items()} for fold in drawn_folds(trained)]
    assert json.loads((tmp_path / "out" / "splits_final.json").read_text()) == wanted
    reverse(tmp_path / "out", tmp_path / "back")
    assert contents(tmp_path / "back") == before


def one_bit(path: Path, label: Any) -> None:
    save_png(path, label * 255, "1")


def in_colours(colours: int) -> Callable[[Path, Any], None]:
    def save(path: Path, label: Any) -> None:
        picture = Image.fromarray(label).convert("P")
        picture.putpalette([part for index in range(colours) for part in (index, 3 * index % 256, 0)])
        picture.save(path)

    return save


def as_jpeg(path: Path, label: Any) -> None:
    Image.fromarray(label * 255).save(path.with_suffix(".jpg"))
    path.unlink()


@pytest.mark.parametrize(
    ("save", "values"),
    [(one_bit, [255]), (in_colours(256), [255]), (in_colours(8), range(2, 8)), (as_jpeg, [128])],
)
def test_files_of_masks_hold_the_new_value(tmp_path: Path, save: Any, values: Sequence[int]) -> None:
    root = build_folder(tmp_path / "source")
    black_and_white = open_dataset(root)
    for path in sorted((root / "masks").iterdir()):
        save(path, given_label(black_and_white, path.stem))
    source = open_dataset(root)
    before = contents(root)
    audit = audit_of(tmp_path / "audit", source)
    repair(source, audit, tmp_path / "out", ALL, TO_IGNORE)
    copy = open_dataset(tmp_path / "out")
    (case,) = {case for case, _ in lines_of(tmp_path / "out")}
    assert copy.ignore in values and not find_problems(tmp_path / "out")
    np.testing.assert_array_equal(given_label(copy, case), by_pixels(source, audit, case)[0])
    reverse(tmp_path / "out", tmp_path / "back")
    assert contents(tmp_path / "back") == before


@pytest.mark.parametrize(
    ("kind", "top", "wanted"), [("int8", 127, "uint8"), ("uint8", 255, "uint16"), ("float32", 3, "float32")]
)
def test_volumes_get_a_type_that_holds_the_new_value(tmp_path: Path, kind: str, top: int, wanted: str) -> None:
    root = build_nnunet_3d(tmp_path / "source", classes=2)
    for path in sorted((root / "labelsTr").iterdir()):
        label = nib.load(path).get_fdata().T.astype(np.uint8)
        save_nifti(path, np.where(label == 1, top, 0).astype(kind))
    description = json.loads((root / "dataset.json").read_text())
    save_json(root / "dataset.json", {**description, "labels": {"background": 0, "lesion": top}})
    source = open_dataset(root)
    audit = audit_of(tmp_path / "audit", source)
    repair(source, audit, tmp_path / "out", ALL, TO_IGNORE)
    copy = open_dataset(tmp_path / "out")
    assert copy.ignore == top + 1
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]["ignore"] == top + 1
    (case,) = {case for case, _ in lines_of(tmp_path / "out")}
    np.testing.assert_array_equal(given_label(copy, case), by_pixels(source, audit, case)[0])
    assert nib.load(tmp_path / "out" / "labelsTr" / f"{case}.nii.gz").get_data_dtype() == wanted


def test_what_is_ignored_already_stays_and_a_second_repair_is_reversed_step_by_step(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    repair(source, audit, tmp_path / "once", replace(ALL, confidence=0.5), TO_IGNORE)
    once = open_dataset(tmp_path / "once")
    changes: Any = {"p00_s0": [(box((32, 32), (0, 5), (0, 5)), 1, {**WORDS, "given": 0})]}
    again = write_audit(tmp_path / "again", once, changes, flagged=["p00_s0"])
    summary = repair(once, again, tmp_path / "twice", ALL, Destination(to="ignore", leave_out="flagged"))
    twice = open_dataset(tmp_path / "twice")
    assert twice.ignore == once.ignore == 3 and summary["voxels"] == 25 - 12
    assert (given_label(replace(twice, cases=(*twice.cases, *(twice.rest or ()))), "p00_s0")[:5, :5] == IGNORE).all()
    reverse(tmp_path / "twice", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "once")
    reverse(tmp_path / "back", tmp_path / "first")
    assert contents(tmp_path / "first") == contents(source.root)


def test_maps_and_records_of_earlier_repairs_go_along_and_come_back(tmp_path: Path) -> None:
    source, _ = two_findings(tmp_path)
    (source.root / "splits_final.json").unlink()
    before, roots = contents(source.root), [source.root]

    def then(name: str, to: str, changes: Any) -> Path:
        now = open_dataset(roots[-1])
        found = write_audit(tmp_path / f"{name}-audit", now, changes)
        repair(now, found, tmp_path / name, ALL, Destination(to=to))
        roots.append(tmp_path / name)
        return tmp_path / name / "weightsTr"

    def place(rows: tuple[int, int], confidence: float) -> Any:
        return (box((32, 32), rows, (0, 4)), 1, {"confidence": confidence})

    then("ignored", "ignore", {"p00_s0": [place((0, 2), 0.9)]})
    then("weighted", "weights", {"p00_s0": [place((2, 5), 0.8)], "p01_s1": [place((2, 5), 0.8)]})
    maps = then("again", "weights", {"p00_s0": [place((4, 6), 0.2)], "p02_s0": [place((4, 6), 1.0)]})
    expected = {"p00_s0": [255, 255, 51, 51, 51, 204, 255], "p01_s1": [255] * 2 + [51] * 3 + [255] * 2}
    expected["p02_s0"] = [255] * 4 + [0] * 2 + [255]
    assert {path.stem: read_values(path)[0][:7, 0].tolist() for path in maps.iterdir()} == expected
    assert {path.name for path in then("classes", "labels", {}).iterdir()} == {f"{case}.png" for case in expected}
    for number in range(len(roots) - 1, 0, -1):
        reverse(tmp_path / roots[number].name, tmp_path / f"back-{number}")
        assert contents(tmp_path / f"back-{number}") == (contents(roots[number - 1]) if number > 1 else before)


def test_a_map_of_another_shape_is_refused(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    (source.root / "weightsTr").mkdir()
    save_png(source.root / "weightsTr" / "p00_s0.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"weightsTr/p00_s0.png: is no map of weights of .*p00_s0.png"):
        repair(source, audit, tmp_path / "out", ALL, TO_WEIGHTS)
    assert not (tmp_path / "out").exists()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"to": "mask"}, r"^`to`: is 'mask'. Choose one of labels, ignore, weights"),
    ({"leave_out": "all"}, r"^`leave_out`: is 'all'. Choose one of flagged, unrepaired"),
    ({"weight": 0.5}, r"^`weight`: is for `to` weights, and `to` is labels"),
    ({"to": "weights", "weight": 2.0}, r"^`weight`: is 2.0"),
    ({"to": "ignore", "allow_removal": True}, r"^`allow_removal`: guards what is removed, and `to` ignore removes nothing"),
    ({"to": "weights", "rare": 3}, r"^`rare`: guards what is removed"),
    ({"to": "ignore", "unbias": True}, r"^`unbias`: moves outlines, which `to` ignore leaves"),
    ({"to": "ignore", "accept": ()}, r"^`accept`: accepts nothing"),
    ({"leave_out": "flagged"}, r"splits_final.json: would have no case in \"val\" of fold 0"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_means_nothing_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    source, _ = two_findings(tmp_path)
    audit = write_audit(tmp_path / "flags", source, {}, flagged=["p02_s0", "p02_s1"])
    with pytest.raises(DataError, match=said):
        debride.repair_dataset(source, audit, tmp_path / "out", **{"accept": "all", **options})
    assert not (tmp_path / "out").exists()


def test_layouts_without_folds_are_refused_by_name(tmp_path: Path) -> None:
    source = open_dataset(build_folder(tmp_path / "source"))
    audit = audit_of(tmp_path / "audit", source)
    with pytest.raises(DataError, match="is of the layout folder, whose lists name every case"):
        repair(source, audit, tmp_path / "out", ALL, Destination(leave_out="flagged"))
    with pytest.raises(DataError, match=r"`to`: is for masks"):
        pictures = open_dataset(build_npz(tmp_path / "classes"))
        debride.repair_dataset(pictures, audit, tmp_path / "out", accept="all", to="ignore")


def test_a_value_that_stands_for_nothing_yet_is_refused(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    label = given_label(source, "p02_s0")
    label[0, 0] = 3
    save_png(source.root / "labelsTr" / "p02_s0.png", label)
    with pytest.raises(DataError, match=r"p02_s0.png: holds the value 3, which is to mean that there is no label"):
        repair(source, audit, tmp_path / "out", ALL, TO_IGNORE)


def test_a_description_that_changed_since_is_not_taken_back(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    repair(source, audit, tmp_path / "out", ALL, TO_IGNORE)
    path = tmp_path / "out" / "dataset.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(DataError, match=r"dataset.json: has changed since the repair"):
        reverse(tmp_path / "out", tmp_path / "back")
    (tmp_path / "out" / "repairs" / "files" / "files.json").write_text('{"../x": {"before": null, "after": null}}')
    with pytest.raises(DataError, match=r"is no list of files that a repair changed"):
        reverse(tmp_path / "out", tmp_path / "back")
