"""A grid for classification that is interrupted, repeated, or in which cells fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.class_grids import build_npz, grid_of, one, run_one, true_labels, without_memory, written_labels

from debride.bench import class_cell
from debride.bench.grid import cells, make_grid, run_grid
from debride.cli import main
from debride.types import DataError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_resume_keeps_what_is_done_and_refuses_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = one(tmp_path)
    out = tmp_path / "out"
    run_grid(make_grid(raw, "grid"), out)
    before = (out / "results.jsonl").read_bytes()

    def never(job: object) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(class_cell, "fit", never)
    run_grid(make_grid(raw, "grid"), out, resume=True)
    assert (out / "results.jsonl").read_bytes() == before
    raw["noises"]["half"]["parameters"] = {"rate": 0.4}
    with pytest.raises(DataError, match="holds a cell with other settings"):
        run_grid(make_grid(raw, "grid"), out, resume=True)


def test_a_failed_cell_is_shown_and_tried_again_on_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid(grid_of(tmp_path), "grid")
    out = tmp_path / "out"
    without_memory(monkeypatch)
    run_grid(grid, out)
    assert "RuntimeError: out of memory" in (out / "table.md").read_text()
    assert "failed (1)" in (out / "table.md").read_text()
    assert "failed: RuntimeError" in (out / "report.html").read_text()
    monkeypatch.undo()
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))
    written = {file: file.stat().st_mtime_ns for file in (out / "data").rglob("*.npz")}
    run_grid(grid, out, resume=True)
    assert "failed" not in (out / "table.md").read_text()
    assert {file: file.stat().st_mtime_ns for file in (out / "data").rglob("*.npz")} == written
    assert len(written) == 1


def test_an_interrupted_cell_goes_on_from_its_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from debride.training import fit as fit_module

    grid = make_grid(one(tmp_path), "grid")
    epoch, trained = fit_module._epoch, []

    def killed(run: Any, *more: Any) -> None:
        trained.append(run.epoch)
        if trained == [0, 1]:
            raise KeyboardInterrupt
        epoch(run, *more)

    monkeypatch.setattr(fit_module, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid, tmp_path / "out")
    run_grid(grid, tmp_path / "out", resume=True)
    assert trained == [0, 1, 1]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "patches.npz").write_bytes((tmp_path / "patches.npz").read_bytes())
    row, _ = run_one(tmp_path / "again")
    (resumed,) = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {**resumed, "minutes": 0} == {**row, "minutes": 0}


def test_a_failed_cell_starts_afresh_on_data_that_were_mended(tmp_path: Path) -> None:
    """Their mending changes training labels too, which the noise then begins from."""
    file = build_npz(tmp_path / "patches.npz")
    held = dict(np.load(file))
    np.savez(file, **{**held, "test_images": held["test_images"][..., 0]})
    noises = {"half": {"noise": "symmetric", "parameters": {"rate": 0.2}}}
    grid = make_grid(one(tmp_path, noises=noises), "grid")
    with pytest.raises(DataError, match="every cell failed"):
        run_grid(grid, tmp_path / "out")
    held["train_labels"] = (held["train_labels"] + 1) % 3
    np.savez(file, **held)
    (row,) = run_grid(grid, tmp_path / "out", resume=True)
    (cell,) = cells(grid, tmp_path / "out")
    wrong = written_labels(cell, "train") != true_labels(tmp_path, "train")
    assert row["failed"] is None and json.loads((cell.folder / "result.json").read_text())["wrong_labels"] == wrong.mean()
    assert 0 < wrong.mean() < 0.3


def test_the_command_says_which_cells_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, as for other problems that were found, and 0 when all is mended."""
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(grid_of(tmp_path), sort_keys=False))
    words = ["bench", str(file), "--out", str(tmp_path / "out")]
    fit = without_memory(monkeypatch)
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "report.html" in out
    assert "failed: toy, half, gce, seed 0: RuntimeError: out of memory" in err and err.count("failed: ") == 1
    assert "debride: 1 of 3 cells failed" in err
    monkeypatch.setattr(class_cell, "fit", fit)
    assert main([*words, "--resume"]) == 0
    assert "failed" not in capsys.readouterr().err
