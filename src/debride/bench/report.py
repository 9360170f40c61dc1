"""One HTML file with everything that a grid found: no script, no request, readable offline for as long as HTML is."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypedDict

from jinja2 import Environment, FunctionLoader, StrictUndefined

from debride.bench import plots
from debride.bench.tables import Row, tables
from debride.bench.tabulate import CellRow, Table, measured, name, rows_of
from debride.evaluation.mask_metrics import METRICS, NEEDS


class Picture(TypedDict):
    """One picture of the gallery: outlines on a case (see ``plots.outlines``) of a trained cell."""

    dataset: str
    noise: str
    method: str
    seed: int
    case: str
    png: bytes
    caption: str


class Context(TypedDict):
    """What the rows do not say: when and how the grid was run, and with which versions (package name to version)."""

    date: str
    command: str
    versions: dict[str, str]


def render(grid_name: str, rows: Sequence[Row], gallery: Iterable[Picture], context: Context) -> str:
    """The report as HTML: tables, charts, gallery, every cell and every failure. All pictures are inside; names are escaped."""
    gallery = list(gallery)
    every_table = tables(rows)
    datasets = [
        _dataset(dataset, rows, [table for table in every_table if table.dataset == dataset], gallery)
        for dataset in dict.fromkeys(row["dataset"] for row in rows)
    ]
    colours = {mask: colour for mask, (colour, _) in plots.OUTLINES.items()}
    metrics = [metric for metric in METRICS.values() if metric.bench and metric.name != "dice"]
    return fill("report.html", grid_name, rows, datasets, context, colours=colours, metrics=metrics, needs=NEEDS)


def fill(
    template: str,
    grid_name: str,
    rows: Sequence[CellRow],
    datasets: Sequence[Mapping[str, Any]],
    context: Context,
    **more: Any,
) -> str:
    """A template of this package filled with what a report says whatever its task, what it shows of each data set, and more."""
    loader = FunctionLoader(lambda name: files("debride.bench").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader)
    environment.tests["measured"] = measured
    return environment.get_template(template).render(
        grid_name=grid_name,
        context=context,
        rows=rows,
        failures=[(name(row), row["failed"]) for row in rows if row["failed"]],
        devices=sorted({row["device"] for row in rows if not row["failed"]}),
        minutes=sum(row["minutes"] for row in rows),
        datasets=datasets,
        **more,
    )


def _dataset(dataset: str, rows: Sequence[Row], tables: Sequence[Table], gallery: Sequence[Picture]) -> dict[str, Any]:
    """What the template shows of one data set."""
    own = rows_of(rows, dataset)
    return {
        "name": dataset,
        "tables": tables,
        "dots": uri("svg+xml", plots.dots(rows, dataset)) if plots.dotted(rows, dataset) else None,
        "noises": [
            _noise(
                noise,
                rows,
                dataset,
                [shot for shot in gallery if (shot["dataset"], shot["noise"]) == (dataset, noise)],
            )
            for noise in dict.fromkeys(row["noise"] for row in own if not row["failed"])
        ],
    }


def _noise(noise: str, rows: Sequence[Row], dataset: str, gallery: Sequence[Picture]) -> dict[str, Any]:
    """Curves and pictures of one noise, the pictures by method."""
    trained = [row for row in rows_of(rows, dataset, noise) if not row["failed"]]
    charted = any(measured(point["test_dice"]) for row in trained for point in row["curve"])
    return {
        "name": noise,
        "curves": uri("svg+xml", plots.curves(rows, dataset, noise)) if charted else None,
        "gallery": {
            method: [{**picture, "uri": uri("png", picture["png"])} for picture in gallery if picture["method"] == method]
            for method in dict.fromkeys(picture["method"] for picture in gallery)
        },
    }


def uri(kind: str, content: bytes) -> str:
    """A picture inside the page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
