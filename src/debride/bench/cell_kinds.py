"""What differs between cells of grids for segmentation and for classification: a table by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debride.bench import class_tables, tables
from debride.bench.cell_base import Cell, expanded
from debride.bench.class_cell import failed_classes, given_classes, measure_classes
from debride.bench.class_report import render_classes
from debride.bench.mask_cell import failed_masks, gallery, given_masks, measure_masks
from debride.bench.report import Context, render
from debride.bench.tabulate import CellRow
from debride.noise import CLASS_NOISES, NOISES, ClassNoise, make_class_noise, make_noise
from debride.types import Dataset


@dataclass(frozen=True)
class CellKind:
    """Cells of one task: the noises that they may have, how they are measured, and how their rows are shown.

    ``row`` is what is said of a cell. ``noises`` are simulators by name, ``simulator`` makes one of its name and parameters.
    ``foreign_noise`` are entries of a grid's noise that mean nothing here, ``foreign_training`` such settings of a training.
    ``given`` makes of a cell's clean data set the one that it trains on, with the share of its labels that are wrong (None:
    unknown).
    ``calibrates`` says whether cells may be measured a second time, after a calibration.
    ``failed`` is the row of a cell with the reason why it has no measures; ``render`` makes the report of a grid's name, cells,
    rows and context.
    """

    row: type[Any]
    noises: Mapping[str, Any]
    simulator: Callable[[str, Mapping[str, Any]], Any]
    measure: Callable[[Cell], CellRow]
    failed: Callable[[Cell, str], CellRow]
    given: Callable[[Cell, Dataset], tuple[Dataset, float | None]]
    markdown: Callable[[Sequence[Any]], str]
    render: Callable[[str, Sequence[Cell], Sequence[Any], Context], str]
    foreign_noise: tuple[str, ...] = ()
    foreign_training: tuple[str, ...] = ()
    calibrates: bool = False


def _class_simulator(name: str, parameters: Mapping[str, Any]) -> ClassNoise:
    """A noise of classes; in the path of a file of labels environment variables are expanded."""
    noise = make_class_noise(name, **parameters)
    return noise.with_file(str(expanded(noise.source.file))) if noise.source else noise


CELL_KINDS: dict[str, CellKind] = {
    "segmentation": CellKind(
        row=tables.Row,
        noises=NOISES,
        simulator=lambda name, parameters: make_noise(name, **parameters),
        measure=measure_masks,
        failed=failed_masks,
        given=given_masks,
        markdown=tables.markdown,
        render=lambda name, cells, rows, context: render(name, rows, gallery(cells), context),
        calibrates=True,
    ),
    "classification": CellKind(
        row=class_tables.ClassRow,
        noises=CLASS_NOISES,
        simulator=_class_simulator,
        measure=measure_classes,
        failed=failed_classes,
        given=given_classes,
        markdown=class_tables.markdown,
        render=lambda name, cells, rows, context: render_classes(name, rows, context),
        foreign_noise=("dice", "share", "raters"),
        foreign_training=("patch_size", "spacing"),
    ),
}
