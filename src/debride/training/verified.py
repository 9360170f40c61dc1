"""Verified cases and their predictions: which there are, as a run predicts them, and kept on the disk while one is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from debride.calibration.correction import Ids
from debride.calibration.fitting import Verified
from debride.data.masks.annotated import undrawn
from debride.data.pairs import image_grid, read_label_on
from debride.files import writing
from debride.types import Case, DataError, Dataset
from debride.words import some

if TYPE_CHECKING:
    import torch

    from debride.training.trained import Trained


@dataclass(frozen=True)
class SeenByRun:
    """A verified case of a data set and the probabilities of a run, in the image's own geometry, predicted anew each time:
    ``calibration.fitting.Verified``."""

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
        from debride.training.predict_masks import predict_whole

        grid = image_grid(self.case)
        label: npt.NDArray[np.uint8] = read_label_on(self.case, self.dataset, grid)
        return predict_whole(self.trained, self.case, self.device), label, grid.geometry.spacing


@dataclass(frozen=True, eq=False)
class Held:
    """A verified case whose prediction is in memory: ``calibration.fitting.Verified``."""

    id: str
    patient: str
    probability: npt.NDArray[Any]
    label: Ids
    spacing: tuple[float, ...] | None
    hard: bool = False

    def read(self) -> tuple[npt.NDArray[Any], Ids, tuple[float, ...] | None]:
        """Probabilities (K, *S), the verified label (*S) and the spacing in mm."""
        return self.probability, self.label, self.spacing


@dataclass(frozen=True)
class Kept:
    """A verified case whose prediction and label lie in files, and are mapped: ``calibration.fitting.Verified``."""

    id: str
    patient: str
    hard: bool
    probability: Path
    label: Path
    spacing: tuple[float, ...] | None

    def read(self) -> tuple[npt.NDArray[Any], Ids, tuple[float, ...] | None]:
        """Probabilities (K, *S), float16, the verified label (*S) and the spacing in mm."""
        return np.load(self.probability, mmap_mode="r"), np.load(self.label, mmap_mode="r"), self.spacing


def keep(cases: Iterable[Verified], folder: Path) -> list[Kept]:
    """Reads each case once, one at a time, and keeps it in a folder: 2 K + 1 bytes for each voxel. DataError where the disk is
    full."""
    kept = []
    for number, case in enumerate(cases):
        probability, label, spacing = case.read()
        paths = folder / f"{number}-probability.npy", folder / f"{number}-label.npy"
        with writing(folder):
            np.save(paths[0], probability.astype(np.float16, copy=False))
            np.save(paths[1], label)
        kept.append(Kept(case.id, case.patient, case.hard, *paths, spacing))
    return kept


def verified_cases(dataset: Dataset) -> tuple[Case, ...]:
    """The trusted cases of a data set. DataError where there are none, or a label or a class of theirs was not drawn."""
    cases = tuple(case for case in dataset.cases if case.trusted)
    remedy = "Verify all classes of some cases, and name these by `trusted`."
    if not cases:
        raise DataError(dataset.root, "has no verified case, and bias cannot be known without one", remedy)
    if lacking := [case.id for case in cases if case.label is None and case.target is None]:
        raise DataError(dataset.root, f"has no label of the verified {some(lacking)}", "Add it, or do not name it as verified.")
    if partly := [case.id for case in cases if undrawn(case, len(dataset.classes))]:
        problem = f"has classes that were not drawn in the verified {some(partly)}"
        raise DataError(dataset.root, problem, "Draw them, or do not name these cases as verified.")
    return cases


def unit_of(cases: Sequence[Case]) -> Literal["mm", "px"]:
    """ "mm" where the spacing of all images is known."""
    return "mm" if all(image_grid(case).geometry.spacing is not None for case in cases) else "px"
