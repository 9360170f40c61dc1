"""Verbs whose work is done by jobs of a cluster come to what they come to on one machine, to the last byte."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.audited_regions import ERRORS, heart_set
from tests.audits import contents, picture_set
from tests.class_grids import grid_of as class_grid
from tests.datasets import build_folder, build_nnunet_3d, build_npz
from tests.dying_jobs import dying
from tests.e2e.conftest import Command
from tests.here_engine import Here

import debride as library
from debride.bench import grid, run_cells

TINY = {"epochs": 2, "network": "unet-small", "width": 4, "image_size": [32, 32], "batch_size": 4, "device": "cpu"}
SMALL = ["--epochs", 2, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--image-size", 32, 32]
JOBS = ["--cluster", "here", "--cluster-option", "at_once=2"]
FEW = ["--planted", 6, "--pictures", 2]


def small_grid(root: Path, **changes: Any) -> dict[str, Any]:
    """Two cells of masks."""
    if not (root / "data").exists():
        build_folder(root / "data", n=9)
    return {
        "datasets": {"toy": {"path": str(root / "data"), "limit": {"train": 4}}},
        "noises": {"clean": None, "S_DE": {"noise": "dilate-erode", "dice": 0.8}},
        "methods": {"ce": None},
        "training": TINY,
        "pictures": False,
        **changes,
    }


def untimed(value: Any) -> Any:
    """JSON without how long something took."""
    if isinstance(value, dict):
        return {key: untimed(part) for key, part in value.items() if key not in ("minutes", "seconds")}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def found(out: Path, only: str = "") -> dict[str, Any]:
    """The files of a folder, of those whose names begin so: nothing of them says where it is, or how long anything took."""
    files: dict[str, Any] = {}
    for name, content in contents(out).items():
        if not name.startswith(only) or name.endswith((".html", ".md", "log.txt", ".lock")):
            continue
        content = content.replace(str(out).encode(), b"OUT")
        if name.endswith((".jsonl", "result.json")):
            lines = content.splitlines() if name.endswith("l") else [content]
            files[name] = [untimed(json.loads(line)) for line in lines]
        else:
            files[name] = content
    return files


def test_a_grid_of_which_one_cell_always_dies(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one has failed, and is trained when the grid is resumed; the other one is done."""
    grid = small_grid(tmp_path)
    alone = library.run_bench(grid, tmp_path / "alone").out
    here.before(lambda number, command: dying(command, "when_begun") if command[5] == "1" else command)
    out = tmp_path / "out"
    seen: list[Path] = []
    monkeypatch.setattr(run_cells, "look_again", seen.append)
    done = library.run_bench(grid, out, cluster="here", cluster_option={"at_once": 2, "retries": 1})
    (reason,) = done.failed.values()
    assert "cell toy, S_DE, ce, seed 0" in reason and "NODE_FAIL on node1" in reason
    assert len(here.engines[0].submitted) == 3  # one is begun a second time
    assert found(out, "cells/toy/clean") == found(alone, "cells/toy/clean") != {}
    assert {seen[0], seen[len(seen) // 2 - 1].name} == {out, "seed-0"}, "a network's disk is asked anew, from above"
    here.before(lambda number, command: command)
    done = library.run_bench(grid, out, resume=True, cluster="here")
    assert not done.failed and len(here.engines[1].submitted) == 1
    assert found(out) == found(alone)
    assert not (tmp_path / "out.jobs").exists()


@pytest.mark.system
def test_a_grid_of_classes(here: Here, tmp_path: Path) -> None:
    grid = class_grid(tmp_path)
    alone = library.run_bench(grid, tmp_path / "alone").out
    assert found(library.run_bench(grid, tmp_path / "out", cluster="here").out) == found(alone)
    assert len(here.engines[0].submitted) == 3


@pytest.mark.system
def test_a_cell_whose_job_is_killed_goes_on_from_its_last_epoch(here: Here, tmp_path: Path) -> None:
    grid = small_grid(tmp_path, noises={"clean": None}, training={**TINY, "epochs": 30})
    alone = library.run_bench(grid, tmp_path / "alone").out
    out = tmp_path / "out"
    run = out / "cells" / "toy" / "clean" / "ce" / "seed-0" / "run"

    def kill() -> None:
        while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 3:
            time.sleep(0.01)
        (job,) = here.engines[0].jobs
        here.engines[0].end(job, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    library.run_bench(grid, out, cluster="here")
    killer.join()
    assert len(here.engines[0].submitted) == 2
    assert found(out) == found(alone)


def same(debride: Command, root: Path, *words: object) -> dict[str, Any]:
    """Runs a command with "OUT" in it here and by jobs of a cluster, and returns what both wrote."""
    ended = []
    for jobs in ((), JOBS):
        out = root / ("jobs" if jobs else "alone")
        answer = debride(*(out if word == "OUT" else word for word in words), *jobs)
        assert answer.code == 0, answer.err
        said = [line.replace(str(out), "OUT") for line in answer.out.splitlines() if not line.startswith("epoch ")]
        ended.append((said, found(out)))
        assert not Path(f"{out}.jobs").exists()
    assert ended[0] == ended[1]
    return ended[0][1]


def test_an_audit_by_predictions(here: Here, debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=16)
    same(debride, tmp_path, "audit", tmp_path / "data", "--predictions", tmp_path / "probability", "--out", "OUT", *FEW)
    (engine,) = here.engines
    assert len(engine.submitted) == 6  # three passes, each of two jobs


@pytest.mark.system
def test_a_corrupted_copy(here: Here, debride: Command, tmp_path: Path) -> None:
    build_nnunet_3d(tmp_path / "data", n=4)
    words = ["corrupt", tmp_path / "data", "OUT", "--noise", "dilate-erode", "--share", 0.5]
    assert "noise.json" in same(debride, tmp_path, *words)
    (engine,) = here.engines
    assert len(engine.submitted) == 2


@pytest.mark.system
def test_a_corrupted_copy_of_classes(here: Here, debride: Command, tmp_path: Path) -> None:
    build_npz(tmp_path / "data", n=12)
    same(debride, tmp_path, "corrupt", tmp_path / "data", "OUT", "--noise", "symmetric")


@pytest.mark.system
def test_predictions_and_an_audit_by_a_run(here: Here, debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=10, size=32)
    train = debride("train", "ce", tmp_path / "data", "--out", tmp_path / "run", *SMALL, "--log-to", "none")
    assert train.code == 0, train.err
    words = ["predict", tmp_path / "run", tmp_path / "data", "--out", "OUT", "--probabilities", "--device", "cpu"]
    assert len(same(debride, tmp_path / "predict", *words)) > 10
    words = ["audit", tmp_path / "data", "--run", tmp_path / "run", "--out", "OUT", "--device", "cpu", *FEW]
    same(debride, tmp_path / "audit", *words)
    assert [len(engine.submitted) for engine in here.engines] == [2, 6]


@pytest.mark.system
def test_an_audit_by_cross_validation(here: Here, debride: Command, tmp_path: Path) -> None:
    picture_set(tmp_path, n=8, size=32)
    same(debride, tmp_path, "audit", tmp_path / "data", "--out", "OUT", "--folds", 2, *SMALL, *FEW)
    assert len(here.engines[0].submitted) == 8  # two folds, predictions, two passes


@pytest.mark.system
def test_predictions_and_an_audit_of_classes(here: Here, debride: Command, tmp_path: Path) -> None:
    data = build_npz(tmp_path / "data", n=40)
    small = ["--epochs", 2, "--batch-size", 12, "--network", "cnn", "--width", 4, "--device", "cpu"]
    same(debride, tmp_path / "audit", "audit", data, "--out", "OUT", "--folds", 2, *small, "--pictures", 0)
    run = tmp_path / "audit" / "alone" / "cross-validation" / "fold-1"
    same(debride, tmp_path / "predict", "predict", run, data, "--checkpoint", "last", "--out", "OUT", "--device", "cpu")


@pytest.mark.system
def test_an_audit_of_regions_by_cross_validation(here: Here, debride: Command, tmp_path: Path) -> None:
    heart_set(tmp_path, 8, list(ERRORS), 4)
    words = ["--folds", 2, *SMALL, "--planted", 2, "--pictures", 0]
    same(debride, tmp_path, "audit", tmp_path / "data", "--out", "OUT", *words)
    assert not list((tmp_path / "jobs").glob("*.jobs"))


def test_a_copy_holds_nothing_of_jobs_that_were_killed(here: Here, debride: Command, tmp_path: Path) -> None:
    """A job dies while it writes a label, and another one does what is left."""
    build_folder(tmp_path / "data", n=6)
    words = ["corrupt", tmp_path / "data", "OUT", "--noise", "dilate-erode"]
    here.before(lambda number, command: dying(command, "while_writing") if number == 0 else command)
    same(debride, tmp_path, *words)
    assert len(here.engines[0].submitted) == 3


def test_a_disk_that_does_not_show_results_yet_is_no_end_of_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "run_cells", lambda todo, jobs: (None for _ in todo))
    with pytest.raises(library.DataError, match=r"out: does not show the results of 2 cells\. .* use `resume`"):
        library.run_bench(small_grid(tmp_path), tmp_path / "out")
