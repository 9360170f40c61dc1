"""What an audit of arrays came to: ``MaskAudit`` and ``ClassAudit``, which show themselves in a notebook."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.array_kinds import class_ids
from debride.audit.evidence import Interval
from debride.audit.findings import Finding, Label
from debride.audit.from_arrays.array_case import unpacked
from debride.audit.from_arrays.series import Series
from debride.escapes import one_line
from debride.types import DataError

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ROWS = 20
"""Cases that a notebook shows, the most suspicious first."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class LabelAudit:
    """What an audit of the labels of N cases came to; all arrays are in the order that the labels were given in.

    ``order`` (N,) are the places of the cases, the most suspicious first, by the ``score`` (N,): the higher, the worse.
    ``wrong`` (N,) is the probability that a label is wrong, ``flagged`` (N,) says which are surely enough.
    ``share`` is the estimated share of wrong labels, NaN where it cannot be told, and ``interval`` its 95 % interval.
    ``summary`` is what audit.json of a folder has: all of this as plain JSON, and in words.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    order: npt.NDArray[np.intp]
    wrong: Doubles
    flagged: Bools
    score: Doubles
    share: float
    interval: tuple[float, float]
    summary: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def noise(self) -> list[str]:
        """The errors of the labels, in words."""
        return list(self.summary["noise"])

    @property
    def warnings(self) -> list[str]:
        """What is to be doubted of the audit itself."""
        return list(self.summary["warnings"])

    @property
    def suggestion(self) -> str:
        """What to do next."""
        return str(self.summary["suggestion"])

    def rows(self) -> list[dict[str, Any]]:
        """A line for each case, the most suspicious first."""
        return [{"place": at, "case": self.ids[at], **self._row(at)} for at in self.order.tolist()]

    def to_pandas(self) -> Any:
        """``rows`` as a table of pandas. DataError where pandas is not installed."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise DataError("pandas", "is not installed", "Install it by `pip install debride[tables]`.") from error
        return pandas.DataFrame(self.rows())

    def __repr__(self) -> str:
        lines = [
            f"{type(self).__name__} of {len(self)} labels: {self.summary['share_in_words']}; {int(self.flagged.sum())} flagged",
            *(f"- {line}" for line in self.noise),
            *(f"warning: {line}" for line in self.warnings),
            self.suggestion,
        ]
        return "\n".join(one_line(line) for line in lines)

    def _repr_html_(self) -> str:
        """The words, and a table of the first cases."""
        said = "".join(f"<p>{escape(line)}</p>" for line in repr(self).splitlines())
        rows = self.rows()[:ROWS]
        head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row.values())}{self._shown(row['place'])}</tr>"
            for row in rows
        )
        more = f"<p>and {len(self) - ROWS} more</p>" if len(self) > ROWS else ""
        return f"<div>{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"

    def _row(self, at: int) -> dict[str, Any]:
        return {"wrong": float(self.wrong[at]), "flagged": bool(self.flagged[at]), "score": float(self.score[at])}

    def _shown(self, at: int) -> str:
        """What a notebook shows beside the line of a case."""
        return ""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MaskAudit(LabelAudit):
    """What an audit of masks came to.

    ``kinds`` has for each kind of error the share of labels with it, and the ends of its 95 % interval. By case, in the order
    given: ``kind`` of error that a suspicious label has most likely, "" where there is none; ``findings``, the surest first;
    ``doubts`` in words, which need no prediction; ``dice`` of label and prediction. ``thresholds`` (K,) are those of the label
    quality scores, ``pictures`` PNG files of the first findings where there are images.
    """

    kinds: Mapping[str, Interval]
    kind: tuple[str, ...]
    findings: tuple[tuple[Finding, ...], ...]
    doubts: tuple[tuple[str, ...], ...]
    dice: Doubles
    thresholds: Doubles
    pictures: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    _proposed: Mapping[int, Any]
    _shapes: Sequence[tuple[int, ...]]
    _labels: Series
    _setup: Mapping[str, Any]

    def numbers(self, at: int) -> npt.NDArray[np.uint16]:
        """The number (*S) of the finding that each voxel of a case belongs to, 0 where nothing is found."""
        return self._maps(at)[0]

    def error_mask(self, at: int, *, least: float = 0.0) -> Bools:
        """The voxels (*S) of a case that belong to a finding of at least so much confidence: they are thought wrong."""
        numbers = self.numbers(at)
        sure = [finding.number for finding in self.findings[at] if finding.confidence >= least]
        return np.isin(numbers, sure) if sure else np.zeros(numbers.shape, bool)

    def proposed_label(self, at: int, label: Any = None, *, accept: Callable[[Finding], bool] | None = None) -> Label:
        """The label of a case (*S) in ``uint8`` with its findings applied: all, or those that ``accept`` says yes to.

        ``label`` is the one given, which need not be repeated unless it came from a generator.
        """
        if label is None:
            try:
                label = self._labels.read(at)
            except (DataError, OSError) as error:
                raise DataError(f"labels[{at}]", "is not there any more", "Give it again, as `label`.") from error
        ids, _ = class_ids(f"labels[{at}]", label, len(self.classes), self._setup["ignore"])
        numbers, proposed = self._maps(at)
        if ids.shape != numbers.shape:
            raise DataError(
                f"labels[{at}]", f"has shape {ids.shape}, it had {numbers.shape}", "Give the label that was audited."
            )
        accepted = [finding.number for finding in self.findings[at] if accept is None or accept(finding)]
        return np.where(np.isin(numbers, accepted) & (numbers > 0), proposed, ids)

    def _maps(self, at: int) -> tuple[npt.NDArray[np.uint16], Label]:
        at = range(len(self))[at]
        if at in self._proposed:
            return unpacked(self._proposed[at])
        shape = self._shapes[at]
        return np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)

    def _row(self, at: int) -> dict[str, Any]:
        own = {"kind": self.kind[at], "findings": len(self.findings[at]), "dice": float(self.dice[at])}
        return {**super()._row(at), **own, "doubts": "; ".join(self.doubts[at])}

    def _shown(self, at: int) -> str:
        pictures = (base64.b64encode(picture).decode("ascii") for picture in self.pictures.get(at, ()))
        return "".join(f'<td><img style="max-height:120px" src="data:image/png;base64,{text}"></td>' for text in pictures)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ClassAudit(LabelAudit):
    """What an audit of classes came to.

    ``given``, ``proposed`` (N,) are class ids, the second the likeliest other one; ``least`` (N,) is the least probability that
    a label is wrong. ``pairs`` (K, K) are shares of the labels by class given (row) and true class (column), 0 on the diagonal,
    ``low`` and ``high`` (K, K) the ends of their 95 % intervals. ``duplicates`` are places of images that are alike and have
    different classes.
    """

    given: npt.NDArray[np.int64]
    proposed: npt.NDArray[np.int64]
    least: Doubles
    pairs: Doubles
    low: Doubles
    high: Doubles
    duplicates: tuple[tuple[int, ...], ...] = ()

    def proposed_labels(self) -> npt.NDArray[np.int64]:
        """The classes (N,) with those of flagged cases replaced by the proposed ones."""
        return np.where(self.flagged, self.proposed, self.given)

    def _row(self, at: int) -> dict[str, Any]:
        named = {"given": self.classes[self.given[at]], "proposed": self.classes[self.proposed[at]]}
        return {**super()._row(at), **named}


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.3g}" if isinstance(value, float) else one_line(str(value))
