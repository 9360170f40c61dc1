"""What audits and repairs give back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from debride.api.result import Result, Row, table
from debride.escapes import unshielded
from debride.types import DataError
from debride.words import counted, some

if TYPE_CHECKING:
    from pathlib import Path

    from debride.audit.findings import Finding
    from debride.audit.passes import Progress
    from debride.audit.wrong_classes.class_record import ClassFinding

SHOWN = 10
"""Cases that are shown."""

PICTURES = 4
"""Findings that are shown."""

NNUNET_FOLDS = 5
"""Folds that nnU-Net trains."""

_NUMBERS = (
    *("rank", "wrong", "findings", "score", "dice", "self_confidence", "surprise"),
    *("least", "probability_of_given", "probability_of_proposed"),
)

_BOOLEANS = ("trusted", "flagged", "seen")


@dataclass(frozen=True, repr=False)
class AuditResult(Result):
    """Which labels are wrong: ``ranking`` has a row for each, the most doubtful first; report.html in ``out`` shows them.

    Of an audit in parts ``progress`` says what is done, and there is nothing else before its parts are merged.
    """

    progress: Progress | None = None

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What was found of the whole: "cases", "trusted", "flagged", "share_in_words", "noise", "suggestion" and more."""
        from debride.files import read_json

        file = self.out / "audit.json"
        if not file.is_file():
            raise DataError(self.out, "holds no audit that is done", "Let all parts end, then audit with `merge`.")
        about: dict[str, Any] = read_json(file)
        return {**about["summary"], **({"since": about["since"]} if "since" in about else {})}

    @cached_property
    def ranking(self) -> list[dict[str, Any]]:
        """A row for each label, the most doubtful first: how probably it is ``wrong``, whether it is ``flagged``, and why.

        ``flagged``, ``trusted`` and ``seen`` are booleans; ``seen`` says whether the network was trained on the label, and is
        None where that is unknown.
        """
        return table(self.out / "cases.csv", _NUMBERS, _BOOLEANS)

    @property
    def flagged(self) -> list[str]:
        """The ids of the cases to look at."""
        return [row["case"] for row in self.ranking if row["flagged"]]

    @property
    def share(self) -> float:
        """The estimated share of wrong labels; NaN where it cannot be told."""
        share = self.summary["share_wrong"]
        return math.nan if share is None else float(share)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of that share."""
        low, high = self.summary["share_wrong_interval"]
        return float(low), float(high)

    @property
    def flagged_share(self) -> float:
        """The share of the labels that are not trusted that is flagged."""
        return float(self.summary["flagged"] / max(1, self.summary["cases"] - self.summary["trusted"]))

    @cached_property
    def findings(self) -> tuple[Finding, ...] | tuple[ClassFinding, ...]:
        """All that can be repaired, the surest case first: what was given, and what would be right.

        Of masks each is a ``Finding`` with ``case``, ``kind``, ``box`` and more, of classes of images a ``ClassFinding``.
        """
        file = self.out / "findings.jsonl"
        if file.is_file():
            from debride.audit.findings import finding_of
            from debride.files import read_jsonl

            return tuple(finding_of(row) for row in read_jsonl(file))
        from debride.audit.wrong_classes.class_record import read_class_record

        return read_class_record(self.out).findings

    @property
    def ranking_file(self) -> Path:
        """The file with the ranking."""
        return self.out / "cases.csv"

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return self.out / "report.html"

    @property
    def decisions(self) -> Path:
        """Where ``debride review`` keeps what is decided, for ``repair_dataset``."""
        from debride.audit.decided import DATABASE

        return self.out / DATABASE

    def rows(self) -> Sequence[Row]:
        """The ranking."""
        return [] if self.progress else self.ranking

    def said(self) -> Sequence[str]:
        """What was found, the flagged cases, and what to do."""
        if self.progress:
            looked, judged, cases = self.progress.looked, self.progress.judged, self.progress.cases
            return [f"{looked} of {cases} labels were looked at, {judged} of {cases} judged"]
        return [*self._found(), *(f"  {line}" for line in self._flagged()), self.summary["suggestion"]]

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """The first findings: the given label, the prediction, and what would be right."""
        from debride.audit.findings import Finding

        masks = (finding for finding in self.findings if isinstance(finding, Finding))  # there are none of classes of images
        named = ((f"{one.case}: {one.kind}", self.out / "pictures" / f"{one.case}-{one.number}.png") for one in masks)
        return [(about, file.read_bytes()) for about, file in named if file.is_file()][:PICTURES]

    def _found(self) -> list[str]:
        summary = self.summary
        trusted = f" and {summary['trusted']} trusted ones" if summary["trusted"] else ""
        counted = summary["cases"] - summary["trusted"]
        lines = [f"{counted} labels{trusted}, {summary['share_in_words']}, {summary['flagged']} flagged"]
        lines += [f"  {line}" for line in summary["noise"]]
        if summary.get("duplicates"):
            lines.append(
                f"  {summary['duplicates']} groups of like images have different classes, see {self.out / 'duplicates.csv'}"
            )
        if since := summary.get("since"):
            new, changed, gone = (len(since[name]) for name in ("new", "changed", "gone"))
            lines.append(f"  since {since['audit']}: {new} new, {changed} changed, {gone} gone, {since['unchanged']} unchanged")
            if review := since.get("review"):
                lines += [f"  {line}" for line in after_review(review)]
            if since["newly_flagged"]:
                lines.append(f"  newly flagged: {some([unshielded(id) for id in since['newly_flagged']], SHOWN)}")
        return [*lines, *(f"  Warning: {line}" for line in summary["warnings"])]

    def _flagged(self) -> list[str]:
        lines = []
        for row in [row for row in self.ranking if row["flagged"]][:SHOWN]:
            if "proposed" in row:
                lines.append(
                    f"{row['case']}: {row['given']}, probably {row['proposed']}; wrong with probability {row['wrong']:.2f}"
                )
                continue
            said = f"{row['case']}: {row['kind'] or 'unclear'}, wrong with probability {row['wrong']:.2f}"
            lines.append(said + (f"; {row['doubts']}" if row["doubts"] else ""))
        return lines


def after_review(review: Mapping[str, Any]) -> list[str]:
    """Lines on what an audit made of a review, by what audit.json says of it."""
    counts = f"{review['decided']} findings were decided, {review['dropped']} came up again and were dropped"
    lines = [f"by the review: {counts}, {len(review['trusted'])} labels are trusted"]
    for name, told in (
        ("not_yet", "do not have yet what readers decided: repair them first, or permit what a guard held back"),
        ("changed_otherwise", "were changed otherwise, so that no decision on them holds"),
    ):
        if cases := [unshielded(id) for id in review[name]]:
            lines.append(f"  {len(cases)} labels {told} ({some(cases, SHOWN)})")
    return lines


CHANGED = {
    "labels": "{labels} and {voxels} pixels or voxels changed",
    "ignore": "{voxels} pixels or voxels of {labels} are ignored",
    "weights": "{maps} of weights lower {voxels} pixels or voxels, and no label changed",
}
"""What a repair did, by where it took the findings."""


@dataclass(frozen=True, repr=False)
class RepairResult(Result):
    """A data set with repaired labels, in ``out``; ``summary`` says what was changed, and what was guarded."""

    summary: dict[str, Any]
    reverse: bool = False

    def said(self) -> Sequence[str]:
        """What was changed, and what the guards kept."""
        summary = self.summary
        if self.reverse:
            return [", ".join(f"{value} {name}" for name, value in summary.items())]
        changed = summary["kinds"] if "kinds" in summary else summary["pairs"]
        which = ", ".join(f"{name} {number}" for name, number in changed.items())
        which = f" ({which})" if which else ""
        undecided = summary.get("undecided", 0)
        kept = f"{summary['declined'] - undecided} declined, {summary['guarded']} guarded"
        kept += f", {undecided} undecided" if undecided else ""
        if "kinds" in summary:
            few = {"labels": counted(summary["cases"], "label"), "maps": counted(summary["cases"], "map")}
            pixels = CHANGED[summary.get("to", "labels")].format(**summary, **few)
            first = f"{counted(summary['applied'], 'finding')} applied{which}, {kept}; {pixels}"
        else:
            first = f"{counted(summary['applied'], 'class', 'classes')} changed{which}, {kept}"
        lines = [first, *(f"  guarded {counted(number, 'time')}: {why}" for why, number in summary["guards"].items())]
        if stays := summary.get("stays"):
            which = some([unshielded(name) for name in stays], SHOWN)
            lines.append(f"  {len(stays)} stay as given, as readers disagree or are unsure: {which}")
        if summary.get("verified"):
            lines.append(f"  {summary['verified']} verified labels, to train on with --trusted {self.out / 'trusted.txt'}")
        if "lists" in summary:
            left_out, lists = summary["left_out"], self.out / summary["lists"]
            which = f": {some(left_out, SHOWN)}" if left_out else ""
            lines.append(f"  {len(left_out)} cases are in no list of {lists}{which}")
            lines.append(f"  nnU-Net reads it in another place: cp {lists} $nnUNet_preprocessed/{self.out.name}/")
            if (folds := summary["folds"]) < NNUNET_FOLDS:
                others = " ".join(map(str, range(folds, NNUNET_FOLDS)))
                lines.append(f"  it has no fold {others}: for these nnU-Net draws from all cases, those left out too")
        if summary.get("to") == "weights":
            lines.append("  nnUNetTrainerDebrideWeighted reads the maps in nnU-Net; debride train does not")
        return lines

    def rows(self) -> Sequence[Row]:
        """A row for each finding that was applied or declined, as repairs.jsonl has it."""
        from debride.files import read_jsonl

        file = self.out / "repairs.jsonl"
        return [row for row in read_jsonl(file) if "case" in row] if file.is_file() else []
