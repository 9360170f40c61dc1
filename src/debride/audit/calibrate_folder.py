"""``debride calibrate --predictions``: the bias of predictions in a folder, and masks without it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from debride.audit.predictions.case_files import PredictionFiles, read_prediction
from debride.audit.predictions.nnunet_results import find_predictions
from debride.audit.predictions.sources import FolderPredictions
from debride.audit.tasks import refuse_task
from debride.calibration.bias_record import FILE, Record, plain_record, read_calibration
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.correction import refuse_unknown_spacing
from debride.case_work import CaseWork, case_work, stamp_of
from debride.data.formats.names import name_of
from debride.data.label_regions import refuse_regions
from debride.data.open import with_file_names
from debride.data.pairs import image_grid, one_bit_labels, read_label_on
from debride.data.pixels.images import files_of, label_path, read_header, write_label
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Do, Outcome, Work, affordable, spread
from debride.files import content_hash, write_json
from debride.folders import new_folder
from debride.progress import track
from debride.settings import check_bounds
from debride.training.fitted_bias import PLAIN, Calibrated, fitted_records, warnings_of
from debride.training.verified import Held, verified_cases
from debride.types import Case, DataError, Dataset
from debride.words import some

BYTES = 16
"""What moving a case takes for each class and voxel."""


@dataclass(frozen=True)
class Moved:
    """What was ``calibrated``, how many masks were written, and what is wrong with those that were left out."""

    calibrated: Calibrated
    count: int
    left_out: tuple[DataError, ...] = ()


def calibrate_folder(
    dataset: Dataset,
    source: Path,
    out: Path,
    *,
    config: CalibrationConfig = PLAIN,
    resume: bool = False,
    keep_going: bool = False,
    jobs: int = 1,
) -> Moved:
    """Chooses a calibration on the verified cases of a data set that have a prediction in ``source`` (``FolderPredictions``),
    and writes a calibrated mask of every case that has one to ``out``, with calibration.json.

    Where a prediction is a mask, outlines alone are moved. A mask is named as its prediction, and has the kind and the geometry
    of its image and the raw values of the data set's labels. Verified cases lie in a temporary folder beside ``out`` for as
    long as the calibration is chosen. ``resume``, ``keep_going`` and ``out`` are those of ``predict_folder``. Raises DataError
    for runs, and where no verified case has a prediction.
    """
    check_bounds(config)
    refuse_task(dataset.task, dataset.root)
    refuse_regions(dataset, "calibrating")
    source = find_predictions(source, dataset)
    if (source / "run.json").exists() or any(source.glob("fold-*/run.json")):
        remedy = "Calibrate a run by `debride calibrate RUN DATASET`, which `predict` applies then."
        raise DataError(source, "holds runs, not predictions", remedy)
    apart = {"the data set": dataset.root, "the folder of predictions": source}
    new_folder(out, apart_from=apart, may_go_on=resume, remedy="Choose a new folder, or go on with this one by `resume`.")
    verified = verified_cases(dataset)
    predictions = FolderPredictions(source, dataset, [_bare(case) for case in dataset.cases], missing_ok=True)
    lacking = set(predictions.missing)
    known = [case for case in verified if case.id not in lacking]
    if not known:
        problem = f"has no prediction of the verified {some([case.id for case in verified])}"
        raise DataError(source, problem, "Predict these too, under their names.")
    record, _ = fitted_records(_seen(known, dataset, predictions), dataset.classes, config, known, out)
    warnings = list(warnings_of(known, sum(predictions.seen(case) is True for case in known)))
    if len(known) < len(verified):
        warnings.append(f"{len(verified) - len(known)} of {len(verified)} verified cases have no prediction.")
    named = {name_of(predictions.files(case).read): case for case in dataset.cases if case.id not in lacking}
    items = [(replace(_bare(case), id=name), predictions.files(case)) for name, case in named.items()]
    with_file_names(case for case, _ in items)
    made_by = {
        "dataset": str(dataset.root),
        "predictions": str(source.resolve()),
        "calibration": content_hash([], record.calibration),
    }
    with case_work(out, made_by, resume=resume, keep_going=keep_going) as work:
        write_json(out / FILE, plain_record(record))
        _move_all(work, items, dataset, record, jobs)
    left_out = tuple(work.left_out.values())
    return Moved(Calibrated(record, warnings=tuple(warnings)), len(items) - len(left_out), left_out)


def _bare(case: Case) -> Case:
    """A case whose prediction is to lie as its image, whatever label it has."""
    return replace(case, label=None)


def _seen(cases: Sequence[Case], dataset: Dataset, predictions: FolderPredictions) -> Iterator[Held]:
    for case in cases:
        grid = image_grid(case)
        found = predictions.of(_bare(case), grid.shape, grid.geometry)
        label = read_label_on(case, dataset, grid)
        yield Held(case.id, case.patient, found.probability, label, grid.geometry.spacing, found.hard)


def _move_all(
    work: CaseWork, items: Sequence[tuple[Case, PredictionFiles]], dataset: Dataset, record: Record, jobs: int
) -> None:
    """Writes the masks of cases that are not done."""
    stamps: dict[str, str | DataError] = {}
    header = read_header(items[0][0].image[0])
    jobs = affordable(jobs, BYTES * len(dataset.classes) * math.prod(header.shape))
    setup = {
        "dataset": plain_dataset(dataset),
        "calibration": asdict(record.calibration),
        "one_bit": one_bit_labels(dataset.cases),
        "out": str(work.folder),
    }
    with (
        track("writing masks", len(items)) as show,
        spread(Work(begin_moving, setup), _to_do(items, work, stamps), jobs=jobs, name=_name) as outcomes,
    ):
        for number, ((case, _), outcome) in enumerate(zip(items, outcomes, strict=True)):
            stamp = stamps.pop(case.id)
            unread = Outcome(error=stamp) if isinstance(stamp, DataError) else outcome
            files: list[str] | None = work.attempt(case.id, unread.value)
            if files is not None:
                work.done(case.id, str(stamp), [work.folder / name for name in files])
            show(number + 1)


def _to_do(
    items: Sequence[tuple[Case, PredictionFiles]], work: CaseWork, stamps: dict[str, str | DataError]
) -> Iterator[dict[str, Any] | None]:
    """The cases as plain JSON, None for those that are done or cannot be read, which ``stamps`` then says."""
    for case, files in items:
        try:
            parts = [path for path in (files.read, files.mask) if path]
            stamp = stamps[case.id] = stamp_of([*files_of(case.image), *parts])
            yield None if work.is_done(case.id, stamp) else {"case": plain_case(case), "prediction": files.plain()}
        except DataError as error:
            stamps[case.id] = error
            yield None


def _name(item: Any) -> str:
    return str(item["prediction"]["read"]) if item else "a case"


def begin_moving(setup: Mapping[str, Any]) -> Do:
    """What writes the calibrated mask of a case, and returns its files' names, by {"dataset", "calibration", "one_bit",
    "out"}."""
    dataset, out = dataset_of(setup["dataset"]), Path(setup["out"])
    calibration = read_calibration(setup["calibration"], "the calibration")

    def move(item: dict[str, Any] | None) -> list[str] | None:
        if item is None:
            return None
        case, files = case_of(item["case"]), PredictionFiles.from_plain(item["prediction"])
        grid, image = image_grid(case), case.image[0]
        refuse_unknown_spacing(calibration, grid.geometry.spacing, image, "calibrate without `shifts`")
        found = read_prediction(files, dataset, case, grid.shape, grid.geometry)
        ids = calibration.apply(found.probability, grid.geometry.spacing)
        path = write_label(label_path(out, case.id, image), ids, dataset, grid.geometry, image, setup["one_bit"])
        return [file.name for file in files_of([path])]

    return move
