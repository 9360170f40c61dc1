"""What a network says of one region: out of predictions of all regions, or of all classes, which are made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from debride.audit.predictions.case_files import Prediction, PredictionFiles, read_prediction
from debride.audit.predictions.region_maps import OneRegion
from debride.audit.predictions.sources import Predictions
from debride.data.label_regions import region_view
from debride.types import Case, DataError, Dataset, Geometry


class RegionPredictions:
    """``Predictions`` of a region of a data set by its ``number`` from 0, from those of the whole."""

    def __init__(self, source: Predictions, dataset: Dataset, number: int) -> None:
        self.about: dict[str, Any] = {**source.about, "region": dataset.regions[number].name}
        self._source, self._region = source, OneRegion.of(dataset, number)
        self._view = region_view(dataset, dataset.regions[number])

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case: the probabilities (2, *S) that a pixel lies outside and inside the region."""
        self.make([case])
        files = self.files(case)
        if files is None:
            raise DataError(f"case {case.id}", "has no prediction", "Give `predictions`.")
        return read_prediction(files, self._view, case, shape, geometry)

    def files(self, case: Case) -> PredictionFiles | None:
        """Those of the whole, of which the region is read."""
        files = self._source.files(case)
        return files and replace(files, region=self._region)

    def stamp(self, case: Case) -> str:
        """That of the whole."""
        return self._source.stamp(case)

    def make(self, cases: Sequence[Case]) -> None:
        """Makes those of the whole that are not there."""
        self._source.make(cases)

    def seen(self, case: Case) -> bool | None:
        """Whether the network was trained on a label of the case's image."""
        return self._source.seen(case)

    def seen_patient(self, case: Case) -> bool | None:
        """Whether it was trained on another image of the case's patient."""
        return self._source.seen_patient(case)
