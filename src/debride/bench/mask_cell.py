"""One cell of a grid for segmentation: corrupt labels or choose their raters, train, and measure on clean test labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from debride.bench.by_case import ByCase, masks_by_case
from debride.bench.calibrated import CalibratedRow, calibrations, held_out, without
from debride.bench.cell_base import (
    BY_CASE,
    CALIBRATED_BY_CASE,
    Cell,
    Finished,
    cell_row,
    corrupted_folder,
    failed_row,
    finished,
    make_job,
    open_clean,
    tidy,
)
from debride.bench.plots import heat, outlines
from debride.bench.report import Picture
from debride.bench.tables import Point, Row, Score, Spread
from debride.calibration.correction import Calibration
from debride.data.cache import Prepared, cache_folder, prepare, resize
from debride.data.cropping import Box, cropped_shape, put_back
from debride.data.masks.annotated import for_training
from debride.data.masks.corrupt import Corrupted, corrupt_dataset
from debride.data.open import reopened, trust
from debride.data.pairs import image_grid, read_label_on
from debride.data.pixels.images import read_image
from debride.data.rater_choice import choose_raters, image_id
from debride.data.same_grid import Grid
from debride.evaluation.mask_metrics import METRICS, case_metrics
from debride.evaluation.summary import Row as CaseRow
from debride.evaluation.summary import dice_by_rater, last_ten, mean_dice, rows_of, summarise
from debride.files import read_json, write_text
from debride.noise import Noise
from debride.records import read_as
from debride.rng import derive
from debride.state import LabelState, saved_files
from debride.training.checkpoint import latest_state
from debride.training.fit import fit
from debride.training.inference import segment, sweep
from debride.training.label_scores import cleansed_labels, merged
from debride.training.trained import Trained
from debride.types import Case, Dataset

PICTURES = 3
"""Test cases and training cases that are shown of each cell."""


@dataclass
class _Measures:
    """Test measures by epoch: Dice, Dice by rater, all that the tables say of the best and the last epoch, and of the last ten
    those of each case."""

    dice: dict[int, float]
    per_rater: dict[int, dict[str, float]]
    scores: dict[int, Score]
    rows: dict[int, list[CaseRow]]
    pixels: dict[str, int]

    def by_case(self, classes: int) -> ByCase:
        """Those of each case, of the last ten epochs as far as they were tested."""
        return masks_by_case([*self.rows.values()], self.pixels, classes)

    def last_ten(self, last: int) -> Spread:
        """Over the ten epochs that end with ``last``, or fewer."""
        epochs = range(max(1, last - 9), last + 1)
        mean, deviation = last_ten([self.dice[epoch] for epoch in epochs])
        raters = self.per_rater[last]
        per_rater = {name: last_ten([self.per_rater[epoch][name] for epoch in epochs])[0] for name in raters}
        return {"dice": mean, "deviation": deviation, "per_rater": per_rater}


def measure_masks(cell: Cell) -> Row:
    """Trains a cell and measures it on the test cases after every epoch that is to be tested."""
    clean = open_clean(cell)
    given, report = _given_labels(cell, clean)
    verified = held_out(given, cell.hold_out_trusted or 1.0, cell.seed)
    learnt = without(given, verified) if cell.hold_out_trusted else given
    job = make_job(cell, learnt, _changed(given, report))
    fit(job)
    done = finished(cell, job)
    measures = _test(clean, done)
    write_text(cell.folder / BY_CASE, json.dumps(measures.by_case(len(clean.classes) - 1)))
    calibrated = _calibrated(cell, clean, given, verified, done) if cell.calibrate else None
    if cell.pictures:
        trained = done.load("last")
        _pictures(cell, clean, given, trained, done.device)
        _state_pictures(cell, clean, learnt, trained, job.out, done.device)
    tidy(job.out, done.marked)
    row = {
        **cell_row(cell, given, done),
        "label_dice": _label_dice(given, report),
        "best": measures.scores.get(done.best) if done.best else None,
        "last": measures.scores[done.last],
        "last_ten": measures.last_ten(done.last) if cell.last_ten else None,
        "curve": [_point(row, measures.dice.get(row["epoch"])) for row in done.metrics],
        **({"calibrated": calibrated} if calibrated else {}),
    }
    return cast("Row", row)


def _calibrated(cell: Cell, clean: Dataset, given: Dataset, verified: Sequence[Case], done: Finished) -> CalibratedRow:
    """The measures after a calibration on verified cases, chosen anew for each epoch that is measured."""
    chosen, last, seconds = calibrations(given, verified, done)
    measures = _test(clean, done, chosen)
    write_text(cell.folder / CALIBRATED_BY_CASE, json.dumps(measures.by_case(len(clean.classes) - 1)))
    return {
        "best": measures.scores.get(done.best) if done.best else None,
        "last": measures.scores[done.last],
        "last_ten": measures.last_ten(done.last) if cell.last_ten else None,
        "kind": last.kind,
        "offsets": list(last.calibration.offsets),
        "shifts": list(last.calibration.shifts),
        "gain": [last.gain.mean, last.gain.low, last.gain.high],
        "seconds": round(seconds, 2),
    }


def _given_labels(cell: Cell, clean: Dataset) -> tuple[Dataset, Corrupted | None]:
    """The data set to train on: by the chosen raters, or corrupted once for all methods with the same noise and seed, with
    what ``noise.json`` says of it. Trusted cases are spared, and validation cases where theirs are to be clean."""
    if cell.raters is not None:
        clean = choose_raters(clean, cell.raters, cell.seed)
    if cell.trusted:
        clean = trust(clean, cell.trusted, cell.seed)
    noise, splits = cell.simulator, cell.corrupted_splits
    if noise is None:
        return clean, None
    assert isinstance(noise, Noise)
    options: dict[str, Any] = {"seed": cell.seed, "share": cell.share, "target_dice": cell.target_dice}
    folder = corrupted_folder(cell, lambda own: corrupt_dataset(clean, own, noise, splits=splits, **options))
    remedy = "Remove this folder and use `resume`: the labels are then corrupted again."
    report = read_as(Corrupted, read_json(folder / "noise.json"), folder / "noise.json", remedy)
    return reopened(clean, folder), report


def given_masks(cell: Cell, clean: Dataset) -> tuple[Dataset, float | None]:
    """The data set that a cell trains on, and the share of pixels whose label is changed (None where raters labelled)."""
    given, report = _given_labels(cell, clean)
    return given, _changed(given, report)


def _label_dice(given: Dataset, report: Corrupted | None) -> float | None:
    """The Dice of the training labels and the clean ones; where raters labelled there are no clean ones."""
    if report:
        return report.overall_dice
    return None if _has_raters(given) else 1.0


def _changed(given: Dataset, report: Corrupted | None) -> float | None:
    """The share of pixels whose label is changed; None where raters labelled."""
    if report:
        return report.overall_changed
    return None if _has_raters(given) else 0.0


def _has_raters(dataset: Dataset) -> bool:
    return any(case.rater for case in dataset.of("train"))


def _test(clean: Dataset, done: Finished, calibrations: Mapping[int, Calibration] | None = None) -> _Measures:
    """Measures a run after each epoch that is to be tested, or that has a calibration where there are any; with distances after
    the marked ones."""
    cases = [case for case in clean.of("test") if case.label]
    raters = {case.id: case.rater for case in cases if case.rater}
    test = prepare(clean, cases, done.load("last").preparation, cache_folder(clean.root))
    measures = _Measures({}, {}, {}, {}, {})
    for epoch in sorted(done.tested if calibrations is None else calibrations):
        rows: list[CaseRow] = []
        calibration = calibrations[epoch] if calibrations else None
        predictions = _predictions(done.load(str(epoch)), test, clean, done.device, calibration)
        for case, predicted, reference, spacing in predictions:
            metrics = case_metrics(predicted, reference, len(clean.classes), spacing, epoch in done.marked)
            rows += rows_of(case, metrics)
            measures.pixels[case.id] = reference.size
        if epoch > done.last - 10:
            measures.rows[epoch] = rows
        measures.dice[epoch] = mean_dice(rows)
        measures.per_rater[epoch] = dice_by_rater(rows, raters)
        if epoch in done.marked:
            measures.scores[epoch] = _score(epoch, rows, measures.per_rater[epoch], clean.classes)
    return measures


def _predictions(
    trained: Trained, test: Prepared, clean: Dataset, device: torch.device, calibration: Calibration | None = None
) -> Iterator[Any]:
    """(case, predicted ids, reference ids, spacing) of labelled cases, in their images' own geometry, after the calibration. An
    image is predicted once, however many raters labelled it."""
    rows: dict[str, list[int]] = {}
    for row, case in enumerate(test.cases):
        rows.setdefault(image_id(case), []).append(row)
    once = np.array([of_image[0] for of_image in rows.values()])
    for swept in sweep(trained.method, test, once, trained.config.patch_size, trained.config.batch_size, device):
        for number, row in enumerate(swept.rows):
            cases = [test.cases[at] for at in rows[image_id(test.cases[row])]]
            predicted: npt.NDArray[np.uint8] | None = None
            for case in cases:
                grid = image_grid(case)
                reference = read_label_on(case, clean, grid)
                if predicted is None:
                    predicted = _ids(swept.probability[number], reference.shape, test.box(int(row)), grid, calibration)
                yield case, predicted, reference, grid.geometry.spacing


def _ids(
    probability: torch.Tensor, shape: tuple[int, ...], box: Box | None, grid: Grid, calibration: Calibration | None
) -> npt.NDArray[np.uint8]:
    if calibration is None:
        return segment(probability, shape, box)
    return calibration.move(segment(calibration.scaled(probability), shape, box), grid.geometry.spacing)


def _score(epoch: int, rows: list[CaseRow], per_rater: dict[str, float], classes: tuple[str, ...]) -> Score:
    *by_class, overall = summarise(rows)
    means = {name: _known(overall.metrics[name].mean) for name, metric in METRICS.items() if metric.bench}
    means["dice"] = mean_dice(rows)
    score = {
        "epoch": epoch,
        **{name: mean for name, mean in means.items() if METRICS[name].unit == "share"},
        "per_class": {classes[s.class_id or 0]: _known(s.metrics["dice"].mean) for s in by_class},
        "per_rater": per_rater,
        **{name: mean for name, mean in means.items() if METRICS[name].unit != "share"},
        "counts": {str(kind): count for kind, count in overall.kinds.items()},
    }
    return cast("Score", score)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _point(row: dict[str, Any], test_dice: float | None) -> Point:
    val = row.get("val", {}).get("dice")
    return {"epoch": row["epoch"], "train_loss": row["train"]["loss"], "val_dice": val, "test_dice": test_dice}


def _pictures(cell: Cell, clean: Dataset, given: Dataset, trained: Trained, device: torch.device) -> None:
    """PNGs of the same few images in every cell: test cases with clean and predicted outlines, training cases with the given
    one too. Beside what a rater gave there is no clean outline."""
    original = {case.id: case for case in clean.cases}
    folder = cell.folder / "pictures"
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        shown = {case.id: case for case in _shown(given.of(split))}
        prepared = prepare(clean, [original[id] for id in shown], trained.preparation, cache_folder(clean.root))
        for case, predicted, reference, _ in _predictions(trained, prepared, clean, device):
            masks = {"predicted": predicted}
            if split == "test" or cell.raters is None:
                masks["clean"] = reference
            if split == "train":
                masks["given"] = _label(shown[case.id], given)
            (folder / f"{split}-{case.id}.png").write_bytes(outlines(read_image(case.image)[0], masks))


def _state_pictures(
    cell: Cell, clean: Dataset, given: Dataset, trained: Trained, run_folder: Path, device: torch.device
) -> None:
    """PNGs of what the method says of the labels after the last epoch, for the training cases that are shown: the label that it
    takes for right, and its maps of the label state; with given and clean outlines, in a folder beside each case's picture."""
    fields, state = trained.method.fields(), latest_state(run_folder)
    if not fields:
        return
    assert state is not None, "a training leaves its state"
    original = {case.id: case for case in clean.cases}
    train = given.of("train")
    prepared = for_training(prepare(given, train, trained.preparation, cache_folder(clean.root)))
    store = LabelState(fields, prepared.shapes, saved_files(state / "labels"), existing=True)
    for case in _shown(train):
        masks = {"given": _label(case, given)}
        if cell.raters is None:
            masks["clean"] = _label(original[case.id], clean)
        folder, row = cell.folder / "pictures" / f"train-{case.id}", np.array([train.index(case)])
        box, shape = prepared.box(int(row[0])), masks["given"].shape
        folder.mkdir(exist_ok=True)
        if trained.method.relabels(trained.method.config):
            (swept,) = sweep(trained.method, prepared, row, trained.config.patch_size, 1, device)
            (right,) = cleansed_labels(trained.method, swept, store)
            cleansed = merged(masks["given"], prepared.label(int(row[0])), right, box, case)
            (folder / "cleansed.png").write_bytes(outlines(read_image(case.image)[0], {**masks, "cleansed": cleansed}))
        for name, values in trained.method.pictured(store, row).items():
            shown = put_back(resize(values.float(), cropped_shape(shape, box))[0].numpy(), box, shape)
            (folder / f"{name}.png").write_bytes(heat(shown, masks))


def _label(case: Case, dataset: Dataset) -> npt.NDArray[np.uint8]:
    return read_label_on(case, dataset, image_grid(case))


def _shown(cases: Sequence[Case]) -> list[Case]:
    """One labelled case of each of a few images, which images depending on their ids only."""
    first = {image_id(case): case for case in reversed(cases) if case.label}
    return [first[id] for id in sorted(first, key=lambda id: derive(0, "picture", id))[:PICTURES]]


def failed_masks(cell: Cell, reason: str) -> Row:
    """The row of a cell that failed."""
    nothing: dict[str, Any] = {"label_dice": None, "best": None, "last": None, "last_ten": None, "curve": []}
    return cast("Row", {**failed_row(cell, reason), **nothing})


def gallery(cells: Sequence[Cell]) -> Iterator[Picture]:
    """The pictures of the first seed of each data set, noise and method; after a case's outlines its maps, named."""
    seen: set[tuple[str, str, str]] = set()
    for cell in cells:
        key = (cell.dataset, cell.noise, cell.name)
        if key in seen:
            continue
        seen.add(key)
        for file in sorted((cell.folder / "pictures").glob("*.png")):
            split, case = file.stem.split("-", 1)
            maps = {picture: f"{picture.stem}, " for picture in sorted(file.with_suffix("").glob("*.png"))}
            for picture, named in {file: "", **maps}.items():
                yield {
                    "dataset": cell.dataset,
                    "noise": cell.noise,
                    "method": cell.name,
                    "seed": cell.seed,
                    "case": case,
                    "png": picture.read_bytes(),
                    "caption": f"{named}{split} case, last epoch",
                }
