"""How a case becomes its working image, as settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a case becomes its working image.

    ``image_size``: the working shape S. ``spacing``: mm per array axis to resample to (either, not both). ``intensity``:
    "zscore" (per image and channel), "unit" (minimum to 0, maximum to 1), "clip:LOW:HIGH" (cut there, then to [-1, 1];
    Hounsfield windows) or "percentile:LOW:HIGH" (cut at these percentiles of the image's channel, then as zscore); one rule for
    all channels, or one per channel separated by commas. ``crop``: the border in which every channel is 0 is cut away first.
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


def read_rule(rule: str) -> tuple[str, float, float]:
    """A rule's kind and its limits, which "zscore" and "unit" do not have; DataError for any other word."""
    kind, *words = rule.split(":")
    if kind in ("zscore", "unit") and not words:
        return kind, 0.0, 0.0
    try:
        low, high = map(float, words)
    except ValueError:
        low = high = 0.0
    if (kind == "clip" and low < high) or (kind == "percentile" and 0 <= low < high <= 100):
        return kind, low, high
    remedy = "Give zscore, unit, clip:LOW:HIGH or percentile:LOW:HIGH with LOW below HIGH; one for all channels, or one each."
    raise DataError("`intensity`", f"is {rule!r}", remedy)
