"""Several processes predict, and prepare cases, as one does: the same bytes, and the same cases left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.datasets import build_folder
from tests.e2e.conftest import Command
from tests.training_jobs import run_job, small_class_job, small_job

from debride.data.cache import prepare
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.execute import local
from debride.training import predict_classes

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def shared_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Work is shared from its first case on; gives the number of processes of each piece of work that was."""
    teams: list[int] = []
    start = local._Team.start
    monkeypatch.setattr(local, "ALONE", -1.0)
    monkeypatch.setattr(local._Team, "start", lambda team, jobs: (teams.append(jobs), start(team, jobs))[1])
    return teams


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder by name, but for the records of the work and of the sources, which have dates."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != "." and path.parent.name != "sources")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_masks(debride: Command, tmp_path: Path, shared_at_once: list[int]) -> None:
    run_job(small_job(tmp_path, "ce", epochs=1))
    pictures = build_folder(tmp_path / "made", n=4) / "images"
    bad = sorted(pictures.iterdir())[1]
    bad.write_bytes(bad.read_bytes()[:60])
    words = ["predict", tmp_path / "run", pictures, "--device", "cpu", "--keep-going", "--probabilities"]
    one = debride(*words, "--out", tmp_path / "one", "--jobs", "1")
    two = debride(*words, "--out", tmp_path / "two", "--jobs", "2")
    assert one.code == two.code == 1 and shared_at_once == [2]
    assert len(content(tmp_path / "one")) == 3 + 3 + 1  # masks, probabilities and the table of what was left out
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_classes(debride: Command, tmp_path: Path, shared_at_once: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    run_job(small_class_job(tmp_path, "ce", epochs=1))
    monkeypatch.setattr(predict_classes, "SWEPT", 2)  # several parts of few images
    pictures = build_folder(tmp_path / "made", n=5) / "images"
    words = ["predict", tmp_path / "run", pictures, "--device", "cpu"]
    for jobs in ("1", "2"):
        answer = debride(*words, "--out", tmp_path / jobs, "--jobs", jobs)
        assert answer.code == 0, answer.err
    assert shared_at_once == [2]
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_prepared_cases(tmp_path: Path, shared_at_once: list[int]) -> None:
    dataset = open_dataset(build_folder(tmp_path / "made", n=4))
    made = {
        jobs: prepare(dataset, dataset.cases, Preparation(image_size=(12, 14)), tmp_path / str(jobs), jobs=jobs)
        for jobs in (1, 2)
    }
    assert shared_at_once == [2]
    assert content(tmp_path / "1") == content(tmp_path / "2") and len(content(tmp_path / "1")) == 4 * len(dataset.cases)
    assert made[1].shapes == made[2].shapes and made[1].spacings == made[2].spacings
    assert [file.name for file in made[1].image_files] == [file.name for file in made[2].image_files]
