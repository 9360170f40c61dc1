"""``audit_classes``: which classes of a data set are wrong, by predictions, and which images occur under several classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.audit_config import AuditConfig
from debride.audit.audit_folder import cell, described
from debride.audit.wrong_classes.class_overview import summarise_classes
from debride.audit.wrong_classes.class_page import write_class_report
from debride.audit.wrong_classes.class_shares import ClassShares
from debride.audit.wrong_classes.class_sources import ClassPredictions, warn_seen_classes
from debride.audit.wrong_classes.judged_classes import Pictures, judge_classes
from debride.audit.wrong_classes.near_duplicates import Group, images_of
from debride.evaluation.by_group import GroupColumns
from debride.files import write_csv, write_json
from debride.progress import track
from debride.types import Case, Dataset
from debride.version import __version__


def audit_classes(
    dataset: Dataset, predictions: ClassPredictions, out: Path, config: AuditConfig, *, jobs: int = 1
) -> dict[str, Any]:
    """Audits the classes of the cases that have ``predictions``, writes the folder ``out``, and returns its summary.

    audit.json says what was done and found; cases.csv ranks the cases, pairs.csv has the shares of wrong labels by class given
    and true class, duplicates.csv the images that occur under several classes; report.html shows the most suspicious cases.
    The caller keeps other processes from ``out``. Raises DataError for images that cannot be read.
    """
    cases = predictions.cases
    given = np.array([case.target for case in cases], np.int64)
    trusted = np.array([case.trusted for case in cases], bool)
    contents, fingerprints = [], []
    with track("looking at images", len(cases)) as show:
        for number, (content, fingerprint) in enumerate(images_of(dataset, cases, jobs), start=1):
            contents.append(content)
            fingerprints.append(fingerprint)
            show(number)
    pictures = Pictures(contents, np.stack(fingerprints), [_image(case) for case in cases])
    patients = [case.patient for case in cases]
    judged = judge_classes(predictions.probability, given, patients, trusted, config.seed, pictures)
    shares, groups = judged.shares, judged.groups
    summary = summarise_classes(cases, shares, groups, dataset.classes, judged.differ, judged.untold)
    warning = warn_seen_classes(predictions)
    summary["warnings"] += [warning] if warning else []
    write_csv(out / "pairs.csv", ("given", "true", "share", "low", "high", "told"), _pair_rows(shares, dataset.classes))
    write_csv(out / "duplicates.csv", ("group", "case", "class", "exact"), _duplicate_rows(groups, cases, dataset.classes))
    rows = _case_rows(predictions, shares, groups, dataset.classes)
    write_csv(out / "cases.csv", rows[0], (row.values() for row in rows))
    write_json(
        out / "audit.json",
        {
            "version": __version__,
            "task": dataset.task,
            "dataset": described(dataset),
            "predictions": {**predictions.about, **({"warning": warning} if warning else {})},
            "settings": asdict(config),
            "summary": summary,
            "labels": {case.id: dataset.classes[id] for case, id in zip(cases, given, strict=True)},
        },
    )
    write_class_report(out, dataset, cases, config)
    return summary


def _image(case: Case) -> str:
    """Names the image of a case, the same for all who labelled it."""
    return "|".join(map(str, (*case.image, case.array, case.row)))


def _pair_rows(shares: ClassShares, classes: Sequence[str]) -> Iterator[list[Any]]:
    """The pairs of classes, those with the largest share first."""
    off = [(given, true) for given in range(len(classes)) for true in range(len(classes)) if given != true]
    for given, true in sorted(off, key=lambda pair: (-shares.pairs[pair], pair)):
        share, low, high = (float(part[given, true]) for part in (shares.pairs, shares.low, shares.high))
        yield [classes[given], classes[true], cell(share), cell(low), cell(high), int(low > 0)]


def _duplicate_rows(groups: Sequence[Group], cases: Sequence[Case], classes: Sequence[str]) -> Iterator[list[Any]]:
    for number, group in enumerate(groups, start=1):
        for at in group.members:
            target = cases[at].target
            assert target is not None, cases[at].id
            yield [number, cases[at].id, classes[target], int(group.exact)]


def _case_rows(
    predictions: ClassPredictions, shares: ClassShares, groups: Sequence[Group], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """A line for each case, the most suspicious first."""
    cases, probability = predictions.cases, predictions.probability
    columns = GroupColumns(cases)
    group_of = {at: number for number, group in enumerate(groups, start=1) for at in group.members}
    rows = []
    for place, at in enumerate(shares.order, start=1):
        case = cases[at]
        assert case.target is not None, case.id
        rows.append(
            {
                "rank": place,
                "case": case.id,
                "patient": case.patient,
                "split": case.split,
                "trusted": int(case.trusted),
                "given": classes[case.target],
                "proposed": classes[int(shares.proposed[at])],
                "wrong": cell(float(shares.wrong[at])),
                "least": cell(float(shares.least[at])),
                "flagged": int(shares.flagged[at]),
                "score": cell(float(shares.score[at])),
                "predicted": classes[int(probability[at].argmax())],
                "probability_of_given": cell(float(probability[at, case.target])),
                "probability_of_proposed": cell(float(probability[at, shares.proposed[at]])),
                "duplicates": group_of.get(int(at), ""),
                "seen": {True: 1, False: 0, None: ""}[predictions.seen[at]],
                **dict(zip(columns.names, columns.cells(case.id), strict=True)),
            }
        )
    return rows
