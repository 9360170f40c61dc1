"""Folds by patient, the trainings of a cross-validation, and predictions that are kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder

from debride.audit.predictions import cross_validation
from debride.audit.predictions.cross_validation import cross_validate, fold_of_cases
from debride.audit.predictions.kept import KeptPredictions
from debride.audit.predictions.sources import FolderPredictions, Prediction
from debride.data.augmentation import Augmentation
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.files import content_hash
from debride.methods import METHODS
from debride.training.config import TrainConfig
from debride.training.job import Job
from debride.types import Case, DataError, Dataset, Geometry


def cases_of(patients: int, each: int = 3) -> list[Case]:
    return [Case(f"p{p}_{i}", (Path("i.png"),), Path("l.png"), f"p{p}") for p in range(patients) for i in range(each)]


@pytest.mark.parametrize(("patients", "folds"), [(2, 2), (7, 3), (11, 5), (5, 5)])
def test_folds_are_of_whole_patients_and_of_like_size(patients: int, folds: int) -> None:
    cases = cases_of(patients)
    fold = fold_of_cases(cases, folds, 0)
    assert fold.keys() == {case.id for case in cases}
    of_patient: dict[str, set[int]] = {}
    for case in cases:
        of_patient.setdefault(case.patient, set()).add(fold[case.id])
    assert all(len(numbers) == 1 for numbers in of_patient.values())
    sizes = Counter(number for (number,) in of_patient.values())
    assert set(sizes) == set(range(folds)) and max(sizes.values()) - min(sizes.values()) <= 1


def test_folds_depend_on_the_seed_and_not_on_the_order() -> None:
    cases = cases_of(20)
    assert fold_of_cases(cases, 4, 1) == fold_of_cases(cases[::-1], 4, 1)
    assert fold_of_cases(cases, 4, 1) != fold_of_cases(cases, 4, 2)
    assert fold_of_cases(cases, 4, 0) != {case.id: int(case.patient[1:]) % 4 for case in cases}


@pytest.mark.parametrize("folds", [-1, 0, 1, 4])
def test_folds_that_cannot_be_had_are_refused(folds: int) -> None:
    with pytest.raises(DataError, match=f"`folds`: is {folds}, and the cases are of 3 patient"):
        fold_of_cases(cases_of(3), folds, 0)


def test_every_case_is_predicted_by_a_training_without_its_patient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cases = [
        Case(f"c{row}", (), Path("l"), f"p{row // 2}", "val" if row % 3 else "train", trusted=row == 4) for row in range(14)
    ]
    unseen = Case("t", (), Path("l"), "p0", "test")
    dataset = Dataset(tmp_path, "folder", ("background", "object"), (*cases, unseen), 2)
    config = TrainConfig(seed=5)
    job = Job(
        dataset=dataset,
        method="ce",
        method_config=METHODS["ce"].Config(),
        config=config,
        augmentation=Augmentation(),
        out=tmp_path / "cv",
    )
    jobs: list[Job] = []

    def train(job: Job) -> None:
        jobs.append(job)
        if not job.resume:
            job.out.mkdir(parents=True)
            (job.out / "run.json").write_text("{}")

    monkeypatch.setattr(cross_validation, "fit", train)
    runs = cross_validate(job, cases, 3)
    assert [job.out.name for job in jobs] == ["fold-1", "fold-2", "fold-3"] and not any(job.resume for job in jobs)
    assert runs.keys() == {case.id for case in cases}
    trained = {job.out: {case.id for case in job.dataset.cases} for job in jobs}
    by_id = {case.id: case for case in cases}
    for case in cases:
        assert case.patient not in {by_id[other].patient for other in trained[runs[case.id]]}
        assert sum(case.id in ids for ids in trained.values()) == 2
    assert all(case.split == "train" for job in jobs for case in job.dataset.cases)  # none to choose the best epoch on
    assert [case.id for case in jobs[0].dataset.cases if case.trusted] in (["c4"], [])
    assert (tmp_path / "cv" / "fold-2" / "run.json").exists()
    (tmp_path / "cv" / "fold-3" / "run.json").unlink()
    (tmp_path / "cv" / "fold-3").rmdir()
    jobs.clear()
    assert cross_validate(job, cases, 3) == runs
    assert [job.resume for job in jobs] == [True, True, False]


# ---------------------------------------------------------------- kept predictions


class Counting:
    """Predictions of networks, that count how often they are asked."""

    def __init__(self, run: Path, dataset: Dataset, weights: bytes = b"1") -> None:
        (run / "weights").mkdir(parents=True, exist_ok=True)
        (run / "weights" / "last.safetensors").write_bytes(weights)
        self.about = {"runs": [str(run)], "checkpoint": "last"}
        self.asked: list[str] = []
        self._ids = [case.id for case in dataset.cases]
        self._hash = content_hash([run / "weights" / "last.safetensors"])

    def made_by(self, case: Case) -> str:
        return self._hash

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        self.asked.append(case.id)
        return Prediction(self.map_of(case, shape), False)

    def map_of(self, case: Case, shape: tuple[int, ...]) -> Any:
        raw = np.random.default_rng(self._ids.index(case.id)).random((3, *shape)) ** 4 + 1e-6
        return (raw / raw.sum(axis=0)).astype(np.float16 if case.id.endswith("1") else np.float32)

    def order(self, cases: list[Case]) -> list[Case]:
        return cases[::-1]

    def seen(self, case: Case) -> bool | None:
        return case.id == self._ids[0]

    def seen_patient(self, case: Case) -> bool | None:
        return None


def pictures(root: Path) -> Dataset:
    return open_dataset(build_folder(root / "data", n=3, size=12, classes=3))


def kept(source: Counting, folder: Path, dataset: Dataset, earlier: Path | None = None) -> KeptPredictions:
    return KeptPredictions(source, folder, dataset, earlier)  # type: ignore[arg-type]


def test_a_case_is_predicted_once_and_kept_in_steps(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    source = Counting(tmp_path / "run", dataset)
    predictions = kept(source, tmp_path / "kept", dataset)
    assert predictions.about is source.about
    for again in range(2):
        for case in dataset.cases:
            shape = (12, 12)
            probability = predictions.of(case, shape, Geometry()).probability
            assert probability.shape == (3, 12, 12)
            np.testing.assert_allclose(np.asarray(probability, float).sum(axis=0), 1, atol=2e-3)
            np.testing.assert_allclose(probability, source.map_of(case, shape), atol=2.5 / 255)
        assert source.asked == [case.id for case in dataset.cases], again
    assert kept(source, tmp_path / "kept", dataset).of(dataset.cases[0], (12, 12), Geometry()).hard is False
    assert len(source.asked) == 3
    assert [predictions.seen(case) for case in dataset.cases] == [True, False, False]
    assert predictions.seen_patient(dataset.cases[0]) is None


def test_predictions_are_made_run_by_run_and_taken_from_an_earlier_audit(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    first, *others = dataset.cases
    source = Counting(tmp_path / "run", dataset)
    kept(source, tmp_path / "earlier", dataset).make(others)
    assert source.asked == [case.id for case in others[::-1]]
    source.asked.clear()
    later = kept(source, tmp_path / "kept", dataset, tmp_path / "earlier")
    later.make(dataset.cases)
    assert source.asked == [first.id]
    for case in others:
        name = f"{case.id}.npz"
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "earlier" / name).read_bytes()


def test_kept_predictions_are_a_folder_of_predictions(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    predictions = kept(Counting(tmp_path / "run", dataset), tmp_path / "kept", dataset)
    mine = {case.id: predictions.of(case, (12, 12), Geometry()).probability for case in dataset.cases}
    folder = FolderPredictions(tmp_path / "kept", dataset)
    for case in dataset.cases:
        assert case.label is not None
        _, geometry = read_label(case.label, dataset)
        np.testing.assert_array_equal(folder.of(case, (12, 12), geometry).probability, mine[case.id])


def test_predictions_of_another_network_are_not_taken_for_its_own(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)

    def asked(run: str, weights: bytes) -> list[str]:
        source = Counting(tmp_path / run, dataset, weights)
        kept(source, tmp_path / "kept", dataset).of(dataset.cases[0], (12, 12), Geometry())
        return source.asked

    first = [dataset.cases[0].id]
    assert asked("run", b"1") == first
    assert asked("moved", b"1") == []  # the same weights elsewhere
    assert asked("other", b"2") == first
    assert asked("other", b"2") == []
    dataset.cases[0].image[0].write_bytes(dataset.cases[1].image[0].read_bytes())  # another image of that name
    assert asked("other", b"2") == first
    (tmp_path / "kept" / f"{first[0]}.npz").write_bytes(b"cut off")
    assert asked("other", b"2") == first
