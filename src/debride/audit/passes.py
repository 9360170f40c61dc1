"""``audit_dataset``: which labels of a data set are wrong, where and how, by predictions of its cases.

Cases are looked at one by one, twice: first for the evidence against each label and what planted errors would look like,
then, when it is known what is usual, for scores and findings. Between cases some numbers of each are kept, no image and no map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride import __version__
from debride.audit.audit_config import AuditConfig
from debride.audit.audit_folder import (
    cell,
    claim_output,
    described,
    make_room,
    write_findings,
    write_proposals,
    write_scores,
)
from debride.audit.evidence import (
    CaseScore,
    Evidence,
    Ranking,
    ThresholdSums,
    agreement,
    plant,
    predicted_classes,
    rank,
    score_case,
    thin,
)
from debride.audit.findings import Finding, Label, Numbers
from debride.audit.gather import find
from debride.audit.overview import summarise_audit
from debride.audit.predictions import Predictions, onto_label, warn_seen
from debride.audit.shown import picture_of, write_report, write_table, write_worklist
from debride.data.masks.annotated import as_drawn, of_undrawn
from debride.data.pairs import check_pair
from debride.data.pixels.images import hash_of, read_image, read_label
from debride.data.same_grid import Grid, turned
from debride.evaluation.by_group import GroupColumns
from debride.files import atomic_path, write_csv, write_json
from debride.progress import track
from debride.rng import derive, generator
from debride.settings import check_bounds
from debride.types import IGNORE, Case, DataError, Dataset, Geometry

SUSPECTED = 0.1
"""Least probability of being wrong with which cases.csv says of what kind, where there is no finding."""


@dataclass(frozen=True)
class _Audit:
    """What is audited, by what, how, and where it goes."""

    dataset: Dataset
    cases: Sequence[Case]
    predictions: Predictions
    config: AuditConfig
    out: Path


@dataclass(frozen=True)
class _Read:
    """A case's label and prediction, read: ``label`` and ``predicted`` (*S), ``probability`` (K, *S)."""

    label: Label
    probability: npt.NDArray[Any]
    predicted: Label
    geometry: Geometry


@dataclass(frozen=True)
class _Kept:
    """What is kept of each case between the two passes."""

    evidence: dict[str, float]
    planted: dict[str, dict[str, float]]
    agreement: float | None


@dataclass(frozen=True)
class _Judged:
    """What the second pass found: scores and findings by case, and the lines of the worklist."""

    scores: dict[str, CaseScore]
    findings: dict[str, list[Finding]]
    worklist: list[dict[str, Any]]


def audit_dataset(
    dataset: Dataset,
    cases: Sequence[Case],
    predictions: Predictions,
    out: Path,
    config: AuditConfig,
) -> dict[str, Any]:
    """Audits the labels of ``cases`` by their ``predictions``, writes the folder ``out``, and returns its summary.

    audit.json says what was done and found; cases.csv ranks the cases; scores.csv has the scores of every class; findings.jsonl
    the findings, proposals/ what they propose, pictures/ and report.html what they look like, worklist/ what viewers open. The
    caller keeps other processes from ``out``. Of an earlier audit that was cut off nothing is kept. Raises DataError for what
    cannot be read, for an ``out`` that holds something else, and where there is no case.
    """
    check_bounds(config)
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check `splits`.")
    claim_output(dataset, out)
    make_room(out)
    audit = _Audit(dataset, cases, predictions, config, out)
    sums = ThresholdSums(len(dataset.classes))
    kept = _first_pass(audit, sums)
    ranking = rank(
        [numbers.evidence for numbers in kept],
        [numbers.planted for numbers in kept],
        [case.patient for case in cases],
        config.seed,
        [case.trusted for case in cases],
    )
    judged = _second_pass(audit, ranking, _typical(kept), sums.thresholds())
    return _write(audit, ranking, judged)


def _first_pass(audit: _Audit, sums: ThresholdSums) -> list[_Kept]:
    """The evidence against every label, and against those with planted errors; ``sums`` is filled."""
    chosen = _planted_cases(audit.cases, audit.config)
    kept: list[_Kept] = []
    with track("looking at labels", len(audit.cases)) as show:
        for done, case in enumerate(audit.cases, start=1):
            read = _read(audit, case)
            sums.add(read.label, read.probability)
            with _naming(case):
                kept.append(_look(read, audit.config.seed, case, case.id in chosen))
            show(done)
    return kept


def _typical(kept: Sequence[_Kept]) -> float | None:
    """The median agreement of labels that are not empty."""
    reached = [numbers.agreement for numbers in kept if numbers.agreement is not None]
    return float(np.median(reached)) if reached else None


def _second_pass(audit: _Audit, ranking: Ranking, typical: float | None, thresholds: npt.NDArray[np.float64]) -> _Judged:
    """Scores and findings of every case, and the files of those that have findings: the most suspicious first, which get the
    pictures."""
    judged = _Judged({}, {}, [])
    pictures = audit.config.pictures
    with track("looking for errors", len(audit.cases)) as show:
        for done, row in enumerate(ranking.order, start=1):
            case = audit.cases[row]
            read = _read(audit, case)
            spacing = read.geometry.spacing
            judged.scores[case.id] = score_case(read.label, read.probability, thresholds, spacing)
            with _naming(case):
                findings, numbers, proposed = find(
                    case.id,
                    read.label,
                    read.probability,
                    read.predicted,
                    spacing,
                    wrong=float(ranking.wrong[row]),
                    odds={kind: float(odds[row]) for kind, odds in ranking.odds.items()},
                    typical=typical,
                    least=audit.config.least,
                )
            judged.findings[case.id] = findings
            if findings:
                write_proposals(audit.out / "proposals" / f"{case.id}.npz", numbers, proposed)
                judged.worklist.extend(write_worklist(audit.out, case, findings, read.geometry, numbers, audit.dataset.classes))
                _draw(audit.out, case, findings[:pictures], read, numbers, proposed)
                pictures -= min(pictures, len(findings))
            show(done)
    return judged


def _write(audit: _Audit, ranking: Ranking, judged: _Judged) -> dict[str, Any]:
    """Writes the tables, audit.json and the report, and returns the summary."""
    out, dataset, cases = audit.out, audit.dataset, audit.cases
    ranked = [cases[row] for row in ranking.order]
    kinds = {case.id: _main_kind(judged.findings[case.id], ranking, row) for row, case in enumerate(cases)}
    write_findings(out / "findings.jsonl", (finding for case in ranked for finding in judged.findings[case.id]))
    write_table(out, judged.worklist)
    write_scores(out / "scores.csv", ranked, judged.scores, dataset)
    _write_cases(audit, ranking, judged, kinds)
    summary = summarise_audit(cases, ranking, judged.scores, kinds, dataset, audit.config.seed)
    warning = warn_seen(audit.predictions, cases)
    summary["warnings"] += [warning] if warning else []
    write_json(
        out / "audit.json",
        {
            "version": __version__,
            "dataset": described(dataset),
            "predictions": {**audit.predictions.about, **({"warning": warning} if warning else {})},
            "settings": asdict(audit.config),
            "summary": summary,
            "labels": {case.id: hash_of([case.label]) for case in cases if case.label},
        },
    )
    write_report(out, audit.config.pictures)
    return summary


def _look(read: _Read, seed: int, case: Case, planted: bool) -> _Kept:
    """The first pass of one case."""
    label, probability, predicted = read.label, read.probability, read.predicted
    labelled = bool(((label > 0) & (label != IGNORE)).any())
    thinned = thin(label, probability, predicted, read.geometry.spacing)

    said = Evidence(thinned)
    wrong = plant(thinned.label, len(probability), generator(seed, "plant", case.id)) if planted else {}
    if case.annotated is not None:  # nobody draws these by mistake
        wrong = {kind: np.where(of_undrawn(case, given), thinned.label, given) for kind, given in wrong.items()}
    return _Kept(
        said.against(thinned.label),
        {kind: said.against(given) for kind, given in wrong.items() if (given != thinned.label).any()},
        agreement(label, probability, predicted) if labelled else None,
    )


@contextmanager
def _naming(case: Case) -> Iterator[None]:
    """Names the case that a prediction is refused for."""
    try:
        yield
    except DataError as error:
        raise DataError(case.label, error.problem, error.remedy) from error


def _read(audit: _Audit, case: Case) -> _Read:
    assert case.label is not None  # cases without one are not audited
    check_pair(case)
    label, geometry = read_label(case.label, audit.dataset)
    probability = audit.predictions.of(case, label.shape, geometry).probability
    label, probability = as_drawn(case, label, probability)
    return _Read(label, probability, predicted_classes(probability), geometry)


def _planted_cases(cases: Sequence[Case], config: AuditConfig) -> frozenset[str]:
    """The cases that errors are planted into, drawn by a hash of their ids."""
    order = sorted((case.id for case in cases), key=lambda id: (derive(config.seed, "planted", id), id))
    return frozenset(order[: config.planted])


def _main_kind(findings: Sequence[Finding], ranking: Ranking, row: int) -> str:
    """What a suspicious label is suspected of: its surest finding's kind, else what the evidence speaks of most."""
    if findings:
        return findings[0].kind
    odds = {kind: values[row] for kind, values in ranking.odds.items() if kind != "any"}
    kind = max(odds, key=lambda kind: odds[kind], default="") if ranking.wrong[row] >= SUSPECTED else ""
    return "boundary" if kind == "ragged" else kind


def _draw(out: Path, case: Case, findings: Sequence[Finding], read: _Read, numbers: Numbers, proposed: Label) -> None:
    """Writes pictures/CASE-NUMBER.png for each of the findings."""
    if not findings:
        return
    image, geometry = read_image(case.image)
    how = onto_label(Grid(image.shape[1:], geometry), case.image[0], case, read.label.shape, read.geometry)
    image = turned(image, how)
    for finding in findings:
        picture = picture_of(finding, image, read.label, read.predicted, numbers, proposed, read.geometry.spacing)
        with atomic_path(out / "pictures" / f"{case.id}-{finding.number}.png") as temporary:
            temporary.write_bytes(picture)


def _write_cases(audit: _Audit, ranking: Ranking, judged: _Judged, kinds: dict[str, str]) -> None:
    rows, groups = [], GroupColumns(audit.cases)
    for place, row in enumerate(ranking.order, start=1):
        case = audit.cases[row]
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
                "findings": len(judged.findings[case.id]),
                "score": cell(float(ranking.score[row])),
                "dice": cell(score.dice),
                "self_confidence": cell(score.softmin),
                "surprise": cell(score.surprise),
                "seen": {True: 1, False: 0, None: ""}[audit.predictions.seen(case)],
                **dict(zip(groups.names, groups.cells(case.id), strict=True)),
            }
        )
    write_csv(audit.out / "cases.csv", rows[0], (row.values() for row in rows))
