"""Several runs that predict together: the mean of what each gives by itself."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.calibrations import write_calibration, write_class_calibration
from tests.training_jobs import small_class_job, small_job

from debride.cli import main
from debride.data.pixels.images import read_values
from debride.evaluation.class_predictions import FILE, read_predictions
from debride.training.ensemble import averaged
from debride.training.fit import fit
from debride.training.predict import predict_folder
from debride.types import DataError

Maps = dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two methods, in a folder as a cross-validation leaves it, beside their data."""
    root = tmp_path_factory.mktemp("folds")
    fit(small_job(root, "ce", out="cv/fold-2", seed=1))
    fit(small_job(root, "co-teaching", out="cv/fold-10"))
    return root


def maps_of(runs: Path | Sequence[Path], root: Path, out: Path, **options: bool) -> Maps:
    predict_folder(runs, root / "data", out, probabilities=True, **options)
    maps = {file.stem: np.load(file) for file in out.glob("*.npy")}
    for name, probability in maps.items():  # the mask is of these
        np.testing.assert_array_equal(read_values(out / f"{name}.png")[0], probability.argmax(axis=0))
    return maps


def mean_of(runs: Sequence[Path], root: Path, out: Path) -> Maps:
    """The mean of the maps that each run writes by itself, after its own calibration."""
    alone = [maps_of(run, root, out / str(number)) for number, run in enumerate(runs)]
    return {name: np.mean([maps[name] for maps in alone], axis=0) for name in alone[0]}


def same(found: Maps, expected: Maps) -> None:
    assert found and found.keys() == expected.keys()
    for name, probability in found.items():
        np.testing.assert_allclose(probability, expected[name], atol=2e-6)


def test_a_folder_of_folds_gives_the_mean_of_them(root: Path, tmp_path: Path) -> None:
    runs = [root / "cv" / "fold-2", root / "cv" / "fold-10"]
    expected = mean_of(runs, root, tmp_path / "alone")
    same(maps_of(root / "cv", root, tmp_path / "folds"), expected)
    same(maps_of(runs, root, tmp_path / "named"), expected)
    words = ["predict", runs[0], root / "data", "--with", runs[1], "--probabilities", "--out", tmp_path / "cli", "--jobs", 2]
    assert main([str(word) for word in words]) == 0  # two processes give the same bytes
    for file in (tmp_path / "folds").glob("*.npy"):
        assert (tmp_path / "cli" / file.name).read_bytes() == file.read_bytes()


def test_each_run_is_calibrated_before_the_mean(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "cv", tmp_path / "cv")
    runs = [tmp_path / "cv" / "fold-2", tmp_path / "cv" / "fold-10"]
    write_calibration(runs[0], offsets=(0, 2, -1))
    expected = mean_of(runs, root, tmp_path / "alone")
    same(maps_of(tmp_path / "cv", root, tmp_path / "both"), expected)
    raw = maps_of(tmp_path / "cv", root, tmp_path / "raw", raw=True)
    assert any(np.abs(raw[name] - expected[name]).max() > 0.01 for name in raw)


def test_outlines_that_move_are_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "cv", tmp_path / "cv")
    write_calibration(tmp_path / "cv" / "fold-2", shifts=(0, 1, 0))
    with pytest.raises(DataError, match=r"fold-2/calibration\.json: moves outlines.*`raw`"):
        predict_folder(tmp_path / "cv", root / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_work_goes_on_with_the_same_runs_alone(root: Path, tmp_path: Path) -> None:
    run = root / "cv" / "fold-2"
    predict_folder(root / "cv", root / "data", tmp_path / "out")
    next((tmp_path / "out").glob("*.png")).unlink()
    assert predict_folder(root / "cv", root / "data", tmp_path / "out", resume=True).count == 2
    with pytest.raises(DataError, match="made with another `run`"):
        predict_folder(run, root / "data", tmp_path / "out", resume=True)


def test_runs_that_do_not_agree_are_refused(root: Path, tmp_path: Path) -> None:
    run, other = root / "cv" / "fold-2", tmp_path / "other"
    shutil.copytree(run, other)
    description = json.loads((other / "run.json").read_text())
    for change, problem in (
        ({"classes": ["background", "class_2", "class_1"]}, "has other classes than .*fold-2"),
        ({"training": {**description["training"], "image_size": [16, 16]}}, "has other image_size than"),
        ({"training": {**description["training"], "crop": True}}, "has other crop than"),
    ):
        (other / "run.json").write_text(json.dumps({**description, **change}))
        with pytest.raises(DataError, match=problem):
            predict_folder([run, other], root / "data", tmp_path / "out")
    with pytest.raises(DataError, match="is given twice"):
        predict_folder([run, root / "cv"], root / "data", tmp_path / "out")
    with pytest.raises(DataError, match="names no run"):
        predict_folder([], root / "data", tmp_path / "out")


def test_a_mean_holds_two_maps_at_once() -> None:
    made: list[weakref.ref[torch.Tensor]] = []

    def of_run(number: int) -> torch.Tensor:
        probability = torch.full((2, 3), float(number))
        made.append(weakref.ref(probability))
        assert sum(each() is not None for each in made) <= 2  # the sum so far and this one
        return probability

    assert torch.equal(averaged(of_run(number) for number in range(4)), torch.full((2, 3), 1.5))


def test_classes(tmp_path: Path) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    job = small_class_job(tmp_path, "ce", out="first")
    fit(job)
    fit(replace(job, out=runs[1], config=replace(job.config, seed=1)))
    write_class_calibration(runs[1], offsets=(0, 1, 0))
    for name, given in (("0", runs[0]), ("1", runs[1]), ("both", runs)):
        predict_folder(given, job.dataset.root, tmp_path / name)
    classes = job.dataset.classes
    read = [read_predictions(tmp_path / name / FILE, classes)[1] for name in ("0", "1", "both")]
    assert np.abs(read[0] - read[1]).max() > 0.01
    np.testing.assert_allclose(read[2], (read[0] + read[1]) / 2, atol=1e-5)
