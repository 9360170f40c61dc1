"""An audit with verified cases says how all labels are biased, and ``repair --unbias`` moves their outlines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.audits import contents, refused
from tests.datasets import save_png
from tests.e2e.conftest import Command
from tests.reviews import decide
from tests.unit.test_verified_bias import TRUSTED, dataset, disc
from tests.written_audits import given_label, label_files

from debride.data.open import open_dataset


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bias_is_found_said_and_taken_out(jobs: int, tmp_path: Path, debride: Command) -> None:
    source = dataset(tmp_path / "data", 2.0)
    for case in source.cases:
        save_png(tmp_path / "predicted" / f"{case.id}.png", disc(int(case.id[-3:]), 2.0))
    (tmp_path / "trusted.txt").write_text("\n".join(TRUSTED))
    trusted = ["--trusted", tmp_path / "trusted.txt", "--jobs", jobs]
    words = ["audit", tmp_path / "data", "--predictions", tmp_path / "predicted", "--planted", 4]
    answer = debride(*words, "--out", tmp_path / "plain")
    assert answer.code == 0 and "verified" not in answer.out
    answer = debride(*words, "--out", tmp_path / "audit", *trusted)
    assert answer.code == 0, answer.err
    bias = json.loads((tmp_path / "audit" / "audit.json").read_text())["summary"]["verified_bias"]
    said = f"4 verified cases: given outlines of wall lie {bias['moves']['shifts'][1]:.2f} px inside"
    assert bias["moves"]["shifts"] == pytest.approx([0, 2, 2], abs=0.6)
    assert said in answer.out and said in (tmp_path / "audit" / "report.html").read_text()
    assert f"debride repair {tmp_path / 'data'} {tmp_path / 'audit'} --out NEW --unbias" in answer.out

    before = contents(tmp_path / "data")
    repair = ["repair", tmp_path / "data", tmp_path / "audit", "--out", tmp_path / "repaired", *trusted]
    refused(debride(*repair), "accepts nothing")
    refused(debride("repair", tmp_path / "data", tmp_path / "plain", "--out", tmp_path / "no", "--unbias"), "verified cases")
    answer = debride(*repair, "--unbias")
    audited = json.loads((tmp_path / "audit" / "audit.json").read_text())["labels"].keys() - set(TRUSTED)
    assert audited and answer.code == 0 and f"(bias {len(audited)})" in answer.out
    assert contents(tmp_path / "data") == before
    repaired = open_dataset(tmp_path / "repaired")
    for case in source.cases:
        right = disc(int(case.id[-3:]))
        gained = (given_label(repaired, case.id) == right).mean() - (given_label(source, case.id) == right).mean()
        assert gained > 0.05 if case.id in audited else gained == 0
    assert np.array_equal(given_label(repaired, TRUSTED[0]), disc(0))
    first = min(audited)  # a reader has verified one more: its outline stays
    database = decide(tmp_path / "audit", [("ada", first, 0, "verified")])
    answer = debride(*repair[:3], "--out", tmp_path / "two", *trusted, "--unbias", "--decisions", database)
    assert answer.code == 0, answer.err
    assert label_files(open_dataset(tmp_path / "two"))[first] == label_files(source)[first]
    assert debride("repair", tmp_path / "repaired", "--out", tmp_path / "back", "--reverse").code == 0
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)
    refused(
        debride("repair", tmp_path / "repaired", "--out", tmp_path / "b", "--reverse", "--unbias"), "takes all repairs back"
    )
