"""What a repair accepts in whole data sets: by a rule, by decisions, and what is rare."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, save_json, save_png
from tests.written_audits import ALL, CLASSES, four_findings, lines_of, square, squares, two_findings, write_audit

from debride.api.repairing import repair_dataset
from debride.audit.repair import repair
from debride.audit.repair.decisions import parse_acceptance
from debride.data.open import open_dataset
from debride.types import DataError


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
        (["all"], {"but": ["boundary"]}, {1, 2}),
        (["missing", "extra"], {"but": ["extra,gap"]}, {1}),
        (["all"], {"voxels": 5}, {1, 2}),
        (["all"], {"volume": 0.5}, {2, 4}),
        (["all"], {"distance": 3}, {3}),
        (["all"], {"one_per_case": True}, {3}),
        (["all"], {"one_per_case": True, "but": ["boundary"]}, {2}),
        (["all"], {"one_per_case": True, "volume": 2}, {4}),
    ],
)
def test_what_a_rule_accepts(tmp_path: Path, words: list[str], options: dict[str, Any], accepted: set[int]) -> None:
    source, audit = four_findings(tmp_path)
    repair(source, audit, tmp_path / "out", parse_acceptance(words, source.classes, rare=0, **options))
    lines = lines_of(tmp_path / "out")
    assert {number for (_, number), line in lines.items() if line["status"] == "applied"} == accepted
    assert {number for (_, number), line in lines.items() if line["status"] == "declined"} == {1, 2, 3, 4} - accepted


def test_what_nobody_decided_is_not_called_declined(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    decisions = tmp_path / "mine.csv"
    decisions.write_text("case,number,decision\ncase002,3,reject\ncase002,2,accept\n")
    (first, *_) = repair_dataset(source, audit, tmp_path / "out", decisions=decisions).said()
    assert first.startswith("1 finding applied (") and "), 1 declined, 0 guarded, 2 undecided; 1 label and " in first
    (first, *_) = repair_dataset(source, audit, tmp_path / "all", decisions=decisions, accept="all").said()
    assert first.startswith("3 findings applied (") and "), 1 declined, 0 guarded; 1 label and " in first


def test_a_rejected_finding_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    decisions = tmp_path / "mine.csv"
    decisions.write_text("case,number,decision\ncase002,3,reject\n")
    accept = parse_acceptance(["all"], source.classes, one_per_case=True, decisions=decisions)
    repair(source, audit, tmp_path / "out", accept)
    reasons = {number: line["reason"] for (_, number), line in lines_of(tmp_path / "out").items()}
    assert reasons[3].endswith("rejected by mine.csv:2") and reasons[4].endswith("accepted by rule")
    assert reasons[1].endswith("a surer finding of its case is accepted")


@pytest.mark.parametrize("name", ["volume", "distance"])
def test_a_magnitude_that_no_finding_has_is_refused(tmp_path: Path, name: str) -> None:
    source, audit = two_findings(tmp_path)
    lines = [
        json.loads(line) | {"volume": None, "distance": None} for line in (audit / "findings.jsonl").read_text().splitlines()
    ]
    (audit / "findings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match="never be reached") as raised:
        repair(source, audit, tmp_path / "out", replace(ALL, **{name: 1.0}))
    assert raised.value.where == f"`{name}`"
    assert not (tmp_path / "out").exists()


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
        ([], {"one_per_case": True, "decisions": Path("x.csv")}, "`accept`", "`one_per_case` restricts what it accepts"),
        (["all"], {"but": ["boundry"]}, "`but`", "Did you mean boundary"),
        (["all"], {"but": ["all"]}, "`but`", "no kind"),
        (["gap"], {"but": ["gap", "stray"]}, "`but`", "takes away all"),
        (["all"], {"volume": -1.0}, "`volume`", "-1"),
        (["all"], {"distance": float("nan")}, "`distance`", "nan"),
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
