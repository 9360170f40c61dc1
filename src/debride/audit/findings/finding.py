"""What an audit suspects in one label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FindingKind = Literal["missing", "extra", "boundary", "swap", "flip", "shift", "gap", "stray", "empty"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an audit suspects in one label: a connected piece of it, or, for flip, shift and empty, the label as a whole.

    ``number`` (1, 2, ...) is the value of its voxels in the case's map of proposals, so a voxel belongs to one finding.
    ``given`` and ``proposed`` are class ids: 0 is given where an object is missing and proposed for one too many. ``box`` has
    the first and the past-last index per array axis; ``voxels`` change their class, ``volume`` is theirs in ml, None without a
    spacing. ``displacement`` in mm (pixels without a spacing) is, for a boundary, how far the label reaches too far out,
    negative where it lies too far in, and for a shift its length. ``severity`` and ``confidence`` lie in [0, 1].
    """

    case: str
    number: int
    kind: FindingKind
    given: int
    proposed: int
    box: tuple[tuple[int, int], ...]
    voxels: int
    volume: float | None = None
    displacement: float | None = None
    severity: float
    confidence: float

    @property
    def class_id(self) -> int:
        """The foreground class that it is about: the one given, or where that is background the one proposed."""
        return self.given or self.proposed
