"""What the training loop says of jobs before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training_jobs import small_class_job, small_job

from debride.data.augmentation import Augmentation, ClassAugmentation
from debride.training.config import ClassTrainConfig, TrainConfig
from debride.training.fit import fit
from debride.types import DataError


def test_settings_of_the_other_task_are_refused(tmp_path: Path) -> None:
    masks, classes = small_job(tmp_path / "masks", "ce"), small_class_job(tmp_path / "classes", "ce")
    wrong = [
        (replace(masks, config=ClassTrainConfig()), "TrainConfig"),
        (replace(masks, augmentation=ClassAugmentation()), "Augmentation"),
        (replace(classes, config=TrainConfig()), "ClassTrainConfig"),
        (replace(classes, augmentation=Augmentation()), "ClassAugmentation"),
    ]
    for job, fitting in wrong:
        with pytest.raises(DataError, match=rf"Give a {fitting}\."):
            fit(job)
        assert not job.out.exists()


@pytest.mark.parametrize(("patients", "said"), [("abab", "patient a and 1 more are in several splits"), ("abcd", "")])
def test_patients_in_several_splits_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], patients: str, said: str
) -> None:
    job = small_job(tmp_path, "ce", n=4, epochs=1)
    parts = ("train", "train", "val", "test")
    cases = [
        replace(case, patient=patient, split=split)  # type: ignore[arg-type]
        for case, patient, split in zip(job.dataset.cases, patients, parts, strict=True)
    ]
    fit(replace(job, dataset=replace(job.dataset, cases=tuple(cases))))
    told = capsys.readouterr().err
    assert ("debride: warning: " in told, said in told) == (bool(said), True)
