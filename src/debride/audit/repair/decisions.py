"""Which findings are accepted: by rules on kind, class, confidence and magnitude, and by decisions that a person wrote down."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debride.audit.decided.decision import Key
from debride.audit.decided.reviewed import Review, Said
from debride.audit.findings import KINDS, Finding, FindingKind, Record
from debride.settings import check_bounds, setting
from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What may be repaired, and under which guards.

    A rule accepts findings of ``kinds`` (none: nothing by rule), of ``classes`` (class ids as ``Finding.class_id``; None: all)
    or ``regions`` (names; None: all),
    with at least ``confidence``, ``severity``, ``volume`` (ml), ``voxels`` and ``distance`` (mm, or pixels without a spacing),
    with ``flagged`` those of flagged cases only. With ``one_per_case`` it accepts of these the surest of each case that no
    decision rejects. The file ``decisions``, or the database of a review, overrides the rule for what it names. ``unbias``
    moves the outlines of all labels that are not trusted, as the audit proposes. ``allow_removal`` lets objects and classes
    disappear, ``trusted`` trusted cases change; ``rare`` is the number of cases below which a class is rare (None: 5, or 2 % of
    the cases if that is more). ``nothing`` says that it is meant to accept no finding at all.
    """

    kinds: frozenset[FindingKind] = frozenset()
    classes: frozenset[int] | None = None
    regions: frozenset[str] | None = None
    confidence: float = setting(0.0, "least confidence of a finding", least=0, most=1)
    severity: float = setting(0.0, "least severity of a finding", least=0, most=1)
    volume: float = setting(0.0, "least volume of a finding, in ml", least=0)
    voxels: int = setting(0, "least number of pixels or voxels of a finding", least=0)
    distance: float = setting(0.0, "least distance of a finding, in mm, or pixels without a spacing", least=0)
    flagged: bool = False
    one_per_case: bool = False
    decisions: Path | None = None
    allow_removal: bool = False
    trusted: bool = False
    unbias: bool = False
    rare: int | None = setting(None, "cases below which a class is rare; 0: no class is", least=0)
    nothing: bool = False

    def conflicts(self) -> Iterator[DataError]:
        """Nothing that accepts a finding."""
        if not self.kinds and self.decisions is None and not self.unbias and not self.nothing:
            yield DataError("`kinds`", "are none", f"Give some of {', '.join(KINDS)}, or a file of `decisions`.")


@dataclass(frozen=True)
class Verdict:
    """Whether a finding is accepted, and who or what says so; what readers ``said`` of it in a review."""

    accepted: bool
    reason: str
    said: Said | None = None

    @property
    def changes(self) -> bool:
        """Whether the label is to change by it: as proposed, or as a reader painted."""
        return self.accepted or bool(self.said and self.said.edit)


def parse_acceptance(
    words: Sequence[str],
    classes: Sequence[str],
    *,
    but: Sequence[str] = (),
    only: Sequence[str] = (),
    confidence: float = 0.0,
    severity: float = 0.0,
    volume: float = 0.0,
    voxels: int = 0,
    distance: float = 0.0,
    flagged: bool = False,
    one_per_case: bool = False,
    decisions: Path | None = None,
    allow_removal: bool = False,
    trusted: bool = False,
    unbias: bool = False,
    rare: int | None = None,
    may_be_none: bool = False,
    regions: Sequence[str] = (),
) -> Acceptance:
    """The acceptance that a command line asks for.

    ``words`` of ``--accept`` are "all" or kinds of findings, apart or with commas, and those of ``but`` kinds that it accepts
    for all that not; ``only`` of ``--class`` are names of ``classes``, or ids, and where an audit is by ``regions`` names of
    these. Raises DataError for a word or a class that is
    not known, for numbers out of range, where restrictions are given without anything to restrict, and where nothing
    is accepted, unless it ``may_be_none``.
    """
    kinds, without = _kinds(words, "`accept`", ("all",)), _kinds(but, "`but`", ())
    restricted = {
        **{"but": without, "class": only, "confidence": confidence, "severity": severity, "volume": volume},
        **{"voxels": voxels, "distance": distance, "flagged": flagged, "one_per_case": one_per_case},
    }
    given = [f"`{name}`" for name, value in restricted.items() if value]
    if not kinds and given:
        problem = f"is missing, and {' and '.join(given)} restrict{'s' if len(given) == 1 else ''} what it accepts"
        raise DataError("`accept`", problem, "Add `accept` all.")
    nothing = not kinds and decisions is None and not unbias
    if nothing and not may_be_none:
        raise DataError("`accept`", "accepts nothing", f"Give all, some of {', '.join(KINDS)}, or a file of `decisions`.")
    accepted = frozenset(KINDS) if "all" in kinds else frozenset(kind for kind in KINDS if kind in kinds)
    if kinds and not accepted - set(without):
        raise DataError("`but`", "takes away all that `accept` names", "Name fewer kinds.")
    accept = Acceptance(
        kinds=accepted - set(without),
        classes=frozenset(_class_id(word, classes) for word in only) if only and not regions else None,
        regions=frozenset(_region_name(word, regions) for word in only) if only and regions else None,
        confidence=confidence,
        severity=severity,
        volume=volume,
        voxels=voxels,
        distance=distance,
        flagged=flagged,
        one_per_case=one_per_case,
        decisions=decisions,
        allow_removal=allow_removal,
        trusted=trusted,
        unbias=unbias,
        rare=rare,
        nothing=nothing,
    )
    check_bounds(accept, of_class=False)
    return accept


UNDECIDED = "no reader decided it"
"""Why a finding is not applied where decisions alone accept findings, and there is none on it."""


def judge(records: Mapping[str, Record], accept: Acceptance, review: Review | None = None) -> dict[Key, Verdict]:
    """The verdict on every finding of some audits: of those of regions by their names, or of one of classes ("").

    What stands in a ``review`` overrides the rule. Raises DataError for a least volume or distance where no finding says its
    own: no finding could ever be accepted.
    """
    found = [(region, finding) for region, record in records.items() for finding in record.findings]
    known = {(region, finding.case, finding.number) for region, finding in found}
    decided = reviewed(review, known) if review else {}
    _refuse_unknown([finding for _, finding in found], accept)
    verdicts: dict[Key, Verdict] = {}
    chosen: set[str] = set()
    for region, finding in sorted(found, key=lambda each: (-each[1].confidence, each[1].number)):
        key = region, finding.case, finding.number
        declined = _declined(finding, region, records[region], accept)
        if not declined and accept.one_per_case and finding.case in chosen:
            declined = "a surer finding of its case is accepted"
        if declined and review and not accept.kinds:
            declined = UNDECIDED
        verdicts[key] = decided.get(key) or Verdict(not declined, declined or "accepted by rule")
        if verdicts[key].changes:
            chosen.add(finding.case)
    return verdicts


def reviewed(review: Review, known: Collection[Key]) -> dict[Key, Verdict]:
    """The verdicts of a review on the findings that are not undecided."""
    told = {key: said for key in known if (said := review.of(key))}
    return {key: Verdict(said.outcome == "accept", said.why, said) for key, said in told.items()}


def _refuse_unknown(findings: Sequence[Finding], accept: Acceptance) -> None:
    """Raises DataError for a rule by a magnitude that no finding has."""
    if accept.volume and findings and all(finding.volume is None for finding in findings):
        problem = "can never be reached: findings have a volume only in 3D, and with a spacing"
        raise DataError("`volume`", problem, "Give `voxels`.")
    if accept.distance and findings and all(finding.distance is None for finding in findings):
        raise DataError("`distance`", "can never be reached: this audit is older and does not say it", "Audit again.")


def _declined(finding: Finding, region: str, record: Record, accept: Acceptance) -> str:
    """Why the rule does not accept a finding; empty if it does."""
    if finding.kind not in accept.kinds:
        return f"{finding.kind} is not accepted"
    if accept.regions is not None and region not in accept.regions:
        return f"the region {region} is not accepted"
    if accept.classes is not None and finding.class_id not in accept.classes:
        return f"the class {record.classes[finding.class_id]} is not accepted"
    if finding.confidence < accept.confidence:
        return f"its confidence is below {accept.confidence:g}"
    if finding.severity < accept.severity:
        return f"its severity is below {accept.severity:g}"
    if accept.volume and (finding.volume is None or finding.volume < accept.volume):
        return "its volume is not known" if finding.volume is None else f"its volume is below {accept.volume:g} ml"
    if finding.voxels < accept.voxels:
        return f"it has fewer than {accept.voxels} {'pixels' if record.ndim == 2 else 'voxels'}"
    if accept.distance and (finding.distance is None or finding.distance < accept.distance):
        known = finding.distance is not None
        return f"its distance is below {accept.distance:g} {finding.unit}" if known else "its distance is not known"
    if accept.flagged and finding.case not in record.flagged:
        return "its case is not flagged"
    return ""


def _kinds(words: Sequence[str], where: str, also: Sequence[str]) -> list[str]:
    """Kinds of findings, and words that may stand for some; DataError naming ``where`` another word stands."""
    kinds = [kind for word in words for kind in word.split(",") if kind]
    for kind in kinds:
        if kind not in (*KINDS, *also):
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Give {'all, or ' if also else ''}some of {', '.join(KINDS)}."
            raise DataError(where, f"has {kind!r}, which is no kind of finding", hint)
    return kinds


def _class_id(word: str, classes: Sequence[str]) -> int:
    if word in classes[1:]:
        return classes.index(word)
    if word.isdecimal() and 0 < int(word) < len(classes):
        return int(word)
    listed = ", ".join(f"{name} ({id})" for id, name in enumerate(classes) if id)
    raise DataError("`class`", f"has {word!r}, which is no class of objects", f"Give one of {listed}.")


def _region_name(word: str, regions: Sequence[str]) -> str:
    if word in regions:
        return word
    near = difflib.get_close_matches(word, regions, n=1)
    remedy = f"Did you mean {near[0]}?" if near else f"Give one of {', '.join(regions)}."
    raise DataError("`class`", f"has {word!r}, which is no region of this audit", remedy)
