"""Figures of papers: what is seen after an epoch against loops over pixels and cases, and what is drawn of it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.class_grids import grid_of
from tests.datasets import build_folder

from debride.bench.cell_base import Cell
from debride.bench.grid import cells, make_grid
from debride.bench.papers import figures_drawn
from debride.bench.papers.figures_drawn import Trained, draw_figure, draw_gamma, draw_search
from debride.bench.papers.figures_masks import FARTHEST, see_filter, see_gamma, signed_distance
from debride.bench.papers.watching import ROWS, Seen, watch
from debride.files import read_json
from debride.methods.self_cleansing import CLEANSED, GIVEN, NONE
from debride.types import IGNORE, DataError


def grid_cells(root: Path, methods: dict[str, Any], **training: Any) -> list[Cell]:
    if not (root / "data").exists():
        build_folder(root / "data", n=12, size=32)
    settings = {"epochs": 2, "network": "unet-small", "width": 4, "batch_size": 4, "device": "cpu", **training}
    grid = {
        "datasets": {"toy": {"path": str(root / "data"), "trusted": 0.3}},
        "noises": {"S_R": {"noise": "markov", "dice": 0.8}},
        "methods": methods,
        "training": settings,
    }
    return cells(make_grid(grid, "grid"), root / "out")


def labels_of(maps: list[np.ndarray]) -> Any:
    return SimpleNamespace(label=lambda row: maps[row])


def test_distance_is_that_to_the_nearest_pixel_at_the_outline() -> None:
    label = np.zeros((14, 17), np.uint8)
    label[4:11, 5:13] = 1
    label[0, 0] = IGNORE
    place, known = signed_distance(label)
    edge = []
    for row in range(14):
        for column in range(17):
            near = label[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if label[row, column] != IGNORE and {0, 1} <= {*near.flatten().tolist()}:
                edge.append((row, column))
    for row in range(14):
        for column in range(17):
            nearest = min(math.dist((row, column), other) for other in edge)
            expected = round(nearest) * (-1 if label[row, column] == 1 else 1)
            assert known[row, column] == (label[row, column] != IGNORE)
            assert not known[row, column] or place[row, column] == expected


def test_gamma_is_a_mean_by_distance() -> None:
    truth = np.zeros((1, 1, 40), np.uint8)[0]
    truth[:, 20:] = 1
    gamma = torch.linspace(0, 2, 40)[None]
    method = SimpleNamespace(pictured=lambda store, rows: {"gamma": gamma[None]})
    run = SimpleNamespace(epoch=1, epochs=2, cases=1, method=method, store=None)
    found = see_gamma(Seen(run, None, labels_of([truth]), 0.1))  # type: ignore[arg-type]
    at = dict(zip(found["distance"], found["gamma"], strict=True))
    assert at[0] == pytest.approx(float(gamma[0, 19] + gamma[0, 20]) / 2)  # both sides of the outline
    assert at[-5] == pytest.approx(float(gamma[0, 25])) and at[5] == pytest.approx(float(gamma[0, 14]))
    assert sum(found["pixels"]) == 40 and at[FARTHEST] is None
    run.epoch = 0
    assert see_gamma(Seen(run, None, labels_of([truth]), 0.1)) == {}  # type: ignore[arg-type]


def test_the_filter_is_judged_by_clean_labels() -> None:
    clean = [np.pad(np.ones((2, 2), np.uint8), 3) for _ in range(5)]
    given = [label.copy() for label in clean]
    for row in (0, 1, 2):
        given[row][3] = 0  # half of the object
    source = torch.tensor([CLEANSED, NONE, GIVEN, NONE, GIVEN])  # of three wrong labels two are found, and one that is right
    pseudo = torch.from_numpy(clean[0])
    store = SimpleNamespace(read=lambda name, rows: source if name == "source" else pseudo[None])
    run = SimpleNamespace(cases=5, store=store, prepared=labels_of(given))
    found = see_filter(Seen(run, None, labels_of(clean), 0.1))  # type: ignore[arg-type]
    assert (found["noisy"], found["precision"], found["recall"]) == pytest.approx((3 / 5, 2 / 3, 2 / 3))
    half = 2 * 2 / (2 + 4)
    assert found["given"] == pytest.approx((3 * half + 2) / 5)
    assert found["trained on"] == pytest.approx((2 * half + 3) / 5)
    source[:] = NONE
    assert see_filter(Seen(run, None, labels_of(clean), 0.1))["precision"] is None  # type: ignore[arg-type]


def test_search_curves_say_where_the_least_is() -> None:
    def rows(tau: float) -> list[dict[str, Any]]:
        return [{"epoch": e + 1, "tau": tau, "l_search": 2 / (e + 1) + abs(tau - 0.1), "wrong": 0.12} for e in range(20)]

    found = [Trained("Kvasir", "S_R", f"tau {tau}", 0, rows(tau)) for tau in (0.2, 0.05, 0.1)]
    picture, numbers = draw_search(found)
    own = numbers["Kvasir S_R"]
    assert own["tau"] == [0.05, 0.1, 0.2] and own["least at"] == 0.1 and own["true"] == pytest.approx(0.12)
    assert own["last epochs"][1] == pytest.approx(np.mean([2 / (e + 1) for e in range(10, 20)]))
    assert b"true noise rate" in picture and picture == draw_search(found)[0]


def test_watching_changes_nothing_and_goes_on(tmp_path: Path) -> None:
    (cell,) = grid_cells(tmp_path, {"gsd-net": {"config": {"noise_rate": "measured", "warm_up": 0.0}}})

    def disturb(seen: Seen) -> dict[str, Any]:
        torch.randn(5)
        seen.run.method.train()
        seen.run.method.first(torch.randn(2, 3, 32, 32))  # which moves running statistics
        return {"loss": float(seen.run.step)}

    seen = watch(cell, disturb)
    assert [row["epoch"] for row in seen] == [1, 2] and seen[1]["loss"] == 2 * seen[0]["loss"]
    (again,) = grid_cells(tmp_path / "again", {"gsd-net": {"config": {"noise_rate": "measured", "warm_up": 0.0}}})
    watch(again, lambda seen: {})
    logs = [(each.folder / "watched" / "metrics.jsonl").read_text() for each in (cell, again)]
    without_seconds = [[line.partition('"seconds"')[0] for line in log.splitlines()] for log in logs]
    assert without_seconds[0] == without_seconds[1]
    assert watch(cell, disturb) == seen  # a training that is done is not done again
    assert len((cell.folder / ROWS).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("figure", "methods", "shown"),
    [
        ("l_search", {f"tau {t}": {"method": "jocor", "config": {"noise_rate": t}} for t in (0.0, 0.1)}, "least at"),
        ("gamma", {"meta-dcseg": {"config": {"start": 0.0, "warm_up": 0.0}}}, "pixels"),
        ("filter", {"self-cleansing": {"config": {"every": 1, "warm_up": 0.0, "settled": 0.0}}}, "precision"),
        ("label_quality", {"alc": {}}, "refined, surest half"),
    ],
)
def test_a_figure_is_drawn_of_trainings(figure: str, methods: dict[str, Any], shown: str, tmp_path: Path) -> None:
    picture, numbers = draw_figure(figure, grid_cells(tmp_path, methods), tmp_path / "out")
    assert picture.read_text().lstrip().startswith("<?xml")
    (found,) = read_json(numbers).values()
    assert shown in found
    for name in ("curves", "gamma", "given", "refined, other half"):
        if name in found:
            values = [value for value in np.ravel(np.array(found[name], float)) if not np.isnan(value)]
            assert values and all(0 <= value < 10 for value in values)


@pytest.mark.parametrize("figure", ["hardness", "accuracy"])
def test_a_figure_of_classes_is_drawn(figure: str, tmp_path: Path) -> None:
    raw = grid_of(tmp_path, methods={"dcd": {}}, cells=[{"noises": ["half"]}])
    raw["datasets"]["toy"]["trusted"] = 0.2
    _, numbers = draw_figure(figure, cells(make_grid(raw, "grid"), tmp_path / "out"), tmp_path / "out")
    (found,) = read_json(numbers).values()
    if figure == "accuracy":
        assert len(found["accuracy"]) == len(found["auroc"]) == 2 and 0 <= found["auroc"][-1] <= 1
    else:
        assert found["images"] == len(found["loss"]) > 10
        assert found["pearson"] == pytest.approx(np.corrcoef(found["loss"], found["distance"])[0, 1], abs=1e-3)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names nothing, which does not exist"):
        draw_figure("nothing", [], tmp_path)
    with pytest.raises(DataError, match="is the loss at a tau"):
        draw_figure("l_search", grid_cells(tmp_path, {"jocor": {}}), tmp_path / "out")


def test_gamma_of_one_training_has_one_line() -> None:
    row = {"distance": [-1, 0, 1], "gamma": [1.2, 0.8, None], "pixels": [3, 2, 0]}
    found = [Trained("a", "b", "meta-dcseg", 0, [{"epoch": 1}, row])]
    assert draw_gamma(found)[1] == {"meta-dcseg": row}
    assert {*figures_drawn.FIGURES} == {"l_search", "gamma", "filter", "label_quality", "hardness", "accuracy"}
