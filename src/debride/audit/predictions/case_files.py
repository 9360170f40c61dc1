"""The prediction of one case, read from its files. No network is needed here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.predictions.nnunet_maps import is_map, mirrored, placed_map, read_map, soften, softened
from debride.audit.predictions.nnunet_results import MAPS
from debride.audit.predictions.region_maps import OneRegion, read_region_map
from debride.data.masks.predicted import read_predicted
from debride.data.pairs import image_grid
from debride.data.pixels import suffix
from debride.data.pixels.images import read_header, read_values
from debride.data.same_grid import Grid, Turn, turn_onto, turned
from debride.types import Case, DataError, Dataset, Geometry


@dataclass(frozen=True)
class Prediction:
    """What a network says of one case: ``probability`` (K, *S), float32 or float16, on the label's grid, summing to one over
    the classes (and perhaps memory-mapped, read-only). ``hard`` says that it was made from a mask, which says nothing of how
    sure the network was."""

    probability: npt.NDArray[Any]
    hard: bool


@dataclass(frozen=True)
class PredictionFiles:
    """The files of a case: the one that is ``read``, and where that is a map the ``mask`` beside it, which tells where it lies.
    What a network of ours said is ``kept``, and is never taken for a mask, however sure it was. Of maps of regions one
    ``region`` is read."""

    read: Path
    mask: Path | None = None
    kept: bool = False
    region: OneRegion | None = None

    def plain(self) -> dict[str, Any]:
        """As plain JSON, for ``from_plain``."""
        region = self.region and self.region.plain()
        return {"read": str(self.read), "mask": self.mask and str(self.mask), "kept": self.kept, "region": region}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> PredictionFiles:
        """What ``plain`` made."""
        region = plain["region"] and OneRegion.from_plain(plain["region"])
        return cls(Path(plain["read"]), plain["mask"] and Path(plain["mask"]), plain["kept"], region)


def read_prediction(
    files: PredictionFiles, dataset: Dataset, case: Case, shape: tuple[int, ...], geometry: Geometry
) -> Prediction:
    """The prediction of a case, checked against the shape and geometry of its label. Raises DataError naming the file.

    Of a region the data set is its view, of two classes (``region_view``).
    """
    path, mask, classes = files.read, files.mask, len(dataset.classes)
    if not is_map(path):
        ids, own = read_predicted(path, dataset, case.image[0], may_be_ids=files.region is None)
        how = onto_label(Grid(ids.shape, own), path, case, shape, geometry)
        return Prediction(soften(turned(ids, how), classes), True)
    lies_as, stored, grid = _place(files, case, shape)
    how = onto_label(grid, lies_as, case, shape, geometry)
    if files.region:
        probability, hard = read_region_map(path, files.region, grid.shape, stored)
    else:
        probability, hard = read_map(path, classes, grid.shape, stored)
    turn = mirrored(probability, _foreground(mask, dataset)) if mask else None
    if turn:
        remedy = "Turn it so before saving it, or take the maps away: then the masks are used."
        raise DataError(path, f"lies otherwise than its mask {mask and mask.name}: it would agree if {turn}", remedy)
    if not files.kept:
        probability = softened(probability, hard)
    return Prediction(turned(probability, how), hard and not files.kept)


def _place(files: PredictionFiles, case: Case, shape: tuple[int, ...]) -> tuple[Path, npt.NDArray[Any] | None, Grid]:
    """The file as which a map lies, the map's numbers where they had to be read for that, and its grid.

    An array says nothing of its place. It lies as the mask beside it, else as the image that the network saw; what is kept was
    turned to lie as the label, of a given shape.
    """
    if files.mask:
        return files.mask, None, read_header(files.mask).grid
    if suffix(files.read) not in MAPS:
        return files.read, *placed_map(files.read)
    return (files.read, None, Grid(shape)) if files.kept else (case.image[0], None, image_grid(case))


def onto_label(own: Grid, path: Path, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Turn:
    """How what lies on the grid of a file is turned to lie as the label of its case, or as the image of a case without one. Its
    shape and geometry are given."""
    return turn_onto(own, Grid(shape, geometry), path, "its label" if case.label else "its image", case.label or case.image[0])


def _foreground(mask: Path, dataset: Dataset) -> npt.NDArray[np.bool_]:
    background = [raw for raw, id in dataset.values.items() if id == 0] or [0]
    return ~np.isin(read_values(mask, dataset.palette)[0], background)
