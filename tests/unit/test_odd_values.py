"""Masks with values that most others do not hold: who holds them, and a remedy that loses no label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import save_png
from tests.pictures import disc

from debride.data.check import Problem, find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.notes import take_notes


def folder(root: Path, odd: dict[str, dict[int, int]], usual: tuple[int, ...] = (1,), cases: int = 12) -> Path:
    """Masks of discs that are the usual values, and in cases by name other values in place of those."""
    for number in range(cases):
        name = f"pat{number:02}"
        label = np.zeros((24, 24), np.int64)
        for place, value in enumerate(usual):
            label[disc(24, 6 + 11 * place, 12, 5) > 0] = value
        changed = np.copy(label)
        for old, new in odd.get(name, {}).items():
            if old:
                changed[label == old] = new
            else:
                changed[:2, :3] = new
        save_png(root / "masks" / f"{name}.png", changed.astype(np.uint8))
        image = np.random.default_rng(number).integers(0, 255, (24, 24))
        save_png(root / "images" / f"{name}.png", image.astype(np.uint8))
    return root


def found(root: Path) -> dict[str, Problem]:
    problems = find_problems(root)
    assert len({problem.file for problem in problems}) == len(problems)
    return {Path(problem.file).stem: problem for problem in problems}


def described(problem: Problem) -> str:
    return problem.remedy.split("dataset.json")[1].strip(":. ")


def test_a_stray_value_is_told_once_with_its_case(tmp_path: Path) -> None:
    problem = found(folder(tmp_path, {"pat05": {0: 3}}))["pat05"]
    assert problem.problem == "alone holds the label value 3, where most of the 12 labels hold 0, 1"
    assert "ignore" not in problem.remedy
    (tmp_path / "dataset.json").write_text(described(problem))
    assert open_dataset(tmp_path).values == {0: 0, 1: 1, 3: 2} and not found(tmp_path)


def test_a_white_mask_beside_a_stray_value_keeps_its_foreground(tmp_path: Path) -> None:
    problems = found(folder(tmp_path, {"pat05": {0: 3}, "pat07": {1: 255}}))
    assert problems.keys() == {"pat05", "pat07"}
    assert "alone holds the label value 255" in problems["pat07"].problem
    assert not any("ignore" in problem.remedy for problem in problems.values())
    for name in ("pat05", "pat07"):
        (tmp_path / "dataset.json").write_text(described(problems[name]))
        dataset = open_dataset(tmp_path)
        label = next(case.label for case in dataset.cases if case.id == "pat07")
        assert label and np.array_equal(read_label(label, dataset)[0] == 1, disc(24, 6, 12, 5) > 0)


def test_half_of_the_masks_white_and_a_stray_value(tmp_path: Path) -> None:
    odd = {f"pat{number:02}": {1: 255} for number in range(6)} | {"pat09": {0: 3}}
    problem = found(folder(tmp_path, odd))["pat09"]
    assert "does not tell the classes" in problem.problem
    assert json.loads(described(problem))["values"] == {"0": 0, "1": 1, "3": 2, "255": 1}


@pytest.mark.parametrize("white", [255, 77])
def test_a_mask_of_one_value_among_several_classes_is_not_ignored(tmp_path: Path, white: int) -> None:
    problem = found(folder(tmp_path, {"pat03": {1: white, 2: white}}, (1, 2)))["pat03"]
    assert f"alone holds the label value {white}" in problem.problem and "ignore" not in problem.remedy


def test_255_beside_a_class_may_be_without_a_label(tmp_path: Path) -> None:
    problem = found(folder(tmp_path, {"pat02": {0: 255}, "pat04": {0: 255}}))["pat02"]
    assert problem.problem == "holds the label value 255, as does pat04.png, where most of the 12 labels hold 0, 1"
    assert json.loads(described(problem)) == {"classes": ["background", "lesion"], "ignore": 255}


def test_255_that_means_two_things_is_to_be_corrected(tmp_path: Path) -> None:
    problems = find_problems(folder(tmp_path, {"pat02": {0: 255}, "pat04": {1: 255}}))
    assert [problem.remedy for problem in problems] == [
        "Correct one of the two: 255 is all that pat04.png marks, and lies beside other values in pat02.png."
    ]


def test_a_grey_picture_among_masks_is_no_class(tmp_path: Path) -> None:
    folder(tmp_path, {})
    save_png(tmp_path / "masks/pat08.png", np.arange(576).reshape(24, 24).astype(np.uint8))
    problem = found(tmp_path)["pat08"]
    assert problem.problem.startswith("alone holds the label values 2, 3,") and problem.remedy.startswith("Restore")


def test_a_label_that_is_ignored_altogether_is_noted(tmp_path: Path) -> None:
    folder(tmp_path, {"pat07": {1: 255}, "pat03": {0: 255}})
    (tmp_path / "dataset.json").write_text('{"classes": ["background", "lesion"], "ignore": 255}')
    take_notes()
    assert not find_problems(tmp_path)
    said = [sentence for sentence in take_notes() if "marks nothing but" in sentence]
    assert len(said) == 1 and "pat07" in said[0] and "more like it" not in said[0]
