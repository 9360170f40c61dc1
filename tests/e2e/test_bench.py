"""A grid from its file to its report, interrupted, repeated, and with mistakes in it."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tests.datasets import build_folder

from debride.bench import mask_cell as cell_module
from debride.bench.grid import (
    Block,
    DatasetEntry,
    Grid,
    MethodEntry,
    NoiseEntry,
    cells,
    make_grid,
    read_grid,
    run_grid,
)
from debride.types import DataError


def grid_of(root: Path, **changes: Any) -> dict[str, Any]:
    """Two noises and two methods on 18 small images, one epoch each."""
    if not (root / "data").exists():
        build_folder(root / "data", n=18)
    grid = {
        "name": "small",
        "datasets": {"toy": {"path": str(root / "data"), "limit": {"train": 8}}},
        "noises": {"clean": None, "S_DE": {"noise": "dilate-erode", "dice": 0.8}},
        "methods": {"ce": None, "co": {"method": "co-teaching", "config": {"noise_rate": "measured"}}},
        "training": {"epochs": 2, "network": "unet-small", "width": 4, "image_size": [32, 32], "batch_size": 4},
        "cells": [{"methods": ["ce"]}, {"noises": ["S_DE"]}],
    }
    return grid | changes


def test_grid_gives_rows_tables_and_a_report(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(grid_of(tmp_path), sort_keys=False))
    out = tmp_path / "out"
    run_grid(read_grid(file), out)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(row["noise"], row["method"]) for row in rows] == [("clean", "ce"), ("S_DE", "ce"), ("S_DE", "co")]
    for row in rows:
        assert row["failed"] is None
        assert row["train_cases"] == 8
        assert [point["epoch"] for point in row["curve"]] == [1, 2]
        assert row["last"]["epoch"] == 2
        tests = [point["test_dice"] for point in row["curve"]]
        assert row["last_ten"]["dice"] == pytest.approx(sum(tests) / 2)
        assert row["last"]["dice"] == pytest.approx(tests[1])
    assert rows[0]["label_dice"] == 1.0
    assert rows[1]["label_dice"] == pytest.approx(0.8, abs=0.08)
    assert "co" in (out / "table.md").read_text()
    assert "data:image/png;base64" in (out / "report.html").read_text()
    settings = json.loads((out / "cells" / "toy" / "S_DE" / "co" / "seed-0" / "run" / "run.json").read_text())
    noise = json.loads(next((out / "data" / "toy" / "S_DE").iterdir()).joinpath("noise.json").read_text())
    assert settings["method_config"]["noise_rate"] == noise["overall_changed"]


def test_resume_keeps_what_is_done_and_refuses_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = grid_of(tmp_path, cells=[{"methods": ["ce"], "noises": ["clean"]}])
    out = tmp_path / "out"
    run_grid(make_grid(raw, "grid"), out)
    before = (out / "results.jsonl").read_bytes()
    with pytest.raises(DataError, match="is not empty"):
        run_grid(make_grid(raw, "grid"), out)
    with pytest.raises(DataError, match="lies in the data set toy"):
        run_grid(make_grid(raw, "grid"), Path(raw["datasets"]["toy"]["path"]) / "out")

    def never(job: object) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(cell_module, "fit", never)
    run_grid(make_grid(raw, "grid"), out, resume=True)
    assert (out / "results.jsonl").read_bytes() == before
    raw["training"]["epochs"] = 3
    with pytest.raises(DataError, match="holds a cell with other settings"):
        run_grid(make_grid(raw, "grid"), out, resume=True)


def test_a_failed_cell_is_shown_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid(grid_of(tmp_path, cells=[{"noises": ["clean"]}]), "grid")
    out = tmp_path / "out"
    fit = cell_module.fit

    def fail(job: Any) -> None:
        if job.method == "co-teaching":
            raise RuntimeError("out of memory")
        fit(job)

    monkeypatch.setattr(cell_module, "fit", fail)
    run_grid(grid, out)
    assert "RuntimeError: out of memory" in (out / "table.md").read_text()
    monkeypatch.undo()
    run_grid(grid, out, resume=True)
    assert "failed" not in (out / "table.md").read_text()


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, method: str = "ce") -> None:
    """Every training of a method ends by an error, after it wrote something."""
    fit = cell_module.fit

    def fail(job: Any) -> None:
        if job.method != method:
            fit(job)
            return
        job.out.mkdir(parents=True)
        (job.out / "old").touch()
        raise error

    monkeypatch.setattr(cell_module, "fit", fail)


def test_a_failed_cell_starts_afresh_with_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = grid_of(tmp_path, cells=[{"noises": ["clean"]}])
    out = tmp_path / "out"
    failing(monkeypatch, RuntimeError("out of memory"))
    run_grid(make_grid(raw, "grid"), out)
    monkeypatch.undo()
    co = (out / "cells" / "toy" / "clean" / "co" / "seed-0" / "result.json").read_bytes()
    raw["methods"]["ce"] = {"config": {"dice": True}}
    run_grid(make_grid(raw, "grid"), out, resume=True)
    folder = out / "cells" / "toy" / "clean" / "ce" / "seed-0"
    assert json.loads((folder / "result.json").read_text())["failed"] is None
    assert json.loads((folder / "run" / "run.json").read_text())["method_config"]["dice"] is True
    assert json.loads((folder / "cell.json").read_text())["method_config"] == {"dice": True}
    assert not (folder / "run" / "old").exists() and "out of memory" not in (folder / "log.txt").read_text()
    assert (out / "cells" / "toy" / "clean" / "co" / "seed-0" / "result.json").read_bytes() == co


def test_a_cell_that_was_cut_off_stays_with_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = grid_of(tmp_path, cells=[{"noises": ["clean"], "methods": ["ce"]}])
    out = tmp_path / "out"
    failing(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_grid(make_grid(raw, "grid"), out)
    raw["methods"]["ce"] = {"config": {"dice": True}}
    with pytest.raises(DataError, match="holds a cell with other settings"):
        run_grid(make_grid(raw, "grid"), out, resume=True)
    assert (out / "cells" / "toy" / "clean" / "ce" / "seed-0" / "run" / "old").exists()


def test_a_failed_cell_starts_afresh_on_data_that_were_mended(tmp_path: Path) -> None:
    """A test image of too few channels is found after the training; its mending changes training cases too."""
    raw = grid_of(tmp_path, cells=[{"methods": ["ce"]}])
    raw["datasets"]["toy"]["limit"] = {}
    images, masks, out = tmp_path / "data" / "images", tmp_path / "data" / "masks", tmp_path / "out"
    whole = (images / "case017.png").read_bytes()
    Image.open(images / "case017.png").convert("L").save(images / "case017.png")
    with pytest.raises(DataError, match=r"every cell failed.*channels"):
        run_grid(make_grid(raw, "grid"), out)
    (images / "case017.png").write_bytes(whole)
    (images / "case000.png").write_bytes((images / "case001.png").read_bytes())
    (masks / "case000.png").write_bytes((masks / "case001.png").read_bytes())
    run_grid(make_grid(raw, "grid"), out, resume=True)
    assert [json.loads(line)["failed"] for line in (out / "results.jsonl").read_text().splitlines()] == [None, None]
    (made,) = (out / "data" / "toy" / "S_DE").iterdir()
    for file in images.iterdir():
        assert (made / "images" / file.name).read_bytes() == file.read_bytes()


def test_a_failed_cell_of_unchanged_settings_goes_on_from_its_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed late, as on a full disk, is not trained again."""
    raw = grid_of(tmp_path, cells=[{"noises": ["clean"], "methods": ["ce"]}])
    out = tmp_path / "out"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cell_module, "finished", full)
    with pytest.raises(DataError, match="No space left"):
        run_grid(make_grid(raw, "grid"), out)
    monkeypatch.undo()
    run = out / "cells" / "toy" / "clean" / "ce" / "seed-0" / "run"
    before = (run / "metrics.jsonl").read_bytes()
    run_grid(make_grid(raw, "grid"), out, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == before  # its seconds are those of the first time
    assert [json.loads(line)["failed"] for line in (out / "results.jsonl").read_text().splitlines()] == [None]


@pytest.mark.parametrize("changed", [False, True])
def test_corrupted_data_are_made_anew_where_a_cell_failed_and_the_files_changed(
    changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = grid_of(tmp_path, cells=[{"noises": ["S_DE"]}])
    out = tmp_path / "out"
    failing(monkeypatch, RuntimeError("out of memory"))
    run_grid(make_grid(raw, "grid"), out)
    monkeypatch.undo()
    done = out / "cells" / "toy" / "S_DE" / "co" / "seed-0" / "result.json"
    before = done.read_bytes()
    (made,) = (out / "data" / "toy" / "S_DE").iterdir()
    (made / "kept").touch()
    if changed:
        mask = tmp_path / "data" / "masks" / "case000.png"
        Image.open(mask).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mask)
    run_grid(make_grid(raw, "grid"), out, resume=True)
    assert list((out / "data" / "toy" / "S_DE").iterdir()) == [made]
    assert (made / "kept").exists() != changed
    assert done.read_bytes() == before
    assert "failed" not in (out / "table.md").read_text()


def test_grids_where_nothing_works_say_why(tmp_path: Path) -> None:
    build_folder(tmp_path / "data", splits=False)
    with pytest.raises(DataError, match=r"every cell failed.*has no labelled test cases.*on it\. Mend the cause"):
        run_grid(make_grid(grid_of(tmp_path), "grid"), tmp_path / "out")


def test_seeds_and_noises_have_data_of_their_own(tmp_path: Path) -> None:
    grid = make_grid(grid_of(tmp_path, seeds=[0, 1]), "grid")
    folders = {(cell.noise, cell.seed): cell.data_folder for cell in cells(grid, tmp_path)}
    assert len(set(folders.values())) == len(folders) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [1]}, "unknown entry 'seed'"),
        ({"methods": {}}, "has no methods"),
        ({"methods": {"best": None}}, "'best' is no method"),
        ({"methods": {"ce": {"config": {"dise": True}}}}, "has no setting 'dise'"),
        ({"methods": {"ce": 3}}, "is not a mapping"),
        ({"datasets": {"../toy": {"path": "x"}}}, "no name of a file"),
        ({"datasets": {"toy": {"path": "x", "limit": 5}}}, "NAME: VALUE"),
        ({"datasets": {"toy": {"path": "x", "limit": {"trian": 5}}}}, "'trian'"),
        (
            {"datasets": {"toy": {"path": "x", "training": {"spacing": [1, 1]}}}},
            "grid.yaml, training of toy and .*: image_size: is given together with spacing",
        ),
        ({"noises": {"a": {"noise": "blur"}}}, "does not exist"),
        ({"noises": {"a": {"dice": 0.5}}}, "dice but no noise"),
        ({"noises": {"a": {"noise": "markov", "share": 2}}}, "noises, a: share: is 2.0. Give a number above 0 and at most 1"),
        ({"cells": {"methods": ["ce"]}}, "no list of blocks"),
        ({"cells": [{"methods": ["gce"]}]}, "names gce"),
        ({"cells": [{"method": ["ce"]}]}, "has no setting 'method'"),
        ({"seeds": []}, "grid.yaml: seeds: are none"),
        ({"test_every": 0}, "grid.yaml: test_every: is 0. Give a whole number of at least 1"),
        (
            {"methods": {"gce": {"config": {"q": 5}}}},
            r"^grid.yaml, methods, gce: q: is 5.0. Give a number above 0 and at most 1\.$",
        ),
        (
            {"noises": {"a": {"noise": "markov", "parameters": {"steps": -1}}}},
            "^grid.yaml, noises, a: noise markov: steps: is -1. Give a whole number of at least 0",
        ),
        ({"training": {"batch_size": 0}}, "^grid.yaml, training of toy and ce: batch_size: is 0"),
        ({"augmentation": {"zoom": [2, 1]}}, r"^grid.yaml, augmentation: zoom: is \(2.0, 1.0\)"),
        (
            {"datasets": {"toy": {"path": "x", "val_fraction": 0.5, "test_fraction": 0.5}}},
            "toy: val_fraction: is 0.5, and test_",
        ),
        ({"datasets": {"toy": {}}}, "^grid.yaml, datasets, toy: has no path. Give path"),
        ({"training": {"epochs": "many"}}, "epochs"),
    ],
)
def test_mistakes_in_a_grid_are_named_before_anything_runs(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        make_grid(grid_of(tmp_path, **changes), "grid.yaml")


def test_the_page_on_benches_names_every_key_and_its_grids_can_be_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    for cls in (Grid, DatasetEntry, NoiseEntry, MethodEntry, Block):
        for key in fields(cls):
            assert f"`{key.name}`" in page, key.name
    grids = [make_grid(yaml.safe_load(block), "docs") for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert [(grid.task, len(cells(grid, Path()))) for grid in grids] == [("segmentation", 4), ("classification", 2)]
