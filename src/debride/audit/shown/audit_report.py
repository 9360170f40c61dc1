"""One HTML file with what an audit found: pictures inside, no request to anywhere, decisions downloaded as a file.

The page forbids itself all requests by a Content-Security-Policy, so that pictures of patients cannot leave it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from debride.audit.findings import Finding, read_record
from debride.audit.shown import charts as plots
from debride.audit.shown import finding_pictures
from debride.escapes import unshielded
from debride.files import read_text, write_text
from debride.types import DataError

KINDS = {
    "missing": "an object that the prediction is sure of and the label lacks",
    "extra": "a labelled object where the prediction is sure that there is none",
    "boundary": "the outline lies too far out or too far in",
    "swap": "one class is named as another",
    "flip": "the label is mirrored against the image",
    "shift": "the label is displaced against the image",
    "gap": "slices without a label inside an object",
    "stray": "labelled slices beyond those in which the prediction has anything of the class",
    "empty": "a label without any object, where the prediction is sure of one",
}

_COLUMNS = (("case", "case"), ("wrong", "probably wrong"), ("kind", "main finding"), ("findings", "findings"), ("dice", "Dice"))
"""Columns of cases.csv that the ranking shows, and their headings."""


def write_report(audit: Path, limit: int = 200) -> Path:
    """Write ``report.html`` into the folder of an audit from its tables and pictures, and return its path.

    The first ``limit`` findings, in the order of ``findings.jsonl``, are shown with their pictures. Raises DataError if one of
    the audit's files is missing or damaged.
    """
    path = audit / "report.html"
    write_text(path, render(audit, limit))
    return path


def render(audit: Path, limit: int = 200) -> str:
    """The report as HTML; see ``write_report``."""
    record = read_record(audit)
    about, findings, classes = record.about, record.findings, record.classes
    cases = read_table(audit / "cases.csv")
    scores = read_table(audit / "scores.csv") if (audit / "scores.csv").exists() else []
    shown = findings[: max(limit, 0)]
    first = {finding.case: i for i, finding in reversed(list(enumerate(shown)))}
    loader = FunctionLoader(lambda name: files("debride.audit.shown").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader)
    return environment.get_template("report.html").render(
        name=Path(str(about["dataset"].get("root", audit))).name,
        version=about.get("version", ""),
        summary=summary(about, cases, findings),
        predictions=described(about.get("predictions", {})),
        warnings=_warnings(about),
        suggestion=about.get("summary", {}).get("suggestion", ""),
        charts=_charts(cases, findings, classes),
        columns=_COLUMNS,
        cases=[_case(row, first) for row in cases],
        quality=_quality(scores),
        cards=[_card(audit, finding, classes) for finding in shown],
        total=len(findings),
        kinds={kind: KINDS.get(kind, "") for kind in dict.fromkeys(finding.kind for finding in findings)},
        classes={i: _class(classes, i) for i in sorted({finding.class_id for finding in shown})},
        colours=finding_pictures.COLOURS,
        data={
            "key": hashlib.blake2b((audit / "findings.jsonl").read_bytes(), digest_size=8).hexdigest() if findings else "",
            "findings": [
                {
                    "case": finding.case,
                    "number": finding.number,
                    "kind": finding.kind,
                    "class": finding.class_id,
                    "confidence": finding.confidence,
                }
                for finding in shown
            ],
        },
    )


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file by its headings; raises DataError if it cannot be read."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""), restkey="", restval="")
        return [{name: unshielded(text) for name, text in row.items() if name} for row in rows]
    except csv.Error as error:
        raise DataError(path, f"is not valid CSV ({error})", "Run `debride audit` again.") from None


def summary(about: Mapping[str, Any], cases: Sequence[Mapping[str, str]], findings: Sequence[Finding]) -> dict[str, str]:
    """What the head of the report says in figures: heading to text."""
    totals = about.get("summary", {})
    count = totals.get("cases", len(cases))
    flagged = totals.get("flagged", sum(row.get("flagged") == "1" for row in cases))
    trusted = totals.get("trusted", 0)
    lines = {"Cases": f"{count} labelled, {f'{trusted} of them trusted, ' if trusted else ''}{flagged} flagged"}
    if (share := _finite(totals.get("share_wrong"))) is not None:
        low, high = (_finite(end) for end in (totals.get("share_wrong_interval") or (None, None)))
        between = f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)" if low is not None and high is not None else ""
        lines["Wrong labels"] = f"about {100 * share:.1f} % of the cases{' that are not trusted' if trusted else ''}{between}"
    kinds = totals.get("kinds") or Counter(row["kind"] for row in cases if row.get("kind"))
    if kinds:
        lines["Cases by kind"] = ", ".join(f"{kind} {number}" for kind, number in kinds.items() if number)
    lines["Findings"] = f"{len(findings)} in {len({finding.case for finding in findings})} cases"
    return lines


def described(value: Any) -> dict[str, str]:
    """What a record says of something, as heading to text; lists and nested records are written on one line."""
    lines = value if isinstance(value, Mapping) else {"": value}
    left_out = ("warning", "warnings")
    return {str(key).replace("_", " "): _one_line(item) for key, item in lines.items() if key not in left_out}


def _one_line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_one_line(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_one_line(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _warnings(about: Mapping[str, Any]) -> list[str]:
    """All that stands under "warning" or "warnings" in audit.json, its summary and its predictions."""
    warnings: list[str] = []
    for part in (about, about.get("summary"), about.get("predictions")):
        for value in (part.get("warning"), part.get("warnings")) if isinstance(part, Mapping) else ():
            warnings += [str(text) for text in ([value] if isinstance(value, str) else value or [])]
    return list(dict.fromkeys(warnings))


def _class(classes: Sequence[str], class_id: int) -> str:
    return classes[class_id] if class_id < len(classes) else f"class {class_id}"


def _charts(cases: Sequence[Mapping[str, str]], findings: Sequence[Finding], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Charts with their titles and keys; one that would be empty is left out."""
    charts: list[dict[str, Any]] = []
    known = [(value, row.get("flagged") == "1") for row in cases if (value := _finite(row.get("wrong"))) is not None]
    if known:
        keys = {"flagged": plots.COLOURS[4], "not flagged": plots.GREY}
        svg = plots.wrong([value for value, _ in known], [flagged for _, flagged in known])
        charts.append({"title": "How likely labels are wrong", "svg": svg, "keys": keys})
    if findings:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for finding in findings:
            counts[finding.kind][_class(classes, finding.class_id)] += 1
        ordered = {kind: counts[kind] for kind in KINDS if kind in counts} | counts
        names = list(dict.fromkeys(_class(classes, i) for i in sorted({finding.class_id for finding in findings})))
        keys = {name: plots.COLOURS[i % len(plots.COLOURS)] for i, name in enumerate(names)}
        charts.append({"title": "Findings by kind and class", "svg": plots.kinds(ordered, names), "keys": keys})
    moved = [finding for finding in findings if finding.kind == "boundary" and _finite(finding.displacement) is not None]
    if moved:
        values = [finding.displacement for finding in moved if finding.displacement is not None]
        svg = plots.displacement(values, _unit(moved[0]))
        keys = {"too far out": plots.COLOURS[1], "too far in": plots.COLOURS[0]}
        charts.append({"title": "Displacement of boundaries", "svg": svg, "keys": keys})
    return charts


def _case(row: Mapping[str, str], first: Mapping[str, int]) -> dict[str, Any]:
    """A line of the ranking: cells as (what it is sorted by, text), and the card of its first finding."""
    cells = []
    for column, _ in _COLUMNS:
        text = row.get(column) or ""
        value = _finite(text)
        if column in ("wrong", "dice"):
            text = "–" if value is None else f"{value:.2f}"
        by = row.get(column, "") if column in ("case", "kind") else -1 if value is None else value
        cells.append((by, text))
    return {"cells": cells, "flagged": row.get("flagged") == "1", "card": first.get(row.get("case", ""))}


def _quality(scores: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The median over cases of every number in scores.csv, by class."""
    named = next((key for key in ("class", "class_name", "class_id") if scores and key in scores[0]), None)
    if named is None:
        return {}
    columns = [key for key in scores[0] if key not in ("case", "class", "class_name", "class_id")]
    columns = [key for key in columns if any(_finite(row[key]) is not None for row in scores)]
    lines = []
    for name in dict.fromkeys(row[named] for row in scores):
        own = [row for row in scores if row[named] == name]
        values = [[value for row in own if (value := _finite(row[key])) is not None] for key in columns]
        lines.append((name, len(own), [f"{statistics.median(of_column):.4g}" if of_column else "–" for of_column in values]))
    return {"columns": [column.replace("_", " ") for column in columns], "lines": lines}


def _card(audit: Path, finding: Finding, classes: Sequence[str]) -> dict[str, Any]:
    """What a finding's card shows."""
    shown = audit / "pictures" / f"{finding.case}-{finding.number}.png"
    return {
        "case": finding.case,
        "number": finding.number,
        "kind": finding.kind,
        "name": _class(classes, finding.class_id),
        "change": _change(finding, classes),
        "size": f"{finding.voxels} pixels" if finding.volume is None else f"{finding.volume:.3g} ml ({finding.voxels} voxels)",
        "displacement": _displacement(finding),
        "place": " × ".join(f"{start}–{past - 1}" for start, past in finding.box),
        "confidence": finding.confidence,
        "severity": finding.severity,
        "picture": uri(shown) if shown.is_file() else None,
    }


def _change(finding: Finding, classes: Sequence[str]) -> str:
    given, proposed = (_class(classes, i) for i in (finding.given, finding.proposed))
    return f"{given} → {proposed}" if finding.given != finding.proposed else "the whole label"


def _displacement(finding: Finding) -> str:
    if finding.displacement is None or not math.isfinite(finding.displacement):
        return ""
    length = f"{abs(finding.displacement):.1f} {_unit(finding)}"
    return f"{length} too far {'out' if finding.displacement > 0 else 'in'}" if finding.kind == "boundary" else length


def _unit(finding: Finding) -> str:
    return "px" if finding.volume is None else "mm"


def _finite(value: Any) -> float | None:
    """A number that is finite, also from text, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def uri(path: Path) -> str:
    """A PNG file inside the page."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
