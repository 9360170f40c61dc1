"""Cross-entropy with and without the trusted cases: which rows are in its batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from tests.training_jobs import small_job
from torch import nn

from debride.methods.ce import CrossEntropy
from debride.training.fit import fit
from debride.training.run import TrainingRun
from debride.types import DataError

TRUSTED = [1, 4]


def rows_seen(
    root: Path, monkeypatch: pytest.MonkeyPatch, cases: Literal["all", "trusted", "others"], fine_tune: float = 0.0
) -> tuple[list[int], dict[int, bool]]:
    """Every row of every batch of two epochs on eight cases, and by row whether the batch called it trusted."""
    seen: list[int] = []
    called: dict[int, bool] = {}
    batches = TrainingRun.batches

    def watched(self: TrainingRun, number: int, phase: object) -> object:
        for batch in batches(self, number, phase):  # type: ignore[arg-type]
            seen.extend(batch.index.tolist())
            called.update(zip(batch.index.tolist(), batch.trusted.tolist(), strict=True))
            yield batch

    monkeypatch.setattr(TrainingRun, "batches", watched)
    (root / "trusted.txt").write_text("".join(f"case{row:03d}\n" for row in TRUSTED))
    job = small_job(root, "ce", trusted=root / "trusted.txt", batch_size=3)
    fit(replace(job, method_config=CrossEntropy.Config(cases=cases, fine_tune=fine_tune)))
    return seen, called


def test_trusted_cases_are_trained_on_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, called = rows_seen(tmp_path, monkeypatch, "all")
    assert sorted(seen) == sorted(2 * list(range(8)))
    assert sorted(row for row, trusted in called.items() if trusted) == TRUSTED


def test_trusted_cases_are_never_in_a_batch_when_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, called = rows_seen(tmp_path, monkeypatch, "others")
    assert sorted(seen) == sorted(2 * [row for row in range(8) if row not in TRUSTED])
    assert not any(called.values())


def test_fine_tuning_goes_on_with_the_trusted_cases_in_as_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _ = rows_seen(tmp_path, monkeypatch, "all", fine_tune=0.5)
    assert sorted(seen[:8]) == list(range(8))
    assert len(seen) == 16 and sorted(seen[8:]) == sorted(4 * TRUSTED)


def test_only_trusted_cases_are_in_a_batch_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, called = rows_seen(tmp_path, monkeypatch, "trusted")
    assert sorted(seen) == sorted(2 * TRUSTED)
    assert called == dict.fromkeys(TRUSTED, True)


def test_the_trusted_cases_that_are_asked_for_must_be_there(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce")
    with pytest.raises(DataError, match="`trusted`: names no case of the training set") as caught:
        fit(replace(job, method_config=CrossEntropy.Config(cases="trusted")))
    assert "List verified cases" in caught.value.remedy


def test_without_trusted_cases_nothing_is_left_out_and_with_only_them_nothing_is_left() -> None:
    method = CrossEntropy(CrossEntropy.Config(cases="others"), nn.Identity, 2)
    ((stream,),) = (phase.streams for phase in method.plan(SimpleNamespace(cases=3, trusted=np.array([], np.int64))))
    assert stream.cases is not None and stream.cases.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="`trusted`: names every training case"):
        method.plan(SimpleNamespace(cases=3, trusted=np.arange(3)))
