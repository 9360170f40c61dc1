"""What an audit writes of all cases together: its tables, audit.json and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.audit_config import AuditConfig
from debride.audit.audit_folder import cell, described, write_findings, write_scores
from debride.audit.case_results import Found
from debride.audit.evidence import ANY, CaseScore, Ranking, reported
from debride.audit.findings import Finding
from debride.audit.overview import summarise_audit
from debride.audit.predictions import NONE, Predictions, warn_seen
from debride.audit.shown import write_table
from debride.audit.since import plain_thresholds
from debride.audit.verdict import are_same
from debride.audit.verified_bias import bias_of_labels, verified_lines
from debride.evaluation.by_group import GroupColumns
from debride.files import write_csv, write_json
from debride.types import Case, Dataset
from debride.version import __version__

SUSPECTED = 0.1
"""Least probability of being wrong with which cases.csv says of what kind, where there is no finding."""


@dataclass(frozen=True)
class Judged:
    """What an audit came to: the ``ranking`` of its cases, in their order, and by case id their ``scores``, what was ``found``,
    and hashes of their ``labels``; the ``thresholds`` (K,) of the scores; what changed ``since`` an earlier audit; and
    ``doubts`` in words, by case id."""

    ranking: Ranking
    scores: Mapping[str, CaseScore]
    found: Mapping[str, Found]
    labels: Mapping[str, str]
    thresholds: npt.NDArray[np.float64]
    since: Mapping[str, Any] | None = None
    doubts: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_outcome(
    dataset: Dataset, cases: Sequence[Case], predictions: Predictions, out: Path, config: AuditConfig, judged: Judged
) -> dict[str, Any]:
    """Writes all but the report, and returns the summary."""
    if are_same(judged.scores):
        judged = replace(judged, ranking=judged.ranking.untold())
    ranking = judged.ranking
    ranked = [cases[row] for row in ranking.order]
    kinds = {case.id: main_kind(judged.found[case.id].findings, ranking, row) for row, case in enumerate(cases)}
    write_findings(out / "findings.jsonl", (finding for case in ranked for finding in judged.found[case.id].findings))
    write_table(out, (line for case in ranked for line in judged.found[case.id].worklist))
    predicted = predictions.about["source"] != NONE
    write_scores(out / "scores.csv", ranked, judged.scores, dataset, predicted=predicted)
    _write_cases(cases, predictions, out, judged, kinds)
    summary = summarise_audit(cases, ranking, judged.scores, kinds, dataset, predicted=predicted)
    warning = warn_seen(predictions, cases)
    summary["warnings"] += [warning] if warning else []
    if predicted and (bias := bias_of_labels(dataset, cases, predictions, config.seed)):
        summary["verified_bias"] = bias
        summary["noise"] += verified_lines(bias)
    write_json(
        out / "audit.json",
        {
            "version": __version__,
            "dataset": described(dataset),
            "predictions": {**predictions.about, **({"warning": warning} if warning else {})},
            "settings": asdict(config),
            "summary": summary,
            **({"since": judged.since} if judged.since else {}),
            "thresholds": plain_thresholds(judged.thresholds),
            "labels": judged.labels,
        },
    )
    return {**summary, **({"since": judged.since} if judged.since else {})}


def main_kind(findings: Sequence[Finding], ranking: Ranking, row: int) -> str:
    """What a suspicious label is suspected of: its surest finding's kind, else what the evidence speaks of most."""
    if findings:
        return findings[0].kind
    odds = {kind: values[row] for kind, values in ranking.odds.items() if kind != ANY}
    kind = max(odds, key=lambda kind: odds[kind], default="") if ranking.wrong[row] >= SUSPECTED else ""
    return reported(kind)


def _write_cases(cases: Sequence[Case], predictions: Predictions, out: Path, judged: Judged, kinds: Mapping[str, str]) -> None:
    ranking, groups, rows = judged.ranking, GroupColumns(cases), []
    since = {id: name for name in ("new", "changed") for id in judged.since[name]} if judged.since else None
    for place, row in enumerate(ranking.order, start=1):
        case = cases[row]
        score = judged.scores[case.id]
        rows.append(
            {
                "rank": place,
                "case": case.id,
                "patient": case.patient,
                "split": case.split,
                "rater": case.rater or "",
                "trusted": int(case.trusted),
                "wrong": cell(float(ranking.wrong[row])),
                "flagged": int(ranking.flagged[row]),
                "kind": kinds[case.id],
                "findings": len(judged.found[case.id].findings),
                "doubts": "; ".join(judged.doubts.get(case.id, ())),
                "score": cell(float(ranking.score[row])),
                "dice": cell(score.dice),
                "self_confidence": cell(score.softmin),
                "surprise": cell(score.surprise),
                "seen": {True: 1, False: 0, None: ""}[predictions.seen(case)],
                **({} if since is None else {"since": since.get(case.id, "")}),
                **dict(zip(groups.names, groups.cells(case.id), strict=True)),
            }
        )
    write_csv(out / "cases.csv", rows[0], (row.values() for row in rows))
