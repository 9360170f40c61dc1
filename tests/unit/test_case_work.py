"""Work that is done case by case goes on after it was cut off, and leaves out what cannot be read where it is told to."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from debride.case_work import FINISHED, LEFT_OUT, UNFINISHED, case_work, stamp_of
from debride.folders import exclusive
from debride.types import DataError

MADE_BY = {"run": "abc", "splits": ["test"], "probabilities": False}


def refuse() -> int:
    raise DataError("a.png", "is cut off", "Restore it.")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write(out: Path, case: str, resume: bool = False) -> None:
    with case_work(out, MADE_BY, resume=resume) as work:
        (out / f"{case}.png").write_text(case)
        work.done(case, "stamp", [out / f"{case}.png"])


def test_what_was_done_is_known_when_the_work_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), case_work(out, MADE_BY) as work:
        for case in "ab":
            (out / f"{case}.png").write_text(case)
            work.done(case, f"stamp {case}", [out / f"{case}.png"])
        raise KeyboardInterrupt
    assert UNFINISHED in names(out)
    (out / "b.png").write_text("another length")
    with case_work(out, MADE_BY, resume=True) as work:
        assert work.is_done("a", "stamp a") and not work.is_done("b", "stamp b")
        assert not work.is_done("a", "another image") and not work.is_done("c", "stamp c")
        work.done("b", "stamp b", [out / "b.png"])
    assert names(out) == {"a.png", "b.png", FINISHED, ".lock"}
    with case_work(out, MADE_BY, resume=True) as work:
        assert work.is_done("a", "stamp a") and work.is_done("b", "stamp b")
        (out / "a.png").unlink()
        assert not work.is_done("a", "stamp a")
    assert names(out) == {"b.png", FINISHED, ".lock"}


def test_only_the_same_work_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "a")
    for made_by, name in (
        ({**MADE_BY, "probabilities": True}, "probabilities"),
        ({"run": "abc", "splits": ["test"]}, "probabilities"),
    ):
        with pytest.raises(DataError, match=f"made with another `{name}`"), case_work(out, made_by, resume=True):
            raise AssertionError
    for resume, problem in ((False, "holds unfinished work"), (True, "abc, now xyz")):
        with pytest.raises(DataError, match=problem), case_work(out, {**MADE_BY, "run": "xyz"}, resume=resume):
            raise AssertionError
    write(out, "b", resume=True)
    with pytest.raises(DataError, match="is not empty"), case_work(out, MADE_BY):
        raise AssertionError
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(DataError, match="holds nothing that could go on"), case_work(tmp_path / "other", MADE_BY, resume=True):
        raise AssertionError
    write(tmp_path / "new", "a", resume=True)  # the same command, whether or not there is something to go on with


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(DataError, match="another process"), case_work(tmp_path, MADE_BY):
        raise AssertionError


def test_what_cannot_be_read_is_left_out_and_listed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with case_work(out, MADE_BY, keep_going=True) as work:
        assert work.attempt("a", refuse) is None and work.attempt("b", lambda: 5) == 5
    with (out / LEFT_OUT).open(newline="") as file:
        assert list(csv.reader(file)) == [["case", "file", "problem", "remedy"], ["a", "a.png", "is cut off", "Restore it."]]
    assert UNFINISHED in names(out) and FINISHED not in names(out)
    with case_work(out, MADE_BY, resume=True):
        pass
    assert names(out) == {FINISHED, ".lock"}


def test_without_keep_going_it_says_how_to_go_on(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"is cut off\. Restore it\. Then go on with `resume`"),
        case_work(tmp_path / "out", MADE_BY) as work,
    ):
        work.attempt("a", refuse)
    assert not (tmp_path / "out").exists(), "nothing was done"
    write(tmp_path / "out", "a")


@pytest.mark.parametrize(
    "line",
    [
        '{"case": 5}',
        "[]",
        '{"case": "a", "stamp": "s", "files": {"../a": 1}}',
    ],
)
def test_a_strange_record_is_refused(tmp_path: Path, line: str) -> None:
    write(tmp_path, "a")
    record = tmp_path / FINISHED
    record.write_text(record.read_text() + line + "\n")
    with pytest.raises(DataError) as raised, case_work(tmp_path, MADE_BY, resume=True):
        raise AssertionError
    assert raised.value.where.startswith(str(tmp_path / UNFINISHED))


def test_a_stamp_tells_whether_a_file_changed(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    before = stamp_of([file])
    assert stamp_of([file]) == before
    file.write_text("12")
    assert stamp_of([file]) != before
    with pytest.raises(DataError, match="cannot be read"):
        stamp_of([tmp_path / "none"])


def test_a_result_that_is_no_file_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), case_work(out, MADE_BY) as work:
        work.done("a", "stamp", result=[{"dice": float("nan")}])
        raise KeyboardInterrupt
    with case_work(out, MADE_BY, resume=True) as work:
        assert str(work.result("a", "stamp")) == "[{'dice': nan}]"
        assert work.result("a", "another stamp") is None and work.result("b", "stamp") is None


def test_a_new_folder_in_which_nothing_was_done_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name, stays in (("new", False), ("there", True)):
        with pytest.raises(DataError), case_work(tmp_path / name, MADE_BY) as work:
            work.attempt("a", refuse)
        assert (tmp_path / name).exists() == stays
