"""The page of an audit of classes: as that of masks, with a thumbnail of each image."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.audit.audit_config import AuditConfig
from debride.audit.shown import charts
from debride.audit.shown.audit_report import described, read_table
from debride.audit.shown.page_data import finite
from debride.audit.shown.template import page
from debride.audit.wrong_classes.class_record import ClassFinding, read_class_record
from debride.audit.wrong_classes.near_duplicates import channels_last
from debride.data.pixels import arrays
from debride.files import write_text
from debride.types import Case, Dataset

SIDE = 128
"""Pixels of the longer side of a thumbnail."""

COLUMNS = {
    "case": "case",
    "wrong": "probably wrong",
    "given": "given",
    "proposed": "proposed",
    "probability_of_given": "network: given",
    "duplicates": "duplicates",
}
"""Columns of cases.csv that the ranking shows, and their headings."""

WORDS = ("case", "given", "proposed")
"""Columns that are sorted as words."""

KINDS = {
    "label": "the network finds another class, as sure as the confidence says",
    "duplicate": "the same image, or almost the same, has another class elsewhere in the set",
}


def write_class_report(audit: Path, dataset: Dataset, cases: Sequence[Case], config: AuditConfig) -> Path:
    """Writes ``report.html`` from an audit's tables, with thumbnails of the first findings, and returns its path."""
    record = read_class_record(audit)
    pairs = read_table(audit / "pairs.csv")
    total = record.about["summary"]
    told = total["share_wrong"] is not None
    known = [(value, row.get("flagged") == "1") for row in record.cases if (value := finite(row.get("wrong"))) is not None]
    chart = charts.wrong([value for value, _ in known], [flagged for _, flagged in known])
    keys = {"flagged": charts.COLOURS[4], "not flagged": charts.GREY}
    pictured = record.findings[: max(0, config.pictures)]
    by_id = {case.id: case for case in cases}
    html = page(
        "report.classes.html",
        name=Path(str(dataset.root)).name,
        version=record.about.get("version", ""),
        summary=_head(total, record.findings),
        predictions=described(record.about["predictions"]),
        warnings=total["warnings"],
        suggestion=total["suggestion"],
        charts=[{"title": "How likely labels are wrong", "svg": chart, "keys": keys}] if told else [],
        pairs=[row for row in pairs if float(row["share"]) >= 0.0005][:50],
        flagged=any(flagged for _, flagged in known),
        kinds={kind: KINDS[kind] for kind in dict.fromkeys(_kind(finding) for finding in record.findings)},
        classes=dict(enumerate(record.classes)),
        pictured=len(pictured),
        pictures=_pictures([by_id[finding.case] for finding in pictured]),
        data=_data(
            record.cases if told else [row if row["flagged"] == "1" else row | {"wrong": ""} for row in record.cases],
            record.findings,
            record.classes,
        ),
    )
    write_text(audit / "report.html", html)
    return audit / "report.html"


def _head(total: Mapping[str, Any], findings: Sequence[ClassFinding]) -> dict[str, str]:
    trusted = f"{total['trusted']} of them trusted, " if total["trusted"] else ""
    lines = {
        "Cases": f"{total['cases']} labelled, {trusted}{total['flagged']} flagged",
        "Wrong labels": total["share_in_words"],
    }
    if total["noise"]:
        lines["By pair of classes"] = "; ".join(total["noise"])
    if total["duplicates"]:
        lines["Duplicates"] = f"{total['duplicates']} groups of like images with different classes"
    return {**lines, "Findings": str(len(findings) or "none")}


def _data(cases: Sequence[Mapping[str, str]], findings: Sequence[ClassFinding], classes: Sequence[str]) -> dict[str, Any]:
    """What the page's script is given, as ``page_data`` gives it for masks."""
    place = {finding.case: at for at, finding in enumerate(findings)}
    rows = {row["case"]: at for at, row in enumerate(cases)}
    cells = [[_cell(name, row.get(name) or "") for row in cases] for name in COLUMNS]
    columns = [
        {
            "name": name,
            "heading": heading,
            "words": name in WORDS,
            "width": min(60, max(len(text) for text in (f"{heading} ▼", *(str(text) for _, text in column)))) + 4,
        }
        for (name, heading), column in zip(COLUMNS.items(), cells, strict=True)
    ]
    text = "".join(f"{finding.case}\n{finding.proposed}\n" for finding in findings)
    return {
        "key": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
        "columns": columns,
        "cases": {
            "cells": cells,
            "flagged": [int(row.get("flagged") == "1") for row in cases],
            "first": [place.get(row["case"], -1) for row in cases],
        },
        "classes": dict(enumerate(classes)),
        "findings": [
            {
                "case": rows[finding.case],
                "number": 1,
                "kind": _kind(finding),
                "class": classes.index(finding.given),
                "confidence": round(finding.wrong, 2),
                "change": f"{finding.given} → {finding.proposed}",
                "duplicates": finding.duplicates and f"group {finding.duplicates} of duplicates.csv",
            }
            for finding in findings
        ],
    }


def _kind(finding: ClassFinding) -> str:
    return "duplicate" if finding.duplicates else "label"


def _cell(column: str, text: str) -> tuple[str | float, str]:
    """What a cell is sorted by, and its text."""
    if column in WORDS:
        return text, text
    value = finite(text)
    if column != "duplicates":
        text = "–" if value is None else f"{value:.2f}"
    return -1 if value is None else value, text


def _pictures(cases: Sequence[Case]) -> Iterator[tuple[int, str]]:
    """Thumbnails as base64 of PNG, by the place of their finding."""
    rows: dict[tuple[Path, str], list[tuple[int, int]]] = {}
    for at, case in enumerate(cases):
        if case.row is None or case.array is None:
            yield at, _png(channels_last(case))
        else:
            rows.setdefault((case.image[0], case.array), []).append((case.row, at))
    for (file, array), wanted in rows.items():
        start, places = 0, dict(wanted)
        for piece in arrays.rows(file, array):
            for offset in range(len(piece)):
                if start + offset in places:
                    yield places[start + offset], _png(piece[offset])
            start += len(piece)


def _png(image: npt.NDArray[Any]) -> str:
    pixels = image if image.ndim == 2 else image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    times = SIDE / max(picture.size)
    size = (max(1, round(picture.width * times)), max(1, round(picture.height * times)))
    picture = picture.resize(size, Image.Resampling.NEAREST if times > 1 else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
