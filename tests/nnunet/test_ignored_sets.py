"""nnU-Net takes what a repair writes for it: pixels without a label, maps of weights, and folds without flagged cases."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.nnunet.homes import SHORT, found
from tests.nnunet_sets import NAME, Home, prepare_home, shrink_plans, write_heart
from tests.written_audits import ALL, given_label, write_audit

from debride.audit.repair import Destination, repair, reverse
from debride.data.formats.nnunet_folds import drawn_folds
from debride.data.open import open_dataset
from debride.data.pixels.images import read_values

DATA = os.environ.get("DEBRIDE_DATA")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A data set, an audit that doubts all objects of one label, and the id of that case."""
    root = tmp_path_factory.mktemp("written")
    source = open_dataset(write_heart(root / "source", Path(DATA) if DATA else None, cases=12))
    case = next(case.id for case in source.of("train") if given_label(source, case.id).any())
    middle: Any = (given_label(source, case) > 0, 0, {"confidence": 0.75, "kind": "extra"})
    return source.root, write_audit(root / "audit", source, {case: [middle]}, flagged=[case]), case


def training_cases(source: Path) -> list[str]:
    return [path.stem for path in (source / "labelsTr").iterdir()]


def test_folds_are_those_of_nnunet() -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    for count in (5, 7, 24, 101):
        names = [f"case_{number}" for number in range(count)]
        theirs = [
            {name: [str(id) for id in ids] for name, ids in fold.items()} for fold in generate_crossval_split(sorted(names))
        ]
        assert drawn_folds(names) == theirs


def test_a_stock_training_leaves_ignored_pixels_out(written: tuple[Path, Path, str], tmp_path: Path) -> None:
    source, audit, case = written
    home = Home(tmp_path)
    dataset = open_dataset(source)
    summary = repair(dataset, audit, home.raw / NAME, ALL, Destination(to="ignore", leave_out="flagged"))
    assert summary["voxels"] and summary["left_out"] == [case]
    prepare_home(home)
    shrink_plans(home.plans, patch=(32, 32), batch=2, features=(4, 8, 8, 8))
    shutil.copyfile(home.raw / NAME / "splits_final.json", home.preprocessed / NAME / "splits_final.json")
    ignore = json.loads((home.raw / NAME / "dataset.json").read_text())["labels"]["ignore"]
    said = home.train("nnUNetTrainer_1epoch", 0)
    lists = json.loads((home.preprocessed / NAME / "splits_final.json").read_text())[0]
    assert case not in lists["train"] + lists["val"]
    assert f"{len(lists['train'])} training and {len(lists['val'])} validation cases" in said
    losses = json.loads((home.fold("nnUNetTrainer_1epoch") / "validation" / "summary.json").read_text())
    assert set(losses["mean"]) == {str(value) for value in range(1, ignore)}  # the value for no label is no class
    reverse(home.raw / NAME, tmp_path / "back")
    for name in ("dataset.json", *(f"labelsTr/{path.name}" for path in (source / "labelsTr").iterdir())):
        assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes()


def test_weights_pass_the_check_of_nnunet_and_our_trainer_reads_them(written: tuple[Path, Path, str], tmp_path: Path) -> None:
    source, audit, case = written
    home = Home(tmp_path)
    repair(open_dataset(source), audit, home.raw / NAME, ALL, Destination(to="weights"))
    prepare_home(home)  # verifies the integrity
    (path,) = (home.raw / NAME / "weightsTr").iterdir()
    assert path.name == f"{case}.png"
    weights = read_values(path)[0]
    shrink_plans(home.plans, patch=(32, 32), batch=2, features=(4, 8, 8, 8))
    fold = next(number for number, lists in enumerate(drawn_folds(training_cases(source))) if case in lists["train"])
    said = home.train("nnUNetTrainerDebrideWeighted", fold, **found(**SHORT))
    assert "1 of 9 training cases have a map of weights" in said or "1 of 10 training cases have a map of weights" in said
    np.testing.assert_array_equal(weights, np.where(given_label(open_dataset(source), case) > 0, 64, 255))
