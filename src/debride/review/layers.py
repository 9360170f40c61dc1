"""What is shown of a case inside a box: its image, and labels as they are given, predicted, proposed and edited.

Arrays are in the order and direction of the label's file. What is decoded is kept for a while, up to a number of bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.decided.edits import Edit, apply_edit, read_edit
from debride.audit.findings import Label, Numbers
from debride.audit.predictions import FolderPredictions, PredictionFiles, onto_label, read_prediction
from debride.audit.predictions.region_maps import OneRegion
from debride.data.label_regions import paint
from debride.data.masks.predicted import read_predicted
from debride.data.pixels import arrays
from debride.data.pixels.images import (
    Box,
    files_of,
    hash_of,
    read_header,
    read_image,
    read_image_part,
    read_label,
    read_label_part,
    reads_parts,
)
from debride.data.same_grid import Grid, Turn, turn_onto, turned
from debride.review.inside import inside, of_dataset
from debride.review.kept_arrays import KeptArrays
from debride.review.opened import Review
from debride.types import Case, DataError, Dataset

Array = npt.NDArray[Any]

KEPT = 256 << 20
"""Bytes of decoded arrays that are kept."""

CHANGED = "has a label changed since the audit"


class Layers:
    """The arrays of a review's cases, for any thread."""

    def __init__(self, review: Review, most: int = KEPT) -> None:
        self.review, self.kept = review, KeptArrays(most)
        self._seen: dict[str, tuple[Any, bool]] = {}
        self._lock = Lock()

    def case(self, id: str) -> Case:
        """A case with its label; DataError for one that the data set has no more, or whose files lie elsewhere."""
        case = self.review.cases.get(id)
        if case is None or case.label is None:
            remedy = "Give the data set that was audited by `dataset`, with the same options."
            raise DataError(self.review.dataset.root, f"has no label of the case {id}", remedy)
        for path in (*case.image, case.label):
            of_dataset(self.review.dataset, path)
        return case

    def grid(self, case: Case) -> Grid:
        """The grid of a case's label."""
        return read_header(_label_of(case)).grid

    def unchanged(self, case: Case) -> bool:
        """Whether a label is the one that the audit saw. Its content is read once, and again when the file changes."""
        label = _label_of(case)
        stamp = _stamp(label)
        with self._lock:
            known = self._seen.get(case.id)
        if known is None or known[0] != stamp:
            known = stamp, hash_of([label]) == self.review.labels.get(case.id)
            with self._lock:
                self._seen[case.id] = known
        return known[1]

    def image(self, case: Case, box: Box, channel: int = 0) -> Array:
        """The channels (C, *box) of one of an image's files, turned to lie as the label."""
        path, grid = case.image[channel], self.grid(case)
        own = read_header(path).grid
        how = turn_onto(own, grid, path, "its label", _label_of(case), "")
        whole = ("image", path, _stamp(path))
        found = self.kept.find(whole)
        if found is None and reads_parts(path):
            part = own_box(box, how, own.shape)
            return turned(self.kept.get((*whole, part), lambda: read_image_part(path, part)), how)
        if found is None:
            found = self.kept.get(whole, lambda: read_image([path])[0])
        return turned(found, how)[(slice(None), *_index(box))]

    def label(self, case: Case, box: Box, region: str = "") -> Label:
        """The given label (*box); of a region 1 inside, 0 outside."""
        return self._label(_label_of(case), self.review.view(region), region, box)

    def numbers(self, case: Case, box: Box, region: str) -> tuple[Numbers, Label]:
        """The maps (*box) of the findings' numbers and of the classes proposed."""
        folder = self.review.folder(region)
        path = inside(self.review.audit, folder / "proposals" / f"{case.id}.npz")
        if not path.is_file():
            raise DataError(path, "does not exist, though its case has findings", "Run `debride audit` again.")
        shape = self.grid(case).shape
        found = []
        for name, kind in (("number", np.uint16), ("proposed", np.uint8)):
            stored, dtype = arrays.described(path, name)  # before memory is taken
            if stored != shape or dtype != kind:
                problem = f"holds {name} as {dtype} of shape {stored}, the label of {case.id} has {shape}"
                raise DataError(path, problem, "Give the audit of this data set, or run `debride audit` again.")
            found.append(self.kept.get((name, path, _stamp(path), box), partial(arrays.part, path, name, box)))
        return found[0], found[1]

    def proposed(self, case: Case, box: Box, region: str, findings: Iterable[int], within: Box) -> Label:
        """The given label (*box) with what is proposed at the ``findings``, by their numbers, which lie ``within`` a box."""
        numbers, proposed = self.numbers(case, within, region)
        if proposed.max(initial=0) >= len(self.review.view(region).classes):
            raise DataError(f"case {case.id}", "is proposed a class that there is not", "Run `debride audit` again.")
        label = self.label(case, box, region).copy()
        both = _common(within, box)
        if both:
            there, own = label[_index(_moved(both, box))], _index(_moved(both, within))
            np.copyto(there, proposed[own], where=np.isin(numbers[own], list(findings)))
        return label

    def predicted(self, case: Case, box: Box, region: str) -> Label | None:
        """The class that is predicted (*box), of a region 1 inside; None where the prediction is not there any more.

        Of an audit by regions what is predicted of all of them becomes class ids as labels do.
        """
        regions = self.review.dataset.regions
        if regions and not region:
            found = [self.predicted(case, box, name) for name in self.review.sources]
            masks = [mask == np.uint8(1) for mask in found if mask is not None]
            return paint(masks, regions) if len(masks) == len(regions) else None
        files = self.prediction_files(case, region)
        if files is None:
            return None
        stamp = _stamp(files.read)
        if files.kept and files.region is None:
            return self.kept.get(("kept", files.read, stamp, box), lambda: self._kept_part(files.read, case, box))
        key = ("predicted", files.read, stamp, region)
        return self.kept.get(key, lambda: self._predicted(files, case, region))[_index(box)]

    def prediction_files(self, case: Case, region: str) -> PredictionFiles | None:
        """The files with a case's prediction, if there are some."""
        audit = self.review.audit
        kept = audit / "predictions" / f"{case.id}.npz"
        source = self.review.sources[region].region if region in self.review.sources else None
        one = None if source is None else OneRegion.of(self.review.dataset, source)
        if kept.is_file():
            return PredictionFiles(inside(audit, kept), kept=True, region=one)
        folder = self._folder
        if folder is None or case.id in folder.missing:
            return None
        files = folder.files(case)
        return PredictionFiles(files.read, files.mask, files.kept, one) if files.read.is_file() else None

    def edit(self, case: Case, hash: str) -> Edit:
        """What was painted in a case, by its hash. Raises DataError as ``read_edit``."""
        return read_edit(self.review.audit, case.id, hash, self.grid(case).shape, len(self.review.dataset.classes))

    def edited(self, case: Case, box: Box, hash: str) -> Label:
        """The given label (*box) with an edit of a reader."""
        edit, label = self.edit(case, hash), self.label(case, box)
        both = _common(edit.box, box)
        if not both:
            return label
        own = _index(_moved(both, edit.box))
        return apply_edit(label, Edit(_moved(both, box), edit.changed[own], edit.label[own]))

    def _label(self, path: Path, dataset: Dataset, region: str, box: Box) -> Label:
        whole = ("label", path, _stamp(path), region)
        found = self.kept.find(whole)
        if found is None and reads_parts(path):
            return self.kept.get((*whole, box), lambda: read_label_part(path, dataset, box))
        if found is None:
            found = self.kept.get(whole, lambda: read_label(path, dataset)[0])
        return found[_index(box)]

    def _kept_part(self, path: Path, case: Case, box: Box) -> Label:
        """The likeliest class of what a network said, which is kept by class on the label's grid."""
        (classes, *shape), _ = arrays.described(path, "probabilities")
        if tuple(shape) != self.grid(case).shape or classes != len(self.review.dataset.classes):
            raise DataError(path, f"holds probabilities of shape {(classes, *shape)}", "Run `debride audit` again.")
        probabilities = arrays.part(path, "probabilities", ((0, classes), *box))
        return _likeliest(probabilities)

    def _predicted(self, files: PredictionFiles, case: Case, region: str) -> Label:
        """The whole of a prediction, in whatever form it is."""
        dataset, grid = self.review.view(region), self.grid(case)
        if not files.mask and files.read.suffix not in (".npz", ".npy") and not files.kept:
            try:
                ids, own = read_predicted(files.read, dataset, case.image[0], may_be_ids=not region)
                return turned(ids, onto_label(Grid(ids.shape, own), files.read, case, grid.shape, grid.geometry))
            except DataError:
                pass  # maps in the form of images
        with arrays.PARSING:  # maps in .npz are read by NumPy itself
            return _likeliest(read_prediction(files, dataset, case, grid.shape, grid.geometry).probability)

    @cached_property
    def _folder(self) -> FolderPredictions | None:
        """The folder of predictions that the audit was by, where it is still there."""
        source = next(iter(self.review.sources.values()), None)
        told = source.record.about.get("predictions") if source else None
        if not isinstance(told, dict) or told.get("source") != "folder" or not isinstance(told.get("folder"), str):
            return None
        folder = Path(told["folder"])
        cases = [self.review.cases[id] for id in self.review.labels if id in self.review.cases]
        try:
            return FolderPredictions(folder, self.review.dataset, cases, missing_ok=True) if folder.is_dir() else None
        except DataError:
            return None


def own_box(box: Box, how: Turn, shape: tuple[int, ...]) -> Box:
    """The box of an array (*S, its ``shape``) that is the given one of the same array ``turned``."""
    ends: list[tuple[int, int]] = [(0, 0)] * len(box)
    for place, (axis, (first, past)) in enumerate(zip(how.order, box, strict=True)):
        length = shape[axis]
        ends[axis] = (length - past, length - first) if place in how.flipped else (first, past)
    return tuple(ends)


def _likeliest(probabilities: Array) -> Label:
    """The class ids (*S) of the largest of K numbers (K, *S)."""
    ids: npt.NDArray[np.intp] = probabilities.argmax(axis=0)
    return ids.astype(np.uint8)


def _label_of(case: Case) -> Path:
    assert case.label is not None, case.id
    return case.label


def _index(box: Box) -> tuple[slice, ...]:
    return tuple(slice(*ends) for ends in box)


def _common(one: Box, other: Box) -> Box | None:
    """What two boxes share; None where that is nothing."""
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return both if all(first < past for first, past in both) else None


def _moved(box: Box, within: Box) -> Box:
    """A box as it lies in another one."""
    return tuple((first - low, past - low) for (first, past), (low, _) in zip(box, within, strict=True))


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells whether a file is still the same; DataError for one that is gone."""
    stats = []
    for file in files_of([path]) if path.suffix not in (".npz", ".npy") else (path,):
        try:
            stat = file.stat()
        except OSError as error:
            raise DataError(file, f"cannot be read ({error.strerror})", "Restore the file, or leave its case out.") from None
        stats += [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    return tuple(stats)
