"""An audit without predictions: the same tables, doubts in words, nothing to repair by, the same bytes however it is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.audits import QUICK, about, contents, picture_set, refused, table
from tests.e2e.conftest import Command

from debride.evaluation.detection import average_precision


def test_it_ranks_says_why_and_proposes_nothing(debride: Command, tmp_path: Path) -> None:
    errors = picture_set(tmp_path, n=40, size=40)
    words = ["audit", tmp_path / "data", "--without-predictions", "--out"]
    answer = debride(*words, tmp_path / "a", "--jobs", 2)
    assert answer.code == 0, answer.err
    assert "for proposals to repair by" in answer.out and "debride repair" not in answer.out
    cases = table(tmp_path / "a" / "cases.csv")
    score = np.array([float(row["score"]) for row in cases])
    wrong = np.array([row["case"] in errors for row in cases])
    assert average_precision(score, wrong) > 0.8
    said = {row["case"]: row["doubts"] for row in cases}
    assert any("looks mirrored left to right" in said[case] for case, kind in errors.items() if kind == "flip")
    assert any("classes were exchanged" in said[case] for case, kind in errors.items() if kind == "swap")
    assert sum(bool(text) for case, text in said.items() if case not in errors) <= 1
    assert {row["seen"] for row in cases} == {"0"} and {row["findings"] for row in cases} == {"0"}
    assert {row["predicted"] for row in table(tmp_path / "a" / "scores.csv")} == {""}
    record = about(tmp_path / "a")
    assert record["predictions"] == {"source": "none"} and not [
        text for text in record["summary"]["warnings"] if "network" in text
    ]
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "looks mirrored left to right" in page and "Without predictions nothing is proposed" in page
    refused(
        debride("repair", tmp_path / "data", tmp_path / "a", "--out", tmp_path / "r", "--accept", "all"), "proposes nothing"
    )
    assert not (tmp_path / "r").exists()


def test_in_parts_and_since_it_comes_to_the_same_bytes(debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=16, size=32)
    words = ["audit", tmp_path / "data", "--without-predictions", *QUICK]
    assert debride(*words, "--out", tmp_path / "whole").code == 0
    for part in ("2/2", "1/2", "2/2"):
        assert debride(*words, "--out", tmp_path / "parts", "--shard", part).code == 0
    assert debride(*words, "--out", tmp_path / "parts", "--merge").code == 0
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    answer = debride(*words, "--out", tmp_path / "again", "--since", tmp_path / "whole")
    assert answer.code == 0 and "16 unchanged" in answer.out, answer.err
    assert table(tmp_path / "again" / "scores.csv") == table(tmp_path / "whole" / "scores.csv")
    both = [*words, "--out", tmp_path / "b", "--predictions", tmp_path / "probability"]
    assert debride(*both).code == 2 and not (tmp_path / "b").exists()
