"""Findings that change no class: their pixels lose their label, or weigh less. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from debride.audit.findings import Finding, Label, Numbers
from debride.types import IGNORE

FULL = 255
"""The weight of a pixel that counts as it would without a map."""

Counts = dict[int, int]
"""The number of pixels that lose their label or weigh less, by the number of the finding; 0 where it would change nothing."""


def ignored(label: Label, numbers: Numbers, proposed: Label, findings: Sequence[Finding]) -> tuple[Label, Counts]:
    """A copy of a label (*S) with ``IGNORE`` where findings would change its class, and the pixels of each.

    ``numbers`` and ``proposed`` (*S) are the case's maps of proposals. No guard holds anything back: nothing is removed, as
    an ignored pixel is said to be neither an object nor background.
    """
    result = label.copy()
    counts: Counts = {}
    for finding in findings:
        inside = tuple(slice(*ends) for ends in finding.box)
        changed = _changed(finding, label, numbers, proposed)
        result[inside][changed] = IGNORE
        counts[finding.number] = int(np.count_nonzero(changed))
    return result, counts


def weighted(
    label: Label, numbers: Numbers, proposed: Label, findings: Sequence[Finding], weight: float | None = None
) -> tuple[npt.NDArray[np.uint8], Counts]:
    """Weights (*S) of a label's pixels in uint8, and the pixels of each finding that weigh less than ``FULL``.

    A finding's confidence is the probability that the label is wrong there. What a pixel's label is worth is the probability
    that it is right, so that the weight is 1 less the confidence, unless a ``weight`` from 0 to 1 is given. The rest is as for
    ``ignored``.
    """
    weights = np.full(label.shape, FULL, np.uint8)
    counts: Counts = {}
    for finding in findings:
        inside = tuple(slice(*ends) for ends in finding.box)
        changed = _changed(finding, label, numbers, proposed)
        share = 1 - finding.confidence if weight is None else weight
        weights[inside][changed] = round(FULL * share)
        counts[finding.number] = int(np.count_nonzero(changed))
    return weights, counts


def _changed(finding: Finding, label: Label, numbers: Numbers, proposed: Label) -> npt.NDArray[np.bool_]:
    """Where in its box a finding proposes another class than the label has."""
    inside = tuple(slice(*ends) for ends in finding.box)
    old = label[inside]
    changed: npt.NDArray[np.bool_] = (numbers[inside] == finding.number) & (old != IGNORE) & (old != proposed[inside])
    return changed
