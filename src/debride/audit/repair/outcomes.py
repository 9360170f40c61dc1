"""What became of accepted findings, and what repairs.jsonl and a summary say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debride.audit.decided.decision import Key
from debride.audit.decided.reviewed import decision_cells
from debride.audit.findings import Finding, Record
from debride.audit.repair.decisions import UNDECIDED, Verdict
from debride.calibration.correction import Calibration
from debride.version import __version__

TRUSTED = "its label is trusted; --trusted-too permits it"

BIAS = "bias"
"""In the record, the kind of a change that moved all outlines of a label; its number is 0."""


EDITED = "edited"
"""In the record, the kind of a finding in whose place a reader painted, and of a label edited as a whole (number 0)."""


@dataclass(frozen=True)
class Outcome:
    """What became of an accepted finding: "applied" and how many voxels changed, or "guarded" or "declined" with why."""

    status: str
    voxels: int
    why: str = ""


def outcome_of(count: int) -> Outcome:
    """That of a finding by which so many voxels change."""
    return Outcome("applied", count) if count else Outcome("declined", 0, "it would change nothing")


def finding_line(
    finding: Finding,
    region: str,
    record: Record,
    verdicts: Mapping[Key, Verdict],
    outcomes: Mapping[Key, Outcome],
    trusted: frozenset[str],
    files: Mapping[str, dict[str, str]],
) -> dict[str, Any]:
    """What repairs.jsonl says of a finding, of a ``region`` or of none ("")."""
    key = region, finding.case, finding.number
    verdict = verdicts[key]
    outcome, said = Outcome("declined", 0, verdict.reason), verdict.said
    own, edit = said and said.standing.decisions[0].number == finding.number, said.edit if said else ""
    if verdict.changes:
        outcome = Outcome("guarded", 0, TRUSTED) if finding.case in trusted else outcomes[key]
    return {
        **({"region": region} if region else {}),
        "case": finding.case,
        "number": finding.number,
        **({"kind": EDITED, "finding": finding.kind} if edit else {"kind": finding.kind}),
        "given": finding.given,
        "proposed": finding.proposed,
        "given_class": record.classes[finding.given],
        "proposed_class": record.classes[finding.proposed],
        "box": [list(ends) for ends in finding.box],
        "volume": finding.volume,
        "area": finding.area,
        "displacement": finding.displacement,
        "distance": finding.distance,
        "status": outcome.status,
        "why": outcome.why,
        "voxels": outcome.voxels,
        "reason": f"{finding.kind} with confidence {finding.confidence:.3f}, {verdict.reason}",
        **(decision_cells(said.standing) if said and own else {}),
        **({"edit": edit} if edit else {}),
        "version": __version__,
        **(files[finding.case] if outcome.status == "applied" else {}),
    }


def bias_line(case: str, moves: Calibration, outcome: Outcome, files: Mapping[str, dict[str, str]]) -> dict[str, Any]:
    """What repairs.jsonl says of moved outlines."""
    return {
        "case": case,
        "number": 0,
        "kind": BIAS,
        "shifts": dict(zip(moves.classes, moves.shifts, strict=True)),
        "unit": moves.unit,
        "status": outcome.status,
        "why": outcome.why,
        "voxels": outcome.voxels,
        "reason": "the bias that verified cases show, accepted for all others",
        "version": __version__,
        **(files[case] if outcome.status == "applied" else {}),
    }


def counts_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many findings were applied, declined and guarded, by their lines in repairs.jsonl. Of those declined some may be
    "undecided": where only decisions accept findings, and nobody decided on them."""
    counts = {status: sum(line["status"] == status for line in lines) for status in ("applied", "declined", "guarded")}
    undecided = sum(line["status"] == "declined" and line["why"] == UNDECIDED for line in lines)
    return counts | ({"undecided": undecided} if undecided else {})


def summary_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a repair came to, by its lines in repairs.jsonl."""
    applied = [line for line in lines if line["status"] == "applied"]
    return {
        **counts_of(lines),
        "cases": len({line["case"] for line in applied}),
        "voxels": sum(line["voxels"] for line in applied),
        "kinds": dict(Counter(line["kind"] for line in applied)),
        "guards": dict(Counter(line["why"] for line in lines if line["status"] == "guarded")),
    }
