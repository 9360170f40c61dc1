"""What predictions give back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from debride.api.result import Result, Row, table
from debride.types import DataError, Dataset

PICTURES = 3
"""Masks that are shown."""


@dataclass(frozen=True)
class Asked:
    """What was predicted, to be found again: the folder of the run, the images, and how they were opened."""

    run: Path
    source: Path | Dataset
    splits: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class PredictResult(Result):
    """Predictions: ``count`` images were predicted, and those ``left_out`` could not be read.

    ``kind`` is what they are called, as "masks", and ``calibrated`` says which calibration was applied, if any was.
    """

    count: int
    kind: str
    left_out: tuple[DataError, ...] = ()
    calibrated: str = ""
    asked: Asked | None = field(default=None, compare=False)

    @property
    def masks(self) -> dict[str, Path]:
        """The files of the predicted masks by the ids of their images; empty where classes were predicted."""
        from debride.data.formats.image_folders import by_stem
        from debride.data.open import stop

        return {} if self._classes.is_file() else by_stem(self.out, stop)

    def said(self) -> Sequence[str]:
        """How many, and what was applied."""
        applied = [self.calibrated] if self.calibrated else []
        return [f"{self.count} {self.kind}", *applied, *self.without(self.left_out)]

    def rows(self) -> Sequence[Row]:
        """A row for each image: the file of its mask, or its class and the probabilities of all."""
        if self._classes.is_file():
            rows = table(self._classes)
            numbers = [name for name in rows[0] if name.startswith("probability_")] if rows else []
            return table(self._classes, numbers)
        return [{"image": id, "mask": str(file)} for id, file in self.masks.items()]

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """The first images, with the outlines of their masks."""
        if self.asked is None or not (masks := self.masks):
            return []
        from debride.training.description import read_description
        from debride.training.predict import labels_of
        from debride.training.predict_masks import images_to_predict
        from debride.training.trained import Request

        asked, dataset = self.asked, self.asked.source if isinstance(self.asked.source, Dataset) else None
        request = Request(splits=asked.splits, dataset=dataset, open_options=asked.options)
        description = read_description(asked.run / "run.json")
        source = dataset.root if dataset else Path(str(asked.source))
        cases = images_to_predict(source, description["channels"], request)
        shown = islice((case for case in cases if case.id in masks), PICTURES)
        labels = labels_of(description, asked.run)
        return [(case.id, _outlined(case.image, masks[case.id], labels)) for case in shown]

    @property
    def _classes(self) -> Path:
        return self.out / "predictions.csv"


def _outlined(image: Sequence[Path], mask: Path, labels: Dataset) -> bytes:
    """An image, and beside it the outlines of its mask; of a volume the slice with most of it."""
    import numpy as np

    from debride.audit.shown.finding_pictures import picture
    from debride.data.pixels.images import read_image, read_label

    pixels, geometry = read_image(image)
    ids, _ = read_label(mask, labels)
    nothing, box = np.zeros_like(ids), tuple((0, side) for side in ids.shape)
    return picture(pixels, nothing, ids, nothing, box, ids.ndim, geometry.spacing, whole=True)
