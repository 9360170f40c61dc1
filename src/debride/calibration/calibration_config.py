"""The settings of a calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from debride.settings import setting

Metric = Literal["dice", "hd95", "assd", "volume"]


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """What may be changed, and how sure a gain must be."""

    offsets: bool = setting(True, "Offset the log-probabilities of classes")
    shifts: bool = setting(True, "Move outlines")
    confidence: float = setting(
        0.9, "Of the one-sided interval whose lower end is made as high as can be; higher changes less", least=0.5, below=1
    )
    metric: Literal["dice", "hd95", "assd", "volume"] = setting(
        "dice", "What is to gain: Dice, HD95, the average surface distance, or the share by which volumes differ"
    )
