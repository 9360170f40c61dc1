"""Edges of an image: the steepest pixels, which MetaDCSeg counts to the boundary (section 3.3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage


@dataclass(frozen=True)
class Edges:
    """Pixels where the image is steep: 1 on an edge, 0 elsewhere.

    The gradient's magnitude (Sobel, the largest of the channels) must exceed ``threshold`` times its 99.5th percentile and be
    among the largest ``ratio`` of the image: our reading of MetaDCSeg's "grad thresh" and "boundary ratio" (Table 8), with
    which a classical detector stands in for PiDiNet.
    """

    ratio: float = 0.14
    threshold: float = 0.08

    source: ClassVar[Literal["image", "label"]] = "image"
    kind: ClassVar[Literal["length", "ids"]] = "ids"
    version: ClassVar[int] = 1

    def __call__(self, source: npt.NDArray[Any], spacing: tuple[float, ...] | None) -> npt.NDArray[np.int32]:
        """The edges (*S) of an image (C, *S)."""
        steepness = np.max([_steepness(channel) for channel in source.astype(np.float32)], axis=0)
        least = max(float(np.quantile(steepness, 1 - self.ratio)), self.threshold * float(np.percentile(steepness, 99.5)))
        return np.asarray(steepness > least, np.int32)


def _steepness(channel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    parts = [ndimage.sobel(channel, axis, mode="nearest") for axis in range(channel.ndim)]
    magnitude: npt.NDArray[np.float32] = np.sqrt(sum(part**2 for part in parts))
    return magnitude
