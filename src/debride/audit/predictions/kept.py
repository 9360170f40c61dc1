"""Predictions of networks, kept on the disk: an audit looks at them twice, and may be repeated with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.predictions.case_files import Prediction, PredictionFiles, read_prediction
from debride.audit.predictions.sources import Predictions, RunPredictions
from debride.case_work import stamp_of
from debride.data.pairs import check_pair
from debride.data.pixels.images import files_of, read_header
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Do, Work, spread
from debride.execute.cluster import cluster_in_use
from debride.files import atomic_path, content_hash, writing
from debride.progress import track
from debride.types import Case, Dataset, Geometry


class KeptPredictions:
    """``RunPredictions`` that predict every case once: in ``folder`` as CASE.npz, which ``FolderPredictions`` reads too, in
    steps of 1/255. Each file has a stamp of its image, its label and the network; where that differs the case is predicted
    again. What is in the folder ``earlier`` with the same stamp is taken from there."""

    def __init__(self, source: RunPredictions, folder: Path, dataset: Dataset, earlier: Path | None = None) -> None:
        self.about: dict[str, Any] = source.about
        self._source, self._folder, self._dataset, self._earlier = source, folder, dataset, earlier

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case, from the disk if it is there."""
        self.make([case])
        return read_prediction(self.files(case), self._dataset, case, shape, geometry)

    def files(self, case: Case) -> PredictionFiles:
        """The file of a case."""
        return PredictionFiles(self._folder / f"{case.id}.npz", kept=True)

    def stamp(self, case: Case) -> str:
        """By the network's weights, and by name, size and date of image and label."""
        assert case.label is not None, case.id
        return content_hash([], self._source.made_by(case), stamp_of(files_of([*case.image, case.label])))

    def make(self, cases: Sequence[Case]) -> None:
        """Predicts those of the cases whose files are not there, run by run."""
        missing = [case for case in self._source.order(cases) if not self._is_there(case)]
        if not missing:
            return
        work = Work(lambda _: keeper(self._source))
        if cluster_in_use():
            work = Work(begin_keeping, {"dataset": plain_dataset(self._dataset), "source": self._source.plain(missing)})
        items = ({"case": plain_case(case), "file": str(self.files(case).read), "stamp": self.stamp(case)} for case in missing)
        with (
            track("predicting", len(missing)) as show,
            spread(work, items, name=lambda item: f"case {item['case']['id']}", threads=None) as outcomes,
        ):
            for done, outcome in enumerate(outcomes, start=1):
                outcome.value()
                show(done)

    def seen(self, case: Case) -> bool | None:
        """Whether the case's run was trained on a label of its image."""
        return self._source.seen(case)

    def seen_patient(self, case: Case) -> bool | None:
        """Whether the case's run was trained on another image of its patient."""
        return self._source.seen_patient(case)

    def _is_there(self, case: Case) -> bool:
        """Whether a case is predicted, perhaps by an earlier audit."""
        path, stamp = self.files(case).read, self.stamp(case)
        if _stamp(path) == stamp:
            return True
        earlier = self._earlier / path.name if self._earlier else None
        if earlier is None or _stamp(earlier) != stamp:
            return False
        _link(earlier, path)
        return True


def begin_keeping(setup: Any) -> Do:
    """A job's part in ``KeptPredictions.make``."""
    return keeper(RunPredictions.from_plain(setup["source"], dataset_of(setup["dataset"])))


def keeper(source: RunPredictions) -> Do:
    """What predicts a "case" by its network, and keeps that in a "file" with a "stamp"."""

    def keep(item: Any) -> None:
        case = case_of(item["case"])
        assert case.label is not None, case.id
        check_pair(case)
        grid = read_header(case.label).grid
        probability = source.of(case, grid.shape, grid.geometry).probability
        steps = np.empty(probability.shape, np.uint8)
        for number, share in enumerate(probability):
            steps[number] = np.rint(share.astype(np.float32, copy=False) * 255)
        with atomic_path(Path(item["file"])) as temporary:
            np.savez_compressed(temporary, probabilities=steps, stamp=np.array(item["stamp"]))

    return keep


def kept_predictions(
    predictions: Predictions | RunPredictions, folder: Path, dataset: Dataset, earlier: Path | None = None
) -> Predictions:
    """Predictions that lie in files: those of networks as ``KeptPredictions`` in a folder, and others as they are."""
    return KeptPredictions(predictions, folder, dataset, earlier) if isinstance(predictions, RunPredictions) else predictions


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name; copies it where the disk has no such names."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)


def _stamp(path: Path) -> str:
    """The stamp of a file, empty for one that is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["stamp"])
    except Exception:  # of NumPy, zipfile and zlib, unrelated kinds
        return ""
