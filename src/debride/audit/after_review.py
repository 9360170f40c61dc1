"""An audit after a review of an earlier one: labels that readers settled are trusted, and nothing decided is found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.decided.decision import WHOLE, Key
from debride.audit.decided.edits import read_edit
from debride.audit.decided.review_db import DATABASE
from debride.audit.decided.reviewed import Review, Said, read_review
from debride.audit.findings import (
    REGIONS,
    Finding,
    Label,
    Numbers,
    Record,
    finding_of,
    read_proposals,
)
from debride.audit.repair.kept_labels import FOLDER, RECORD
from debride.audit.repair.proposals import read_sources
from debride.data.hashes import hashes_of
from debride.files import read_json, read_jsonl
from debride.types import DataError, Dataset

MOST_COVERED = 0.5
"""A new finding of which a larger share was decided before is not shown again."""

LONGEST = 100
"""So many earlier audits are followed back at most."""


@dataclass(frozen=True)
class Reviewed:
    """An earlier audit that was reviewed, in a ``folder``: its ``records`` by region ("": of classes), and what stands."""

    folder: Path
    records: Mapping[str, Record]
    review: Review

    @cached_property
    def by_case(self) -> Mapping[str, Mapping[str, Sequence[Finding]]]:
        """Its findings by region and case."""
        return {region: record.by_case() for region, record in self.records.items()}

    @property
    def labels(self) -> Mapping[str, str]:
        """The hashes of the labels that were looked at, by case."""
        return next(iter(self.records.values())).labels

    def findings(self) -> dict[Key, Finding]:
        """All that it found."""
        each = ((region, finding) for region, record in self.records.items() for finding in record.findings)
        return {(region, finding.case, finding.number): finding for region, finding in each}


@dataclass(frozen=True)
class AfterReview:
    """What reviews say of a data set: by case and region what is ``decided``, as plain JSON for ``covered``; the cases whose
    label is ``trusted``, those that decisions would change but did ``not_yet``, and those that somebody changed ``otherwise``,
    of which no decision holds any more; and how ``many`` findings were decided."""

    decided: Mapping[str, Mapping[str, Sequence[Any]]]
    trusted: frozenset[str]
    not_yet: frozenset[str]
    otherwise: frozenset[str]
    many: int
    region: str = ""

    def of_region(self, name: str) -> AfterReview:
        """The same, for the audit of a region."""
        return replace(self, region=name)

    def asked(self, case: str) -> Sequence[Any]:
        """What was decided of a case."""
        return self.decided.get(case, {}).get(self.region, ())

    def trusting(self, dataset: Dataset) -> Dataset:
        """The data set with these labels trusted."""
        return replace(dataset, cases=tuple(replace(c, trusted=True) if c.id in self.trusted else c for c in dataset.cases))

    def plain(self, dropped: int) -> dict[str, Any]:
        """What audit.json says of it, with the number of findings that were ``dropped``."""
        lists = {"trusted": self.trusted, "not_yet": self.not_yet, "changed_otherwise": self.otherwise}
        return {"decided": self.many, "dropped": dropped, **{name: sorted(cases) for name, cases in lists.items()}}


def read_after_review(since: Path, dataset: Dataset, jobs: int = 1) -> AfterReview:
    """What stands of the review of an earlier audit, and of those before it that it went on from by their reviews.

    Raises DataError where nobody reviewed it, and for what ``read_review`` and ``read_record`` refuse.
    """
    reviewed = _reviews(since, dataset)
    files = {case.id: case.label for case in dataset.cases if case.label}
    concerned = sorted({case for each in reviewed for case in _cases(each.review)} & files.keys())
    now = dict(zip(concerned, hashes_of((files[case] for case in concerned), jobs), strict=True))
    repairs = _repairs(dataset.root)
    decided: dict[str, dict[str, list[Any]]] = {}
    trusted, not_yet, otherwise, many = set[str](), set[str](), set[str](), 0
    later = set[str]()  # cases of which a later review has said what their labels are worth
    for each in reviewed:  # the latest first
        findings, by_case = each.findings(), dict[str, dict[Key, Said | None]]()
        for key in findings:
            by_case.setdefault(key[1], {})[key] = each.review.of(key)
        settled = each.review.settled(findings)
        own = sorted(_cases(each.review) & now.keys() & each.labels.keys())
        for case in own:
            told = by_case.get(case, {})
            many += sum(said is not None and said.outcome != "stays" for said in told.values())
            steps = _way_back(case, now[case], each.labels[case], repairs)
            if steps is None:
                otherwise.add(case)
                continue
            wanted = _wanted(case, told, each.review)
            done = [_done(step, findings) for step in steps]
            holds = done == [wanted] if steps else not wanted
            if any(all(step.get(key) != edit for step in done) for key, edit in wanted.items()):
                not_yet.add(case)
            elif holds and case in settled and case not in later:
                trusted.add(case)
            for region in each.records:
                whole = case not in later and (holds or not steps)
                if asked := _asked(each, region, case, told, dataset, whole):
                    decided.setdefault(case, {}).setdefault(region, []).append(asked)
        later.update(own)
    return AfterReview(decided, frozenset(trusted), frozenset(not_yet - trusted), frozenset(otherwise - decided.keys()), many)


def covered(asked: Sequence[Any], case: str, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Where (*S) in a label of this shape something was decided."""
    mask = np.zeros(shape, bool)
    for each in asked:
        if each["whole"]:
            return np.ones(shape, bool)
        findings = [finding_of(row) for row in each["findings"]]
        if each["numbers"]:
            numbers, _ = read_proposals(Path(each["folder"]), case, findings, shape, 255)
            mask |= np.isin(numbers, each["numbers"])
        for hash in each["edits"]:
            edit = read_edit(Path(each["audit"]), case, hash, shape, each["classes"])
            mask[edit.inside] |= edit.changed
    return mask


def without_decided(
    findings: Sequence[Finding], numbers: Numbers, proposed: Label, mask: npt.NDArray[np.bool_]
) -> tuple[list[Finding], Numbers, Label]:
    """The findings of a case of which at most ``MOST_COVERED`` lies in a ``mask`` (*S), numbered anew, and their maps (*S)."""
    sizes, inside = (np.bincount(values.ravel(), minlength=len(findings) + 1) for values in (numbers, numbers[mask]))
    left = [finding for finding in findings if inside[finding.number] <= MOST_COVERED * sizes[finding.number]]
    table = np.zeros(len(sizes), np.uint16)
    table[[finding.number for finding in left]] = np.arange(1, len(left) + 1)
    kept = table[numbers]
    return [replace(f, number=at) for at, f in enumerate(left, start=1)], kept, np.where(kept > 0, proposed, np.uint8(0))


def _reviews(since: Path, dataset: Dataset) -> list[Reviewed]:
    """The reviews of an audit and of those that it went on from, the latest first. One that nobody reviewed hands on theirs."""
    reviewed, folder = list[Reviewed](), since
    for _ in range(LONGEST):
        before = _before(folder)
        if (folder / DATABASE).is_file() or (before is None and not reviewed):
            reviewed.append(_read(folder, dataset))
        if before is None:
            break
        folder = before
    return reviewed


def _read(folder: Path, dataset: Dataset) -> Reviewed:
    records = {region: source.record for region, source in read_sources(folder, dataset).items()}
    return Reviewed(folder, records, read_review(folder))


def _before(folder: Path) -> Path | None:
    """The audit that an earlier one went on from by its review, if it is still there."""
    path = folder / (REGIONS if (folder / REGIONS).is_file() else "audit.json")
    about = read_json(path) if path.is_file() else None
    since = about.get("since") if isinstance(about, dict) else None
    if not isinstance(since, dict) or "review" not in since or not isinstance(since.get("audit"), str):
        return None
    before = Path(since["audit"])
    return before if before.is_dir() else None


def _cases(review: Review) -> set[str]:
    return {case for _, case, _ in review.findings} | review.wholes.keys()


def _asked(
    each: Reviewed, region: str, case: str, told: Mapping[Key, Said | None], dataset: Dataset, holds: bool
) -> dict[str, Any] | None:
    """What was decided of a case in one region, as plain JSON for ``covered``; None where nothing was. It is all of the label
    only where what was said of the whole ``holds``."""
    own = {key: said for key, said in told.items() if key[0] == region}
    done = {key[2]: said for key, said in own.items() if said and said.outcome != "stays"}
    whole = each.review.wholes.get(case)
    everything = holds and whole is not None and whole.state in ("verified", "edited") and len(done) == len(own)
    if not done and not everything:
        return None
    record = each.records[region]
    return {
        "folder": str(record.folder),
        "audit": str(each.folder),
        "findings": [asdict(finding) for finding in each.by_case[region].get(case, ())],
        "numbers": sorted(done),
        "edits": sorted(said.edit for said in done.values() if said.edit),
        "classes": len(dataset.classes),
        "whole": everything,
    }


Step = Mapping[Key, Mapping[str, Any]]
"""What one repair did to a case: the lines of its record by finding."""


def _repairs(root: Path) -> dict[str, dict[str, tuple[str, Step]]]:
    """By case and the hash of its label after each repair that a data set has seen: the hash before, and what was done."""
    found: dict[str, dict[str, tuple[str, Step]]] = {}
    place = root
    for _ in range(LONGEST):
        if not (place / RECORD).is_file():
            break
        lines: dict[str, dict[Key, Mapping[str, Any]]] = {}
        for number, line in enumerate(read_jsonl(place / RECORD), start=1):
            if not _is_line(line):
                raise DataError(f"{place / RECORD}:{number}", "is no line of a record of repairs", "Restore this file.")
            lines.setdefault(line["case"], {})[line.get("region", ""), line["case"], line["number"]] = line
        for case, own in lines.items():
            files = next((line for line in own.values() if line["status"] == "applied" and "after" in line), None)
            if files:
                found.setdefault(case, {}).setdefault(files["after"], (files["before"], own))
        place = place / FOLDER / "before"
    return found


def _is_line(line: Any) -> bool:
    """Whether a line of a record says what it is on, and of both files or of none."""
    if not isinstance(line, dict) or type(line.get("number")) is not int:
        return False
    texts = (line.get("case"), line.get("status"), line.get("region", ""), line.get("before", ""), line.get("after", ""))
    return ("after" in line) == ("before" in line) and all(isinstance(text, str) for text in texts)


def _way_back(case: str, now: str, reviewed: str, repairs: Mapping[str, Mapping[str, tuple[str, Step]]]) -> list[Step] | None:
    """The repairs that made a label of the one that was reviewed, the last one first; None where it was changed otherwise."""
    steps: list[Step] = []
    while now != reviewed:
        if now not in repairs.get(case, {}) or len(steps) == LONGEST:
            return None
        now, step = repairs[case][now]
        steps.append(step)
    return steps


def _wanted(case: str, told: Mapping[Key, Said | None], review: Review) -> dict[Key, str]:
    """What readers want a repair to do to a case: the findings to take, each with the hash of its edit ("": as proposed)."""
    wanted = {key: said.edit for key, said in told.items() if said and said.outcome in ("accept", "edited")}
    whole = review.wholes.get(case)
    if whole is not None and whole.state == "edited":
        wanted["", case, WHOLE] = whole.label
    return wanted


def _done(step: Step, findings: Mapping[Key, Finding]) -> dict[Key, str | None]:
    """What a repair did to a case, as ``_wanted`` says it; None for a finding of another audit than that of ``findings``."""
    lines = {key: line for key, line in step.items() if line["status"] == "applied" or "change nothing" in str(line.get("why"))}
    return {
        key: line.get("edit", "") if key[2] == WHOLE or _is_of(line, findings.get(key)) else None for key, line in lines.items()
    }


def _is_of(line: Mapping[str, Any], finding: Finding | None) -> bool:
    """Whether a line of a record is on this finding, and not on another one of the same number."""
    if finding is None:
        return False
    kind = line.get("finding", line.get("kind"))
    same = (finding.kind, finding.given, finding.proposed, [list(ends) for ends in finding.box])
    return same == (kind, line.get("given"), line.get("proposed"), line.get("box"))
