"""Verified cases as a trained method sees them: what a calibration of a run is chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from debride.calibration.calibration import Ids
from debride.data.pairs import image_grid, read_label_on
from debride.training.predict_masks import predict_whole
from debride.training.trained import Trained
from debride.types import Case, Dataset


@dataclass(frozen=True)
class SeenByRun:
    """A verified case of a data set and the probabilities of a run, in the image's own geometry: ``calibration.fit.Verified``.
    It is predicted anew each time."""

    case: Case
    dataset: Dataset
    trained: Trained
    device: torch.device
    hard: bool = False

    @property
    def id(self) -> str:
        """The case's."""
        return self.case.id

    @property
    def patient(self) -> str:
        """The case's."""
        return self.case.patient

    def read(self) -> tuple[npt.NDArray[Any], Ids, tuple[float, ...] | None]:
        """Probabilities (K, *S), the verified label (*S) and the spacing in mm."""
        grid = image_grid(self.case)
        label: npt.NDArray[np.uint8] = read_label_on(self.case, self.dataset, grid)
        return predict_whole(self.trained, self.case, self.device), label, grid.geometry.spacing


def unit_of(cases: Sequence[Case]) -> Literal["mm", "px"]:
    """ "mm" where the spacing of all images is known."""
    return "mm" if all(image_grid(case).geometry.spacing is not None for case in cases) else "px"
