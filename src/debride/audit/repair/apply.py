"""``repair``: a copy of a data set with accepted proposals of an audit applied; ``reverse``: the given labels again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.decided.decision import Key
from debride.audit.decided.reviewed import Review, decided_in
from debride.audit.findings import Finding, Label, Record, check_belongs
from debride.audit.repair.by_region import apply_regions
from debride.audit.repair.changes import apply_findings, apply_moved
from debride.audit.repair.decisions import Acceptance, Verdict, judge
from debride.audit.repair.destination import IGNORED, LABELS, PLAIN, WEIGHTS, Destination, change_lists, with_ignore, without
from debride.audit.repair.guard import REMOVES, voxel_counts
from debride.audit.repair.ignored import ignored
from debride.audit.repair.kept_files import bring_back, keep_files, kept_files
from debride.audit.repair.kept_labels import FOLDER, RECORD, carry, given_files, keep_given
from debride.audit.repair.outcomes import Outcome, bias_line, finding_line, outcome_of, summary_of
from debride.audit.repair.painted import (
    Asked,
    doubted_in,
    list_verified,
    outcomes_of,
    paint,
    painted_of,
    plain_outcomes,
    read_painted,
    staying,
    unlabelled,
    verified_in,
    whole_lines,
)
from debride.audit.repair.proposals import Proposals, Source, asked_of, proposals_of, read_sources, refuse_silent
from debride.audit.repair.weight_maps import bring_back_maps, carry_maps, maps_of, write_weights
from debride.audit.verified_bias import moves_of, unbiased, verified_then
from debride.calibration.bias_record import read_calibration
from debride.calibration.correction import Calibration
from debride.data.copy import copier, copy_by
from debride.data.formats.layout import VERIFIED
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

LEAST_CASES, LEAST_SHARE = 5, 0.02
"""A class that fewer cases have, or a smaller share of them, is rare."""


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
    kind "bias". By the database of a review what readers painted is applied last, what they leave open stays, and is in the
    summary as "stays"; labels that they verified are in ``trusted.txt``. An audit by regions changes classes as ``by_region``
    says. The work on cases is done by so many ``jobs``. Raises DataError if the audit is not of this data set or damaged, if
    the label of an accepted change changed since, and if ``out`` has content or lies in the data set or the audit.
    """
    check_bounds(accept)
    check_bounds(destination)
    destination.refuse(accept)
    out = new_folder(out, apart_from={"the data set": dataset.root, "the folder of the audit": audit})
    sources = read_sources(audit, dataset)
    records = {region: source.record for region, source in sources.items()}
    review = _review(audit, accept, records)
    if not accept.nothing and review is None:
        refuse_silent(audit, sources)
    verdicts = judge(records, accept, review)
    trusted = frozenset(case.id for case in dataset.cases if case.trusted and not accept.trusted)
    whole = frozenset(review.wholes) if review else frozenset[str]()
    moves, moving = _moves(dataset, audit, sources, accept, whole)
    chosen = _chosen(records, verdicts, trusted)
    painted = {case: asked for case, asked in painted_of(review, verdicts).items() if case not in trusted}
    settled = {case for case in whole if review and review.wholes[case].state in ("verified", "edited")}
    for place, (region, source) in enumerate(sources.items()):
        also = moving | painted.keys() | settled if not place else moving
        check_belongs(source.record, source.view(dataset), chosen[region].keys() | also, jobs)
    by_case = {region: record.by_case() for region, record in records.items()}
    guarded = destination.to == LABELS and not accept.allow_removal
    matters = {region: _matters(own.values()) or (not region and bool(painted)) for region, own in chosen.items()}
    rare = [
        _rare(source.view(dataset), accept.rare, jobs) if guarded and matters[region] else frozenset[int]()
        for region, source in sources.items()
    ]
    rare_painted = rare[0] if "" in sources else _rare(dataset, accept.rare, jobs) if guarded and painted else frozenset[int]()
    meant = with_ignore(dataset) if destination.to == IGNORED else dataset
    flagged = frozenset(case for record in records.values() for case in record.flagged) - trusted
    doubted = flagged - (review.settled(verdicts) if review else frozenset())
    without(dataset, destination, frozenset() if destination.spares else doubted)  # refuses before the work what cannot be
    changing = {case for own in chosen.values() for case in own} | painted.keys()
    outcomes: dict[Key, Outcome] = {}

    def asked(case: str) -> list[dict[str, Any]]:
        return [asked_of(by_case[region].get(case, ()), chosen[region].get(case, ())) for region in sources]

    def about(case: Case) -> Any:
        if destination.to == WEIGHTS or not (case.id in changing or case.id in moving):
            return None
        return {"asked": asked(case.id), "move": case.id in moving, "painted": painted.get(case.id, [])}

    def told(case: Case, said: Any) -> None:
        if said:
            for region, of_region in zip(sources, said["found"], strict=True):
                outcomes.update({(region, case.id, number): Outcome(*outcome) for number, outcome in of_region})
            outcomes.update(outcomes_of(said["painted"]))

    def finish(folder: Path) -> None:
        maps: dict[str, dict[str, str]] = {}
        if destination.to == WEIGHTS:
            wanted = {case: asked(case) for case in changing}
            how = painted, audit, destination.weight, jobs
            for case, path, counts, edits in write_weights(dataset, [*sources.values()], folder, wanted, *how):
                for region, own in zip(sources, counts, strict=True):
                    outcomes.update({(region, case, number): outcome_of(count) for number, count in own.items()})
                outcomes.update(edits)
                maps[case] = {"weights": path}
        applied = {case for (_, case, _), outcome in outcomes.items() if outcome.status == "applied"}
        kept = keep_given(dataset, folder, frozenset() if destination.to == WEIGHTS else applied, jobs)
        carry_maps(dataset, folder, folder / FOLDER / "before")
        files = maps or kept
        lines = [
            finding_line(finding, region, record, verdicts, outcomes, trusted, files)
            for region, record in records.items()
            for finding in record.findings
        ]
        if moves:
            lines += [bias_line(case.id, moves, outcomes["", case.id, 0], files) for case in dataset.cases if case.id in moving]
        if review:
            lines += whole_lines(review, outcomes, trusted, files)
        still = doubted | flagged & doubted_in(lines)  # also where a guard held back what settles it
        changed = change_lists(dataset, folder, destination, still - applied if destination.spares else still)
        verified = verified_in(review, verdicts, lines) - (applied if destination.to == WEIGHTS else frozenset())
        list_verified(folder, verified, applied, lines)
        others = ("dataset.json", "splits_final.json") if destination != PLAIN else ()
        keep_files(dataset.root, folder, (*others, VERIFIED))
        if destination.to != LABELS:
            lines = [{**line, "to": destination.to} for line in lines]
        write_text(folder / RECORD, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        read = {"stays": staying(lines), "verified": len(verified)} if review else {}
        summary.update({**summary_of(lines), **changed, **read})

    summary: dict[str, Any] = {}
    setup = {
        "dataset": plain_dataset(meant),
        "added": meant.ignore if dataset.ignore is None else None,
        "sources": [source.plain() for source in sources.values()],
        "audit": str(audit),
        "rare": [sorted(few) for few in rare],
        "rare_painted": sorted(rare_painted),
        "allow_removal": accept.allow_removal,
        "moves": asdict(moves) if moves else None,
        "ignores": destination.to == IGNORED,
    }
    work = Work(repairing, setup)
    copy_by(meant, out, work, jobs=jobs, about=about, told=told, progress=progress, finish=finish, besides=_maps_in(dataset))
    return summary


def repairing(setup: Any) -> Do:
    """A copy of cases with the chosen of their findings applied where no guard holds them back; tells what became of each."""
    dataset, sources = dataset_of(setup["dataset"]), setup["sources"]
    rare, allow_removal = [frozenset(few) for few in setup["rare"]], setup["allow_removal"]
    moves = read_calibration(setup["moves"], setup["audit"]) if setup["moves"] else None

    def changed(label: Label, found: list[Proposals], few: list[frozenset[int]]) -> tuple[Label, list[dict[int, Outcome]]]:
        if setup["ignores"]:
            return _without_label(label, found)
        if found[0].region is not None:
            return apply_regions(label, found, dataset.regions, dataset.classes, few, allow_removal)
        (own,) = found
        guards = dataset.classes, few[0], allow_removal
        repaired, outcomes = apply_findings(label, own.numbers, own.proposed, own.chosen, *guards)
        return repaired, [outcomes]

    def painting(case: Case, given: Label, repaired: Label, asked: Asked) -> tuple[Label, dict[Key, Outcome]]:
        if not asked:
            return repaired, {}
        edits = read_painted(Path(setup["audit"]), case, asked, given, dataset)
        if setup["ignores"]:
            return unlabelled(repaired, given, edits)
        return paint(repaired, edits, dataset.classes, frozenset(setup["rare_painted"]), allow_removal)

    def change(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label, Any]:
        if setup["added"] is not None and (label == IGNORE).any():
            problem = f"holds the value {setup['added']}, which is to mean that there is no label"
            raise DataError(case.label, problem, "Correct the label, or name this value in dataset.json.")
        if about is None:
            return label, None
        repaired, reported = label, [dict[int, Outcome]() for _ in sources]
        at = [place for place, asked in enumerate(about["asked"]) if asked["chosen"]]
        if at:
            proposed = [proposals_of(sources[place], about["asked"][place], case, label, dataset) for place in at]
            repaired, outcomes = changed(label, proposed, [rare[place] for place in at])
            for place, own in zip(at, outcomes, strict=True):
                reported[place] = own
        if moves and about["move"]:
            moved = unbiased(repaired, moves, geometry, case.label)
            repaired, reported[0][0] = apply_moved(repaired, moved, dataset.classes, allow_removal)
        repaired, edited = painting(case, label, repaired, about["painted"])
        became = [*edited.values(), *(outcome for own in reported for outcome in own.values())]
        is_changed = any(outcome.status == "applied" for outcome in became)
        found = [[(number, astuple(outcome)) for number, outcome in own.items()] for own in reported]
        return repaired if is_changed else label, {"found": found, "painted": plain_outcomes(edited)}

    return copier(dataset, change)


def _without_label(label: Label, found: Sequence[Proposals]) -> tuple[Label, list[dict[int, Outcome]]]:
    """A copy of a label (*S) with ``IGNORE`` where a finding of one of the audits would change it."""
    result, outcomes = label.copy(), []
    for own in found:
        without, counts = ignored(own.seen, own.numbers, own.proposed, own.chosen)
        result[without == IGNORE] = IGNORE
        outcomes.append({number: outcome_of(count) for number, count in counts.items()})
    return result, outcomes


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
        bring_back_maps(dataset, dataset.root / FOLDER / "before", folder)

    work = Work(restoring, plain_dataset(dataset))
    labels = {case: str(path) for case, path in given.items()}
    about, besides = (lambda case: labels.get(case.id)), _maps_in(dataset)
    copy_by(dataset, out, work, jobs=jobs, about=about, progress=progress, finish=finish, besides=besides)
    return {"cases": len(given)}


def _maps_in(dataset: Dataset) -> frozenset[str]:
    """The folder of maps of weights of a data set, if it has some."""
    return frozenset(path.parent.name for path in maps_of(dataset).values())


def restoring(setup: Any) -> Do:
    """A copy of cases of a data set (``setup``) with the label files that are said about them, if any."""

    def change(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label | Path, None]:
        return Path(about) if about else label, None

    return copier(dataset_of(setup), change)


def _chosen(
    records: Mapping[str, Record], verdicts: Mapping[Key, Verdict], trusted: Collection[str]
) -> dict[str, dict[str, list[Finding]]]:
    """The accepted findings of cases that are not trusted, by region and case."""
    chosen: dict[str, dict[str, list[Finding]]] = {region: {} for region in records}
    for region, record in records.items():
        for finding in record.findings:
            if verdicts[region, finding.case, finding.number].accepted and finding.case not in trusted:
                chosen[region].setdefault(finding.case, []).append(finding)
    return chosen


def _moves(
    dataset: Dataset, audit: Path, sources: Mapping[str, Source], accept: Acceptance, whole: frozenset[str]
) -> tuple[Calibration | None, frozenset[str]]:
    """How outlines are to be moved, and of which cases: those audited that are not trusted, with all classes drawn, and of
    which no reader has decided on the ``whole`` label."""
    if not accept.unbias:
        return None, frozenset()
    if "" not in sources:
        problem = "moves outlines of classes that exclude each other, and this audit is of regions"
        raise DataError("`unbias`", problem, "Leave it out.")
    record = sources[""].record
    found = record.about.get("summary")
    moves = moves_of(found, audit, record.classes)
    moving = frozenset(
        case.id
        for case in dataset.cases
        if case.id in record.labels and not case.trusted and not undrawn(case, len(dataset.classes))
    )
    return moves, moving - verified_then(found) - whole


def _review(audit: Path, accept: Acceptance, records: Mapping[str, Record]) -> Review | None:
    """What stands by the file of decisions, if there is one."""
    if accept.decisions is None:
        return None
    known = {(region, finding.case, finding.number) for region, record in records.items() for finding in record.findings}
    return decided_in(accept.decisions, audit, known, next(iter(records.values())).labels, [*records])


def _matters(chosen: Iterable[list[Finding]]) -> bool:
    """Whether findings may remove an object of a rare class."""
    return any(finding.kind in REMOVES or finding.kind == "swap" for findings in chosen for finding in findings)


def _rare(dataset: Dataset, least: int | None, jobs: int) -> frozenset[int]:
    """The classes that fewer cases have than ``least``. Labels are read until all have enough."""
    labelled = [case.label for case in dataset.cases if case.label]
    needed = max(LEAST_CASES, ceil(LEAST_SHARE * len(labelled))) if least is None else least
    if not needed:
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
