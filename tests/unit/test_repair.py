from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json, save_nifti, save_png
from tests.unit.test_audit_record import box, given_label, write_audit

from debride import __version__
from debride.audit.findings.finding import Finding
from debride.audit.repair import FOLDER, RECORD, apply_findings, repair, reverse
from debride.audit.repair.decisions import Acceptance, parse_acceptance, read_decisions
from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.files import content_hash
from debride.types import IGNORE, DataError, Dataset

Label = npt.NDArray[np.uint8]
BUILDERS = [build_folder, build_nnunet_2d, build_nnunet_3d, build_manifest]
CLASSES = ("background", "a", "b", "c")
ALL = parse_acceptance(["all"], CLASSES)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def label_files(dataset: Dataset) -> dict[str, tuple[str, bytes]]:
    return {
        case.id: (str(case.label.relative_to(dataset.root)), case.label.read_bytes()) for case in dataset.cases if case.label
    }


def lines_of(root: Path) -> dict[tuple[str, int], dict[str, Any]]:
    rows = [json.loads(line) for line in (root / RECORD).read_text().splitlines()]
    return {(row["case"], row["number"]): row for row in rows}


def random_audit(folder: Path, dataset: Dataset, seed: int = 0) -> Path:
    """Three boxes of some other class in each of the labelled training cases but the first."""
    rng = np.random.default_rng(seed)
    changes = {}
    for case in [case for case in dataset.of("train") if not case.trusted][1:]:
        shape = given_label(dataset, case.id).shape
        found = []
        for part in range(3):
            low = [int(rng.integers(0, n // 2)) for n in shape[1:]]
            where = box(shape, (part * shape[0] // 3, (part + 1) * shape[0] // 3), *((at, at + 6) for at in low))
            value = rng.integers(0, len(dataset.classes), shape)
            found.append((where, value, {"confidence": (part + 1) / 4, "kind": ("missing", "boundary", "shift")[part]}))
        changes[case.id] = found
    return write_audit(folder, dataset, changes)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_repaired_data_set_has_the_accepted_proposals_and_its_reverse_the_given_bytes(
    tmp_path: Path, build: Callable[[Path], Path]
) -> None:
    source = open_dataset(build(tmp_path / "source"))
    audit = random_audit(tmp_path / "audit", source)
    before = contents(tmp_path)
    done: list[tuple[int, int]] = []
    accept = parse_acceptance(["all"], source.classes, confidence=0.5, allow_removal=True)
    summary = repair(source, audit, tmp_path / "out", accept, progress=lambda *at: done.append(at))
    assert done == [(i, len(source.cases)) for i in range(1, len(source.cases) + 1)]
    assert {name: content for name, content in contents(tmp_path).items() if not name.startswith("out/")} == before
    assert not find_problems(tmp_path / "out")

    repaired = open_dataset(tmp_path / "out", seed=7)
    lines = lines_of(tmp_path / "out")
    changed_cases, voxels = set(), 0
    for old, new in zip(source.cases, repaired.cases, strict=True):
        assert (old.id, old.split, old.patient, old.trusted) == (new.id, new.split, new.patient, new.trusted)
        if not (old.label and new.label):
            continue
        given, geometry = read_label(old.label, source)
        expected = given.copy()
        if (audit / "proposals" / f"{old.id}.npz").exists():
            arrays = np.load(audit / "proposals" / f"{old.id}.npz")
            expected = np.where(np.isin(arrays["number"], (2, 3)), arrays["proposed"], given)
            for number in (2, 3):
                count = int(((expected != given) & (arrays["number"] == number)).sum())
                assert lines[old.id, number]["voxels"] == count
                assert lines[old.id, number]["status"] == ("applied" if count else "declined")
            assert (lines[old.id, 1]["status"], lines[old.id, 1]["voxels"]) == ("declined", 0)
        now, same_geometry = read_label(new.label, repaired)
        np.testing.assert_array_equal(now, expected)
        assert geometry == same_geometry
        voxels += int((expected != given).sum())
        if (expected == given).all():
            assert old.label.read_bytes() == new.label.read_bytes()
        else:
            changed_cases.add(old.id)
    assert changed_cases
    assert (summary["cases"], summary["voxels"]) == (len(changed_cases), voxels)
    assert summary["applied"] + summary["declined"] == len(lines)
    assert summary["guarded"] == 0

    assert reverse(tmp_path / "out", tmp_path / "back") == {"cases": len(changed_cases)}
    back = open_dataset(tmp_path / "back")
    assert label_files(back) == label_files(source)
    assert [replace(case, image=(), label=None) for case in back.cases] == [
        replace(case, image=(), label=None) for case in source.cases
    ]
    assert not (tmp_path / "back" / RECORD).exists()
    assert not find_problems(tmp_path / "back")


def test_what_the_record_says(tmp_path: Path) -> None:
    source = open_dataset(build_nnunet_2d(tmp_path / "source", classes=3))
    where = box((32, 32), (0, 3), (0, 4))
    found = [(where, 2, {"kind": "missing", "confidence": 0.875}), (box((32, 32), (30, 32), (0, 2)), 0, {"kind": "extra"})]
    audit = write_audit(tmp_path / "audit", source, {"p01_s1": found})
    summary = repair(source, audit, tmp_path / "out", parse_acceptance(["missing", "extra"], source.classes))
    name = "labelsTr/p01_s1.png"
    assert lines_of(tmp_path / "out")["p01_s1", 1] == {
        "case": "p01_s1",
        "number": 1,
        "kind": "missing",
        "given": 0,
        "proposed": 2,
        "given_class": "background",
        "proposed_class": "part_2",
        "box": [[0, 3], [0, 4]],
        "status": "applied",
        "why": "",
        "voxels": 12,
        "reason": "missing with confidence 0.875, accepted by rule",
        "version": __version__,
        "label": name,
        "given_label": f"{FOLDER}/given/p01_s1.png",
        "before": content_hash([source.root / name]),
        "after": content_hash([tmp_path / "out" / name]),
    }
    other = lines_of(tmp_path / "out")["p01_s1", 2]
    assert (other["status"], other["why"], "before" in other) == ("declined", "it would change nothing", False)
    assert (tmp_path / "out" / FOLDER / "given" / "p01_s1.png").read_bytes() == (source.root / name).read_bytes()
    expected = {"applied": 1, "declined": 1, "guarded": 0, "cases": 1, "voxels": 12, "kinds": {"missing": 1}, "guards": {}}
    assert summary == expected


def test_an_audit_without_findings_gives_a_copy(tmp_path: Path) -> None:
    source = open_dataset(build_folder(tmp_path / "source"))
    audit = write_audit(tmp_path / "audit", source, {})
    assert repair(source, audit, tmp_path / "out", ALL)["cases"] == 0
    assert label_files(open_dataset(tmp_path / "out")) == label_files(source)
    assert reverse(tmp_path / "out", tmp_path / "back") == {"cases": 0}


def test_raters_are_repaired_one_by_one_and_trusted_ones_left(tmp_path: Path) -> None:
    source = open_dataset(build_manifest(tmp_path / "source"))
    corner = (box((32, 32), (0, 3), (0, 4)), 1, {"kind": "missing"})
    audit = write_audit(tmp_path / "audit", source, {"scan0@rater1": [corner], "scan0@rater2": [corner]})
    summary = repair(source, audit, tmp_path / "out", ALL)
    changed = {id for id, file in label_files(open_dataset(tmp_path / "out")).items() if file != label_files(source)[id]}
    assert changed == {"scan0@rater2"}
    assert summary["guards"] == {"its label is trusted; --trusted-too permits it": 1}
    repair(source, audit, tmp_path / "both", replace(ALL, trusted=True))
    changed = {id for id, file in label_files(open_dataset(tmp_path / "both")).items() if file != label_files(source)[id]}
    assert changed == {"scan0@rater1", "scan0@rater2"}


def test_a_second_repair_can_be_reversed_step_by_step(tmp_path: Path) -> None:
    source = open_dataset(build_folder(tmp_path / "source", classes=3))
    for step, place in enumerate([(0, 3), (29, 32)]):
        earlier = open_dataset(tmp_path / ("source" if step == 0 else "out0"))
        audit = write_audit(
            tmp_path / f"audit{step}", earlier, {"case001": [(box((32, 32), place, (0, 4)), 1, {"kind": "missing"})]}
        )
        repair(earlier, audit, tmp_path / f"out{step}", ALL)
    assert not find_problems(tmp_path / "out1")
    reverse(tmp_path / "out1", tmp_path / "once")
    assert contents(tmp_path / "once") == contents(tmp_path / "out0")
    reverse(tmp_path / "once", tmp_path / "twice")
    assert label_files(open_dataset(tmp_path / "twice")) == label_files(source)


def test_jpeg_labels_become_png_and_jpeg_again(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source")
    save_json(root / "dataset.json", {"classes": ["background", "lesion"], "values": {"0": 0, "255": 1}})
    for path in sorted((root / "masks").glob("*.png")):
        save_png(path.with_suffix(".JPG"), given_label(open_dataset(root), path.stem) * 255)
        path.unlink()
    source = open_dataset(root)
    audit = write_audit(tmp_path / "audit", source, {"case001": [(box((32, 32), (0, 3), (0, 4)), 1, {"kind": "missing"})]})
    repair(source, audit, tmp_path / "out", ALL)
    assert label_files(open_dataset(tmp_path / "out"))["case001"][0] == "masks/case001.png"
    reverse(tmp_path / "out", tmp_path / "back")
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)


def test_ignored_pixels_keep_their_place_and_values_their_meaning(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source", classes=3)
    for path in (root / "masks").iterdir():
        label = np.full((32, 32), 40, np.uint8)
        label[8:20, 8:20] = 17
        label[10:14, 8:20] = 3
        label[:, 10] = 99
        save_png(path, label)
    save_json(root / "dataset.json", {"classes": ["a", "b", "c"], "values": {"40": 0, "17": 1, "3": 2}, "ignore": 99})
    source = open_dataset(root)
    audit = write_audit(tmp_path / "audit", source, {"case000": [(box((32, 32), (0, 9), (0, 32)), 2, {"kind": "boundary"})]})
    repair(source, audit, tmp_path / "out", ALL)
    repaired = open_dataset(tmp_path / "out")
    expected = given_label(source, "case000")
    expected[:9] = 2
    expected[:, 10] = IGNORE
    np.testing.assert_array_equal(given_label(repaired, "case000"), expected)
    assert (repaired.values, repaired.ignore) == (source.values, 99)
    assert lines_of(tmp_path / "out")["case000", 1]["voxels"] == 9 * 31


# Guards. Boxes a, b of classes in a 2D or 3D label; ``find`` makes a finding of a mask.


def find(numbers: npt.NDArray[np.uint16], where: npt.NDArray[np.bool_], **values: Any) -> Finding:
    number = int(numbers.max()) + 1
    assert not numbers[where].any()
    numbers[where] = number
    places = np.argwhere(where)
    ends = tuple((int(low), int(high) + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    values = {"kind": "boundary", "given": 1, "proposed": 0, "severity": 0.5, "confidence": 0.9, **values}
    return Finding(case="x", number=number, box=ends, voxels=int(where.sum()), **values)


def squares(*places: tuple[int, int, int], shape: tuple[int, ...] = (24, 24)) -> Label:
    """A label of squares, each (class, row, column), of 4 x 4 pixels; in a volume they fill slices 1 and 2."""
    label = np.zeros(shape, np.uint8)
    for value, row, column in places:
        label[(slice(1, 3),) * (len(shape) - 2) + (slice(row, row + 4), slice(column, column + 4))] = value
    return label


def square(row: int, column: int, rows: int = 4, shape: tuple[int, ...] = (24, 24)) -> npt.NDArray[np.bool_]:
    return box(shape, *([(1, 3)] * (len(shape) - 2)), (row, row + rows), (column, column + 4))


def run(
    label: Label, found: Sequence[tuple[npt.NDArray[np.bool_], dict[str, Any]]], proposed: Any = 0, **options: Any
) -> tuple[Label, list[tuple[str, str]]]:
    numbers = np.zeros(label.shape, np.uint16)
    findings = [find(numbers, where, **values) for where, values in found]
    proposals = np.where(numbers > 0, np.asarray(proposed, np.uint8), np.uint8(0))
    given = label.copy()
    result, told = apply_findings(label, numbers, proposals, findings, CLASSES, **options)
    np.testing.assert_array_equal(label, given)
    applied = [number for number, outcome in told.items() if outcome.status == "applied"]
    np.testing.assert_array_equal(
        result, np.where(np.isin(numbers, applied) & (label != IGNORE), proposals, label), err_msg="more or less than applied"
    )
    return result, [(told[finding.number].status, told[finding.number].why) for finding in findings]


SHAPES = [(24, 24), (4, 24, 24)]


@pytest.mark.parametrize("shape", SHAPES)
def test_extra_removes_one_of_two_objects_but_not_the_only_one(shape: tuple[int, ...]) -> None:
    extra = (square(2, 2, shape=shape), {"kind": "extra"})
    assert run(squares((1, 2, 2), (1, 12, 12), shape=shape), [extra])[1] == [("applied", "")]
    label = squares((1, 2, 2), (2, 12, 12), shape=shape)
    ((status, why),) = run(label, [extra])[1]
    assert status == "guarded"
    assert "class a would vanish" in why
    assert run(label, [extra], allow_removal=True)[1] == [("applied", "")]


def test_of_two_extras_the_surer_one_goes() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    found = [(square(2, 2), {"kind": "extra", "confidence": 0.8}), (square(12, 12), {"kind": "extra", "confidence": 0.95})]
    assert [status for status, _ in run(label, found)[1]] == ["guarded", "applied"]


def test_a_new_object_does_not_stand_in_for_the_only_given_one() -> None:
    label = squares((1, 2, 2))
    proposed = np.zeros((24, 24), np.uint8)
    proposed[12:16, 12:16] = 1
    missing = (square(12, 12), {"kind": "missing", "confidence": 1.0, "given": 0, "proposed": 1})
    told = run(label, [(square(2, 2), {"kind": "extra"}), missing], proposed)[1]
    assert [status for status, _ in told] == ["guarded", "applied"]
    assert "only object of a" in told[0][1]


@pytest.mark.parametrize("kind", ["extra", "stray"])
def test_what_little_an_extra_leaves_is_no_object(kind: str) -> None:
    label = squares((1, 2, 2))
    ((status, why),) = run(label, [(square(2, 2, rows=3), {"kind": kind})])[1]
    assert status == "guarded"
    assert "only object of a" in why
    assert run(label, [(square(2, 2, rows=2), {"kind": kind})])[1] == [("applied", "")]
    assert run(label, [(square(2, 2, rows=3), {"kind": "boundary"})])[1] == [("applied", "")]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_boundary_may_not_erase_a_thin_object(shape: tuple[int, ...]) -> None:
    label = squares((1, 2, 2), (1, 12, 12), shape=shape)
    ((status, why),) = run(label, [(square(2, 2, shape=shape), {})])[1]
    assert status == "guarded"
    assert "an object of a of" in why
    assert "which boundary is not for" in why
    assert run(label, [(square(2, 2, rows=3, shape=shape), {})])[1] == [("applied", "")]


def test_two_boundaries_may_not_erase_an_object_together() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    found = [(square(2, 2, rows=2), {}), (square(4, 2, rows=2), {})]
    assert [status for status, _ in run(label, found)[1]] == ["applied", "guarded"]


def test_objects_touch_across_corners() -> None:
    label = squares((1, 2, 2), (1, 6, 6), (1, 15, 15))  # the first two are one object
    assert run(label, [(square(2, 2), {})])[1] == [("applied", "")]


def test_objects_of_a_volume_touch_across_corners() -> None:
    label = squares((1, 2, 2), (1, 14, 14), shape=(6, 24, 24))
    label[3:5, 6:10, 6:10] = 1
    assert run(label, [(square(2, 2, shape=(6, 24, 24)), {})])[1] == [("applied", "")]


def test_an_object_of_which_an_extra_left_little_does_not_count_any_more() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    found = [(square(2, 2, rows=3), {"kind": "extra"}), (square(12, 12, rows=3), {"kind": "extra"})]
    assert [status for status, _ in run(label, found)[1]] == ["applied", "guarded"]


def test_an_object_that_takes_another_class_at_its_boundary_is_kept() -> None:
    label = squares((1, 2, 2), (1, 12, 12), (2, 2, 6))
    ((status, why),) = run(label, [(square(2, 2), {"proposed": 2})], 2)[1]
    assert status == "guarded"
    assert "an object of a" in why


def test_rare_classes_keep_their_objects() -> None:
    label = squares((1, 2, 2), (1, 12, 12), (2, 18, 2))
    extra, swap = (square(2, 2), {"kind": "extra"}), (square(2, 2), {"kind": "swap", "proposed": 2})
    assert run(label, [extra], rare=frozenset({2}))[1] == [("applied", "")]
    ((status, why),) = run(label, [extra], rare=frozenset({1}))[1]
    assert status == "guarded"
    assert "few cases have" in why
    assert run(label, [swap], 2, rare=frozenset({2}))[1] == [("applied", "")]
    ((status, why),) = run(label, [swap], 2, rare=frozenset({1}))[1]
    assert status == "guarded"
    assert "an object of a would be lost in a swap" in why


def test_a_swap_may_exchange_and_rename_but_no_class_may_vanish() -> None:
    label = squares((1, 2, 2), (2, 12, 12), (2, 18, 2))
    exchanged = np.where(label == 1, 2, np.where(label == 2, 1, 0))
    assert run(label, [(label > 0, {"kind": "swap"})], exchanged)[1] == [("applied", "")]
    assert run(label, [(square(12, 12), {"kind": "swap"})], 1)[1] == [("applied", "")]
    ((status, why),) = run(label, [(square(2, 2), {"kind": "swap"})], 2)[1]
    assert status == "guarded"
    assert "class a would vanish" in why
    ((status, _),) = run(label, [(square(12, 12), {"kind": "swap"})], 0)[1]
    assert status == "guarded"


def test_what_moves_is_not_removed_but_may_not_leave_the_image() -> None:
    label = squares((1, 2, 2), (1, 12, 12), (2, 18, 2))
    for kind, moved in (("shift", np.roll(label, 9, axis=1)), ("flip", label[:, ::-1])):
        assert run(label, [(label != moved, {"kind": kind})], moved)[1] == [("applied", "")]
    lost = np.zeros_like(label)
    lost[:, :9] = label[:, 9:-6]  # the squares at column 2 left
    lost[20:, 20:] = 2
    ((status, why),) = run(label, [(label != lost, {"kind": "shift"})], lost)[1]
    assert status == "guarded"
    assert "an object of a would be lost in a shift" in why


def test_a_boundary_after_a_shift() -> None:
    label = squares((1, 2, 2), (1, 12, 12))
    moved = np.roll(label, 5, axis=1)
    shift = label != moved
    found = [(shift, {"kind": "shift", "confidence": 1.0}), (~shift & square(20, 1), {"kind": "missing", "given": 0})]
    proposed = np.where(shift, moved, 1)
    assert [status for status, _ in run(label, found, proposed)[1]] == ["applied", "applied"]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("ndim", [2, 3])
def test_no_given_object_disappears_in_random_boundaries(seed: int, ndim: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (16, 16) if ndim == 2 else (5, 9, 9)
    label = ndimage.grey_dilation((rng.random(shape) < 0.03) * rng.integers(1, 4, shape), size=2).astype(np.uint8)
    label[rng.random(shape) < 0.05] = IGNORE
    numbers = np.zeros(shape, np.uint16)
    findings = []
    for part in rng.permutation(6):
        where = (rng.random(shape) < 0.3) & (numbers == 0) & (np.indices(shape)[-1] % 6 == part)
        if where.any():
            findings.append(find(numbers, where, confidence=float(rng.random())))
    proposed = rng.integers(0, 4, shape).astype(np.uint8)
    result, told = apply_findings(label, numbers, proposed, findings, CLASSES)
    applied = [number for number, outcome in told.items() if outcome.status == "applied"]
    expected = label.copy()
    for place in np.ndindex(*shape):
        if numbers[place] in applied and label[place] != IGNORE:
            expected[place] = proposed[place]
    np.testing.assert_array_equal(result, expected)
    for number, outcome in told.items():
        assert outcome.voxels == (int(((result != label) & (numbers == number)).sum()) if number in applied else 0)
    for value in (1, 2, 3):
        objects, count = ndimage.label(label == value, structure=np.ones((3,) * ndim))
        for at in range(1, count + 1):
            assert ((result == value) & (objects == at)).any()


# The rule, decisions and what is rare, in whole data sets.


@pytest.mark.parametrize(
    ("words", "options", "accepted"),
    [
        (["all"], {}, {1, 2, 3, 4}),
        (["missing", "extra"], {}, {1, 2}),
        (["missing,extra"], {}, {1, 2}),
        (["all"], {"only": ["b"]}, {2, 3}),
        (["all"], {"only": ["2", "a"]}, {1, 2, 3, 4}),
        (["all"], {"confidence": 0.5}, {2, 3, 4}),
        (["all"], {"severity": 0.7}, {3, 4}),
        (["all"], {"flagged": True}, set()),
        (["missing"], {"confidence": 0.5}, set()),
    ],
)
def test_what_a_rule_accepts(tmp_path: Path, words: list[str], options: dict[str, Any], accepted: set[int]) -> None:
    source, audit = four_findings(tmp_path)
    repair(source, audit, tmp_path / "out", parse_acceptance(words, source.classes, rare=0, **options))
    lines = lines_of(tmp_path / "out")
    assert {number for (_, number), line in lines.items() if line["status"] == "applied"} == accepted
    assert {number for (_, number), line in lines.items() if line["status"] == "declined"} == {1, 2, 3, 4} - accepted


def four_findings(tmp_path: Path, flagged: Sequence[str] = ()) -> tuple[Dataset, Path]:
    """A data set with two squares of each of a and b in every label, and four findings in case002."""
    root = build_folder(tmp_path / "source", classes=3)
    for path in (root / "masks").iterdir():
        save_png(path, squares((1, 2, 2), (1, 12, 12), (2, 18, 2), (2, 2, 18), shape=(32, 32)))
    save_json(root / "dataset.json", {"classes": ["background", "a", "b"]})
    source = open_dataset(root)
    proposed = np.zeros((32, 32), np.uint8)
    proposed[26:30, 26:30], proposed[12:16, 12:16] = 1, 1
    found: list[Any] = [
        (square(26, 26, shape=(32, 32)), proposed, {"kind": "missing", "confidence": 0.25}),
        (square(18, 2, shape=(32, 32)), 0, {"kind": "extra", "confidence": 0.5}),
        (square(2, 18, rows=1, shape=(32, 32)), 0, {"kind": "boundary", "severity": 0.75}),
        (square(12, 12, rows=1, shape=(32, 32)), 0, {"kind": "boundary", "severity": 0.75}),
    ]
    return source, write_audit(tmp_path / "audit", source, {"case002": found}, flagged)


def test_flagged_cases(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path, ["case002"])
    assert repair(source, audit, tmp_path / "out", replace(ALL, flagged=True))["applied"] == 4


def test_decisions_override_the_rule(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    decisions = tmp_path / "mine.csv"
    decisions.write_text("note,case,number,decision\nsure,case002,1,reject\n,case002,3,accept\n")
    repair(source, audit, tmp_path / "out", parse_acceptance(["missing", "extra"], source.classes, decisions=decisions))
    lines = lines_of(tmp_path / "out")
    assert [lines["case002", number]["status"] for number in (1, 2, 3, 4)] == ["declined", "applied", "applied", "declined"]
    assert lines["case002", 1]["reason"].endswith("rejected by mine.csv:2")
    assert lines["case002", 3]["reason"].endswith("accepted by mine.csv:3")
    repair(source, audit, tmp_path / "only", parse_acceptance([], source.classes, decisions=decisions))
    lines = lines_of(tmp_path / "only")
    assert [lines["case002", number]["status"] for number in (1, 2, 3, 4)] == ["declined", "declined", "applied", "declined"]


def test_decisions_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"case": "x", "number": 1, "decision": "accept"}\n\n{"case": "y", "number": "2", "decision": "reject"}')
    told = read_decisions(path, {("x", 1), ("y", 2)})
    assert {key: verdict.accepted for key, verdict in told.items()} == {("x", 1): True, ("y", 2): False}


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("d.csv", "case,number,decision\nx,1,accept\nx,3,accept\n", 3, "Its findings are 1, 2"),
        ("d.csv", "case,number,decision\ncase1,1,accept\n", 2, "Did you mean case2"),
        ("d.csv", "case,number,decision\nx,one,accept\n", 2, "'one'"),
        ("d.csv", "case,number,decision\nx,99999999,accept\n", 2, "'99999999'"),
        ("d.csv", "case,number,decision\nx,1,maybe\n", 2, "decision 'maybe'"),
        ("d.csv", "case,number,decision\nx,1,\n", 2, "decision ''"),
        ("d.csv", "case,number,decision\nx,1,accept\nx,1,accept\nx,1,reject\n", 4, "contradicts"),
        ("d.csv", "case,number,decision\nx,1\n", 2, "as many fields"),
        ("d.csv", "case,number\nx,1\n", 1, "no column decision"),
        ("d.csv", 'case,number,decision\n"x,1,accept\n', 2, "not valid CSV"),
        ("d.jsonl", '{"case": "x", "number": 1, "decision": "accept"}\n{"case"\n', 2, "not valid JSON"),
        ("d.jsonl", '["x", 1, "accept"]\n', 1, "not an object"),
        ("d.jsonl", '{"case": "x", "number": true, "decision": "accept"}\n', 1, "finding True"),
        ("d.jsonl", '{"case": ["x"], "number": 1, "decision": "accept"}\n', 1, r"\['x'\]"),
        ("d.jsonl", '{"case": "x", "number": 1, "decision": ["accept"]}\n', 1, "decision"),
    ],
)
def test_decisions_that_are_refused_by_line(tmp_path: Path, name: str, text: str, line: int, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        read_decisions(tmp_path / name, {("x", 1), ("x", 2), ("case2", 1)})
    assert raised.value.where == f"{tmp_path / name}:{line}"


@pytest.mark.parametrize(
    ("words", "options", "where", "message"),
    [
        ([], {}, "`accept`", "nothing"),
        (["mising"], {}, "`accept`", "Did you mean missing"),
        (["everything"], {}, "`accept`", "Give all"),
        (["all"], {"only": ["d"]}, "`class`", r"Give one of a \(1\), b \(2\), c \(3\)"),
        (["all"], {"only": ["background"]}, "`class`", "no class of objects"),
        (["all"], {"only": ["0"]}, "`class`", "no class of objects"),
        (["all"], {"only": ["4"]}, "`class`", "no class of objects"),
        (["all"], {"confidence": 1.5}, "`confidence`", "1.5"),
        (["all"], {"severity": float("nan")}, "`severity`", "nan"),
        (["all"], {"rare": -1}, "`rare`", "-1"),
        ([], {"confidence": 0.9, "decisions": Path("x.csv")}, "`accept`", "Add `accept` all"),
    ],
)
def test_words_that_are_refused(words: list[str], options: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        parse_acceptance(words, CLASSES, **options)
    assert raised.value.where == where


@pytest.mark.parametrize(("having", "rare", "status"), [(4, None, "guarded"), (5, None, "applied"), (4, 4, "applied")])
def test_a_class_is_rare_that_few_cases_have(tmp_path: Path, having: int, rare: int | None, status: str) -> None:
    root = build_folder(tmp_path / "source", classes=3)
    for number, path in enumerate(sorted((root / "masks").iterdir())):
        save_png(path, squares((1, 2, 2), (1, 12, 12), *([(2, 18, 2), (2, 2, 18)] if number < having else [])))
        save_png(root / "images" / path.name, np.full((24, 24), number + 1, np.uint8))
    save_json(root / "dataset.json", {"classes": ["background", "a", "b"]})
    source = open_dataset(root)
    audit = write_audit(tmp_path / "audit", source, {"case001": [(square(18, 2), 0, {"kind": "extra"})]})
    repair(source, audit, tmp_path / "out", replace(ALL, rare=rare))
    assert lines_of(tmp_path / "out")["case001", 1]["status"] == status


# Refusals of folders and files.


def test_out_must_be_new_and_elsewhere(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    before = contents(tmp_path)
    refused = (("full", "is not empty"), ("source/new", "lies in the data set"), ("audit/new", "in the folder of the audit"))
    for out, message in refused:
        with pytest.raises(DataError, match=message):
            repair(source, audit, tmp_path / out, ALL)
    assert contents(tmp_path) == before


def test_a_label_that_changed_since_the_audit(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    save_png(source.root / "masks" / "case002.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(DataError, match="case002"):
        repair(source, audit, tmp_path / "out", ALL)
    assert not (tmp_path / "out").exists()
    assert repair(source, audit, tmp_path / "out", replace(ALL, confidence=1.0))["declined"] == 4
    verified = replace(source, cases=tuple(replace(case, trusted=True) for case in source.cases))
    assert repair(verified, audit, tmp_path / "trusted", ALL)["guarded"] == 4


def test_proposals_of_another_shape_leave_nothing(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    path = audit / "proposals" / "case002.npz"
    arrays = np.load(path)
    np.savez_compressed(path, number=arrays["number"][:, :30], proposed=arrays["proposed"][:, :30])
    with pytest.raises(DataError, match=r"shape \(32, 30\)"):
        repair(source, audit, tmp_path / "out", ALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit", "source"]


def test_the_fields_of_a_volume_survive(tmp_path: Path) -> None:
    source = open_dataset(build_nnunet_3d(tmp_path / "source", suffix=".nii"))
    where = box((6, 16, 20), (0, 1), (0, 3), (0, 5))
    audit = write_audit(tmp_path / "audit", source, {"vol01": [(where, 1, {"kind": "missing", "volume": 0.045})]})
    repair(source, audit, tmp_path / "out", ALL)
    repaired = open_dataset(tmp_path / "out")
    expected = given_label(source, "vol01")
    expected[0, :3, :5] = 1
    np.testing.assert_array_equal(given_label(repaired, "vol01"), expected)
    old, new = (read_label(d.root / "labelsTr" / "vol01.nii", d)[1] for d in (source, repaired))
    assert old == new


def repaired_folder(tmp_path: Path) -> Path:
    source, audit = four_findings(tmp_path)
    repair(source, audit, tmp_path / "out", ALL)
    return tmp_path / "out"


def edited(name: str, edit: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda out: (out / name).write_text(edit((out / name).read_text())) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("damage", "where", "message"),
    [
        (lambda out: save_png(out / "masks" / "case002.png", squares((1, 2, 2), shape=(32, 32))), "masks/case002.png", "since"),
        (
            lambda out: (out / FOLDER / "given" / "case002.png").write_bytes(b"x"),
            f"{FOLDER}/given/case002.png",
            "not the label",
        ),
        (lambda out: (out / FOLDER / "given" / "case002.png").unlink(), f"{FOLDER}/given/case002.png", "cannot be read"),
        (lambda out: (out / RECORD).unlink(), "", "has no repairs.jsonl"),
        (lambda out: (out / RECORD).write_text("{\n}\n"), f"{RECORD}:1", "is not valid JSON"),
        (lambda out: (out / RECORD).write_text(""), RECORD, "cut off"),
        (edited(RECORD, lambda text: text[:-9]), f"{RECORD}:4", "is not valid JSON"),
        (edited(RECORD, lambda text: text.replace("/given/", "/../")), f"{RECORD}:1", "cannot be these"),
        (edited(RECORD, lambda text: text.replace("repairs/given/", "/etc/")), f"{RECORD}:1", "cannot be these"),
        (
            edited(RECORD, lambda text: text.replace("repairs/given/case002.png", "repairs/given/..")),
            f"{RECORD}:1",
            "cannot be",
        ),
        (edited(RECORD, lambda text: text.replace('"before"', '"then"')), f"{RECORD}:1", "before"),
        (edited(RECORD, lambda text: text.replace('"case": "case002"', '"case": "case9"')), "", "no label of case9"),
    ],
)
def test_repairs_that_cannot_be_reversed(tmp_path: Path, damage: Callable[[Path], None], where: str, message: str) -> None:
    out = repaired_folder(tmp_path)
    damage(out)
    with pytest.raises(DataError, match=message) as raised:
        reverse(out, tmp_path / "back")
    assert raised.value.where == str(out / where)
    assert not (tmp_path / "back").exists()


def test_a_label_that_no_repair_touched_may_change_before_the_reverse(tmp_path: Path) -> None:
    out = repaired_folder(tmp_path)
    save_png(out / "masks" / "case000.png", squares((2, 2, 2), shape=(32, 32)))
    reverse(out, tmp_path / "back")
    back = open_dataset(tmp_path / "back")
    np.testing.assert_array_equal(given_label(back, "case000"), squares((2, 2, 2), shape=(32, 32)))
    assert label_files(back)["case002"] == label_files(open_dataset(tmp_path / "source"))["case002"]


def test_reverse_refuses_the_folder_itself(tmp_path: Path) -> None:
    out = repaired_folder(tmp_path)
    with pytest.raises(DataError, match="lies in the data set"):
        reverse(out, out / "back")


def test_2d_volumes_of_one_slice(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for number in range(3):
        save_nifti(root / "images" / f"s{number}.nii.gz", np.arange(576, dtype=np.int16).reshape(1, 24, 24) + number)
        save_nifti(root / "masks" / f"s{number}.nii.gz", squares((1, 2, 2), (1, 12, 12))[None])
    source = open_dataset(root)
    audit = write_audit(tmp_path / "audit", source, {"s1": [(square(2, 2, rows=2), 0, {})]})
    assert repair(source, audit, tmp_path / "out", Acceptance(kinds=frozenset({"boundary"})))["applied"] == 1
    expected = squares((1, 2, 2), (1, 12, 12))
    expected[2:4, 2:6] = 0
    np.testing.assert_array_equal(given_label(open_dataset(tmp_path / "out"), "s1"), expected)
    reverse(tmp_path / "out", tmp_path / "back")
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)


def test_a_label_of_which_nothing_is_applied_is_copied_byte_for_byte(tmp_path: Path) -> None:
    source = open_dataset(build_nnunet_3d(tmp_path / "source"))
    path = source.root / "labelsTr" / "vol01.nii.gz"
    label = given_label(source, "vol01")
    save_nifti(path, label.astype(np.int16))  # written anew it would be uint8
    audit = write_audit(tmp_path / "audit", source, {"vol01": [(label > 0, 0, {"kind": "extra"})]})
    assert repair(source, audit, tmp_path / "out", ALL)["guarded"] == 1
    assert (tmp_path / "out" / "labelsTr" / "vol01.nii.gz").read_bytes() == path.read_bytes()
    assert not (tmp_path / "out" / FOLDER).exists()
