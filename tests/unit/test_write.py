from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json, save_png

from debride.data.check import find_problems
from debride.data.copy import copy_dataset
from debride.data.open import open_dataset, subset
from debride.data.pixels.images import read_image, read_label
from debride.notes import take_notes
from debride.types import IGNORE, Case, DataError, Dataset, Geometry

Label = npt.NDArray[np.uint8]
BUILDERS = [build_folder, build_nnunet_2d, build_nnunet_3d, build_manifest]


def same(case: Case, ids: Label, geometry: Geometry) -> Label:
    return ids


def rolled(case: Case, ids: Label, geometry: Geometry) -> Label:
    return np.roll(ids, 3, axis=-1) if case.split == "train" else ids


def relative(dataset: Dataset) -> list[Case]:
    """The cases with paths relative to the data set, to compare two of them."""
    return [
        replace(
            case,
            image=tuple(path.relative_to(dataset.root) for path in case.image),
            label=case.label and case.label.relative_to(dataset.root),
        )
        for case in dataset.cases
    ]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def ids_of(dataset: Dataset, case: Case) -> Label:
    assert case.label is not None
    return read_label(case.label, dataset)[0]


@pytest.mark.parametrize("build", BUILDERS)
def test_a_copy_opens_as_the_same_cases(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    source = open_dataset(build(tmp_path / "source"))
    before = contents(source.root)
    copy_dataset(source, tmp_path / "out", same)
    copied = open_dataset(tmp_path / "out", seed=99)
    assert relative(copied) == relative(source)
    assert replace(copied, root=source.root, cases=source.cases) == source
    assert contents(source.root) == before
    after = contents(copied.root)
    assert {name: after[name] for name in before if name.startswith(("images", "labels", "masks"))} == {
        name: content for name, content in before.items() if name.startswith(("images", "labels", "masks"))
    }
    assert not find_problems(copied.root)


@pytest.mark.parametrize("build", BUILDERS)
def test_labels_are_what_change_returns(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    source = open_dataset(build(tmp_path / "source"))
    done = []
    copy_dataset(source, tmp_path / "out", rolled, lambda number, total: done.append((number, total)))
    assert done == [(i, len(source.cases)) for i in range(1, len(source.cases) + 1)]
    copied = open_dataset(tmp_path / "out")
    assert relative(copied) == relative(source)
    for old, new in zip(source.cases, copied.cases, strict=True):
        assert read_image(old.image)[1] == read_image(new.image)[1]
        if old.label and new.label:
            np.testing.assert_array_equal(ids_of(copied, new), rolled(old, ids_of(source, old), Geometry()))
            assert read_label(new.label, copied)[1] == read_label(old.label, source)[1]
            assert (old.label.read_bytes() == new.label.read_bytes()) == (old.split != "train")


def test_two_copies_are_the_same_bytes(tmp_path: Path) -> None:
    source = open_dataset(build_nnunet_3d(tmp_path / "source"))
    copy_dataset(source, tmp_path / "a", rolled)
    copy_dataset(source, tmp_path / "b", rolled)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("build", BUILDERS)
def test_a_subset_is_written_with_just_its_cases(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    source = subset(open_dataset(build(tmp_path / "source")), {"train": 2, "val": 1}, 0)
    copy_dataset(source, tmp_path / "out", same)
    assert relative(open_dataset(tmp_path / "out")) == relative(source)
    assert not [problem for problem in find_problems(tmp_path / "out") if "fewer" not in problem.problem]


def test_patients_of_options_are_kept_and_trust_of_options_is_not(tmp_path: Path) -> None:
    """Who is trusted is a person's word in a file beside the data set, and not the data set's own."""
    trusted = tmp_path / "trusted.txt"
    trusted.write_text("p01_s0\n")
    root = build_nnunet_2d(tmp_path / "source")
    save_json(root / "dataset.json", {**json.loads((root / "dataset.json").read_text()), "trusted": ["p00_s0"]})
    source = open_dataset(root, patient_pattern="^(p..)", trusted=trusted)
    take_notes()
    copy_dataset(source, tmp_path / "out", same)
    assert any("does not mark the cases that `trusted` named" in said for said in take_notes())
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["trusted"] == ["p00_s0"]
    assert relative(open_dataset(tmp_path / "out", trusted=trusted)) == relative(source)  # what the note says to do
    again = subset(open_dataset(tmp_path / "out"), {"train": 1}, 3)
    copy_dataset(again, tmp_path / "again", same)
    assert relative(open_dataset(tmp_path / "again")) == relative(again)


def test_another_fold_and_drawn_test_cases_are_kept(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "source")
    folds = json.loads((root / "splits_final.json").read_text())
    save_json(root / "splits_final.json", [folds[0], {"train": folds[0]["val"], "val": folds[0]["train"]}])
    source = open_dataset(root, fold=1)
    copy_dataset(source, tmp_path / "out", same)
    assert relative(open_dataset(tmp_path / "out", fold=1)) == relative(source)

    shutil.rmtree(root / "imagesTs")
    shutil.rmtree(root / "labelsTs")
    (root / "splits_final.json").unlink()
    drawn = open_dataset(root, test_fraction=0.3)
    copy_dataset(drawn, tmp_path / "drawn", same)
    splits = {case.id: case.split for case in drawn.cases}
    assert {case.id: case.split for case in open_dataset(tmp_path / "drawn").cases} == splits
    assert json.loads((tmp_path / "drawn" / "dataset.json").read_text())["numTraining"] == len(drawn.of("train", "val"))


def test_meaning_of_the_labels_survives_labels_that_become_empty(tmp_path: Path) -> None:
    source = open_dataset(build_folder(tmp_path / "source"))
    copy_dataset(source, tmp_path / "out", lambda case, ids, geometry: np.zeros_like(ids))
    copied = open_dataset(tmp_path / "out")
    assert (copied.classes, copied.values) == (source.classes, source.values)


def test_ignored_pixels_and_own_entries_are_kept(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source", classes=3)
    save_json(root / "dataset.json", {"classes": ["a", "b", "c"], "ignore": 77, "licence": "CC0"})
    source = open_dataset(root)
    copy_dataset(source, tmp_path / "out", lambda case, ids, geometry: np.where(ids == 2, np.uint8(IGNORE), ids))
    copied = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(ids_of(copied, copied.cases[0]) == IGNORE, ids_of(source, source.cases[0]) == 2)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["licence"] == "CC0"


def test_jpeg_labels(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source")
    for path in sorted((root / "masks").glob("*.png")):
        source = open_dataset(root)
        save_png(path.with_suffix(".jpg"), ids_of(source, source.cases[0]) * 255)
        path.unlink()
    source = open_dataset(root)
    copy_dataset(source, tmp_path / "out", rolled)
    masks = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert masks == {"case000.png", "case001.png", "case002.png", "case003.png", "case004.jpg", "case005.jpg"}
    copied = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(ids_of(copied, copied.cases[0]), np.roll(ids_of(source, source.cases[0]), 3, axis=-1))


@pytest.mark.parametrize("where", ["source", "source/sub", "full", "file"])
def test_folders_that_are_refused(tmp_path: Path, where: str) -> None:
    source = open_dataset(build_folder(tmp_path / "source"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    before = contents(tmp_path)
    with pytest.raises(DataError) as raised:
        copy_dataset(source, tmp_path / where, same)
    assert raised.value.where == str(tmp_path / where)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    copy_dataset(open_dataset(build_folder(tmp_path / "source")), tmp_path / "out", same)
    assert len(open_dataset(tmp_path / "out").cases) == 6


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_nothing_is_left_of_an_interrupted_copy(tmp_path: Path, error: BaseException) -> None:
    source = open_dataset(build_folder(tmp_path / "source"))

    def fail(case: Case, ids: Label, geometry: Geometry) -> Label:
        if case.id == "case003":
            raise error
        return ids

    expected: Any = DataError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        copy_dataset(source, tmp_path / "out", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_file_that_vanished(tmp_path: Path) -> None:
    source = open_dataset(build_folder(tmp_path / "source"))
    source.cases[2].image[0].unlink()
    with pytest.raises(DataError) as raised:
        copy_dataset(source, tmp_path / "out", same)
    assert raised.value.where == str(source.cases[2].image[0])
