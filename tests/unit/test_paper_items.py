"""Every paper's file is read, and says of each printed row and column what stands for it or why nothing does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from debride.bench.papers.paper_items import ALLOWED, NEEDED, Kind, Place, grid_of, item_of, paper_names, read_paper
from debride.types import DataError

EVERY = [(name, id) for name in paper_names() for id in read_paper(name).items]

GRID: dict[str, Any] = {
    "datasets": {"polyps": {"path": "nowhere"}},
    "noises": {"mild": {"noise": "markov"}, "clean": None},
    "methods": {"ce": None, "rce": {"method": "sce", "config": {"alpha": 0.0}}},
}

ITEM: dict[str, Any] = {
    "title": "Two methods",
    "kind": "grid",
    "columns": ["Dice", "HD"],
    "measure": ["dice", "hd95"],
    "rule": "last",
    "printed": {"CE": ["70.1±1", "12.0"], "RCE": ["71", "-"], "SAM": ["80", "3"]},
    "rows": {"CE": "ce", "RCE": "rce"},
    "cells": {"Dice": ["polyps", "mild"], "HD": ["polyps", "clean", "assd"]},
    "missing": {"SAM": "Its weights are not shipped."},
    "grid": GRID,
}


@pytest.mark.parametrize(("name", "id"), EVERY)
def test_every_item_is_whole_and_its_grid_is_accepted(name: str, id: str) -> None:
    item = item_of(read_paper(name), name, id)
    if item.grid:
        grid_of(item, f"{name}, {id}")
    assert id.split("-")[0] in ("table", "figure"), "ids are table-N and figure-N"


def written(folder: Path, item: dict[str, Any]) -> Path:
    (folder / "paper.yaml").write_text(yaml.safe_dump({"title": "A paper", "items": {"table-1": item}}))
    return folder


def test_rows_and_columns_say_together_what_is_measured(tmp_path: Path) -> None:
    item = item_of(read_paper("paper", written(tmp_path, ITEM)), "paper", "table-1")
    assert item.place("CE", "Dice") == Place(dataset="polyps", noise="mild", method="ce", measure="dice", rule="last")
    assert item.place("RCE", "HD") == Place(dataset="polyps", noise="clean", method="rce", measure="assd", rule="last")
    assert item.place("SAM", "HD") is None
    assert item.dashed("RCE", "HD") and not item.dashed("RCE", "Dice")
    assert set(grid_of(item, "here").methods) == {"ce", "rce"}


def test_a_row_may_say_what_columns_say_elsewhere(tmp_path: Path) -> None:
    """As in tables whose rows are data sets and whose columns are methods, each of the best and the last epoch."""
    item = copy.deepcopy(ITEM) | {
        "columns": ["CE best", "RCE last"],
        "measure": "dice of polyp",
        "printed": {"Kvasir": ["70", "71"]},
        "rows": {"Kvasir": {"dataset": "polyps", "noise": "mild"}},
        "cells": {"CE best": {"method": "ce", "rule": "best"}, "RCE last": {"method": "rce"}},
        "missing": {},
    }
    read = item_of(read_paper("paper", written(tmp_path, item)), "paper", "table-1")
    first, second = (read.place("Kvasir", column) for column in read.columns)
    assert first == Place(dataset="polyps", noise="mild", method="ce", measure="dice of polyp", rule="best")
    assert second is not None and (second.method, second.rule) == ("rce", "last")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colums": []}, "no setting 'colums'"),
        ({"kind": "table"}, "is 'table'"),
        ({"grid": {}}, "has no grid"),
        ({"why": "We tried."}, "kind grid and has why"),
        ({"columns": ["Dice", "Dice"]}, "column twice"),
        ({"printed": ITEM["printed"] | {"CE": ["70"]}}, "1 printed cells in row CE"),
        ({"printed": ITEM["printed"] | {"CE": [70.1, "12"]}}, "is 70.1"),
        ({"printed": ITEM["printed"] | {"GCE": ["1", "2"]}}, "says nothing of GCE"),
        ({"measure": ["dice", "hd95", "iou"]}, "3 measures and 2 columns"),
        ({"measure": "beauty"}, "measure beauty is unknown"),
        ({"rule": "last_ten"}, "no mean over ten epochs is kept of assd"),
        ({"rule": "highest"}, "highest of dice on test data"),
        ({"rows": ITEM["rows"] | {"GCE": "ce"}}, "names GCE in rows"),
        ({"rows": ITEM["rows"] | {"SAM": "ce"}}, "SAM in rows and in missing"),
        ({"rows": ITEM["rows"] | {"CE": {"noise": "mild"}}}, "the noise of CE, Dice twice"),
        ({"cells": {"Dice": ["polyps", "mild"]}}, "says nothing of HD"),
        ({"cells": ITEM["cells"] | {"HD": ["polyps"]}}, "has 1 entries"),
        ({"missing": {**ITEM["missing"], "HD95": "no"}}, "names HD95 in missing"),
        ({"here": [{"file": "x"}]}, "has no budget"),
        ({"here": [{"file": "x", "budget": "b", "command": "c", "picture": "y"}]}, "names a picture in here"),
        ({"here": [{"file": "x", "budget": "b", "command": "c", "rows": {"UNet": "ce"}}]}, "names UNet in here"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="table-1") as error:
        read_paper("paper", written(tmp_path, ITEM | change))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": {"CE": "ce", "RCE": "gce"}}, "RCE, Dice stands for polyps, mild, gce"),
        ({"cells": {"Dice": ["polyps", "mild"], "HD": ["lungs", "clean"]}}, "lungs, clean, ce, no cell of its grid"),
        ({"grid": GRID | {"cells": [{"noises": ["mild"]}]}}, "polyps, clean, ce, no cell of its grid"),
        ({"grid": GRID | {"methods": {"ce": None, "rce": {"method": "no-such"}}}}, "no-such"),
    ],
)
def test_what_the_grid_has_not_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    item = item_of(read_paper("paper", written(tmp_path, ITEM | change)), "paper", "table-1")
    with pytest.raises(DataError) as error:
        grid_of(item, "paper.yaml, table-1")
    assert said in str(error.value)


def test_pairs_that_are_dashes_or_named_missing_need_no_cell(tmp_path: Path) -> None:
    item = ITEM | {
        "grid": GRID | {"cells": [{"noises": ["mild"]}]},
        "missing": {**ITEM["missing"], "CE, HD": "It is not trained there."},
    }
    grid_of(item_of(read_paper("paper", written(tmp_path, item)), "paper", "table-1"), "here")


def test_papers_and_items_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gsd-net"):
        read_paper("vanished")
    with pytest.raises(DataError, match="has no figure-9"):
        item_of(read_paper("paper", written(tmp_path, ITEM)), "paper", "figure-9")


def test_every_kind_says_what_it_holds() -> None:
    assert set(NEEDED) == set(ALLOWED) == set(get_args(Kind))
