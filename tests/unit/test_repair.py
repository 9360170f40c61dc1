"""Repaired data sets: what is written, what the record says, and the way back to the given bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.audits import contents
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json, save_nifti, save_png
from tests.written_audits import ALL, box, given_label, label_files, lines_of, square, squares, write_audit

from debride import __version__
from debride.audit.repair import FOLDER, RECORD, repair, reverse
from debride.audit.repair.decisions import Acceptance, parse_acceptance
from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.files import content_hash
from debride.types import IGNORE, Dataset

BUILDERS = [build_folder, build_nnunet_2d, build_nnunet_3d, build_manifest]


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
        "volume": None,
        "area": None,
        "displacement": None,
        "distance": None,
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
