"""Labels drawn too small or too large: what verified cases say of them, and the outlines of the others moved by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.audits import contents
from tests.datasets import build_folder, save_json, save_png
from tests.written_audits import box, given_label, label_files, lines_of, write_audit

from debride.audit.predictions.case_files import Prediction
from debride.audit.repair import repair, reverse
from debride.audit.repair.decisions import Acceptance, parse_acceptance
from debride.audit.verified_bias import bias_of_labels, moves_of, verified_lines
from debride.calibration.moving import moved
from debride.data.open import open_dataset
from debride.types import Case, DataError, Dataset

SIZE = 48
TRUSTED = ("case000", "case001", "case002", "case003")
UNBIAS = Acceptance(unbias=True)
Ids = npt.NDArray[np.uint8]


def disc(number: int, inside: float = 0.0) -> Ids:
    """Two discs, the one of class 2 in the one of class 1, whose outlines lie ``inside`` by so many pixels."""
    rows, columns = np.indices((SIZE, SIZE))
    away = np.hypot(rows - 20 - number % 5, columns - 24) + inside
    return np.select([away < 7, away < 15], [2, 1], 0).astype(np.uint8)


def dataset(root: Path, inside: float, trusted: tuple[str, ...] = TRUSTED) -> Dataset:
    """A folder whose labels lie ``inside``, but for the trusted ones, which are right."""
    build_folder(root, classes=3)
    for path in (root / "masks").iterdir():
        number = int(path.stem[-3:])
        save_png(path, disc(number, 0.0 if path.stem in trusted else inside))
        save_png(root / "images" / path.name, np.zeros((SIZE, SIZE), np.uint8))
    save_json(root / "dataset.json", {"classes": ["background", "wall", "cavity"]})
    opened = open_dataset(root)
    return replace(opened, cases=tuple(replace(case, trusted=case.id in trusted) for case in opened.cases))


@dataclass
class Said:
    """Predictions that lie ``inside`` what is right."""

    inside: float

    def of(self, case: Case, shape: tuple[int, ...], geometry: Any) -> Prediction:
        ids = disc(int(case.id[-3:]), self.inside)
        return Prediction((ids == np.arange(3).reshape(3, 1, 1)).astype(np.float32), True)


def found(root: Path, labels: float, predictions: float, **options: Any) -> dict[str, Any]:
    source = dataset(root, labels, **options)
    said: Any = Said(predictions)
    bias = bias_of_labels(source, [case for case in source.cases if case.label], said, 0)
    assert bias is not None
    return bias


@pytest.mark.parametrize("inside", [2.0, -2.0])
def test_a_network_that_copies_the_bias_of_labels(tmp_path: Path, inside: float) -> None:
    bias = found(tmp_path / "data", inside, inside)
    assert bias["moves"]["shifts"] == pytest.approx([0, inside, inside], abs=0.6)
    assert (bias["cases"], bias["moves"]["unit"], bias["given"]) == (4, "px", [0, 0, 0])
    assert bias["moves"]["parents"] == (0, 0, 1)
    lines = verified_lines(bias)
    side = "inside" if inside > 0 else "outside"
    assert lines[0] == f"4 verified cases: given outlines of wall lie {abs(bias['moves']['shifts'][1]):.2f} px {side}"
    assert len(lines) == 3 and "debride repair --unbias" in lines[2]
    assert moves_of(json.loads(json.dumps({"verified_bias": bias})), "there", ("background", "wall", "cavity")).changes


def test_a_network_with_a_bias_of_its_own_says_nothing_of_right_labels(tmp_path: Path) -> None:
    bias = found(tmp_path / "data", 0.0, 2.0)
    assert bias["verified"][1] == pytest.approx(2, abs=0.6) and bias["given"] == bias["verified"]
    assert bias["moves"]["shifts"] == (0, 0, 0)
    assert "no bias of outlines" in verified_lines(bias)[0]
    half = found(tmp_path / "half", 1.0, 2.0)
    assert half["moves"]["shifts"][1] == pytest.approx(1, abs=0.6)


def test_labels_that_lie_on_the_other_side_are_not_moved_further_than_predictions(tmp_path: Path) -> None:
    bias = found(tmp_path / "data", 4.0, 2.0)
    assert bias["moves"]["shifts"] == pytest.approx(bias["verified"])


def test_right_labels_and_one_patient(tmp_path: Path) -> None:
    assert found(tmp_path / "right", 0.0, 0.0)["moves"]["shifts"] == (0, 0, 0)
    alone = found(tmp_path / "one", 2.0, 2.0, trusted=("case001",))
    assert alone["moves"]["shifts"] == (0, 0, 0)
    assert verified_lines(alone) == ["1 verified case of one patient cannot show a bias of outlines"]
    source = dataset(tmp_path / "none", 2.0, ())
    said: Any = Said(2.0)
    assert bias_of_labels(source, source.cases, said, 0) is None and verified_lines(None) == []


def audit_of(root: Path, source: Dataset, shifts: tuple[float, ...] | None, changes: Mapping[str, Any] | None = None) -> Path:
    """An audit that proposes moves."""
    write_audit(root, source, changes or {})
    about = json.loads((root / "audit.json").read_text())
    moves = {"classes": source.classes, "offsets": (0.0,) * 3, "shifts": shifts, "parents": (0, 0, 1), "unit": "px"}
    about["summary"] = {"verified_bias": {"moves": moves}} if shifts else {}
    (root / "audit.json").write_text(json.dumps(about))
    return root


def test_outlines_are_moved_and_come_back_byte_for_byte(tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", 2.0)
    corner = box((SIZE, SIZE), (0, 3), (0, 4))
    audit = audit_of(tmp_path / "audit", source, (0.0, 2.0, 2.0), {"case005": [(corner, 2, {"kind": "missing"})]})
    before = contents(tmp_path)
    accept = parse_acceptance([], source.classes, unbias=True)
    summary = repair(source, audit, tmp_path / "out", accept, jobs=2)
    assert {name: content for name, content in contents(tmp_path).items() if not name.startswith("out/")} == before
    repaired, lines = open_dataset(tmp_path / "out"), lines_of(tmp_path / "out")
    others = [case.id for case in source.cases if case.label and not case.trusted]
    for case in source.cases:
        if case.label:
            old, new = given_label(source, case.id), given_label(repaired, case.id)
            wanted = moved(old, (0, 2.0, 2.0), (0, 0, 1), (1.0, 1.0)) if case.id in others else old
            np.testing.assert_array_equal(new, wanted)
            assert ((case.id, 0) in lines) == (case.id in others)
    line = lines[others[0], 0]
    assert (line["kind"], line["status"], line["shifts"]) == ("bias", "applied", {"background": 0, "wall": 2, "cavity": 2})
    assert lines["case005", 1]["status"] == "declined", "no finding was accepted"
    assert summary["cases"] == len(others) and summary["kinds"] == {"bias": len(others)}
    reverse(tmp_path / "out", tmp_path / "back")
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)


def test_findings_are_applied_before_outlines_move(tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", 2.0)
    corner = box((SIZE, SIZE), (0, 3), (0, 4))
    audit = audit_of(tmp_path / "audit", source, (0.0, 2.0, 0.0), {"case005": [(corner, 1, {"kind": "missing"})]})
    repair(source, audit, tmp_path / "out", parse_acceptance(["all"], source.classes, unbias=True))
    new = given_label(open_dataset(tmp_path / "out"), "case005")
    assert new[4, 2] == 1 and new[2, 5] == 1, "the corner has grown too"
    reverse(tmp_path / "out", tmp_path / "back")
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)


def test_cases_that_the_audit_knew_as_verified_stay_where_repair_is_not_told(tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", 2.0)
    audit = audit_of(tmp_path / "audit", source, (0.0, 2.0, 2.0))
    about = json.loads((audit / "audit.json").read_text())
    about["summary"]["verified_bias"]["ids"] = list(TRUSTED)
    (audit / "audit.json").write_text(json.dumps(about))
    untold = replace(source, cases=tuple(replace(case, trusted=False) for case in source.cases))
    repair(untold, audit, tmp_path / "out", UNBIAS)
    assert {case for case, _ in lines_of(tmp_path / "out")}.isdisjoint(TRUSTED)
    np.testing.assert_array_equal(given_label(open_dataset(tmp_path / "out"), TRUSTED[0]), given_label(source, TRUSTED[0]))


def test_nothing_is_moved_without_being_asked(tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", 2.0)
    audit = audit_of(tmp_path / "audit", source, (0.0, 2.0, 2.0))
    summary = repair(source, audit, tmp_path / "out", parse_acceptance(["all"], source.classes))
    assert summary["cases"] == 0 and label_files(open_dataset(tmp_path / "out")) == label_files(source)


def test_no_object_is_lost_by_moving_outlines(tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", 0.0)
    path = tmp_path / "data" / "masks" / "case005.png"
    label = disc(6)
    label[40:43, 3:6] = 1
    save_png(path, label)
    audit = audit_of(tmp_path / "audit", source, (0.0, -2.0, 0.0))
    summary = repair(source, audit, tmp_path / "out", UNBIAS)
    assert lines_of(tmp_path / "out")["case005", 0]["status"] == "guarded" and summary["guarded"] == 1
    np.testing.assert_array_equal(given_label(open_dataset(tmp_path / "out"), "case005"), label)
    repair(source, audit, tmp_path / "all", replace(UNBIAS, allow_removal=True))
    assert not given_label(open_dataset(tmp_path / "all"), "case005")[40:43, 3:6].any()


def test_what_cannot_be_moved_is_refused(tmp_path: Path) -> None:
    source = dataset(tmp_path / "data", 2.0)
    for name, shifts, problem in (("none", None, "without verified cases"), ("zero", (0.0, 0.0, 0.0), "to move no outline")):
        audit = audit_of(tmp_path / name, source, shifts)
        with pytest.raises(DataError, match=problem):
            repair(source, audit, tmp_path / "out", UNBIAS)
    audit = audit_of(tmp_path / "mm", source, (0.0, 2.0, 0.0))
    text = (audit / "audit.json").read_text()
    (audit / "audit.json").write_text(text.replace('"unit": "px"', '"unit": "mm"'))
    with pytest.raises(DataError, match="has no spacing"):
        repair(source, audit, tmp_path / "out", UNBIAS)
    (audit / "audit.json").write_text(text.replace('"offsets": [0.0, 0.0, 0.0]', '"offsets": [0.0, 1.0, 0.0]'))
    with pytest.raises(DataError, match="not of its classes"):
        repair(source, audit, tmp_path / "out", UNBIAS)
    (audit / "audit.json").write_text(text)
    save_png(tmp_path / "data" / "masks" / "case005.png", disc(7))
    with pytest.raises(DataError, match="changed since the audit"):
        repair(source, audit, tmp_path / "out", UNBIAS)
    assert not (tmp_path / "out").exists()
