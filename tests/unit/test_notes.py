"""Notes: one sentence for each kind of thing, whatever the number of files."""

from __future__ import annotations

import pytest

from debride.notes import note, take_notes, tell_notes


def test_one_sentence_names_the_first_file_and_counts_the_others() -> None:
    for name in ("a.nii", "b.nii", "a.nii", "c.nii"):
        note(name, "is read turned")
    note("d.png", "is dark")
    assert take_notes() == ["a.nii is read turned (and 2 more like it).", "d.png is dark."]
    assert take_notes() == []


def test_notes_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    note("a.nii", "is read turned")
    tell_notes()
    tell_notes()
    assert capsys.readouterr().err == "debride: note: a.nii is read turned.\n"
