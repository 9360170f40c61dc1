"""Edits of labels: kept by their content, applied as a loop over pixels would, and refused when damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from debride.audit.decided import EDITS, apply_edit, read_edit, write_edit
from debride.types import DataError

RNG = np.random.default_rng(0)


def painted(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    seen = RNG.integers(0, 4, shape).astype(np.uint8)
    seen[(0,) * len(shape)] = 255
    edited = seen.copy()
    edited[(slice(1, 4),) * len(shape)] = 2
    edited[(0,) * len(shape)] = 3  # no label is there, and none comes there
    return seen, edited


@pytest.mark.parametrize("shape", [(9, 7), (6, 5, 8)])
def test_an_edit_comes_back_as_it_was_painted(tmp_path: Path, shape: tuple[int, ...]) -> None:
    seen, edited = painted(shape)
    hash = write_edit(tmp_path, "a", seen, edited)
    edit = read_edit(tmp_path, "a", hash, shape, 4)
    expected = seen.copy()
    for place in np.ndindex(*shape):
        if seen[place] != 255 and edited[place] != seen[place]:
            expected[place] = edited[place]
    assert (apply_edit(seen, edit) == expected).all()
    assert all(start >= 1 and stop <= 4 for start, stop in edit.box)
    assert (edit.label[~edit.changed] == 0).all()


def test_a_part_of_a_label_gives_the_edit_of_the_whole(tmp_path: Path) -> None:
    seen, edited = painted((6, 5, 8))
    part = (slice(1, 6), slice(0, 5), slice(1, 7))
    whole = write_edit(tmp_path, "a", seen, edited)
    assert write_edit(tmp_path, "a", seen[part], edited[part], ((1, 6), (0, 5), (1, 7))) == whole
    assert [path.name for path in (tmp_path / EDITS).iterdir()] == [f"{whole}.npz"]
    assert write_edit(tmp_path, "b", seen, edited) != whole


def test_an_edit_and_its_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino))
    seen, edited = painted((9, 7))
    path = tmp_path / EDITS / f"{write_edit(tmp_path, 'a', seen, edited)}.npz"
    assert [*flushed] == [each.stat().st_ino for each in (path, *path.parents[:3])]


def test_an_edit_is_of_its_case_and_lies_in_its_label(tmp_path: Path) -> None:
    seen, edited = painted((9, 7))
    hash = write_edit(tmp_path, "a", seen, edited)
    for case, name, shape, classes, problem in [
        ("b", hash, (9, 7), 4, "is not what was painted in b"),
        ("a", "../" + hash, (9, 7), 4, "can hold no edit named"),
        ("a", "0" * 32, (9, 7), 4, "does not exist"),
        ("a", hash, (3, 7), 4, "outside the label of a"),
        ("a", hash, (9, 7, 3), 4, "no box of as many axes"),
        ("a", hash, (9, 7), 2, "paints the class 2, of 2 classes"),
    ]:
        with pytest.raises(DataError, match=problem):
            read_edit(tmp_path, case, name, shape, classes)


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    seen, edited = painted((9, 7))
    hash = write_edit(tmp_path, "a", seen, edited)
    path = tmp_path / EDITS / f"{hash}.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    content = path.read_bytes()
    for name, value, problem in [
        ("label", np.where(arrays["changed"], np.uint8(1), np.uint8(0)), "does not fit its name"),
        ("changed", ~arrays["changed"], "does not fit its name"),
        ("label", arrays["label"].astype(np.int16), "another shape or type"),
        ("changed", arrays["changed"][:-1], "another shape or type"),
        ("box", arrays["box"] - 5, "outside the label"),
        *(("box", box, "no box of as many axes") for box in (arrays["box"].ravel(), arrays["box"] + 0.5, np.int64(3))),
    ]:
        np.savez_compressed(path, **{**arrays, name: value})
        with pytest.raises(DataError, match=problem):
            read_edit(tmp_path, "a", hash, (9, 7), 4)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"no \.npz file"):
        read_edit(tmp_path, "a", hash, (9, 7), 4)


def test_an_edit_that_says_nothing_is_refused(tmp_path: Path) -> None:
    seen, edited = painted((9, 7))
    only_unlabelled = seen.copy()
    only_unlabelled[0, 0] = 1
    for value, problem in [
        (seen, "is the same as what was shown"),
        (only_unlabelled, "is the same as what was shown"),
        (np.full_like(seen, 255), "holds the value 255"),
        (edited[:4], "has the shape"),
    ]:
        with pytest.raises(DataError, match=problem):
            write_edit(tmp_path, "a", seen, value)
    with pytest.raises(DataError, match="has the shape"):
        write_edit(tmp_path, "a", seen, edited, ((0, 3), (0, 7)))
    assert not (tmp_path / EDITS).exists()
