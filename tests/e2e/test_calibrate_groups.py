"""``debride calibrate --by site``: groups that have a calibration of their own, and ``predict`` with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.calibrations import write_calibration
from tests.datasets import save_json, save_png
from tests.e2e.conftest import Command
from tests.training_jobs import run_job, small_class_job, small_job
from tests.unit.test_bias_fit import NAMES, PLAIN
from tests.unit.test_group_biases import site

from debride.calibration.bias_record import plain_record
from debride.training.fitted_bias import fitted_records
from debride.training.own_biases import own_words, read_own, with_own
from debride.types import Case, DataError

CPU = ("--device", "cpu")
SITES = {f"case{number:03d}": "A" if number % 2 else "B" for number in range(10)}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run in ``run`` on cases of two sites, and two of none, of which six are verified."""
    run_job(small_job(tmp_path, "ce", epochs=1))
    save_json(tmp_path / "data/dataset.json", {"groups": {"site": SITES}})
    (tmp_path / "verified.txt").write_text("\n".join(list(SITES)[:6]))
    return tmp_path


def written(run: Path, own: dict[str, dict[str, Any]], by: str = "site") -> dict[str, Any]:
    """A common calibration of the run, and ``own`` ones, in its calibration.json, which is returned."""
    records = {}
    for name, changes in own.items():
        write_calibration(run, **changes)
        records[name] = json.loads((run / "calibration.json").read_text())
    write_calibration(run, offsets=(0, 1.5, 0))
    whole = {**json.loads((run / "calibration.json").read_text()), "groups": {"by": by, "own": records}}
    save_json(run / "calibration.json", whole)
    return whole


def test_each_case_has_that_of_its_group(trained: Path, debride: Command) -> None:
    def predict(out: str, source: Path, *more: object, says: str = "") -> dict[str, bytes]:
        answer = debride("predict", trained / "run", source, "--out", trained / out, *CPU, *more)
        assert answer.code == 0 and says in answer.out
        return {path.stem: path.read_bytes() for path in sorted((trained / out).glob("*.png"))}

    run, all_of_it = trained / "run", ("--splits", "train", "val", "test")
    alone = {}
    for name, changes in {"A": {"shifts": (0, 2, 0)}, "": {"offsets": (0, 1.5, 0)}}.items():
        write_calibration(run, **changes)
        alone[name] = predict(f"alone{name}", trained / "data", *all_of_it)
    written(run, {"A": {"shifts": (0, 2, 0)}})
    said = "Cases of site A have their own calibration, all others this one."
    found = predict("found", trained / "data", *all_of_it, says=said)
    assert found == {name: alone["A" if SITES.get(name) == "A" else ""][name] for name in alone[""]}
    assert alone["A"] != found != alone[""] and len(found) == 12
    assert predict("two", trained / "data", *all_of_it, "--jobs", "2") == found
    assert predict("folder", trained / "data/images", says=said) == alone[""]
    save_json(trained / "data/dataset.json", {"groups": {"site": {**SITES, "case000": "A"}}})
    again = predict("found", trained / "data", *all_of_it, "--resume")
    assert again == {**found, "case000": alone["A"]["case000"]}
    written(run, {"A": {"shifts": (0, 1, 0)}})
    answer = debride("predict", run, trained / "data", "--out", trained / "found", *CPU, *all_of_it, "--resume")
    assert answer.code == 2 and "was made with another `calibration`" in answer.err


def test_a_run_is_calibrated_by_site(trained: Path, debride: Command) -> None:
    words = ("calibrate", trained / "run", trained / "data", "--trusted", trained / "verified.txt", *CPU)
    answer = debride(*words, "--by", "site")
    held = json.loads((trained / "run/calibration.json").read_text())
    assert answer.code == 0 and ("No site has a calibration of its own" in answer.out) == ("groups" not in held)
    assert debride(*words).code == 0
    common = json.loads((trained / "run/calibration.json").read_text())
    assert {name: value for name, value in held.items() if name != "groups"} == common
    answer = debride(*words, "--by", "scanner")
    assert answer.code == 2 and "names the scanner of no verified case" in answer.err and "--by" in answer.err
    answer = debride("calibrate", *words[2:5], "--predictions", trained, "--out", trained / "out", "--by", "site")
    assert answer.code == 2 and "--by: is for a run" in answer.err


def test_images_with_one_class_each_have_no_groups(debride: Command, tmp_path: Path) -> None:
    run_job(small_class_job(tmp_path, "ce", epochs=1))
    (tmp_path / "few.txt").write_text("train_00000\ntrain_00001\n")
    words = ("calibrate", tmp_path / "run", tmp_path / "classes", "--trusted", tmp_path / "few.txt", "--by", "site", *CPU)
    answer = debride(*words)
    assert answer.code == 2 and "--by: is for masks" in answer.err


def test_sites_that_draw_otherwise_are_recorded(tmp_path: Path) -> None:
    seen = [*site("a", 1.5, 4), *site("b", -1.5, 4)]
    pixels = tmp_path / "i.png"
    save_png(pixels, np.zeros((64, 64), np.uint8))
    cases = [Case(case.id, (pixels,), None, case.patient) for case in seen]
    groups = ["a"] * 4 + ["b"] * 4
    common, own = fitted_records(seen, NAMES, PLAIN, cases, tmp_path, weights="0", checkpoint="last", groups=groups)
    assert set(own) == {"a", "b"} and own["a"].cases == tuple(case.id for case in seen[:4]) and own["a"].patients == 4
    said = own_words("site", own)
    assert any(line.startswith("site a: Labels of class wall lie 1") and line.endswith(" inside.") for line in said)
    assert any(line.startswith("site b: Labels of class wall lie 1") and line.endswith(" outside.") for line in said)
    plain = json.loads(json.dumps(with_own(plain_record(common), "site", own)))
    read = read_own(plain, tmp_path, NAMES)
    assert read is not None and dict(read.calibrations) == {name: record.calibration for name, record in own.items()}
    assert fitted_records(seen, NAMES, PLAIN, cases, tmp_path, weights="0", checkpoint="last") == (common, {})


def test_damaged_groups(trained: Path) -> None:
    whole = written(trained / "run", {"A": {"shifts": (0, 2, 0)}})
    classes = whole["calibration"]["classes"]
    assert read_own(whole, trained, classes)
    wrong = [
        [],
        {"by": "site"},
        {**whole["groups"], "by": "rater"},
        {"by": "site", "own": {"A": whole["calibration"]}},
        {"by": "site", "own": {"A": {**whole, "patients": 99}}},
    ]
    for each in wrong:
        with pytest.raises(DataError):
            read_own({**whole, "groups": each}, trained, classes)
