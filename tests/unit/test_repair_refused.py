"""Folders and files that cannot be repaired, or not be reversed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.audits import contents
from tests.datasets import save_png
from tests.written_audits import ALL, four_findings, given_label, label_files, repaired_folder, squares

from debride.audit.repair import FOLDER, RECORD, repair, reverse
from debride.data.open import open_dataset
from debride.types import DataError


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
