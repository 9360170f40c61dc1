"""An audit as a user meets it: what is found, what is written, what is refused, and that sources stay as they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audits import QUICK, Audited, about, contents, refused, table, truncate
from tests.datasets import build_npz, save_png
from tests.e2e.conftest import Command

from debride.audit.findings.record import read_record
from debride.data.pixels.images import read_label

# ---------------------------------------------------------------- by a folder of probabilities


def test_planted_errors_are_found_first(audited: Audited) -> None:
    cases = table(audited.audit / "cases.csv")
    assert [int(row["rank"]) for row in cases] == list(range(1, 31))
    assert {row["case"] for row in cases[: len(audited.errors)]} == set(audited.errors)
    first = {row["case"]: row for row in cases}
    for case, kind in audited.errors.items():
        assert first[case]["kind"] == kind or first[case]["flagged"] == "0", case
    flagged = {row["case"] for row in cases if row["flagged"] == "1"}
    assert flagged <= set(audited.errors) and len(flagged) >= len(audited.errors) - 1
    wrong = [float(row["wrong"]) for row in cases]
    assert wrong == sorted(wrong, reverse=True)
    dataset = {case.id: case for case in audited.dataset().cases}
    for row in cases:
        case = dataset[row["case"]]
        assert (row["patient"], row["split"], row["trusted"]) == (case.patient, case.split, str(int(case.trusted)))


def test_the_folder_of_an_audit_is_whole(audited: Audited) -> None:
    record = read_record(audited.audit)
    cases = {case.id: case for case in audited.dataset().cases}
    assert set(record.labels) == set(cases) and record.ndim == 2 and record.classes == ("background", "round", "flat")
    summary = about(audited.audit)["summary"]
    low, high = summary["share_wrong_interval"]
    assert summary["cases"] == 30 and summary["flagged"] >= len(audited.errors) - 1
    assert 0 < low <= summary["share_wrong"] <= high <= 1 and low <= len(audited.errors) / 30 <= high
    assert "Nothing tells whether" in about(audited.audit)["predictions"]["warning"]
    maps = {path.name for path in (audited.audit / "proposals").iterdir()}
    assert maps == {f"{case}.npz" for case in record.by_case()}
    pictures = {path.name for path in (audited.audit / "pictures").iterdir()}
    assert pictures == {f"{finding.case}-{finding.number}.png" for finding in record.findings}
    for case, findings in record.by_case().items():
        label = read_label(cases[case].label, audited.dataset())[0]
        with np.load(audited.audit / "proposals" / f"{case}.npz", allow_pickle=False) as arrays:
            number, proposed = arrays["number"], arrays["proposed"]
        assert (number.dtype, proposed.dtype, number.shape) == (np.uint16, np.uint8, label.shape)
        for finding in findings:
            at = number == finding.number
            assert finding.voxels == np.count_nonzero(at) and (label[at] != proposed[at]).all()
    scores = table(audited.audit / "scores.csv")
    assert [(row["case"], row["class"]) for row in scores[:2]] == [
        (table(audited.audit / "cases.csv")[0]["case"], name) for name in ("round", "flat")
    ]
    assert len(scores) == 60
    assert len(table(audited.audit / "worklist" / "worklist.csv")) == len(record.findings)
    page = (audited.audit / "report.html").read_text(encoding="utf-8")
    assert all(case in page for case in audited.errors)
    leftover = [path for path in audited.audit.rglob("*") if path.name.startswith(".tmp-")]
    assert leftover == []


def test_a_trusted_label_is_not_called_wrong(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", "--out", tmp_path / "a"]
    answer = debride(*words, "--trusted", audited.trusted)
    assert answer.code == 0, answer.err
    assert "29 labels and 1 trusted ones, " in answer.out
    before, after = ({row["case"]: row for row in table(folder / "cases.csv")} for folder in (audited.audit, tmp_path / "a"))
    (trusted,) = (row for row in after.values() if row["trusted"] == "1")
    assert trusted["case"] == "p04_9" and before["p04_9"]["flagged"] == "1"
    assert (trusted["wrong"], trusted["flagged"], trusted["kind"], trusted["findings"]) == ("0", "0", "", "0")
    assert {case for case, row in after.items() if row["flagged"] == "1"} <= set(audited.errors) - {"p04_9"}
    summary = about(tmp_path / "a")["summary"]
    (tmp_path / "all.txt").write_text("\n".join(row for row in before if row not in audited.errors))
    words[-1] = tmp_path / "b"
    assert debride(*words, *QUICK, "--trusted", tmp_path / "all.txt", "--fail-on", 0.25).code == 1  # of 6 others
    low, high = summary["share_wrong_interval"]
    assert low <= 5 / 29 <= high
    assert "p04_9" not in read_record(tmp_path / "a").by_case()


def test_the_source_is_not_touched(audited: Audited) -> None:
    assert contents(audited.data) == audited.before


def test_a_second_audit_is_the_same_and_not_into_the_same_folder(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", "--out"]
    refused(debride(*words, audited.audit), "holds an audit already")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / ".debride-audit").touch()
    (tmp_path / "cut" / "proposals").mkdir()
    (tmp_path / "cut" / "proposals" / "stale.npz").write_bytes(b"cut off")
    answer = debride(*words, tmp_path / "cut")
    assert answer.code == 0, answer.err
    again, first = contents(tmp_path / "cut"), contents(audited.audit)
    assert again == first


def test_what_the_terminal_says(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["audit", audited.data, "--predictions", audited.root / "probability", "--out", tmp_path / "a", "--pictures", 2]
    answer = debride(*words, "--fail-on", 0.1)
    assert answer.code == 1  # 6 of 30
    assert "30 labels, between" in answer.out and " flagged" in answer.out
    assert sum(case in answer.out for case in audited.errors) >= len(audited.errors) - 1
    assert str(tmp_path / "a" / "report.html") in answer.out
    assert len(list((tmp_path / "a" / "pictures").iterdir())) == 2
    assert debride(*words[:4], "--out", tmp_path / "b", *QUICK, "--fail-on", 1).code == 0
    assert not (tmp_path / "b" / "pictures").exists() and (tmp_path / "b" / "report.html").exists()


def test_splits_and_partial_predictions(audited: Audited, debride: Command, tmp_path: Path) -> None:
    shutil.copytree(audited.root / "probability", tmp_path / "some")
    gone = sorted(audited.errors)[:2]
    for case in gone:
        (tmp_path / "some" / f"{case}.npy").unlink()
    words = ["audit", audited.data, "--predictions", tmp_path / "some", "--out", tmp_path / "a"]
    refused(debride(*words), "has no prediction for 2 of 30 cases", gone[0])
    assert not (tmp_path / "a" / "audit.json").exists()
    assert debride(*words, "--partial", *QUICK).code == 0
    assert {row["case"] for row in table(tmp_path / "a" / "cases.csv")}.isdisjoint(gone)
    assert about(tmp_path / "a")["summary"]["cases"] == 28
    val = [case.id for case in audited.dataset().of("val")]
    assert debride(*words[:5], tmp_path / "v", "--splits", "val", "--partial", *QUICK).code == 0
    assert {row["case"] for row in table(tmp_path / "v" / "cases.csv")} == set(val) - set(gone)


def change(how: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda path: np.save(path, how(np.load(path)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change(lambda p: p[:, :-1]), "shape"),
        (change(lambda p: p[:2]), ""),
        (change(lambda p: np.where(p > 0.9, np.nan, p)), "p02_5"),
        (change(np.log), "p02_5"),
        (change(lambda p: p * 0.5), "p02_5"),
        (change(lambda p: np.array([{"a": 1}], object)), "p02_5"),
        (truncate, "p02_5"),
        (lambda path: path.write_bytes(b""), "p02_5"),
    ],
    ids=["shape", "classes", "nan", "logits", "sum", "objects", "cut off", "empty"],
)
def test_unusable_predictions_are_refused(
    damage: Callable[[Path], None], words: str, audited: Audited, debride: Command, tmp_path: Path
) -> None:
    shutil.copytree(audited.root / "probability", tmp_path / "p")
    damage(tmp_path / "p" / "p02_5.npy")
    answer = debride("audit", audited.data, "--predictions", tmp_path / "p", "--out", tmp_path / "a", *QUICK)
    refused(answer, "p02_5.npy", words)
    assert not (tmp_path / "a" / "audit.json").exists()


def test_an_audit_that_was_refused_can_be_done_again(audited: Audited, debride: Command, tmp_path: Path) -> None:
    shutil.copytree(audited.root / "probability", tmp_path / "p")
    truncate(tmp_path / "p" / "p14_29.npy")
    words = ["audit", audited.data, "--predictions", tmp_path / "p", "--out", tmp_path / "a", *QUICK]
    refused(debride(*words), "p14_29.npy")
    shutil.copy(audited.root / "probability" / "p14_29.npy", tmp_path / "p")
    assert debride(*words).code == 0


def test_refusals(audited: Audited, debride: Command, tmp_path: Path) -> None:
    maps = audited.root / "probability"
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")

    def audit(*words: object, out: object = tmp_path / "a", data: object = audited.data) -> Any:
        return debride("audit", data, "--out", out, *words)

    refused(audit("--predictions", maps, out=tmp_path / "used"), "is not empty")
    refused(audit("--predictions", maps, out=tmp_path / "file"), "is a file")
    refused(audit("--predictions", maps, out=tmp_path / "file" / "a"))
    refused(audit("--predictions", maps, out=audited.data / "audit"), "lies in the data set")
    refused(audit("--predictions", maps, out=maps), "lies in the folder of predictions")
    refused(audit("--predictions", maps, out=maps / "a"), "lies in the folder of predictions")
    refused(audit("--predictions", maps, data=tmp_path / "none"), str(tmp_path / "none"))
    refused(audit("--predictions", tmp_path / "none"), "is no folder")
    refused(audit("--run", maps), "holds no training")
    refused(audit("--run", maps, out=maps / "a"), "lies in the folder of predictions")
    refused(audit("--run", tmp_path / "none"), "holds no training")
    refused(audit("--predictions", maps, "--fail-on", 1.5), "--fail-on")
    refused(audit("--predictions", maps, "--fail-on", "nan"), "--fail-on")
    refused(audit("--predictions", maps, "--planted", 0), "--planted")
    refused(audit("--predictions", maps, "--least", 0), "--least")
    refused(audit("--predictions", maps, "--pictures", -1), "--pictures")
    refused(audit("--predictions", maps, "--splits", "test"), "has no labelled case")
    refused(audit("--predictions", maps, "--identities"), "--identities")
    refused(audit("--predictions", maps, "--consensus", "staple"), "--consensus")
    refused(audit("--method", "nothing"), "--method")
    refused(audit("--folds", 1), "--folds")
    refused(audit("--folds", 16), "of 15 patient")
    refused(audit("--config", tmp_path / "none.yaml"), "none.yaml")
    refused(audit("--predictions", maps, data=build_npz(tmp_path / "classes")), "predictions.csv")
    assert audit("--predictions", maps, "--run", maps).code == 2
    assert audit("--predictions", maps, "--consensus", "mean").code == 2
    assert not (tmp_path / "a" / "audit.json").exists()
    assert (tmp_path / "used" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert contents(audited.data) == audited.before


def test_what_an_audit_predicted_is_for_other_folders(audited: Audited, debride: Command, tmp_path: Path) -> None:
    """Also where that audit was cut off, whose folder may be written to."""
    kept = tmp_path / "cut" / "predictions"
    shutil.copytree(audited.root / "probability", kept)
    (tmp_path / "cut" / ".debride-audit").touch()
    before = contents(kept)
    words = ["audit", audited.data, "--predictions", kept, *QUICK, "--out"]
    refused(debride(*words, tmp_path / "cut"), "holds the folder of predictions")
    refused(debride(*words, kept / ".." / "predictions" / "a"), "lies in the folder of predictions")
    assert debride(*words, tmp_path / "other").code == 0
    assert contents(kept) == before


def test_masks_by_case_are_predictions_too(audited: Audited, debride: Command, tmp_path: Path) -> None:
    for path in (audited.root / "probability").iterdir():
        save_png(tmp_path / "masks" / f"{path.stem}.png", np.load(path).argmax(axis=0).astype(np.uint8))
    answer = debride("audit", audited.data, "--predictions", tmp_path / "masks", "--out", tmp_path / "a", "--pictures", 0)
    assert answer.code == 0, answer.err
    first = {row["case"] for row in table(tmp_path / "a" / "cases.csv")[: len(audited.errors)]}
    assert len(first & set(audited.errors)) >= len(audited.errors) - 1


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize("verb", ["audit", "repair"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = f"""
import sys
from debride.cli import main
assert main([{verb!r}, "--help"]) == 0
loaded = {{"torch", "monai", "numpy", "scipy", "sklearn", "lightning_fabric", "matplotlib"}} & set(sys.modules)
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def no_arrays(value: object) -> bool:
    """Whether nothing of more than a number is held."""
    if isinstance(value, dict):
        return all(map(no_arrays, value.values()))
    return value is None or (isinstance(value, (int, float, str)) and not isinstance(value, np.ndarray))


def test_no_array_is_kept_between_the_passes(
    audited: Audited, debride: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from debride.audit.evidence import ranking

    seen: list[Sequence[Any]] = []
    rank = ranking.rank

    def spy(given: Any, planted: Any, *others: Any) -> Any:
        seen.extend((given, planted))
        return rank(given, planted, *others)

    monkeypatch.setattr("debride.audit.usual.rank", spy)
    words = ["--predictions", audited.root / "probability", "--out", tmp_path / "a", "--pictures", 0, "--planted", 5]
    assert debride("audit", audited.data, *words).code == 0
    given, planted = seen
    assert len(given) == len(planted) == 30
    assert sum(bool(each) for each in planted) == 5
    assert all(no_arrays(each) for each in (*given, *planted))
