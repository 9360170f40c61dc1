"""From one case's label and prediction to its findings, and the map of what they propose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.audit.evidence import Piece, WholeLabel, explain, find_pieces, reported
from debride.audit.evidence.boxes import longest
from debride.audit.findings import Finding
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.uint16]


LEAST_PART = 1 / 3
"""A finding that is less sure than this part of the surest of its case is left out: once the label's error is found, what else
differs is mostly the network's own. An audit of the repaired data set finds it if it was none."""


def find(
    case: str,
    label: Label,
    probability: Floats,
    predicted: Label,
    spacing: tuple[float, ...] | None,
    *,
    wrong: float,
    odds: Mapping[str, float],
    typical: float | None,
    least: float,
) -> tuple[list[Finding], Numbers, Label]:
    """The findings of a case of at least ``least`` confidence and ``LEAST_PART`` of the surest's, the surest first, the map
    (*S) of their numbers, and the classes proposed (*S), 0 where nothing is found.

    ``wrong`` is the probability that the label is wrong, ``odds`` are the log-odds by kind, ``typical`` the median agreement of
    the data set's labels. A label that is explained as one mistake has that finding alone: what is left is found by an audit of
    the repaired data set.
    """
    if wrong < least:
        return [], np.zeros(label.shape, np.uint16), np.zeros(label.shape, np.uint8)
    whole = explain(label, probability, spacing, typical, predicted)
    if whole is not None and whole.confidence * wrong >= least:
        numbers, proposed = _whole_maps(label, whole)
        return [_of_whole(case, label, whole, numbers, wrong, spacing)], numbers, proposed
    numbers, pieces = find_pieces(label, probability, predicted, spacing)
    sure = [(_confidence(piece, wrong, odds), number) for number, piece in enumerate(pieces, start=1)]
    limit = max(least, LEAST_PART * max((confidence for confidence, _ in sure), default=0.0))
    chosen = sorted((scored for scored in sure if scored[0] >= limit), key=lambda scored: -scored[0])
    table = np.zeros(len(pieces) + 1, np.uint16)
    table[[number for _, number in chosen]] = np.arange(1, len(chosen) + 1)
    numbers = table[numbers]
    findings = [
        _of_piece(case, at, pieces[number - 1], confidence, spacing) for at, (confidence, number) in enumerate(chosen, start=1)
    ]
    return findings, numbers, np.where(numbers > 0, predicted, np.uint8(0))


def _confidence(piece: Piece, wrong: float, odds: Mapping[str, float]) -> float:
    """How sure a piece is: the probability that the label is wrong, times how far the proposed class is likelier than the given
    one, less where the evidence speaks of another kind of error: by the root of the two kinds' odds."""
    most = max(odds.values(), default=0.0)
    kind = max((value for kind, value in odds.items() if reported(kind) == piece.kind), default=most)
    speaks = math.exp(min(0.0, kind - most) / 2)
    return wrong * max(0.0, piece.margin) * speaks


def _of_piece(case: str, number: int, piece: Piece, confidence: float, spacing: Sequence[float] | None) -> Finding:
    return Finding(
        case=case,
        number=number,
        kind=piece.kind,
        given=piece.given,
        proposed=piece.proposed,
        box=piece.box,
        voxels=piece.voxels,
        volume=_content(piece.voxels, spacing, 3, 1e-3),
        area=_content(piece.voxels, spacing, 2, 1.0),
        displacement=piece.displacement,
        distance=piece.distance,
        severity=min(1.0, piece.share),
        confidence=confidence,
    )


def _whole_maps(label: Label, whole: WholeLabel) -> tuple[Numbers, Label]:
    changed = (whole.label != label) & (label != IGNORE)
    return changed.astype(np.uint16), np.where(changed, whole.label, np.uint8(0))


def _of_whole(
    case: str, label: Label, whole: WholeLabel, numbers: Numbers, wrong: float, spacing: Sequence[float] | None
) -> Finding:
    (box,) = ndimage.find_objects(numbers)
    at = numbers[box] == 1
    pair = int(np.bincount(label[box][at].astype(np.int64) * 256 + whole.label[box][at]).argmax())
    voxels = int(np.count_nonzero(at))
    return Finding(
        case=case,
        number=1,
        kind=whole.kind,
        given=pair // 256,
        proposed=pair % 256,
        box=tuple((axis.start, axis.stop) for axis in box),
        voxels=voxels,
        volume=_content(voxels, spacing, 3, 1e-3),
        area=_content(voxels, spacing, 2, 1.0),
        displacement=whole.displacement,
        distance=longest(box, spacing or (1.0,) * label.ndim) if whole.displacement is None else whole.displacement,
        severity=min(1.0, max(0.0, whole.after - whole.before)),
        confidence=whole.confidence * wrong,
    )


def _content(voxels: int, spacing: Sequence[float] | None, axes: int, unit: float) -> float | None:
    """The size of voxels whose spacing in mm is known, and along so many axes."""
    return voxels * math.prod(spacing) * unit if spacing is not None and len(spacing) == axes else None
