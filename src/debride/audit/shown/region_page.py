"""The page of an audit by regions: the figures of each region, with a link to its own page, and the cases that are flagged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from debride.audit.findings import REGIONS, Record, RegionEntry, read_record, read_regions
from debride.audit.shown.audit_report import described, read_table, summary
from debride.audit.shown.page_data import finite
from debride.audit.shown.template import page
from debride.files import read_json, write_text

MOST = 200
"""So many flagged cases are listed at most."""


def write_region_page(audit: Path) -> Path:
    """Writes ``report.html`` into the folder of an audit by regions, from what is in it alone, and returns its path."""
    about = read_json(audit / REGIONS)
    entries = read_regions(audit)
    records = {entry.name: read_record(audit / entry.folder) for entry in entries}
    tables = {entry.name: read_table(audit / entry.folder / "cases.csv") for entry in entries}
    flagged = flagged_cases(tables)
    proposes = any(record.proposes for record in records.values())
    html = page(
        "report.regions.html",
        name=Path(str(about["dataset"].get("root", audit))).name,
        version=about.get("version", ""),
        predicted=proposes,
        predictions=described(about.get("predictions", {})) if proposes else {},
        regions=[_shown(entry, records[entry.name], tables[entry.name]) for entry in entries],
        names=[entry.name for entry in entries],
        cases=len(next(iter(tables.values()))),
        flagged=list(flagged.items())[:MOST],
        count=len(flagged),
    )
    write_text(audit / "report.html", html)
    return audit / "report.html"


def flagged_cases(tables: Mapping[str, list[dict[str, str]]]) -> dict[str, list[tuple[str, bool]]]:
    """The cases that are flagged in a region, by the lines of cases.csv of each region's name: of each case and region the
    probability that it is wrong there, as text, and whether it is flagged; the most probable case first."""
    rows: dict[str, list[tuple[float, bool]]] = {}
    for table in tables.values():
        for row in table:
            rows.setdefault(row["case"], []).append((finite(row.get("wrong")) or 0.0, row.get("flagged") == "1"))
    ranked = sorted(rows.items(), key=lambda item: -max(wrong for wrong, _ in item[1]))
    return {case: [(f"{wrong:.2f}", flag) for wrong, flag in cells] for case, cells in ranked if any(flag for _, flag in cells)}


def _shown(entry: RegionEntry, record: Record, cases: list[dict[str, str]]) -> dict[str, Any]:
    """What the page says of a region."""
    totals = record.about.get("summary", {})
    return {
        "name": entry.name,
        "classes": ", ".join(entry.classes),
        "link": f"{entry.folder}/report.html",
        "lines": summary(record.about, cases, record.findings if record.proposes else None),
        "noise": totals.get("noise") or [],
        "warnings": totals.get("warnings") or [],
    }
