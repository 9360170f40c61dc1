"""How a case becomes its working image, as settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a case becomes its working image.

    ``image_size``: the working shape S. ``spacing``: mm per array axis to resample to (either, not both). ``intensity``:
    "zscore" (per image and channel), "unit" (minimum to 0, maximum to 1), "clip:LOW:HIGH" (cut there, then to [-1, 1];
    Hounsfield windows) or "percentile:LOW:HIGH" (cut at these percentiles of the image's channel, then as zscore). Others are
    what nnU-Net plans: "ct:LOW:HIGH:MEAN:STD" (cut there, minus the mean, divided by the deviation), "byte" (divided by 255),
    "none", and "zscore-nonzero" (as zscore, of pixels where some channel is not 0, in volumes with what these enclose; others
    stay). It is one rule for all channels, or one per channel separated by commas. ``crop``: the border in which every channel
    is 0 is cut away first.
    """

    image_size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    intensity: str = "zscore"
    crop: bool = field(default=False, repr=False)  # not in keys made before there was cropping

    def conflicts(self) -> Iterator[DataError]:
        """A shape and a spacing, or rules for intensities that cannot be read."""
        if self.image_size and self.spacing:
            problem = "is given together with `spacing`"
            yield DataError("`image_size`", problem, "Give one of them: a fixed shape, or mm per voxel.")
        for rule in intensity_rules(self.intensity):
            try:
                read_rule(rule)
            except DataError as error:
                yield DataError(error.where, f"is {self.intensity!r}", error.remedy)


def intensity_rules(intensity: str) -> list[str]:
    """The rules for intensities, one for all channels or one per channel."""
    return [rule.strip() for rule in intensity.split(",")]


@dataclass(frozen=True)
class Rule:
    """A rule for intensities: its kind, and its limits and mean and deviation where the kind has them."""

    kind: str
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


NUMBERS = {
    **dict.fromkeys(("zscore", "unit", "byte", "none", "zscore-nonzero"), ()),
    **dict.fromkeys(("clip", "percentile"), ("low", "high")),
    "ct": ("low", "high", "mean", "std"),
}
"""The numbers that rules have, by kind."""


def read_rule(rule: str) -> Rule:
    """A rule for intensities of its words; DataError for any other."""
    kind, *words = rule.split(":")
    names = NUMBERS.get(kind)
    if names is not None and len(names) == len(words):
        with suppress(ValueError):
            read = Rule(kind, **dict(zip(names, map(float, words), strict=True)))
            cut = not names or -math.inf < read.low < read.high < math.inf
            percents = kind != "percentile" or 0 <= read.low < read.high <= 100
            if cut and percents and math.isfinite(read.mean) and 0 < read.std < math.inf:
                return read
    remedy = "Give zscore, unit, clip:LOW:HIGH or percentile:LOW:HIGH with LOW below HIGH; one for all channels, or one each."
    raise DataError("`intensity`", f"is {rule!r}", remedy)
