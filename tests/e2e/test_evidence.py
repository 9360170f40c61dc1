"""The grids of the evidence on generated data: rows come once, go stale, are cut off, and nothing that others wrote is lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.evidence import run as runner
from benchmarks.evidence import stamp
from benchmarks.evidence.grids import BENCHMARKS, planned
from tests.datasets import build_folder, build_npz

from debride.bench import mask_cell
from debride.types import DataError


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two methods on 18 small images, with one noise and two seeds."""
    build_folder(tmp_path / "data", n=18)
    content = {
        "name": "toy",
        "seeds": [0, 1],
        "datasets": {"toy": {"path": str(tmp_path / "data"), "limit": {"train": 8}}},
        "noises": {"S_DE": {"noise": "dilate-erode", "dice": 0.8}},
        "methods": {"ce": None, "gce": None},
        "training": {"epochs": 2, "network": "unet-small", "width": 4, "image_size": [32, 32], "device": "cpu"},
        "pictures": False,
    }
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def run(grid: Path, *words: str) -> int:
    folders = ["--results", str(grid.parent / "results"), "--work", str(grid.parent / "work")]
    return runner.main([*folders, *words], [grid])


def rows_of(grid: Path) -> list[Any]:
    files = sorted((grid.parent / "results" / "toy").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """The cells that are run, in order."""
    found: list[tuple[str, int]] = []
    run_cell = runner.run_cell

    def noted(cell: Any, threads: int | None) -> None:
        found.append((cell.name, cell.seed))
        run_cell(cell, threads)

    monkeypatch.setattr(runner, "run_cell", noted)
    yield found


@pytest.mark.slow
def test_rows_come_once_and_stale_ones_again_after_those_that_are_missing(
    grid: Path, order: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(grid, "--only", "gce") == 0
    assert order == [("gce", 0), ("gce", 1)]
    (first, second) = rows_of(grid)
    assert first["last"]["epoch"] == 2 and not first["curve"]
    ((patient, cases),) = list(first["by_case"].items())[:1]
    measures = next(iter(cases.values()))
    assert patient and len(measures) == 4 and len(measures[0]) == len(first["last"]["per_class"])
    assert not [*(grid.parent / "work").glob("**/run")], "what a row was made of goes"
    file = grid.parent / "results" / "toy" / "gce.jsonl"
    foreign = {**first, "method": "another"}
    stale = {**first, "made_by": {**first["made_by"], "curve": "0"}}
    file.write_text("".join(json.dumps(row) + "\n" for row in (stale, second, foreign)))
    capsys.readouterr()
    assert run(grid, "--list") == 0
    printed = capsys.readouterr().out
    assert [line.split()[1:5] for line in printed.splitlines()[1:3]] == [["ce", "0", "2", "0"], ["gce", "1", "0", "1"]]
    order.clear()
    assert run(grid) == 0
    assert order == [("ce", 0), ("ce", 1), ("gce", 0)]
    assert [(row["method"], row["seed"]) for row in rows_of(grid)] == [("ce", 0), ("ce", 1), ("gce", 0), ("gce", 1)]
    assert rows_of(grid)[2]["made_by"] == first["made_by"] and rows_of(grid)[3] == second
    order.clear()
    assert run(grid) == 0 and not order


@pytest.mark.slow
def test_a_cell_that_was_cut_off_goes_on_but_not_with_other_code(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, went_on = mask_cell.fit, []

    def noted(job: Any) -> None:
        went_on.append(job.resume)
        fit(job)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def run_until_cut() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(grid, "--only", "ce")

    monkeypatch.setattr(mask_cell, "fit", noted)
    with monkeypatch.context() as patch:
        patch.setattr(mask_cell, "finished", cut)
        run_until_cut()
    monkeypatch.setattr(runner, "put_row", cut)
    run_until_cut()
    assert went_on == [False, True]
    run_until_cut()
    assert went_on == [False, True], "its result was there"
    made_by = grid.parent / "work/toy/cells/toy/S_DE/ce/seed-0.json"
    made_by.write_text(json.dumps({**json.loads(made_by.read_text()), "source": "of old"}))
    run_until_cut()
    assert went_on == [False, True, False]


@pytest.mark.slow
def test_a_cell_that_fails_leaves_no_row_and_others_run(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = mask_cell.fit

    def fail(job: Any) -> None:
        if job.method == "ce":
            raise RuntimeError("out of memory")
        fit(job)

    monkeypatch.setattr(mask_cell, "fit", fail)
    assert run(grid) == 1
    assert {row["method"] for row in rows_of(grid)} == {"gce"}
    assert capsys.readouterr().out.count("out of memory") == 2
    monkeypatch.undo()
    assert run(grid) == 0
    assert {row["method"] for row in rows_of(grid)} == {"ce", "gce"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpu", "gpu_classes"])
def test_the_rows_for_a_gpu_come_at_toy_size(name: str, tmp_path: Path) -> None:
    content = yaml.safe_load((BENCHMARKS / f"{name}.yaml").read_text())
    (dataset,) = content["datasets"].values()
    masks = name == "gpu"
    data = build_folder(tmp_path / "data", n=18) if masks else build_npz(tmp_path / "data", n=40, classes=10) / "small.npz"
    dataset.update(path=str(data), trusted=0.3, limit={})
    content["training"].update(epochs=3, width=4, batch_size=8, device="cpu", **({"image_size": [32, 32]} if masks else {}))
    content["training"].update({} if masks else {"network": "cnn"})
    content["seeds"] = [0]
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(tmp_path / "toy.yaml", "--stop", "60") == 0
    rows = rows_of(tmp_path / "toy.yaml")
    assert {row["method"] for row in rows} == set(content["methods"])
    assert all(len(row["by_case"]) == (3 if masks else 13) for row in rows)


def test_no_cell_begins_after_the_time(grid: Path, order: list[tuple[str, int]]) -> None:
    assert run(grid, "--minutes", "0") == 0
    assert not order and not rows_of(grid)


def test_data_that_are_absent_are_said_once_and_refused_where_nothing_is_left(
    grid: Path, order: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(grid.read_text())
    content["datasets"]["away"] = {"path": str(grid.parent / "away")}
    grid.write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(grid, "--minutes", "0") == 0
    assert capsys.readouterr().out.count("away does not exist. Set DEBRIDE_DATA") == 1
    (grid.parent / "data").rename(grid.parent / "moved")
    with pytest.raises(DataError, match=r"does not exist\. Set DEBRIDE_DATA"):
        run(grid)
    assert not order


def test_a_method_that_no_grid_has_is_refused(grid: Path) -> None:
    with pytest.raises(DataError, match="names nothing"):
        run(grid, "--only", "nothing")


def test_code_that_changes_begins_anew(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, begun = iter("ab"), []
    monkeypatch.setattr(runner, "code", lambda: next(hashes))
    monkeypatch.setattr(runner, "run", lambda each: None)
    monkeypatch.setattr(runner.os, "execv", lambda program, words: begun.append(words))
    run(grid, "--minutes", "5", "--since", "7e9")
    assert begun and begun[0][-4:] == ["--since", "7e9", "--since", "7000000000.0"] and "--minutes" in begun[0]


@pytest.mark.slow
def test_the_time_ends_a_cell_which_goes_on_later(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, trained = mask_cell.fit, []

    def long(job: Any) -> None:
        fit(job)
        trained.append(job.resume)
        if len(trained) == 1:
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(mask_cell, "fit", long)
    assert run(grid, "--only", "ce", "--stop", "60") == 0
    assert "the time is up" in capsys.readouterr().out
    assert not rows_of(grid)
    assert run(grid, "--only", "ce") == 0
    assert trained[:2] == [False, True] and len(rows_of(grid)) == 2


def test_a_row_depends_on_settings_source_and_curve(grid: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hashes() -> dict[str, str]:
        return planned([grid], tmp_path, tmp_path)[0].made_by

    before = hashes()
    (tmp_path / "curves.json").write_text(json.dumps({"ce": [1.0, 2.0]}))
    monkeypatch.setattr(stamp, "CURVES", tmp_path / "curves.json")
    assert {name for name, value in hashes().items() if value != before[name]} == {"curve"}
    grid.write_text(grid.read_text().replace("epochs: 2", "epochs: 3"))
    assert {name for name, value in hashes().items() if value != before[name]} == {"curve", "settings"}


def test_the_source_of_a_method_is_its_code_and_that_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "debride.methods.mine": '"""Mine."""\nfrom debride.methods.parts.ours import f\nfrom debride.methods.base import M\n'
        'class Mine(M):\n    """Mine."""\n    paper = 1\n    x = f\n',
        "debride.methods.parts.ours": "def f():\n    return 1  # one\n",
    }

    def file(module: str) -> Path:
        path = tmp_path / f"{module}.py"
        path.write_text(texts[module])
        return path

    def of_mine() -> str:
        stamp.source_hash.cache_clear()
        return stamp.source_hash("debride.methods.mine")

    monkeypatch.setattr(stamp, "_file", file)
    before = of_mine()
    texts["debride.methods.mine"] = texts["debride.methods.mine"].replace("Mine.", "Yours.").replace("paper = 1", "paper = 2")
    texts["debride.methods.parts.ours"] = texts["debride.methods.parts.ours"].replace("# one", "# the number one")
    assert of_mine() == before
    texts["debride.methods.parts.ours"] = texts["debride.methods.parts.ours"].replace("return 1", "return 2")
    assert of_mine() != before
    stamp.source_hash.cache_clear()
