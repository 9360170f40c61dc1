"""The warning of trusted cases that show classes more or less often than the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.training_jobs import small_job

from debride.data.cache import Prepared
from debride.methods.meta_dcseg import MetaDCSeg
from debride.training.fit import fit
from debride.training.trusted_shares import class_shares, warn_of_shares
from debride.types import IGNORE

NAMES = ("background", "liver", "spleen")


def prepared(*labels: tuple[bool, list[int]]) -> Prepared:
    """Cases of a few pixels, each trusted or not."""
    cases = tuple(SimpleNamespace(trusted=trusted) for trusted, _ in labels)
    arrays = [np.array([ids], np.uint8) for _, ids in labels]
    found: Any = SimpleNamespace(cases=cases, label=arrays.__getitem__)
    return found


def test_shares_are_of_labelled_pixels_of_other_and_of_trusted_cases() -> None:
    train = prepared((False, [0, 1, 1, 2]), (True, [0, 0, 1, IGNORE]), (False, [0, 0, 0, IGNORE]), (True, [0, 2, 2, 2, 2]))
    np.testing.assert_allclose(class_shares(train, 3), [[4 / 7, 2 / 7, 1 / 7], [3 / 8, 1 / 8, 4 / 8]])


@pytest.mark.parametrize(
    ("trusted", "others", "named"),
    [
        ([0] * 14 + [1] * 3 + [2] * 3, [0] * 16 + [1] * 2 + [2] * 2, []),  # 15 % and 10 %: 1.5 times
        ([0] * 13 + [1] * 4 + [2] * 3, [0] * 16 + [1] * 2 + [2] * 2, ["liver 20.00% and 10.00%"]),
        ([0] * 17 + [1] * 1 + [2] * 2, [0] * 16 + [1] * 2 + [2] * 2, ["liver 5.00% and 10.00%"]),
        ([0] * 18 + [2] * 2, [0] * 15 + [1] * 1 + [2] * 4, ["liver 0.00% and 5.00%", "spleen 10.00% and 20.00%"]),
        ([0] * 18 + [2] * 2, [0] * 18 + [2] * 2, []),
        ([IGNORE] * 20, [0] * 18 + [2] * 2, []),
    ],
)
def test_shares_more_than_one_and_a_half_times_apart_are_named(
    trusted: list[int], others: list[int], named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_shares(prepared((True, trusted), (False, others)), NAMES)
    said = capsys.readouterr().err
    assert said.count("\n") == bool(named) == said.startswith("debride: warning: trusted and other cases differ")
    assert not named or f"({', '.join(named)})" in said


@pytest.mark.parametrize(("method", "meta", "warned"), [("meta-dcseg", True, 1), ("meta-dcseg", False, 0), ("ce", True, 0)])
def test_a_training_that_looks_ahead_warns_once(
    method: str, meta: bool, warned: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("debride.training.trusted_shares.APART", 0.5)
    job = small_job(tmp_path, method)
    if method == "meta-dcseg":
        job = replace(job, method_config=MetaDCSeg.Config(meta=meta))
    else:
        cases = tuple(replace(case, trusted=number < 3) for number, case in enumerate(job.dataset.cases))
        job = replace(job, dataset=replace(job.dataset, cases=cases))
    fit(job)
    assert capsys.readouterr().err.count("how much of their labelled pixels a class has") == warned
