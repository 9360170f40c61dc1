"""Predictions of networks, kept on the disk: an audit looks at them twice, and may be repeated with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.predictions.nnunet_maps import read_map
from debride.audit.predictions.sources import Prediction, RunPredictions, onto_label
from debride.data.pairs import image_grid
from debride.data.pixels.images import hash_of
from debride.files import atomic_path
from debride.types import Case, Geometry


class KeptPredictions:
    """``RunPredictions`` that predict every case once: in ``folder`` as CASE.npz, which ``FolderPredictions`` reads too, in
    steps of 1/255. Each file has a stamp of its image and of the network; where that differs the case is predicted again."""

    def __init__(self, source: RunPredictions, folder: Path, classes: int) -> None:
        self.about: dict[str, Any] = source.about
        self._source, self._folder, self._classes = source, folder, classes

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case, from the disk if it is there."""
        path = self._folder / f"{case.id}.npz"
        how = onto_label(image_grid(case), case.image[0], case, shape, geometry)
        stamp = hash_of(case.image, self._source.made_by(case), *([repr(how)] if how.changes else []))
        if _stamp(path) != stamp:
            probability = self._source.of(case, shape, geometry).probability
            steps = np.empty(probability.shape, np.uint8)
            for number, share in enumerate(probability):
                steps[number] = np.rint(share.astype(np.float32, copy=False) * 255)
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, probabilities=steps, stamp=np.array(stamp))
        return Prediction(read_map(path, self._classes, shape)[0], False)

    def order(self, cases: Sequence[Case]) -> list[Case]:
        """The cases grouped by the run that predicts them."""
        return self._source.order(cases)

    def seen(self, case: Case) -> bool | None:
        """Whether the case's run was trained on a label of its image."""
        return self._source.seen(case)

    def seen_patient(self, case: Case) -> bool | None:
        """Whether the case's run was trained on another image of its patient."""
        return self._source.seen_patient(case)


def _stamp(path: Path) -> str:
    """The stamp of a file, empty for one that is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["stamp"])
    except Exception:  # of NumPy, zipfile and zlib, unrelated kinds
        return ""
