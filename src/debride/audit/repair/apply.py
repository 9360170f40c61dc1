"""``repair``: a copy of a data set with accepted proposals of an audit applied; ``reverse``: the given labels again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.findings import (
    Finding,
    Label,
    Numbers,
    Record,
    check_belongs,
    finding_of,
    read_record,
)
from debride.audit.repair.decisions import Acceptance, Verdict, judge
from debride.audit.repair.destination import IGNORED, LABELS, PLAIN, WEIGHTS, Destination, change_lists, with_ignore, without
from debride.audit.repair.guard import REMOVES, Guard, voxel_counts
from debride.audit.repair.ignored import ignored
from debride.audit.repair.kept_files import bring_back, kept_files
from debride.audit.repair.kept_labels import FOLDER, RECORD, carry, given_files, keep_given
from debride.audit.repair.weight_maps import proposals_of, write_weights
from debride.audit.verified_bias import moves_of, unbiased, verified_then
from debride.calibration.bias_record import read_calibration
from debride.calibration.correction import Calibration
from debride.data.copy import copier, copy_by
from debride.data.masks.annotated import undrawn
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.data.plain import dataset_of, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.files import write_text
from debride.folders import new_folder
from debride.settings import check_bounds
from debride.types import IGNORE, Case, DataError, Dataset, Geometry
from debride.version import __version__

LEAST_CASES, LEAST_SHARE = 5, 0.02
"""A class that fewer cases have, or a smaller share of them, is rare."""

_TRUSTED = "its label is trusted; --trusted-too permits it"

BIAS = "bias"
"""In the record, the kind of a change that moved all outlines of a label; its number is 0."""


@dataclass(frozen=True)
class Outcome:
    """What became of an accepted finding: "applied" and how many voxels changed, or "guarded" or "declined" with why."""

    status: str
    voxels: int
    why: str = ""


def repair(
    dataset: Dataset,
    audit: Path,
    out: Path,
    accept: Acceptance,
    destination: Destination = PLAIN,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes ``dataset`` to the new folder ``out`` with the accepted findings of an audit applied, and returns a summary.

    ``destination`` says whether their pixels get the class proposed, no label or less weight, and which cases leave the folds.

    Format, geometry, splits and label values stay; labels without a change are copied byte for byte. ``out`` also gets
    ``repairs.jsonl``, a line for each finding and each label whose outlines were to be moved, and byte copies of the given
    files of changed labels. Trusted cases change only if ``accept`` says so. Outlines are moved after findings are applied; not
    those of cases that are trusted or were in the audit, or where not all classes were drawn. The summary counts findings by
    status and, where applied, by kind, changed cases and voxels, and the reasons of guards; a moved label is a finding of the
    kind "bias". The work on cases is done by so many ``jobs``. Raises DataError if the audit is not of this data set or
    damaged, if the label of an accepted change changed since, and if ``out`` has content or lies in the data set or the audit.
    """
    check_bounds(accept)
    check_bounds(destination)
    destination.refuse(accept)
    out = new_folder(out, apart_from={"the data set": dataset.root, "the folder of the audit": audit})
    record = read_record(audit)
    if not record.proposes and not accept.nothing:
        problem = "is an audit without predictions: it proposes nothing that could be applied"
        raise DataError(audit, problem, "Correct the labels that it doubts by hand, or audit with predictions.")
    verdicts = judge(record, accept)
    trusted = frozenset(case.id for case in dataset.cases if case.trusted and not accept.trusted)
    found = record.about.get("summary")
    moves = moves_of(found, audit, record.classes) if accept.unbias else None
    moving = _moving(record, dataset) - verified_then(found) if moves else frozenset()
    accepted = {case for (case, _), verdict in verdicts.items() if verdict.accepted} - trusted
    check_belongs(record, dataset, accepted | moving, jobs)
    by_case = record.by_case()
    chosen = {
        case: [finding for finding in findings if verdicts[case, finding.number].accepted]
        for case, findings in by_case.items()
        if case not in trusted
    }
    guarded = destination.to == LABELS and not accept.allow_removal
    rare = _rare(dataset, accept.rare, chosen.values(), jobs) if guarded else frozenset()
    meant = with_ignore(dataset) if destination.to == IGNORED else dataset
    doubted = record.flagged - trusted
    without(dataset, destination, doubted)  # refuses before the work what cannot be
    outcomes: dict[tuple[str, int], Outcome] = {}

    def about(case: Case) -> Any:
        if destination.to == WEIGHTS or not (chosen.get(case.id) or case.id in moving):
            return None
        return {
            "findings": [asdict(finding) for finding in by_case.get(case.id, ())],
            "chosen": [finding.number for finding in chosen.get(case.id, ())],
            "move": case.id in moving,
        }

    def told(case: Case, said: Any) -> None:
        outcomes.update({(case.id, number): Outcome(*outcome) for number, outcome in said or ()})

    def finish(folder: Path) -> None:
        maps: dict[str, dict[str, str]] = {}
        if destination.to == WEIGHTS:
            asked = {case: (by_case[case], findings) for case, findings in chosen.items() if findings}
            for case, path, counts in write_weights(dataset, audit, folder, asked, destination.weight, jobs):
                outcomes.update({(case, number): _outcome(count) for number, count in counts.items()})
                maps[case] = {"weights": path}
        applied = {case for (case, _), outcome in outcomes.items() if outcome.status == "applied"}
        files = maps or keep_given(dataset, folder, applied, jobs)
        lines = [_line(finding, record, verdicts, outcomes, trusted, files) for finding in record.findings]
        if moves:
            lines += [_bias_line(case.id, moves, outcomes[case.id, 0], files) for case in dataset.cases if case.id in moving]
        changed = change_lists(dataset, folder, destination, doubted - applied if destination.spares else doubted)
        if destination.to != LABELS:
            lines = [{**line, "to": destination.to} for line in lines]
        write_text(folder / RECORD, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        summary.update({**_summary(lines), **changed})

    summary: dict[str, Any] = {}
    setup = {
        "dataset": plain_dataset(meant),
        "added": meant.ignore if dataset.ignore is None else None,
        "audit": str(audit),
        "classes": record.classes,
        "rare": sorted(rare),
        "allow_removal": accept.allow_removal,
        "moves": asdict(moves) if moves else None,
        "ignores": destination.to == IGNORED,
    }
    work = Work(repairing, setup)
    copy_by(meant, out, work, jobs=jobs, about=about, told=told, progress=progress, finish=finish)
    return summary


def repairing(setup: Any) -> Do:
    """A copy of cases with the chosen of their findings applied where no guard holds them back; tells what became of each."""
    dataset, audit = dataset_of(setup["dataset"]), Path(setup["audit"])
    classes, rare = setup["classes"], frozenset(setup["rare"])
    moves = read_calibration(setup["moves"], audit) if setup["moves"] else None

    def change(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label, Any]:
        if setup["added"] is not None and (label == IGNORE).any():
            problem = f"holds the value {setup['added']}, which is to mean that there is no label"
            raise DataError(case.label, problem, "Correct the label, or name this value in dataset.json.")
        if about is None:
            return label, None
        findings = [finding_of(row) for row in about["findings"]]
        chosen = [finding for finding in findings if finding.number in about["chosen"]]
        repaired = label
        reported: dict[int, Outcome] = {}
        if chosen:
            numbers, proposed = proposals_of(audit, case, findings, label, len(classes))
            if setup["ignores"]:
                repaired, counts = ignored(label, numbers, proposed, chosen)
                reported = {number: _outcome(count) for number, count in counts.items()}
            else:
                repaired, reported = apply_findings(label, numbers, proposed, chosen, classes, rare, setup["allow_removal"])
        if moves and about["move"]:
            moved = unbiased(repaired, moves, geometry, case.label)
            repaired, reported[0] = apply_moved(repaired, moved, classes, setup["allow_removal"])
        changed = any(outcome.status == "applied" for outcome in reported.values())
        return repaired if changed else label, [[number, astuple(outcome)] for number, outcome in reported.items()]

    return copier(dataset, change)


def reverse(
    repaired: Path,
    out: Path,
    *,
    format: str | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes a repaired data set to the new folder ``out`` with the labels it had before, byte for byte, and counts them.

    The record of earlier repairs, if its source had one, comes back too. ``format`` is that of ``open_dataset``; the
    work is done by so many ``jobs``. Raises DataError if the folder has no record of a repair, or not all that belongs to it,
    and if a repaired label, or the copy of a given one, changed since the repair.
    """
    opened = open_dataset(repaired, format=format, jobs=jobs)
    dataset = replace(opened, cases=(*opened.cases, *(opened.rest or ())), rest=())  # of all folds
    new_folder(out, apart_from={"the data set": dataset.root})
    given, files = given_files(dataset, jobs), kept_files(dataset.root)

    def finish(folder: Path) -> None:
        bring_back(files, folder)
        carry(dataset.root / FOLDER / "before", folder)

    work = Work(restoring, plain_dataset(dataset))
    about = {case: str(path) for case, path in given.items()}
    copy_by(dataset, out, work, jobs=jobs, about=lambda case: about.get(case.id), progress=progress, finish=finish)
    return {"cases": len(given)}


def restoring(setup: Any) -> Do:
    """A copy of cases of a data set (``setup``) with the label files that are said about them, if any."""

    def change(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label | Path, None]:
        return Path(about) if about else label, None

    return copier(dataset_of(setup), change)


def apply_findings(
    label: Label,
    numbers: Numbers,
    proposed: Label,
    findings: Iterable[Finding],
    classes: Sequence[str],
    rare: frozenset[int] = frozenset(),
    allow_removal: bool = False,
) -> tuple[Label, dict[int, Outcome]]:
    """A copy of a label (*S) with the findings applied that no guard holds back, and the outcome of each by its number.

    ``numbers`` and ``proposed`` (*S) are the case's maps of proposals. The surest finding comes first, so that of several that
    would together remove an object the surest ones are applied. ``IGNORE`` keeps its place. ``rare`` are ids of rare classes.
    """
    result = label.copy()
    guard = None if allow_removal else Guard(label, classes, rare)
    outcomes: dict[int, Outcome] = {}
    for finding in sorted(findings, key=lambda finding: (-finding.confidence, finding.number)):
        inside = tuple(slice(*ends) for ends in finding.box)
        old, new = result[inside], proposed[inside]
        changed = (numbers[inside] == finding.number) & (old != IGNORE) & (old != new)
        count = int(np.count_nonzero(changed))
        why = guard.objection(finding.kind, result, inside, changed, new) if guard and count else ""
        if count and not why:
            old[changed] = new[changed]
        outcomes[finding.number] = Outcome("guarded", 0, why) if why else _outcome(count)
    return result, outcomes


def _outcome(count: int) -> Outcome:
    """That of a finding by which so many voxels change."""
    return Outcome("applied", count) if count else Outcome("declined", 0, "it would change nothing")


def apply_moved(label: Label, moved: Label, classes: Sequence[str], allow_removal: bool = False) -> tuple[Label, Outcome]:
    """The label (*S) with its outlines ``moved`` unless an object or a class would be lost, and what became of it."""
    changed = label != moved
    count = int(np.count_nonzero(changed))
    if not count:
        return label, _outcome(count)
    everything = (slice(None),) * label.ndim
    guard = None if allow_removal else Guard(label, classes, frozenset())
    why = guard.objection("boundary", label, everything, changed, moved) if guard else ""
    return (label, Outcome("guarded", 0, why)) if why else (moved, Outcome("applied", count))


def _moving(record: Record, dataset: Dataset) -> frozenset[str]:
    """The cases whose outlines may be moved: those audited that are not trusted, with all classes drawn."""
    return frozenset(
        case.id
        for case in dataset.cases
        if case.id in record.labels and not case.trusted and not undrawn(case, len(dataset.classes))
    )


def _rare(dataset: Dataset, least: int | None, chosen: Iterable[list[Finding]], jobs: int) -> frozenset[int]:
    """The classes that fewer cases have than ``least``. Labels are read until all have enough, and only where it matters."""
    labelled = [case.label for case in dataset.cases if case.label]
    needed = max(LEAST_CASES, ceil(LEAST_SHARE * len(labelled))) if least is None else least
    matters = any(f.kind in REMOVES or f.kind == "swap" for findings in chosen for f in findings)
    if not matters or not needed:
        return frozenset()
    having: Counter[int] = Counter()
    rare = frozenset(range(1, len(dataset.classes)))
    with spread(Work(looking_for_classes, plain_dataset(dataset)), map(str, labelled), jobs=jobs) as outcomes:
        for outcome in outcomes:
            having.update(outcome.value())
            rare = frozenset(value for value in rare if having[value] < needed)
            if not rare:
                break
    return rare


def looking_for_classes(setup: Any) -> Do:
    """The values that occur in a label of a data set (``setup``)."""
    dataset = dataset_of(setup)
    return lambda path: np.flatnonzero(voxel_counts(read_label(Path(path), dataset)[0])).tolist()


def _line(
    finding: Finding,
    record: Record,
    verdicts: Mapping[tuple[str, int], Verdict],
    outcomes: Mapping[tuple[str, int], Outcome],
    trusted: frozenset[str],
    files: Mapping[str, dict[str, str]],
) -> dict[str, Any]:
    """What repairs.jsonl says of a finding."""
    key = finding.case, finding.number
    verdict = verdicts[key]
    outcome = Outcome("declined", 0, verdict.reason)
    if verdict.accepted:
        outcome = Outcome("guarded", 0, _TRUSTED) if finding.case in trusted else outcomes[key]
    return {
        "case": finding.case,
        "number": finding.number,
        "kind": finding.kind,
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
        "version": __version__,
        **(files[finding.case] if outcome.status == "applied" else {}),
    }


def _bias_line(case: str, moves: Calibration, outcome: Outcome, files: Mapping[str, dict[str, str]]) -> dict[str, Any]:
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


def _summary(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    applied = [line for line in lines if line["status"] == "applied"]
    return {
        **{status: sum(line["status"] == status for line in lines) for status in ("applied", "declined", "guarded")},
        "cases": len({line["case"] for line in applied}),
        "voxels": sum(line["voxels"] for line in applied),
        "kinds": dict(Counter(line["kind"] for line in applied)),
        "guards": dict(Counter(line["why"] for line in lines if line["status"] == "guarded")),
    }
