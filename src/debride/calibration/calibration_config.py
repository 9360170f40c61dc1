"""The settings of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

from debride.settings import setting


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """What may be changed, and how sure a gain must be."""

    offsets: bool = setting(True, "Offset the log-probabilities of classes")
    shifts: bool = setting(True, "Move outlines")
    confidence: float = setting(
        0.9, "Of the one-sided interval whose lower end is made as high as can be; higher changes less", least=0.5, below=1
    )
