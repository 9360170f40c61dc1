"""Verified cases: which there are, and how their predictions are kept while a calibration is chosen."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.datasets import build_folder
from tests.training_jobs import run_job, small_job

from debride.data.open import open_dataset
from debride.training import predict_masks
from debride.training.calibrate import calibrate_run, without_trusted
from debride.training.verified import keep, unit_of, verified_cases
from debride.types import DataError


@dataclass
class Told:
    """A verified case that remembers what it gave."""

    id: str
    patient: str = "p"
    hard: bool = True
    given: list[weakref.ref[Any]] = field(default_factory=list)

    def read(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], tuple[float, ...] | None]:
        probability = np.random.default_rng(len(self.id)).random((2, 3, 4)).astype(np.float32)
        self.given.append(weakref.ref(probability))
        return probability, np.ones((3, 4), np.uint8), (2.0, 1.0)


def test_cases_are_kept_on_the_disk_one_at_a_time(tmp_path: Path) -> None:
    cases = [Told("a"), Told("bb"), Told("ccc")]

    def one_by_one() -> Iterator[Told]:
        for number, case in enumerate(cases):
            assert all(gone() is None for before in cases[: max(number - 1, 0)] for gone in before.given)
            yield case

    kept = keep(one_by_one(), tmp_path)
    assert [len(case.given) for case in cases] == [1, 1, 1]
    for case, own in zip(cases, kept, strict=True):
        probability, label, spacing = own.read()
        assert isinstance(probability, np.memmap) and probability.dtype == np.float16
        np.testing.assert_allclose(probability, case.read()[0], atol=1e-3)
        assert (label == 1).all() and label.shape == (3, 4) and spacing == (2.0, 1.0)
        assert (own.id, own.patient, own.hard) == (case.id, "p", True)


def test_a_network_predicts_each_verified_case_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path, "ce", epochs=1)
    run_job(job)
    asked, predict = [], predict_masks.predict_whole

    def counted(trained: Any, case: Any, device: Any) -> Any:
        asked.append(case.id)
        return predict(trained, case, device)

    monkeypatch.setattr(predict_masks, "predict_whole", counted)
    chosen = ["case000", "case003", "case005"]
    dataset = replace(job.dataset, cases=tuple(replace(case, trusted=case.id in chosen) for case in job.dataset.cases))
    done = calibrate_run(job.out, dataset, device="cpu")
    assert asked == chosen and list(done.record.cases) == chosen and not done.replaced
    assert calibrate_run(job.out, dataset, device="cpu").replaced


def test_verified_cases_have_a_label_of_all_classes(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", classes=3))
    with pytest.raises(DataError, match="bias cannot be known without one"):
        verified_cases(dataset)
    first, second, *rest = dataset.cases
    trusted = replace(first, trusted=True), replace(second, trusted=True)
    assert verified_cases(replace(dataset, cases=(*trusted, *rest))) == trusted
    with pytest.raises(DataError, match=f"has no label of the verified {second.id}"):
        verified_cases(replace(dataset, cases=(trusted[0], replace(trusted[1], label=None), *rest)))
    with pytest.raises(DataError, match=f"not drawn in the verified {first.id}"):
        verified_cases(replace(dataset, cases=(replace(trusted[0], annotated=(1,)), trusted[1], *rest)))


def test_only_trusted_training_cases_are_held_out(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    marked = replace(dataset, cases=tuple(replace(case, trusted=case.id != "case001") for case in dataset.cases))
    left = without_trusted(marked)
    assert [case.id for case in left.of("train")] == ["case001"]
    assert left.of("val", "test") == marked.of("val", "test")


def test_the_unit_is_mm_where_all_images_have_a_spacing(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    assert unit_of(dataset.cases) == "px"
