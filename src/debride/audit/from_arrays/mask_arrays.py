"""Masks of many cases as arrays: which are wrong, where and how, by predictions, as the audit of a folder finds out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.audit_config import AuditConfig
from debride.audit.case_results import AGAIN, Looked, Planted
from debride.audit.evidence import CaseScore, unscored
from debride.audit.findings import Finding, finding_of
from debride.audit.from_arrays.array_case import (
    begin_judging,
    begin_looking,
    read_case,
    read_image,
    unpacked,
)
from debride.audit.from_arrays.label_audit import MaskAudit
from debride.audit.from_arrays.named_cases import Spacing
from debride.audit.from_arrays.series import Scratch, Series
from debride.audit.one_case import Plain
from debride.audit.outcome import main_kind
from debride.audit.overview import summarise_audit
from debride.audit.shown import picture_of
from debride.audit.under_way import do_each
from debride.audit.usual import NOTHING_PLANTED, Usual, donors, what_is_usual
from debride.audit.verdict import are_same
from debride.audit.verified_bias import bias_of_audited, verified_lines
from debride.data.plain import plain_case
from debride.execute import Work
from debride.records import read_as
from debride.types import IGNORE, Case, DataError, Dataset


@dataclass(frozen=True)
class Arrays:
    """The arrays of the cases of a ``dataset``: ``predictions`` and ``images`` are None where there are none. Each case has its
    spacing; ``ignore`` marks pixels without a label. Other processes read from ``scratch`` what lies in no file."""

    dataset: Dataset
    labels: Series
    predictions: Series | None
    images: Series | None
    spacings: Sequence[Spacing]
    ignore: int | None
    scratch: Scratch

    @property
    def setup(self) -> Plain:
        """What all cases share, for ``array_case``."""
        return {"classes": len(self.dataset.classes), "ignore": self.ignore, "ndim": self.dataset.ndim}

    def item(self, at: int) -> Plain:
        """A case with its arrays, for this process."""
        return self._item(at, lambda series: series.read(at))

    def sent(self, at: int, written: list[Path]) -> Plain:
        """A case by where its arrays lie, for another process; files that were ``written`` for it are named."""

        def place(series: Series) -> Any:
            where, file = series.place(at, self.scratch)
            written.extend([file] if file else [])
            return where

        return self._item(at, place)

    def _item(self, at: int, of: Any) -> Plain:
        return {
            "case": plain_case(self.dataset.cases[at]),
            "at": at,
            "label": of(self.labels),
            "probability": None if self.predictions is None else of(self.predictions),
            "image": None if self.images is None else of(self.images),
            "spacing": self.spacings[at],
            "donor": None,
        }


@dataclass(frozen=True)
class _Wanted:
    """A case that is looked at, with what is wanted of it, and the place of the one whose label is planted into it."""

    at: int
    more: Plain
    donor: int | None = None


@dataclass
class _Found:
    """What the second look came to, by the places of cases."""

    scores: dict[int, CaseScore] = field(default_factory=dict)
    findings: dict[int, tuple[Finding, ...]] = field(default_factory=dict)
    proposed: dict[int, Plain] = field(default_factory=dict)


def audit_masks(arrays: Arrays, config: AuditConfig, jobs: int) -> MaskAudit:
    """Audits the masks of all cases."""
    dataset, cases = arrays.dataset, arrays.dataset.cases
    looked, shapes, common = _look(arrays, config, jobs)
    found = _judge(arrays, config, common, jobs)
    if arrays.predictions is None:
        found.scores = {at: unscored(one.sight.measured.voxels) for at, one in enumerate(looked)}
    by_id = {case.id: found.scores[at] for at, case in enumerate(cases)}
    ranking = common.ranking.untold() if are_same(by_id) else common.ranking
    findings = tuple(found.findings.get(at, ()) for at in range(len(cases)))
    kinds = tuple(main_kind(own, ranking, at) for at, own in enumerate(findings))
    main = {case.id: kind for case, kind in zip(cases, kinds, strict=True)}
    predicted = arrays.predictions is not None
    summary = summarise_audit(cases, ranking, by_id, main, dataset, predicted=predicted)
    if predicted and (bias := _bias(arrays, config.seed)):
        summary["verified_bias"] = bias
        summary["noise"] += verified_lines(bias)
    return MaskAudit(
        ids=tuple(case.id for case in cases),
        classes=dataset.classes,
        order=ranking.order,
        wrong=ranking.wrong,
        flagged=ranking.flagged,
        score=ranking.score,
        share=ranking.share,
        interval=ranking.interval,
        summary=summary,
        kinds=ranking.kinds,
        kind=kinds,
        findings=findings,
        doubts=tuple(common.doubts),
        dice=np.array([found.scores[at].dice for at in range(len(cases))]),
        thresholds=common.thresholds,
        pictures=_pictures(arrays, config, ranking.order, findings, found),
        _proposed=found.proposed,
        _shapes=shapes,
        _labels=arrays.labels,
        _setup=arrays.setup,
    )


def _look(arrays: Arrays, config: AuditConfig, jobs: int) -> tuple[list[Looked], list[tuple[int, ...]], Usual]:
    """The first look at all cases, the shapes of their labels, and what is usual by it."""
    cases = arrays.dataset.cases
    rows = {case.id: at for at, case in enumerate(cases)}
    drawn = donors(cases, config.planted, config.seed)
    looked: list[Looked] = []
    shapes: list[tuple[int, ...]] = []
    shows: list[dict[str, bool]] = []
    planted = [NOTHING_PLANTED] * len(cases)

    def take(at: int, told: Plain) -> None:
        shapes.append(tuple(told["shape"]))
        shows.append(told["shows"])
        looked.append(read_as(Looked, told["look"], cases[at].id, AGAIN))
        if told["plant"]:
            planted[at] = read_as(Planted, told["plant"], cases[at].id, AGAIN)

    wanted = []
    for at, case in enumerate(cases):
        donor = drawn.get(case.id)
        wanted.append(_Wanted(at, {"plant": case.id in drawn}, rows[donor.id] if donor else None))
    setup = {**arrays.setup, "seed": config.seed}
    _each(arrays, "looking at labels", begin_looking, setup, wanted, jobs, take)
    if any(one["gaps"] for one in shows) and not any(one["classes"] for one in shows):
        problem = f"have no class but the background, and {arrays.ignore}, which marks pixels without a label"
        raise DataError("labels", problem, f"Give class ids: divide masks of 0 and {IGNORE} by {IGNORE}.")
    return looked, shapes, what_is_usual(arrays.dataset, cases, looked, planted, config.seed)


def _judge(arrays: Arrays, config: AuditConfig, common: Usual, jobs: int) -> _Found:
    """Scores of all cases and findings of those that are suspicious; nothing without predictions."""
    ranking, found = common.ranking, _Found()
    if arrays.predictions is None:
        return found
    wanted = []
    for at, wrong in enumerate(ranking.wrong.tolist()):
        odds = {kind: float(values[at]) for kind, values in ranking.odds.items()}
        wanted.append(_Wanted(at, {"find": {"wrong": wrong, "odds": odds} if wrong >= config.least else None}))

    def take(at: int, told: Plain) -> None:
        found.scores[at] = read_as(CaseScore, told["scores"], arrays.dataset.cases[at].id, AGAIN)
        if told["findings"]:
            found.findings[at] = tuple(finding_of(row) for row in told["findings"])
            found.proposed[at] = told["proposed"]

    told = {"thresholds": common.thresholds.tolist(), "typical": common.typical, "least": config.least}
    _each(arrays, "looking for errors", begin_judging, {**arrays.setup, **told}, wanted, jobs, take)
    return found


def _each(arrays: Arrays, doing: str, begin: Any, setup: Plain, wanted: Sequence[_Wanted], jobs: int, take: Any) -> None:
    """Does what ``begin`` makes to cases, by several processes if wanted, and removes what was written for these."""
    written: dict[int, list[Path]] = {}

    def items() -> Iterator[Plain]:
        for number, one in enumerate(wanted):
            if jobs == 1:
                item = arrays.item(one.at)
                donor = None if one.donor is None else arrays.item(one.donor)
            else:
                files = written.setdefault(number, [])
                item = arrays.sent(one.at, files)
                donor = None if one.donor is None else arrays.sent(one.donor, files)
            yield {**item, **one.more, "donor": donor}

    def done(number: int, told: Plain) -> None:
        for path in written.pop(number, ()):
            path.unlink(missing_ok=True)
        take(wanted[number].at, told)

    do_each(doing, Work(begin, setup), items(), len(wanted), jobs, done)


def _pictures(
    arrays: Arrays, config: AuditConfig, order: npt.NDArray[np.intp], findings: Sequence[Sequence[Finding]], found: _Found
) -> dict[int, list[bytes]]:
    """Pictures, as PNG, of the surest findings of the most suspicious cases; none without images."""
    left, pictures = config.pictures if arrays.images is not None else 0, {}
    for at in order.tolist():
        here = findings[at][:left]
        if here:
            item = arrays.item(at)
            seen = read_case(item, arrays.setup)
            numbers, proposed = unpacked(found.proposed[at])
            drawn = seen.label, seen.predicted, numbers, proposed, seen.spacing
            image = read_image(item, seen)
            pictures[at] = [picture_of(finding, image, *drawn) for finding in here]
            left -= len(here)
    return pictures


@dataclass(frozen=True)
class _Compared:
    """A label and its prediction: ``calibration.fitting.Verified``."""

    case: Case
    at: int
    arrays: Arrays
    hard: bool = True

    @property
    def id(self) -> str:
        """The case's."""
        return self.case.id

    @property
    def patient(self) -> str:
        """The case's."""
        return self.case.patient

    def read(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], Spacing]:
        """Probabilities (K, *S), the label (*S) and its spacing in mm."""
        seen = read_case(self.arrays.item(self.at), self.arrays.setup)
        return seen.probability, seen.label, seen.spacing


def _bias(arrays: Arrays, seed: int) -> dict[str, Any] | None:
    """What trusted cases say of the others' labels: ``verified_bias``."""
    cases = arrays.dataset.cases
    rows = {case.id: at for at, case in enumerate(cases)}
    return bias_of_audited(
        arrays.dataset.classes,
        cases,
        lambda case: _Compared(case, rows[case.id], arrays),
        lambda case: arrays.spacings[rows[case.id]],
        seed,
    )
