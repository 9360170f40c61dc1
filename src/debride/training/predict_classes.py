"""``debride predict`` for classification: a finished run, applied to images, as one table of probabilities."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from debride.case_work import CaseWork, case_work
from debride.data.cache import cache_folder
from debride.data.cache_entry import mapped
from debride.data.classes.class_cache import PreparedClasses, prepare_classes
from debride.data.classes.eight_bits import image_sizes, working_size
from debride.data.formats.image_folders import by_stem
from debride.data.open import dataset_or_images, nothing_to_predict, stop
from debride.data.pixels.images import read_image
from debride.evaluation.class_predictions import FILE, write_predictions
from debride.progress import track
from debride.training.class_sweep import SWEPT, sweep_classes
from debride.training.description import read_description
from debride.training.ensemble import averaged
from debride.training.trained import Predicted, Request, Trained
from debride.types import IGNORE, Case, DataError, Dataset


def predict_classes(trained: Trained, source: Path, out: Path, request: Request, device: torch.device) -> Predicted:
    """Writes ``predictions.csv`` to ``out`` with a line for every image of a data set's ``splits`` (its test cases, or all if
    it has none) or of a folder.

    Images are read and predicted batch by batch, resized to the size that was trained on; what that changed is said on standard
    error.
    """
    if request.probabilities or request.largest_component:
        refused = "probabilities" if request.probabilities else "largest_component"
        raise DataError(f"`{refused}`", "is for masks", "Leave it out: the table of predictions holds all probabilities.")
    cases = _cases(source, request)
    if not cases:
        raise nothing_to_predict(source, "classification")
    with case_work(out, request.made_by, resume=request.resume, keep_going=request.keep_going) as work:
        prepared = work.attempt("", lambda: _prepared(trained, cases, source))
        if prepared is None:  # something cannot be read: all but that is predicted
            work.left_out.clear()
            cases = _readable(cases, work, trained.channels)
            prepared = _prepared(trained, cases, source)
        _refuse_channels(trained, prepared, source)
        ids = [case.id for case in cases]
        with track("predicting", len(cases)) as show:
            write_predictions(out / FILE, ids, _probabilities(trained, prepared, request, device, show), trained.labels.classes)
    return Predicted(len(cases), tuple(work.left_out.values()))


def predict_verified(
    trained: Trained, dataset: Dataset, cases: Sequence[Case], device: torch.device
) -> npt.NDArray[np.float32]:
    """Probabilities (N, K) of cases of a data set, without a calibration."""
    prepared = _prepared(trained, cases, dataset.root)
    _refuse_channels(trained, prepared, dataset.root)
    with track("predicting", len(cases)) as show:
        return np.concatenate([*_probabilities(trained, prepared, Request(), device, show)])


def _refuse_channels(trained: Trained, prepared: PreparedClasses, source: Path) -> None:
    if prepared.channels != trained.channels:
        problem = f"holds images of {prepared.channels} channels, the network was trained on {trained.channels}"
        raise DataError(source, problem, "Give the same channels.")


def _prepared(trained: Trained, cases: Sequence[Case], source: Path) -> PreparedClasses:
    size, note = resizing(trained, cases)
    if note:
        sys.stderr.write(f"debride: {note}\n")
    with track("preparing images", len(cases)) as show:
        return prepare_classes(cases, size, cache_folder(source), lambda done, _: show(done))


def _readable(cases: Sequence[Case], work: CaseWork, channels: int) -> tuple[Case, ...]:
    """The cases whose images can be read; the others are left out. Raises DataError where none is left, and for images that lie
    in one file."""

    def read(case: Case) -> Case:
        if case.row is None and len(working_size(read_image(case.image)[0], case.image[0])) != channels:
            raise DataError(case.image[0], f"has other channels than the {channels} trained on", "Give the same channels.")
        return case

    kept = [case for case in cases if work.attempt(case.id, functools.partial(read, case))]
    if not kept:
        raise next(iter(work.left_out.values()))
    return tuple(kept)


def resizing(trained: Trained, cases: Sequence[Case]) -> tuple[tuple[int, ...] | None, str | None]:
    """The size (H, W) that images must be resized to, that of the images trained on, and what is to be said of it: how many
    are. None for what is not needed."""
    size = tuple(map(int, read_description(trained.labels.root / "run.json")["working_size"]))
    resized = sum(count for own, count in image_sizes(cases).items() if own != size)
    if not resized:
        return trained.config.image_size, None
    shown = "x".join(map(str, size))
    return size, f"{resized} of {len(cases)} images are resized to {shown}, the size of the images trained on."


def _probabilities(
    trained: Trained, prepared: PreparedClasses, request: Request, device: torch.device, show: Callable[[int], None]
) -> Iterator[npt.NDArray[np.float32]]:
    starts = range(0, len(prepared), SWEPT)
    items = ({"image": [str(prepared.file)], "rows": [start, min(start + SWEPT, len(prepared))]} for start in starts)
    with request.outcomes(classes_of(trained, device), items, len(starts)) as outcomes:
        for start, outcome in zip(starts, outcomes, strict=True):
            probability = np.array(outcome.value(), np.float32)
            if trained.calibration:
                probability = trained.calibration.weighed(probability.T).T
            show(start + len(probability))
            yield probability


def classes_of(trained: Trained, device: torch.device) -> Callable[[dict[str, Any]], list[list[float]]]:
    """What gives the probabilities (B, K) of "rows", from one to before another, of the array of images in a file, "image"."""

    def predict(item: dict[str, Any]) -> list[list[float]]:
        (file,), (start, stop) = item["image"], item["rows"]
        part = images_of_file(Path(file))
        members = trained.members or (trained,)
        probability: list[list[float]] = averaged(of_run(member, part, np.arange(start, stop)) for member in members).tolist()
        return probability

    def of_run(run: Trained, part: PreparedClasses, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """What one run gives, on the CPU: one of several after its own calibration."""
        (swept,) = sweep_classes(run.method, part, rows, device)
        probability = swept.probability.cpu()
        if trained.members and run.calibration:
            probability = run.calibration.weighed(probability.T).T
        return probability

    return predict


def images_of_file(file: Path) -> PreparedClasses:
    """The prepared images of a file, without their classes. Raises DataError where this machine does not see it."""
    if not file.exists():
        remedy = "Put the cache on a disk that all machines share, by $DEBRIDE_CACHE."
        raise DataError(file, "is not there: it was removed, or another machine has made it", remedy)
    images = mapped(file)
    return PreparedClasses((), images.shape[1], images.shape[2:], file, np.full(len(images), IGNORE, np.int64))


def _cases(source: Path, request: Request) -> tuple[Case, ...]:
    held = request.dataset or dataset_or_images(source, "classification", request.open_options)
    if isinstance(held, Dataset):
        return held.of(*request.splits) if request.splits else held.of("test") or held.cases
    files = by_stem(held, stop)
    return tuple(Case(name, (file,), None, name) for name, file in files.items())
