"""The examples do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training_jobs import small_job

from debride.training.fit import fit


def test_own_network_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    job = small_job(tmp_path, "ce", epochs=1, network="own_network:segresnet")
    fit(job)
    assert (job.out / "weights" / "epoch-0001.safetensors").exists()
