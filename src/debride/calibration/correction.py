"""What takes a bias out of predictions: ``argmax(log p + offset)``, then outlines moved by ``shift``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from debride.calibration.moving import moved
from debride.settings import Bounds
from debride.types import DataError

Ids = npt.NDArray[np.uint8]
Maps = TypeVar("Maps", bound=Any)
"""Probabilities (K, *S): a tensor or an array."""

Number = Annotated[float, Bounds(least=-1e4, most=1e4)]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A bias of each class, and how it is taken out.

    ``offsets`` (K,) are added to log-probabilities. ``shifts`` (K,) then move the outline of each class, with all that lies in
    it, outwards, in ``unit``: "mm", or "px" where images have no spacing. ``parents`` (K,) are the classes that each lies in
    (``moving.nesting``). Those of the background, class 0, are 0.
    """

    classes: tuple[str, ...]
    offsets: tuple[Number, ...]
    shifts: tuple[Number, ...]
    parents: tuple[int, ...]
    unit: Literal["mm", "px"]

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return any(self.offsets) or any(self.shifts)

    def scaled(self, probability: Maps) -> Maps:
        """Probabilities (K, *S), a tensor or an array, after the offsets: they do not sum to one, and may be resized still."""
        if not any(self.offsets):
            return probability
        factors = np.exp(np.subtract(self.offsets, max(self.offsets))).reshape(-1, *[1] * (probability.ndim - 1))
        weights = probability.new_tensor(factors.tolist()) if hasattr(probability, "new_tensor") else factors.astype(np.float32)
        scaled: Maps = probability * weights.reshape(factors.shape)
        return scaled

    def weighed(self, probability: Maps) -> Maps:
        """Probabilities (K, *S), a tensor or an array, after the offsets, with a sum of one."""
        if not any(self.offsets):
            return probability
        scaled = self.scaled(probability)
        weighed: Maps = scaled / scaled.sum(0)
        return weighed

    def move(self, ids: Ids, spacing: Sequence[float] | None) -> Ids:
        """Class ids (*S) after the shifts. ``spacing`` is in mm; None counts pixels, which a calibration in mm cannot."""
        steps = (1.0,) * ids.ndim if self.unit == "px" or spacing is None else tuple(spacing)
        return moved(ids, self.shifts, self.parents, steps)

    def apply(self, probability: npt.NDArray[Any], spacing: Sequence[float] | None) -> Ids:
        """Class ids (*S) of probabilities (K, *S)."""
        return self.move(self.weighed(probability).argmax(0).astype(np.uint8), spacing)


def no_change(classes: Sequence[str], unit: Literal["mm", "px"], parents: Sequence[int] | None = None) -> Calibration:
    """The calibration that leaves predictions as they are."""
    zeros = (0.0,) * len(classes)
    own = tuple(parents) if parents else (0,) * len(classes)
    return Calibration(classes=tuple(classes), offsets=zeros, shifts=zeros, parents=own, unit=unit)


def refuse_unknown_spacing(
    calibration: Calibration, spacing: Sequence[float] | None, image: object, otherwise: str = "predict with `raw`"
) -> None:
    """Raises DataError for an image without a spacing whose outlines are to be moved by mm; ``otherwise`` says what helps."""
    if calibration.unit == "mm" and any(calibration.shifts) and spacing is None:
        problem = "has no spacing, and outlines are to be moved by mm"
        raise DataError(image, problem, f"Save it with its spacing, or {otherwise}.")
