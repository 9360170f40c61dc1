"""``audit_raters``: compares the raters of a data set, image by image; ``write_consensus``: a data set of one label per
image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from debride.audit.raters.consensus import Label, Labels, majority, staple
from debride.audit.raters.rater_agreement import (
    REJECTED,
    Agreement,
    RaterSummary,
    agreement,
    mean_of_defined,
    rater_table,
    rejected_labels,
)
from debride.data.copy import copy_dataset
from debride.data.pairs import check_pair, read_label_on
from debride.data.pixels.images import read_label
from debride.data.rater_choice import image_id
from debride.data.same_grid import Grid
from debride.escapes import markdown
from debride.files import write_csv, write_json, write_text
from debride.folders import new_folder
from debride.types import Case, DataError, Dataset, Geometry

__all__ = [
    "Agreement",
    "Performance",
    "RaterSummary",
    "agreement",
    "audit_raters",
    "majority",
    "rater_table",
    "staple",
    "write_consensus",
]

Progress = Callable[[int, int], None]
Method = Literal["staple", "majority"]


@dataclass(frozen=True, kw_only=True)
class Performance:
    """How well a rater labelled a class of an image, as STAPLE estimates it; NaN where nobody gave the class."""

    image: str
    rater: str
    class_id: int
    sensitivity: float
    specificity: float


def audit_raters(
    dataset: Dataset,
    out: Path,
    *,
    identities: bool,
    consensus: Method | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares the raters of every image with each other, image by image, and writes the folder ``out``; returns its summary.

    - agreement.csv: the rows of ``agreement``;
    - raters.csv: ``rater_table`` for all classes together and, of several, each; only with ``identities``, which says that a
      name is the same person throughout;
    - raters.md and raters.json: what was found;
    - consensus/: with ``consensus`` a data set with one case per image, whose label is made of all of its labels; staple.csv:
      what STAPLE estimates of each rater.

    In memory are the labels of one image, and the rows. ``progress`` receives the number of images done and their total. Raises
    DataError if ``out`` has content or lies in the data set, if no image has several labels, and if labels of an image are on
    different grids.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root})
    images = _images(dataset)
    compared = {image: cases for image, cases in images.items() if len(cases) > 1}
    if not compared:
        remedy = "Give a data set whose manifest.csv has the column rater, with several rows for an image."
        raise DataError(dataset.root, "has no image with the labels of several raters", remedy)
    total = len(compared) + (len(images) if consensus else 0)
    rows: list[Agreement] = []
    for done, agreements in enumerate(_agreements(dataset, compared), start=1):
        rows += agreements
        if progress:
            progress(done, total)
    _write_rows(out / "agreement.csv", Agreement, rows)
    tables = _tables(rows, len(dataset.classes), seed) if identities else []
    if identities:
        _write_rows(out / "raters.csv", RaterSummary, tables)
    if consensus:
        shown = (lambda done, _: progress(len(compared) + done, total)) if progress else None
        performance = write_consensus(dataset, out / "consensus", consensus, shown)
        if consensus == "staple":
            _write_rows(out / "staple.csv", Performance, performance)
    rejected, labels = rejected_labels(rows)
    summary = {
        "images": len(compared),
        "labels": labels,
        "single": len(images) - len(compared),
        "rejected": rejected,
        "dice_to_others": mean_of_defined([row.dice_to_others for row in rows]),
        "identities": identities,
        "consensus": consensus,
    }
    write_json(out / "raters.json", {name: None if value != value else value for name, value in summary.items()})
    write_text(out / "raters.md", _page(summary, tables, dataset.classes))
    return summary


def write_consensus(dataset: Dataset, out: Path, method: Method, progress: Progress | None = None) -> list[Performance]:
    """Write the data set with one case per image, whose label is ``majority`` or ``staple`` of its raters' labels.

    The labels are ``labels/IMAGE`` with the suffix that they had. A case is trusted if all of its raters' labels are. Returns
    what STAPLE estimates of each rater, empty for ``majority``. Raises DataError as ``copy_dataset`` does, and for a consensus
    with pixels that nobody labelled where the data set has no ignore value.
    """
    images = _images(dataset)
    merged = [replace(cases[0], id=image, rater=None, trusted=all(c.trusted for c in cases)) for image, cases in images.items()]
    unlabelled = [case for case in dataset.cases if case.label is None and image_id(case) not in images]
    unlabelled = list({image_id(case): replace(case, id=image_id(case), rater=None) for case in unlabelled}.values())
    performance: list[Performance] = []

    def change(case: Case, label: Label, geometry: Geometry) -> Label:
        cases = images[case.id]
        if len(cases) == 1:
            return label
        labels, _ = _read_labels(cases, dataset)
        if method == "majority":
            merged_label = majority(labels, len(dataset.classes))
        else:
            estimate = staple(labels, len(dataset.classes))
            merged_label = estimate.label
            for (at, before), sensitivity in np.ndenumerate(estimate.sensitivity):
                specificity = float(estimate.specificity[at, before])
                line = Performance(
                    image=case.id,
                    rater=_name(cases[at]),
                    class_id=before + 1,
                    sensitivity=float(sensitivity),
                    specificity=specificity,
                )
                performance.append(line)
        return label if np.array_equal(merged_label, label) else merged_label

    copied = replace(dataset, cases=tuple(merged + unlabelled))
    copy_dataset(copied, out, change, progress, name=lambda case: Path("labels", case.id))
    return performance


def _images(dataset: Dataset) -> dict[str, list[Case]]:
    """The labelled cases of each image."""
    images: dict[str, list[Case]] = {}
    for case in dataset.cases:
        if case.label:
            images.setdefault(image_id(case), []).append(case)
    return images


def _agreements(dataset: Dataset, images: dict[str, list[Case]]) -> Iterator[list[Agreement]]:
    for image, cases in images.items():
        labels, geometry = _read_labels(cases, dataset)
        rows = agreement(
            labels,
            [_name(case) for case in cases],
            len(dataset.classes),
            image=image,
            patient=cases[0].patient,
            split=cases[0].split,
            spacing=geometry.spacing,
        )
        yield [row for row in rows if cases[0].drew(row.class_id)]


def _read_labels(cases: Sequence[Case], dataset: Dataset) -> tuple[Labels, Geometry]:
    """The labels (R, *S) of an image's cases, as the first of them lies."""
    for case in cases:
        check_pair(case)
        if case.annotated != cases[0].annotated:
            problem = f"has other annotated classes than {cases[0].id}, of the same image"
            raise DataError(case.label, problem, "Compare raters who drew the same classes: leave the others out.")
    path = cases[0].label
    assert path is not None, cases[0].id
    first, geometry = read_label(path, dataset)
    labels: Labels = np.empty((len(cases), *first.shape), np.uint8)
    labels[0] = first
    for at, case in enumerate(cases[1:], start=1):
        labels[at] = read_label_on(case, dataset, Grid(first.shape, geometry), "the first rater's label", path)
    return labels, geometry


def _name(case: Case) -> str:
    return case.rater or ""


def _tables(rows: Sequence[Agreement], classes: int, seed: int) -> list[RaterSummary]:
    tables = rater_table(rows, None, seed)
    for class_id in range(1, classes) if classes > 2 else ():
        tables += rater_table(rows, class_id, seed)
    return tables


def _write_rows(path: Path, kind: type[Any], rows: Sequence[Any]) -> None:
    """Writes a table of records of a ``kind`` of dataclass."""
    write_csv(path, [field.name for field in fields(kind)], (map(_cell, asdict(row).values()) for row in rows))


def _cell(value: Any) -> Any:
    """A value for a table: undefined numbers are empty, flags 0 or 1."""
    if value is None or value != value:
        return ""
    return int(value) if isinstance(value, bool) else value


def _page(summary: dict[str, Any], tables: Sequence[RaterSummary], classes: Sequence[str]) -> str:
    """raters.md: what was compared, and the table of raters or why there is none."""
    share = f" ({summary['rejected'] / summary['labels']:.1%})" if summary["labels"] else ""
    lines = [
        "# Raters",
        "",
        f"The {summary['labels']} labels of {summary['images']} images were compared, each with the majority of the others'"
        f" labels of its image. {summary['single']} images have a single label.",
        "",
        f"- Mean Dice to the others: {summary['dice_to_others']:.3f}",
        f"- Labels rejected (Dice below {REJECTED}): {summary['rejected']}{share}",
        "",
    ]
    if not summary["identities"]:
        return "\n".join(
            [*lines, "There is no table of raters: their names were not said to be the same person throughout.", ""]
        )
    lines += [
        "A bias is relative to the other raters: positive where a rater outlines too far out. What all of them do is not seen.",
        "",
        "| class | rank | rater | labels | bias | 95 % interval | spread | typical | Dice to others | rejected |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in tables:
        name = "all" if line.class_id is None else markdown(classes[line.class_id])
        interval = f"{line.low:+.2f} to {line.high:+.2f}"
        numbers = f"{line.bias:+.2f} {line.unit} | {interval} | {line.spread:.2f} | {line.typical:.2f} | {line.dice:.3f}"
        lines.append(f"| {name} | {line.rank} | {markdown(line.rater)} | {line.labels} | {numbers} | {line.rejected} |")
    return "\n".join([*lines, ""])
