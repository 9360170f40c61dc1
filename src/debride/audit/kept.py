"""Predictions of networks, kept on the disk: an audit looks at them twice, and may be repeated with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.nnunet_maps import read_map
from debride.audit.predictions import Prediction, RunPredictions
from debride.files import atomic_path, content_hash, is_empty, read_json, write_json
from debride.training.checkpoint import weights_file
from debride.types import Case, DataError, Geometry

NETWORK = "network.json"
"""Says by which weights the predictions of a folder were made."""


class KeptPredictions:
    """``RunPredictions`` that predict every case once: in ``folder`` as CASE.npz, which ``FolderPredictions`` reads too, in
    steps of 1/255. Raises DataError if the folder has predictions of other networks."""

    def __init__(self, source: RunPredictions, folder: Path, classes: int) -> None:
        self.about: dict[str, Any] = source.about
        self._source, self._folder, self._classes = source, folder, classes
        weights = [weights_file(Path(run), source.about["checkpoint"]) for run in source.about["runs"]]
        made_by, note = {"weights": content_hash(weights)}, folder / NETWORK
        if not is_empty(folder) and not (note.exists() and read_json(note) == made_by):
            raise DataError(folder, "holds predictions of another network", "Remove this folder, or choose another --out.")
        write_json(note, made_by)

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case, from the disk if it is there."""
        path = self._folder / f"{case.id}.npz"
        if not path.exists():
            probability = self._source.of(case, shape, geometry).probability
            steps = np.empty(probability.shape, np.uint8)
            for number, share in enumerate(probability):
                steps[number] = np.rint(share.astype(np.float32, copy=False) * 255)
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, probabilities=steps)
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
