"""What an audit of one cell came to, beside the other rankings: a row of ``rows.jsonl``."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.audit.networks import MEAN, member_steps
from benchmarks.audit.rivals import issues_of_all, score_of_each, thinned
from benchmarks.audit.sets import MEMBERS
from scipy.stats import rankdata

from debride.audit.findings import read_proposals, read_record
from debride.audit.predictions import open_predictions
from debride.data.pixels.images import read_label
from debride.evaluation.detection import average_precision
from debride.progress import track
from debride.types import Case, Dataset

AUDITS = {"debride": "audit", "debride alone": "alone"}
"""The rankings by audits, and their folders in a cell: with the predictions, and without any."""

FOUND = 0.9
"""How much of what is wrong is to be found."""


def row_of(clean: Dataset, given: Dataset, cases: Sequence[Case], kind: Sequence[str], cell: Path, seed: int) -> dict[str, Any]:
    """Measures the audit in ``cell``/audit of the ``cases`` (N) of a set with errors, of a ``kind`` each ("" without any)."""
    named = np.array(kind)
    wrong = named != ""
    scores = rankings(given, cases, cell, seed)
    summary = json.loads((cell / "audit" / "audit.json").read_text())["summary"]
    ranked = _ranked(cell / "audit")
    flagged = np.array([ranked[case.id]["flagged"] == "1" for case in cases])
    said = np.array([float(ranked[case.id]["wrong"]) for case in cases])
    kinds, people = sorted(set(kind) - {""}), sorted({case.patient for case in cases})
    return {
        "cases": len(cases),
        "wrong": int(wrong.sum()),
        "kinds": {name: int((named == name).sum()) for name in kinds},
        "share_wrong": summary["share_wrong"],
        "share_wrong_interval": summary["share_wrong_interval"],
        "kind_shares": summary.get("kind_shares"),
        "flagged": int(flagged.sum()),
        "flagged_wrong": int((flagged & wrong).sum()),
        "flagged_said": float(said[flagged].sum()),
        "findings": _findings(clean, given, cases, cell / "audit"),
        "average_precision": {name: _precisions(score, named) for name, score in scores.items()},
        "looked_at": {name: looked_at(score, wrong) for name, score in scores.items()},
        "kind": [kinds.index(name) if name else -1 for name in kind],
        "patients": people,
        "patient": [people.index(case.patient) for case in cases],
        "ranks": {name: rankdata(score, "dense").tolist() for name, score in scores.items()},
    }


def rankings(given: Dataset, cases: Sequence[Case], cell: Path, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """The score (N,) of each case by every ranking, that of the audit first."""
    ranked = {name: _ranked(cell / folder) for name, folder in AUDITS.items()}
    scores = {name: np.array([float(ranked[name][case.id]["score"]) for case in cases]) for name in AUDITS}
    predictions = open_predictions(cell / MEAN, given, cases)
    of_each: list[dict[str, float]] = []
    small = []
    with track("other rankings", len(cases)) as show:
        for case in cases:
            assert case.label is not None, case.id
            label, geometry = read_label(case.label, given)
            probability = predictions.of(case, label.shape, geometry).probability.astype(np.float32)
            members = [member_steps(cell, member, case).argmax(0).astype(np.uint8) for member in range(MEMBERS)]
            of_each.append(score_of_each(case.id, label, probability, members, seed))
            small.append(thinned(label, probability))
            show(len(of_each))
    issues = {"cleanlab issues": np.array(issues_of_all(small))}
    return scores | issues | {name: np.array([each[name] for each in of_each]) for name in of_each[0]}


def looked_at(score: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]) -> int | None:
    """How many cases of a ranking are looked at until so many of the wrong ones are found; None where none is wrong."""
    if not wrong.any():
        return None
    order = np.argsort(-score, kind="stable")
    return int(np.searchsorted(np.cumsum(wrong[order]), np.ceil(FOUND * wrong.sum()))) + 1


def _ranked(audit: Path) -> dict[str, dict[str, str]]:
    with (audit / "cases.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _precisions(score: npt.NDArray[np.float64], kind: npt.NDArray[np.str_]) -> dict[str, float]:
    """The average precision of each kind, its labels against right ones, and of all."""
    precisions = {}
    for name in (*sorted(set(kind) - {""}), "all"):
        among = np.ones(len(kind), bool) if name == "all" else (kind == name) | (kind == "")
        precisions[name] = average_precision(score[among], kind[among] != "")
    return {name: round(value, 4) for name, value in precisions.items() if not np.isnan(value)}


def _findings(clean: Dataset, given: Dataset, cases: Sequence[Case], audit: Path) -> dict[str, Any]:
    """How many findings there are, and how many are looked at, the surest first, until so many of the errors are found.

    A finding finds the error of its case if at least half its pixels are really wrong.
    """
    of_case, source = read_record(audit).by_case(), {case.id: case for case in clean.cases}
    found: list[tuple[float, bool, str]] = []
    errors = 0
    for case in cases:
        assert case.label is not None, case.id
        label, original = read_label(case.label, given)[0], source[case.id].label
        assert original is not None, case.id
        truth = label != read_label(original, clean)[0]
        errors += bool(truth.any())
        if findings := of_case.get(case.id):
            numbers, _ = read_proposals(audit, case.id, findings, label.shape, len(given.classes))
            found += [(each.confidence, bool(truth[numbers == each.number].mean() >= 0.5), case.id) for each in findings]
    seen: set[str] = set()
    until, right = None, 0
    for place, (_, is_right, case_id) in enumerate(sorted(found, key=lambda each: -each[0]), start=1):
        if is_right:
            right += 1
            seen.add(case_id)
        if errors and until is None and len(seen) >= np.ceil(FOUND * errors):
            until = place
    return {"all": len(found), "right": right, "errors": errors, "found": len(seen), "until": until}
