"""The disk of the cache, as its first cases go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.datasets import build_folder

from debride.data.cache import prepare
from debride.data.open import open_dataset
from debride.data.preparation import Preparation


@pytest.mark.parametrize(("room", "cached", "warned"), [(0.9, 0, True), (1.1, 0, False), (0.6, 5, False), (0.4, 5, True)])
def test_a_disk_that_will_be_too_small_is_told_once(
    room: float, cached: int, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 cases, of which ``cached`` are there: they take no room, and those that follow are expected to be half cached too."""
    dataset = open_dataset(build_folder(tmp_path / "data", n=20, size=16))
    prepare(dataset, dataset.cases[:cached], Preparation(), tmp_path / "cache")
    for file in (tmp_path / "cache").rglob("*.npy"):
        os.utime(file, (1, 1))
    case = sum(
        shape[0] * shape[1] * 13 + 256  # an image of three channels in float32, a label in uint8, and two headers
        for shape in prepare(dataset, dataset.cases[:1], Preparation(), tmp_path / "other").shapes
    )
    left = len(dataset.cases) - cached - 5
    usage = type("Usage", (), {"free": int(room * left * case)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    prepare(dataset, dataset.cases, Preparation(), tmp_path / "cache")
    said = capsys.readouterr().err
    assert said.count("warning: the cache will need about 1 MB more") == warned and (warned or not said)
