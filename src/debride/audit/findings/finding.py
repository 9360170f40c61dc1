"""What an audit suspects in one label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FindingKind = Literal["missing", "extra", "boundary", "swap", "flip", "shift", "gap", "stray", "empty"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an audit suspects in one label: one mistake, in one or several pieces, or for flip, shift and empty the whole label.

    ``number`` (1, 2, ...) is the value of its voxels in the case's map of proposals, so a voxel belongs to one finding.
    ``given`` and ``proposed`` are class ids: 0 is given where an object is missing and proposed for one too many. ``box`` has
    the first and the past-last index per array axis; ``voxels`` change their class, ``volume`` is theirs in ml, or in 2D
    ``area`` in mm2, None without a spacing. Lengths are in mm, or pixels without a spacing. ``displacement`` is, for a
    boundary, how far the label reaches too far out where it is worst, negative where it lies too far in, and for a shift its
    length. ``distance`` is how far a boundary is off on average, a shift's length, how thick all slices of a gap or stray are,
    and else how long the voxels are along their longest axis; None of an audit that did not say it. ``severity`` and
    ``confidence`` lie in [0, 1].
    """

    case: str
    number: int
    kind: FindingKind
    given: int
    proposed: int
    box: tuple[tuple[int, int], ...]
    voxels: int
    volume: float | None = None
    area: float | None = None
    displacement: float | None = None
    distance: float | None = None
    severity: float
    confidence: float

    @property
    def unit(self) -> str:
        """That of its lengths."""
        return "px" if self.volume is None and self.area is None else "mm"

    @property
    def class_id(self) -> int:
        """The foreground class that it is about: the one given, or where that is background the one proposed."""
        return self.given or self.proposed
