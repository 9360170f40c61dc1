"""One HTML file with what an audit found: pictures inside, no request to anywhere, decisions downloaded as a file.

The page forbids itself all requests by a Content-Security-Policy, so that pictures of patients cannot leave it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from debride.audit.evidence import FLAGGED
from debride.audit.findings import Finding, read_record
from debride.audit.shown import charts as plots
from debride.audit.shown import finding_pictures
from debride.audit.shown.page_data import class_name, finite, page_data
from debride.audit.shown.template import page
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


MOST_GROUPS = 10
"""The chart of biases has so many groups at most that differ from the others."""


def write_report(audit: Path, limit: int = 200) -> Path:
    """Write ``report.html`` into the folder of an audit from its tables and pictures, and return its path.

    All cases and findings are in it; of the findings the first ``limit``, in the order of ``findings.jsonl``, have their
    pictures. Raises DataError if one of the audit's files is missing or damaged.
    """
    path = audit / "report.html"
    write_text(path, render(audit, limit))
    return path


def render(audit: Path, limit: int = 200) -> str:
    """The report as HTML; see ``write_report``."""
    record = read_record(audit)
    about, findings, classes = record.about, record.findings, record.classes
    cases = read_table(audit / "cases.csv")
    told = about.get("summary", {}).get("share_wrong", 0) is not None
    scores = read_table(audit / "scores.csv") if (audit / "scores.csv").exists() else []
    pictures = ((number, _picture(audit, finding)) for number, finding in enumerate(findings[: max(limit, 0)]))
    pictured = [(number, path) for number, path in pictures if path.is_file()]
    key = hashlib.blake2b((audit / "findings.jsonl").read_bytes(), digest_size=8).hexdigest() if findings else ""
    region = about.get("predictions", {}).get("region", "")  # decisions on an audit by regions say theirs
    return page(
        "report.html",
        name=Path(str(about["dataset"].get("root", audit))).name,
        version=about.get("version", ""),
        summary=summary(about, cases, findings if record.proposes else None),
        predicted=record.proposes,
        predictions=described(about.get("predictions", {})) if record.proposes else {},
        warnings=_warnings(about),
        suggestion=_here(about.get("summary", {}).get("suggestion", "")),
        noise=about.get("summary", {}).get("noise") or [],
        charts=_intervals(about.get("summary", {})) + _charts(cases if told else [], findings, classes),
        quality=_quality(scores),
        flagged=any(row.get("flagged") == "1" for row in cases),
        unsure=told and any((finite(row.get("wrong")) or 0) > FLAGGED for row in cases),
        kinds={kind: KINDS.get(kind, "") for kind in dict.fromkeys(finding.kind for finding in findings)},
        classes={i: class_name(classes, i) for i in sorted({finding.class_id for finding in findings})},
        colours=finding_pictures.COLOURS,
        pictured=len(pictured),
        pictures=((number, base64.b64encode(path.read_bytes()).decode()) for number, path in pictured),
        data={"key": key, "region": region, **page_data(cases, findings, classes, told=told)},
    )


def _here(suggestion: str) -> str:
    """A suggestion as the report itself says it, also one that an earlier version wrote."""
    for elsewhere in ("by decisions from report.html", "by decisions in the report"):
        suggestion = suggestion.replace(elsewhere, "by decisions that you make below")
    return suggestion


def _picture(audit: Path, finding: Finding) -> Path:
    return audit / "pictures" / f"{finding.case}-{finding.number}.png"


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file by its headings; raises DataError if it cannot be read."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""), restkey="", restval="")
        return [{name: unshielded(text) for name, text in row.items() if name} for row in rows]
    except csv.Error as error:
        raise DataError(path, f"is not valid CSV ({error})", "Run `debride audit` again.") from None


def summary(about: Mapping[str, Any], cases: Sequence[Mapping[str, str]], findings: Sequence[Finding] | None) -> dict[str, str]:
    """What the head of the report says in figures, heading to text; nothing of ``findings`` that were not looked for (None)."""
    totals = about.get("summary", {})
    count = totals.get("cases", len(cases))
    flagged = totals.get("flagged", sum(row.get("flagged") == "1" for row in cases))
    trusted = totals.get("trusted", 0)
    lines = {"Cases": f"{count} labelled, {f'{trusted} of them trusted, ' if trusted else ''}{flagged} flagged"}
    if said := totals.get("share_in_words"):
        lines["Wrong labels"] = f"{said}{', of those that are not trusted' if trusted else ''}"
    kinds = totals.get("kinds", Counter(row["kind"] for row in cases if row.get("kind") and row.get("flagged") == "1"))
    if any(kinds.values()):
        lines["Flagged, by kind"] = ", ".join(f"{kind} {number}" for kind, number in kinds.items() if number)
    if findings is not None:
        lines["Findings"] = f"{len(findings)} in {len({finding.case for finding in findings})} cases" if findings else "none"
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


def _intervals(totals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Charts of what is known with an interval: the shares of wrong labels, and how outlines are biased."""
    charts: list[dict[str, Any]] = []
    keys = {"estimate": plots.COLOURS[0], "95 % interval": plots.COLOURS[5]}
    shares = {"any kind": (totals.get("share_wrong"), *(totals.get("share_wrong_interval") or (None, None)))}
    shares |= {str(kind): tuple(of_kind) for kind, of_kind in (totals.get("kind_shares") or {}).items()}
    rows = [
        (name, *(each and 100 * each for each in of_kind)) for name, of_kind in shares.items() if finite(of_kind[0]) is not None
    ]
    if rows:
        title = "Labels that are wrong, by kind"
        charts.append({"title": title, "svg": plots.intervals(title, rows, "% of the labels", signed=False), "keys": keys})
    bias = totals.get("bias") or {}
    rows = [(name, *of_class["mean"]) for name, of_class in bias.get("classes", {}).items() if of_class["mean"][0] is not None]
    rows += [
        (f"{group['class']}, {group['value']}", group["bias"], None, None) for group in bias.get("groups", [])[:MOST_GROUPS]
    ]
    if rows:
        title = "Outlines against what networks see"
        unit = f"labels lie in (−) or out (+), {bias['unit']}"
        charts.append({"title": title, "svg": plots.intervals(title, rows, unit, signed=True), "keys": keys})
    return charts


def _charts(cases: Sequence[Mapping[str, str]], findings: Sequence[Finding], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Charts with their titles and keys; one that would be empty is left out."""
    charts: list[dict[str, Any]] = []
    known = [(value, row.get("flagged") == "1") for row in cases if (value := finite(row.get("wrong"))) is not None]
    if known:
        keys = {"flagged": plots.COLOURS[4], "not flagged": plots.GREY}
        svg = plots.wrong([value for value, _ in known], [flagged for _, flagged in known])
        charts.append({"title": "How likely labels are wrong", "svg": svg, "keys": keys})
    if findings:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for finding in findings:
            counts[finding.kind][class_name(classes, finding.class_id)] += 1
        ordered = {kind: counts[kind] for kind in KINDS if kind in counts} | counts
        names = list(dict.fromkeys(class_name(classes, i) for i in sorted({finding.class_id for finding in findings})))
        keys = {name: plots.COLOURS[i % len(plots.COLOURS)] for i, name in enumerate(names)}
        charts.append({"title": "Findings by kind and class", "svg": plots.kinds(ordered, names), "keys": keys})
    moved = [finding for finding in findings if finding.kind == "boundary" and finite(finding.displacement) is not None]
    if moved:
        values = [finding.displacement for finding in moved if finding.displacement is not None]
        svg = plots.displacement(values, moved[0].unit)
        keys = {"too far out": plots.COLOURS[1], "too far in": plots.COLOURS[0]}
        charts.append({"title": "Displacement of boundaries", "svg": svg, "keys": keys})
    return charts


def _quality(scores: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The median over cases of every number in scores.csv, by class."""
    named = next((key for key in ("class", "class_name", "class_id") if scores and key in scores[0]), None)
    if named is None:
        return {}
    columns = [key for key in scores[0] if key not in ("case", "class", "class_name", "class_id")]
    columns = [key for key in columns if any(finite(row[key]) is not None for row in scores)]
    lines = []
    for name in dict.fromkeys(row[named] for row in scores):
        own = [row for row in scores if row[named] == name]
        values = [[value for row in own if (value := finite(row[key])) is not None] for key in columns]
        lines.append((name, len(own), [f"{statistics.median(of_column):.4g}" if of_column else "–" for of_column in values]))
    return {"columns": [column.replace("_", " ") for column in columns], "lines": lines}
