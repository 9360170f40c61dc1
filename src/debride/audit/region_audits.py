"""The audit of a data set with regions: an ordinary audit of each region in a folder of its own, and what they come to.

A region is looked at as the foreground of a data set of two classes (``region_view``). Networks predict every case once, for
all regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from debride.audit.after_review import AfterReview
from debride.audit.audit_config import AuditConfig
from debride.audit.audit_folder import REPORT, Part, begin, described, end_work, held
from debride.audit.findings.region_record import REGIONS, entries_of, read_region_records, region_folders
from debride.audit.passes import Progress, audit_dataset, audit_part
from debride.audit.predictions import Predictions, RunPredictions, kept_predictions
from debride.audit.predictions.region_predictions import RegionPredictions
from debride.audit.shown.region_page import write_region_page
from debride.data.label_regions import region_view
from debride.files import write_json
from debride.types import Case, DataError, Dataset
from debride.version import __version__


def audit_regions(
    dataset: Dataset,
    cases: Sequence[Case],
    predictions: Predictions | RunPredictions,
    out: Path,
    config: AuditConfig,
    *,
    jobs: int = 1,
    since: Path | None = None,
    review: AfterReview | None = None,
    merge: bool = False,
    part: Part | None = None,
) -> Progress | None:
    """Audits each region of the labels of ``cases`` in a folder of ``out``, and writes regions.json and report.html there.

    With a ``part`` it does that part of each, and returns how far all are; the rest as for ``audit_dataset``. The caller holds
    ``out``. Raises DataError as that does, and for an audit ``since`` of other regions.
    """
    folders = region_folders(dataset.regions)
    before = _folders_since(since, dataset) if since else {}
    begin(out)
    kept = kept_predictions(predictions, out / "predictions", dataset, since and since / "predictions")
    progress = []
    for number, region in enumerate(dataset.regions):
        view, own = region_view(dataset, region), out / folders[region.name]
        views = {case.id: case for case in view.cases}
        seen = [views[case.id] for case in cases]
        (own / REPORT).unlink(missing_ok=True)  # one that was done goes on as one that was cut off, and finds all there
        of_region = RegionPredictions(kept, dataset, number)
        with held(view, own, part):
            how: dict[str, Any] = {"jobs": jobs, "since": before.get(region.name)}
            how["review"] = review.of_region(region.name) if review else None
            if part:
                progress.append(audit_part(view, seen, of_region, own, config, part, **how))
            else:
                audit_dataset(view, seen, of_region, own, config, **how, merge=merge)
    if part:
        return Progress(*(sum(getattr(each, name) for each in progress) for name in ("cases", "looked", "judged")))
    told = {"since": {"audit": str(since.resolve()), "review": True}} if since and review else {}
    write_json(out / REGIONS, {**_about(dataset, predictions, config), **told})
    end_work(out)
    write_region_page(out)
    return None


def _folders_since(since: Path, dataset: Dataset) -> dict[str, Path]:
    """The folders of an earlier audit of the same regions."""
    if not (since / REGIONS).is_file():
        raise DataError(
            since, f"is no audit by regions: it has no {REGIONS}", "Give one of this data set, or leave out `since`."
        )
    records = read_region_records(since, dataset)
    return {name: record.folder for name, record in records.items()}


def _about(dataset: Dataset, predictions: Predictions | RunPredictions, config: AuditConfig) -> dict[str, Any]:
    return {
        "version": __version__,
        "dataset": described(dataset),
        "predictions": predictions.about,
        "settings": asdict(config),
        "regions": [asdict(entry) for entry in entries_of(dataset)],
    }
