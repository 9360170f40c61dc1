"""``audit_dataset``: which labels of a data set are wrong, where and how, by predictions of its cases.

Cases are looked at one by one, twice: first for the evidence against each label and what planted errors would look like,
then, when it is known what is usual, for scores and findings. Between cases some numbers of each are kept, no image and no map.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride import __version__
from debride.audit.audit_config import AuditConfig
from debride.audit.evidence.gains import evidence, thin
from debride.audit.evidence.pieces import find_pieces, predicted_classes
from debride.audit.evidence.ranking import Ranking, plant, rank
from debride.audit.evidence.scores import CaseScore, ClassScore, ThresholdSums, score_case
from debride.audit.evidence.whole import agreement
from debride.audit.findings.finding import Finding
from debride.audit.findings.gather import find
from debride.audit.findings.overview import summarise_audit
from debride.audit.predictions.sources import Predictions, warn_seen
from debride.audit.shown.audit_report import write_report
from debride.audit.shown.pictures import picture_of
from debride.audit.shown.worklist import write_table, write_worklist
from debride.data.pixels.images import hash_of, read_image, read_label
from debride.files import TEMPORARY, atomic_path, new_folder, write_csv, write_json, write_text
from debride.progress import track
from debride.rng import derive, generator
from debride.types import IGNORE, Case, DataError, Dataset, Geometry

Label = npt.NDArray[np.uint8]

MARKER = ".debride-audit"
"""Marks a folder as that of an audit, from the start: only in such a folder is anything replaced."""

SUSPECTED = 0.1
"""Least probability of being wrong with which cases.csv says of what kind, where there is no finding."""

PARTS = ("audit.json", "proposals", "pictures", "worklist", "findings.jsonl", "cases.csv", "scores.csv", "report.html")
"""What an audit writes; the report is the last."""


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
class _Looked:
    """What is kept of each case between the two passes."""

    evidence: dict[str, float]
    planted: dict[str, dict[str, float]]
    agreement: float | None


@dataclass(frozen=True)
class _Said:
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
    if not cases:
        raise DataError(dataset.root, "has no labelled case to audit", "Check --splits.")
    claim_output(dataset, out)
    _make_room(out)
    audit = _Audit(dataset, cases, predictions, config, out)
    sums = ThresholdSums(len(dataset.classes))
    looked = _first_pass(audit, sums)
    ranking = rank(
        [each.evidence for each in looked],
        [each.planted for each in looked],
        [case.patient for case in cases],
        config.seed,
        [case.trusted for case in cases],
    )
    said = _second_pass(audit, ranking, _typical(looked), sums.thresholds())
    return _write(audit, ranking, said)


def _first_pass(audit: _Audit, sums: ThresholdSums) -> list[_Looked]:
    """The evidence against every label, and against those with planted errors; ``sums`` is filled."""
    chosen = _planted_cases(audit.cases, audit.config)
    looked: list[_Looked] = []
    with track("looking at labels", len(audit.cases)) as show:
        for done, case in enumerate(audit.cases, start=1):
            read = _read(audit, case)
            sums.add(read.label, read.probability)
            with _naming(case):
                looked.append(_look(read, audit.config.seed, case.id, case.id in chosen))
            show(done)
    return looked


def _typical(looked: Sequence[_Looked]) -> float | None:
    """The median agreement of labels that are not empty."""
    reached = [each.agreement for each in looked if each.agreement is not None]
    return float(np.median(reached)) if reached else None


def _second_pass(audit: _Audit, ranking: Ranking, typical: float | None, thresholds: npt.NDArray[np.float64]) -> _Said:
    """Scores and findings of every case, and the files of those that have findings: the most suspicious first, which get the
    pictures."""
    said = _Said({}, {}, [])
    pictures = audit.config.pictures
    with track("looking for errors", len(audit.cases)) as show:
        for done, row in enumerate(ranking.order, start=1):
            case = audit.cases[row]
            read = _read(audit, case)
            spacing = read.geometry.spacing
            said.scores[case.id] = score_case(read.label, read.probability, thresholds, spacing)
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
            said.findings[case.id] = findings
            if findings:
                _write_proposals(audit.out / "proposals" / f"{case.id}.npz", numbers, proposed)
                said.worklist.extend(write_worklist(audit.out, case, findings, read.geometry, numbers, audit.dataset.classes))
                _draw(audit.out, case, findings[:pictures], read, numbers, proposed)
                pictures -= min(pictures, len(findings))
            show(done)
    return said


def _write(audit: _Audit, ranking: Ranking, said: _Said) -> dict[str, Any]:
    """Writes the tables, audit.json and the report, and returns the summary."""
    out, dataset, cases = audit.out, audit.dataset, audit.cases
    ranked = [cases[row] for row in ranking.order]
    kinds = {case.id: _main_kind(said.findings[case.id], ranking, row) for row, case in enumerate(cases)}
    _write_findings(out / "findings.jsonl", (finding for case in ranked for finding in said.findings[case.id]))
    write_table(out, said.worklist)
    _write_scores(out / "scores.csv", ranked, said.scores, dataset)
    _write_cases(audit, ranking, said, kinds)
    summary = summarise_audit(cases, ranking, said.scores, kinds, dataset, audit.config.seed)
    warning = warn_seen(audit.predictions, cases)
    summary["warnings"] += [warning] if warning else []
    write_json(
        out / "audit.json",
        {
            "version": __version__,
            "dataset": _described(dataset),
            "predictions": {**audit.predictions.about, **({"warning": warning} if warning else {})},
            "settings": asdict(audit.config),
            "summary": summary,
            "labels": {case.id: hash_of([case.label]) for case in cases if case.label},
        },
    )
    write_report(out, audit.config.pictures)
    return summary


def _look(read: _Read, seed: int, case: str, planted: bool) -> _Looked:
    """The first pass of one case."""
    label, probability, predicted = read.label, read.probability, read.predicted
    labelled = bool(((label > 0) & (label != IGNORE)).any())
    seen = thin(label, probability, predicted, read.geometry.spacing)

    def against(given: Label) -> dict[str, float]:
        numbers, pieces = find_pieces(given, seen.probability, seen.predicted, seen.spacing)
        return evidence(given, seen.probability, seen.predicted, numbers, pieces, seen.spacing, seen.stands_for)

    wrong = plant(seen.label, len(probability), generator(seed, "plant", case)) if planted else {}
    return _Looked(
        against(seen.label),
        {kind: against(given) for kind, given in wrong.items()},
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
    label, geometry = read_label(case.label, audit.dataset)
    probability = audit.predictions.of(case, label.shape, geometry).probability
    return _Read(label, probability, predicted_classes(probability), geometry)


def _planted_cases(cases: Sequence[Case], config: AuditConfig) -> frozenset[str]:
    """The cases that errors are planted into, drawn by a hash of their ids."""
    order = sorted((case.id for case in cases), key=lambda id: (derive(config.seed, "planted", id), id))
    return frozenset(order[: config.planted])


def check_output(dataset: Dataset, out: Path, predictions: Path | None = None) -> None:
    """Raises DataError as ``new_folder`` does, with the folder of ``predictions`` as a source, if one is given. An audit that
    was cut off may go on."""
    sources = {"the data set": dataset.root, **({"the folder of predictions": predictions} if predictions else {})}
    new_folder(out, apart_from=sources, may_go_on=(out / MARKER).exists())
    if (out / "audit.json").exists() and (out / "report.html").exists():
        raise DataError(out, "holds an audit already", "Choose another --out, or remove this folder.")


def claim_output(dataset: Dataset, out: Path) -> None:
    """Makes the folder of an audit, if ``check_output`` allows it, and marks it as such."""
    check_output(dataset, out)
    write_text(out / MARKER, "")


def _make_room(out: Path) -> None:
    """Removes what an audit left that was cut off."""
    for name in PARTS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    for folder in (out, out / "predictions"):
        for unfinished in folder.glob(f"{TEMPORARY}*"):
            if unfinished.is_file():
                unfinished.unlink()


def _main_kind(findings: Sequence[Finding], ranking: Ranking, row: int) -> str:
    """What a suspicious label is suspected of: its surest finding's kind, else what the evidence speaks of most."""
    if findings:
        return findings[0].kind
    odds = {kind: values[row] for kind, values in ranking.odds.items() if kind != "any"}
    kind = max(odds, key=lambda kind: odds[kind], default="") if ranking.wrong[row] >= SUSPECTED else ""
    return "boundary" if kind == "ragged" else kind


def _draw(
    out: Path, case: Case, findings: Sequence[Finding], read: _Read, numbers: npt.NDArray[np.uint16], proposed: Label
) -> None:
    """Writes pictures/CASE-NUMBER.png for each of the findings."""
    if not findings:
        return
    image, _ = read_image(case.image)
    for finding in findings:
        picture = picture_of(finding, image, read.label, read.predicted, numbers, proposed, read.geometry.spacing)
        with atomic_path(out / "pictures" / f"{case.id}-{finding.number}.png") as temporary:
            temporary.write_bytes(picture)


def _write_proposals(path: Path, numbers: npt.NDArray[np.uint16], proposed: Label) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, number=numbers, proposed=proposed)


def _write_findings(path: Path, findings: Iterator[Finding]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(asdict(finding), ensure_ascii=False) + "\n" for finding in findings)


def _write_scores(path: Path, cases: Sequence[Case], scores: dict[str, CaseScore], dataset: Dataset) -> None:
    names = [field.name for field in fields(ClassScore)]
    rows = (
        [case.id, dataset.classes[score.class_id], *(_cell(getattr(score, name)) for name in names[1:])]
        for case in cases
        for score in scores[case.id].classes
    )
    write_csv(path, ["case", "class", *names[1:]], rows)


def _write_cases(audit: _Audit, ranking: Ranking, said: _Said, kinds: dict[str, str]) -> None:
    rows = []
    for place, row in enumerate(ranking.order, start=1):
        case = audit.cases[row]
        score = said.scores[case.id]
        rows.append(
            {
                "rank": place,
                "case": case.id,
                "patient": case.patient,
                "split": case.split,
                "rater": case.rater or "",
                "trusted": int(case.trusted),
                "wrong": _cell(float(ranking.wrong[row])),
                "flagged": int(ranking.flagged[row]),
                "kind": kinds[case.id],
                "findings": len(said.findings[case.id]),
                "score": _cell(float(ranking.score[row])),
                "dice": _cell(score.dice),
                "self_confidence": _cell(score.softmin),
                "surprise": _cell(score.surprise),
                "seen": {True: 1, False: 0, None: ""}[audit.predictions.seen(case)],
            }
        )
    write_csv(audit.out / "cases.csv", rows[0], (row.values() for row in rows))


def _cell(value: float) -> str:
    """A number, empty where it is not defined."""
    return "" if value != value else str(value) if isinstance(value, int) else f"{value:.6g}"


def _described(dataset: Dataset) -> dict[str, Any]:
    return {
        "root": str(dataset.root),
        "format": dataset.format,
        "classes": list(dataset.classes),
        "ignore": dataset.ignore,
        "values": {str(raw): id for raw, id in dataset.values.items()},
        "ndim": dataset.ndim,
    }
