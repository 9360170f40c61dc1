"""``audit_dataset``: which labels of a data set are wrong, where and how, by predictions of its cases.

Every case is looked at twice: first for the evidence against its label and what planted errors would look like, then, when it
is known what is usual, for scores and findings. Then the surest findings are drawn. Each is done case by case (``each_case``),
in several processes if wanted, and its results are kept as they come (``case_results``): what is there is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from debride.audit.after_review import AfterReview
from debride.audit.audit_config import AuditConfig
from debride.audit.audit_folder import (
    RESULTS,
    Part,
    end_work,
    tidy,
)
from debride.audit.case_results import Drawn, Found, Label, Looked, Planted, are_there, write_results
from debride.audit.each_case import begin_drawing, begin_judging, begin_looking
from debride.audit.evidence import CaseScore, unscored
from debride.audit.outcome import Judged, write_outcome
from debride.audit.predictions import Predictions, RunPredictions
from debride.audit.shown import write_report
from debride.audit.since import what_changed
from debride.audit.under_way import UnderWay, know, label_stamp, under_way, work_on
from debride.audit.usual import NOTHING_PLANTED, Usual, donors, what_is_usual
from debride.data.plain import plain_case, plain_dataset
from debride.execute import Work
from debride.types import Case, DataError, Dataset
from debride.words import some


@dataclass(frozen=True)
class Progress:
    """How many of all ``cases`` of an audit in parts were ``looked`` at, and how many of those that are to be ``judged``."""

    cases: int
    looked: int
    judged: int


def audit_dataset(
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
) -> dict[str, Any]:
    """Audits the labels of ``cases`` by their ``predictions``, writes the folder ``out``, and returns its summary.

    audit.json says what was done and found; cases.csv ranks the cases; scores.csv has the scores of every class; findings.jsonl
    the findings, proposals/ what they propose, pictures/ and report.html what they look like, worklist/ what viewers open, and
    results.jsonl what a later audit may take over. The caller keeps other processes from ``out`` (``audit_folder.held``).

    An audit that was cut off goes on, also one in parts: what was found by the same settings and files is not found again.
    With ``merge`` its parts must have looked at all cases. With ``since``, the folder of an earlier audit, it goes on from that
    one, and scores by its thresholds; what readers decided in its ``review`` is not found again. ``jobs`` processes share the
    work. Raises DataError for what cannot be read, for an ``out`` that holds something else, and where there is no case.
    """
    with under_way(dataset, cases, predictions, out, config, jobs, since, None, review) as audit:
        if merge and (left := [case.id for case in cases if not audit.has(Looked, case)]):
            problem = f"has not looked at {len(left)} of {len(cases)} cases ({some(left)})"
            raise DataError(out, problem, "Let all parts end without an error, with the same settings as here.")
        _look(audit, cases)
        usual = _usual(audit)
        _judge(audit, cases, usual)
        _draw(audit, usual)
        summary = _write(audit, usual)
    end_work(out)
    write_report(out, config.pictures)
    return summary


def audit_part(
    dataset: Dataset,
    cases: Sequence[Case],
    predictions: Predictions | RunPredictions,
    out: Path,
    config: AuditConfig,
    part: Part,
    *,
    jobs: int = 1,
    since: Path | None = None,
    review: AfterReview | None = None,
) -> Progress:
    """Does what one part of an audit can do of its ``cases``: the first look, and where all parts have done that, the second.
    The rest as for ``audit_dataset``, which ends the audit."""
    with under_way(dataset, cases, predictions, out, config, jobs, since, part, review) as audit:
        own = part.cases(cases)
        _look(audit, own)
        looked = sum(audit.has(Looked, case) for case in cases)
        if looked < len(cases):
            return Progress(len(cases), looked, 0)
        usual = _usual(audit)
        _judge(audit, own, usual)
        return Progress(len(cases), looked, sum(not _left(audit, usual, row) for row in range(len(cases))))


def _look(audit: UnderWay, cases: Sequence[Case]) -> None:
    """The evidence against every label, and against those with planted errors."""
    donors = _donors(audit.cases, audit.config)
    wanted = []
    for case in cases:
        look = not audit.has(Looked, case)
        plant = case.id in donors and not audit.has(Planted, case, *_planted_by(donors, case))
        if look or plant:
            donor = donors.get(case.id)
            told = {"look": look, "plant": plant, "donor": plain_case(donor) if plant and donor else None}
            wanted.append((case, {"hash": case.id not in audit.stamps, **told}))

    def take(case: Case, told: Mapping[str, Any]) -> None:
        if told["hash"]:
            audit.results.put(Label, case.id, label_stamp(case), told["hash"])
            know(audit, case, Label(**told["hash"]))
        audit.put(Looked, case, told["look"])
        audit.put(Planted, case, told["plant"], *_planted_by(donors, case))

    audit.predictions.make(cases)
    setup = {"dataset": plain_dataset(audit.dataset), "seed": audit.config.seed}
    work_on(audit, "looking at labels", Work(begin_looking, setup), wanted, take)


def _usual(audit: UnderWay) -> Usual:
    """What is usual, by the first look at all cases, in their order whoever looked."""
    looked: list[Looked] = [audit.get(Looked, case) for case in audit.cases]
    drawn = _donors(audit.cases, audit.config)
    planted = [
        audit.get(Planted, case, *_planted_by(drawn, case)) if case.id in drawn else NOTHING_PLANTED for case in audit.cases
    ]
    shared = audit.earlier.shared if audit.earlier else None
    return what_is_usual(audit.dataset, audit.cases, looked, planted, audit.config.seed, shared)


def _judge(audit: UnderWay, cases: Sequence[Case], usual: Usual) -> None:
    """Scores and findings of the cases, and the files of those that have findings; nothing without predictions."""
    rows = {case.id: row for row, case in enumerate(audit.cases)}
    wanted = [(case, left) for case in cases if (left := _left(audit, usual, rows[case.id]))]

    def take(case: Case, told: Mapping[str, Any]) -> None:
        audit.put(CaseScore, case, told["scores"], *_scored_by(usual))
        audit.put(Found, case, told["found"], *_found_by(audit, usual, rows[case.id]))

    setup = {
        "dataset": plain_dataset(audit.dataset),
        "out": str(audit.out),
        "thresholds": usual.thresholds.tolist(),
        "typical": usual.typical,
        "least": audit.config.least,
    }
    work_on(audit, "looking for errors", Work(begin_judging, setup), wanted, take)


def _left(audit: UnderWay, usual: Usual, row: int) -> dict[str, Any]:
    """What of the second look at a case is still to do; empty if it is done."""
    if audit.without:
        return {}
    case = audit.cases[row]
    scored, found = audit.has(CaseScore, case, *_scored_by(usual)), _found(audit, usual, row)
    is_found = found is not None and are_there(audit.out, found.files)
    if scored and is_found:
        return {}
    odds = {kind: float(values[row]) for kind, values in usual.ranking.odds.items()}
    find = {"wrong": float(usual.ranking.wrong[row]), "odds": odds}
    decided = audit.review.asked(case.id) if audit.review else ()
    return {"scores": not scored, "find": None if is_found else find, "decided": decided}


def _found(audit: UnderWay, usual: Usual, row: int) -> Found | None:
    """What was found in a case; None if that is not known."""
    if audit.without or usual.ranking.wrong[row] < audit.config.least:
        return Found()
    found: Found | None = audit.get(Found, audit.cases[row], *_found_by(audit, usual, row))
    return found


def _scored_by(usual: Usual) -> tuple[object, ...]:
    return (usual.thresholds.tolist(),)


def _found_by(audit: UnderWay, usual: Usual, row: int) -> tuple[object, ...]:
    """What findings depend on beside the case: its files' names too, which the worklist has."""
    odds = [(kind, float(values[row])) for kind, values in usual.ranking.odds.items()]
    image = [str(path) for path in audit.cases[row].image]
    decided = (audit.review.asked(audit.cases[row].id),) if audit.review else ()
    return image, float(usual.ranking.wrong[row]), odds, usual.typical, audit.config.least, *decided


def _draw(audit: UnderWay, usual: Usual) -> None:
    """Pictures of the surest findings of the most suspicious cases."""
    left, wanted = audit.config.pictures, []
    by: dict[str, tuple[object, ...]] = {}
    for row in usual.ranking.order:
        case, found = audit.cases[row], _found(audit, usual, row)
        assert found is not None, case.id
        here = min(left, len(found.findings))
        if not here:
            continue
        left -= here
        by[case.id] = (*_found_by(audit, usual, row), here)
        drawn: Drawn | None = audit.get(Drawn, case, *by[case.id])
        if drawn is None or not are_there(audit.out, drawn.files):
            wanted.append((case, {"findings": [asdict(finding) for finding in found.findings], "pictures": here}))
    setup = {"dataset": plain_dataset(audit.dataset), "out": str(audit.out)}
    work = Work(begin_drawing, setup)
    work_on(audit, "drawing", work, wanted, lambda case, told: audit.put(Drawn, case, told, *by[case.id]))


def _pictures(case: Case, found: Found, many: int) -> list[str]:
    return [f"{case.id}-{finding.number}.png" for finding in found.findings[:many]]


def _write(audit: UnderWay, usual: Usual) -> dict[str, Any]:
    """Writes what all cases came to, and removes what belongs to none."""
    cases, out = audit.cases, audit.out
    known = {case.id: _found(audit, usual, row) for row, case in enumerate(cases)}
    found = {id: each for id, each in known.items() if each is not None}
    flagged = {case.id for case, flag in zip(cases, usual.ranking.flagged, strict=True) if flag}
    since = what_changed(audit.earlier, cases, audit.stamps, flagged) if audit.earlier else None
    if since and audit.review:
        since["review"] = audit.review.plain(sum(each.dropped for each in found.values()))
    labels = {case.id: audit.results.get(Label, case.id, label_stamp(case)) for case in cases}
    judged = Judged(
        usual.ranking,
        {case.id: _scores(audit, usual, case) for case in cases},
        found,
        {id: label.content for id, label in labels.items() if label},
        usual.thresholds,
        since,
        {case.id: said for case, said in zip(cases, usual.doubts, strict=True)},
    )
    summary = write_outcome(audit.dataset, cases, audit.predictions, out, audit.config, judged)
    write_results(out / RESULTS, audit.results.lines(_lasting(audit, usual)))
    left, pictures = audit.config.pictures, []
    for row in usual.ranking.order:
        pictures += _pictures(cases[row], found[cases[row].id], left)
        left = max(0, left - len(found[cases[row].id].findings))
    tidy(out, [id for id, each in found.items() if each.findings], pictures)
    return summary


def _scores(audit: UnderWay, usual: Usual, case: Case) -> CaseScore:
    """The scores of a case; without predictions those of its label alone."""
    if audit.without:
        return unscored(audit.get(Looked, case).sight.measured.voxels)
    scores: CaseScore = audit.get(CaseScore, case, *_scored_by(usual))
    return scores


def _lasting(audit: UnderWay, usual: Usual) -> Iterator[tuple[type[Any], str, str]]:
    """The results that a later audit may take over."""
    donors = _donors(audit.cases, audit.config)
    for case in audit.cases:
        yield Label, case.id, label_stamp(case)
        yield Looked, case.id, audit.stamp(case)
        yield CaseScore, case.id, audit.stamp(case, *_scored_by(usual))
        if case.id in donors:
            yield Planted, case.id, audit.stamp(case, *_planted_by(donors, case))


def _donors(cases: Sequence[Case], config: AuditConfig) -> dict[str, Case | None]:
    return donors(cases, config.planted, config.seed)


def _planted_by(donors: Mapping[str, Case | None], case: Case) -> tuple[object, ...]:
    """What planted errors depend on beside the case."""
    donor = donors.get(case.id)
    return (donor.id, donor.annotated, label_stamp(donor)) if donor else ()
