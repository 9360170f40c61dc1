"""Audits of real trainings of nnU-Net, found by the number of the data set; and what nnU-Net says of the repaired one."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.nnunet.homes import SHORT, found
from tests.nnunet_sets import HEART, NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.api.auditing import audit_dataset
from debride.api.region_results import RegionsAuditResult
from debride.api.repairing import repair_dataset
from debride.audit.predictions import FolderPredictions
from debride.audit.predictions.region_predictions import RegionPredictions
from debride.data.label_regions import region_view
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.notes import take_notes
from debride.types import DataError

DATA = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None
TRAINER = "nnUNetTrainerDebrideGCE"
QUICK: dict[str, Any] = {"planted": 4, "pictures": 0, "jobs": 1}


def test_a_training_on_regions_is_audited_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fold, then both; masks first, and then maps, each time by the commands that messages give."""
    home, how = Home(tmp_path), found(**{**SHORT, "DEBRIDE_NNUNET_EPOCHS": 6})
    write_heart(home.raw, DATA, cases=10, tests=2, regions=True)
    prepare_home(home)
    shrink_plans(home.plans)
    write_two_folds(home)
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(getattr(home, name)))
    dataset = open_dataset(home.raw / NAME)

    def audit(out: str) -> Any:
        return audit_dataset(dataset, tmp_path / out, predictions=str(HEART), splits=("train", "val"), **QUICK)

    home.train(TRAINER, 0, **how)
    with pytest.raises(DataError) as refused:
        audit("a")
    assert "fold 1 is not there" in refused.value.problem
    assert refused.value.remedy.startswith(f"Run nnUNetv2_train {HEART} 2d 1 -tr {TRAINER} --npz, or")
    home.train(TRAINER, 1, "--npz", **how)
    take_notes()
    masks = audit("b")
    (said,) = [note for note in take_notes() if "makes maps, fold by fold" in note]
    command = said[said.index("nnUNetv2_train") : said.index(" makes maps")]
    assert command == f"nnUNetv2_train {HEART} 2d 0 -tr {TRAINER} --val --npz"
    home.run(*shlex.split(command), "-device", "cpu", **how)
    maps = audit("c")
    assert isinstance(masks, RegionsAuditResult) and isinstance(maps, RegionsAuditResult)
    assert {row["seen"] for row in maps.ranking} == {False} and len(maps.ranking) == 30
    assert not any("maps of classes" in note for note in take_notes())

    folder = home.fold(TRAINER).parent
    case = dataset.cases[0]
    assert case.label is not None
    label, geometry = read_label(case.label, dataset)
    (file,) = folder.glob(f"fold_*/validation/{case.id}.npz")
    with np.load(file) as arrays:
        written = arrays["probabilities"]
    assert written.shape == (3, 1, *label.shape)
    for number, region in enumerate(dataset.regions):
        one = RegionPredictions(FolderPredictions(folder, dataset, [case]), dataset, number)
        view = region_view(dataset, region).cases[0]
        np.testing.assert_allclose(one.of(view, label.shape, geometry).probability[1], written[number, 0], atol=1e-3)

    repaired = repair_dataset(dataset, maps, tmp_path / "repaired", accept="all", allow_removal=True, jobs=1)
    assert repaired.summary["applied"] == len(maps.findings) > 0
    other = Home(tmp_path / "other")
    shutil.copytree(tmp_path / "repaired", other.raw / NAME)
    prepare_home(other)  # with --verify_dataset_integrity
    repair_dataset(tmp_path / "repaired", None, tmp_path / "given", reverse=True, jobs=1)
    for before in (dataset.root / "labelsTr").iterdir():
        assert (tmp_path / "given" / "labelsTr" / before.name).read_bytes() == before.read_bytes()
