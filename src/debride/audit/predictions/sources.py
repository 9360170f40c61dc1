"""What a network says of the cases whose labels are audited: from a folder of masks or probabilities, or from runs of ours."""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from debride.audit.predictions.case_files import Prediction, PredictionFiles, onto_label, read_prediction
from debride.audit.predictions.nnunet_results import MAPS, SOME_FOLD, lacking, prediction_folders, predictions_in
from debride.audit.tasks import refuse_task
from debride.case_work import stamp_of
from debride.data.formats.names import name_of
from debride.data.pairs import image_grid
from debride.data.pixels import find_pixels
from debride.data.pixels.images import files_of, suffix
from debride.data.plain import region_of
from debride.data.rater_choice import image_id
from debride.data.same_grid import turned
from debride.execute.cluster import cluster_in_use
from debride.files import content_hash, read_json
from debride.plugins import NOTHING, Trust
from debride.records import read_as
from debride.spawning import refuse_script
from debride.types import Case, DataError, Dataset, Geometry
from debride.words import some

if TYPE_CHECKING:
    from debride.training.trained import Trained

NOTE = "predictions.json"
"""An optional file of a folder of predictions: {"trained_on": [case ids]}."""


@dataclass(frozen=True)
class Note:
    """What predictions.json holds: the ids of the cases whose labels the network was trained on."""

    trained_on: tuple[str, ...]


class Predictions(Protocol):
    """Predictions of a data set's cases, one case at a time; ``about`` says for ``audit.json`` what they are."""

    about: dict[str, Any]

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case whose label has this shape and geometry. Raises DataError naming the file."""

    def files(self, case: Case) -> PredictionFiles | None:
        """The files that hold the prediction of a case; None of a case without any, which is audited without."""

    def stamp(self, case: Case) -> str:
        """Tells whether the prediction of a case is still the same."""

    def make(self, cases: Sequence[Case]) -> None:
        """Sees to it that the files of these cases are there."""

    def seen(self, case: Case) -> bool | None:
        """Whether the network was trained on a label of the case's image; None where that cannot be told."""

    def seen_patient(self, case: Case) -> bool | None:
        """Whether the network was trained on another image of the case's patient; None where that cannot be told."""


class FolderPredictions:
    """Masks or probability maps in files named by case, or by image where several raters labelled it.

    Read are masks as ``read_predicted`` reads them; maps as .npy (K, *S); .npz of nnU-Net; and NIfTI (x, y, z, K). Where a case
    has a map and a mask, the map is used and the mask tells its geometry. The folder may also be nnU-Net's of a trained
    configuration: then each case is taken from the ``fold_X/validation`` that has it. A file predictions.json may tell what the
    network was trained on: {"trained_on": [case ids]}. Raises DataError for a case with several files, and unless
    ``missing_ok`` for ``cases`` (default: all with a label) without any; their ids are then in ``missing``.
    """

    about: dict[str, Any]

    def __init__(
        self, folder: Path, dataset: Dataset, cases: Sequence[Case] | None = None, *, missing_ok: bool = False
    ) -> None:
        cases = [case for case in dataset.cases if case.label] if cases is None else cases
        sources = prediction_folders(folder)
        files: dict[str, list[Path]] = defaultdict(list)
        fold_of: dict[str, str | None] = {}
        for fold, source in sources:
            for path in predictions_in(source):
                name = name_of(path)
                if fold_of.setdefault(name, fold) != fold:
                    where = f"{files[name][0].parent} and {path.parent}"
                    raise DataError(where, f"both predict the case {name}", "Give the folder of one of them.")
                files[name].append(path)
        self.folder, self._dataset = folder, dataset
        names = {case.id: case.id if case.id in files else image_id(case) for case in cases}
        self.missing = tuple(case.id for case in cases if names[case.id] not in files)
        used = {names[case.id] for case in cases}
        extra = [name for name in files if name not in used]
        if self.missing and not (missing_ok and len(self.missing) < len(cases)):
            strangers = f"; {len(extra)} others belong to no case ({some(extra)})" if extra else ""
            problem = f"has no prediction for {len(self.missing)} of {len(cases)} cases ({some(self.missing)}){strangers}"
            remedy = (
                "Predict these too, under their names, choose the splits that are predicted, or leave them out by `partial`."
            )
            if len(self.missing) == len(cases):
                remedy = f"Give the folder whose files are named by the cases, such as {cases[0].id}."
            elif unvalidated := lacking(folder, self.missing, dataset):
                problem += f": {unvalidated.why}"
                remedy = f"Run {unvalidated.commands}, or leave these cases out by `partial`."
            raise DataError(folder, problem, remedy)
        self._files = {case: _chosen(files[name]) for case, name in names.items() if name in files}
        self._fold = {case: fold_of[name] for case, name in names.items() if name in files}
        self._patient_folds: dict[str, set[str | None]] = defaultdict(set)
        for case in cases:
            if case.id in self._fold:
                self._patient_folds[case.patient].add(self._fold[case.id])
        self._trained = _Trained(_noted(folder / NOTE), dataset)
        self.about = {
            "source": "folder",
            "folder": str(folder.resolve()),
            "files": dict(Counter(suffix(files.read) for files in self._files.values())),
            "folds": sorted({fold for fold in self._fold.values() if fold}),
            "missing": len(self.missing),
            "of_no_case": len(extra),
        }

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case, checked against its label's shape and geometry."""
        if case.id not in self._files:
            raise DataError(self.folder, f"has no prediction for the case {case.id}", "Predict it too, or leave it out.")
        return read_prediction(self._files[case.id], self._dataset, case, shape, geometry)

    def files(self, case: Case) -> PredictionFiles:
        """The file that is read of a case, and the mask beside a map."""
        return self._files[case.id]

    def stamp(self, case: Case) -> str:
        """By name, size and date of its files."""
        files = self._files[case.id]
        return stamp_of(part for path in (files.read, files.mask) if path for part in _parts(path))

    def make(self, cases: Sequence[Case]) -> None:
        """All are there."""

    def seen(self, case: Case) -> bool | None:
        """False for a case of nnU-Net's cross-validation, True in ``fold_all``; else as predictions.json says."""
        fold = self._fold.get(case.id)
        return self._trained.on(case) if fold is None else fold == "all"

    def seen_patient(self, case: Case) -> bool | None:
        """In a cross-validation, whether the patient has a case in another fold, on which the network was trained; None where
        the folds of the cases are not known."""
        fold = self._fold.get(case.id)
        if fold is None:
            return self._trained.on_patient(case)
        return None if fold in (SOME_FOLD, "all") else len(self._patient_folds[case.patient]) > 1


class RunPredictions:
    """Networks of finished runs, by case id: those of a cross-validation, or one for all cases.

    One network is in memory at a time: cases should be asked for run by run, as ``order`` sorts them. Raises DataError for a
    run that was not trained for segmentation with the data set's classes.
    """

    about: dict[str, Any]

    def __init__(
        self,
        run_of_case: Mapping[str, Path],
        dataset: Dataset,
        device: str,
        checkpoint: str = "last",
        trust: Trust = NOTHING,
    ) -> None:
        from debride.training.description import read_description
        from debride.training.launch import choose_device
        from debride.training.predict import trained_on

        if not cluster_in_use():  # where jobs predict they have devices of their own
            choose_device(device)
        self._trust = trust
        self._runs, self._dataset, self._device, self._checkpoint = dict(run_of_case), dataset, device, checkpoint
        self._loaded: tuple[Path, Trained] | None = None
        self._weights: dict[Path, str] = {}
        folders = list(dict.fromkeys(self._runs.values()))
        described = {run_folder: read_description(run_folder / "run.json") for run_folder in folders}
        for run_folder, description in described.items():
            _same_classes(run_folder, description, dataset)
        self._trained = {run_folder: _Trained(trained_on(run_folder, checkpoint), dataset) for run_folder in folders}
        self.about = {
            "source": "runs",
            "runs": [str(run_folder.resolve()) for run_folder in folders],
            "checkpoint": checkpoint,
            "methods": sorted({str(description["method"]) for description in described.values()}),
            "networks": sorted({str(description["training"].get("network")) for description in described.values()}),
            "versions": next((description["versions"] for description in described.values()), {}),
        }

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """The prediction of a case by its run's network, turned to lie as the label where the image lies otherwise.

        Of a run on regions it has their maps (R, *S), as ``RegionPredictions`` takes them.
        """
        import torch

        from debride.training.launch import choose_device
        from debride.training.predict import load_run
        from debride.training.predict_masks import predict_whole

        run_folder, device = self._run(case), torch.device(choose_device(self._device))
        if self._loaded is None or self._loaded[0] != run_folder:
            self._loaded = None  # the last network goes before the next one comes
            gc.collect()
            self._loaded = run_folder, load_run(run_folder, self._checkpoint, device, self._trust)
        how = onto_label(image_grid(case), case.image[0], case, shape, geometry)
        return Prediction(turned(predict_whole(self._loaded[1], case, device), how), False)

    def made_by(self, case: Case) -> str:
        """A hash of the weights that predict a case."""
        from debride.training.checkpoint import weights_file

        run_folder = self._run(case)
        if run_folder not in self._weights:
            self._weights[run_folder] = content_hash([weights_file(run_folder, self._checkpoint)])
        return self._weights[run_folder]

    def order(self, cases: Sequence[Case]) -> list[Case]:
        """The cases grouped by run."""
        place = {run_folder: at for at, run_folder in enumerate(dict.fromkeys(self._runs.values()))}
        return sorted(cases, key=lambda case: place[self._run(case)])

    def plain(self, cases: Sequence[Case]) -> dict[str, Any]:
        """As plain JSON, for jobs of a cluster that predict these cases by ``from_plain``."""
        refuse_script(*self._trust.named)
        return {
            "runs": {case.id: str(self._run(case)) for case in cases},
            "device": self._device,
            "checkpoint": self._checkpoint,
            "trust": [self._trust.everything, sorted(self._trust.named)],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], dataset: Dataset) -> RunPredictions:
        """What ``plain`` made."""
        everything, named = plain["trust"]
        runs = {case: Path(run) for case, run in plain["runs"].items()}
        return cls(runs, dataset, plain["device"], plain["checkpoint"], Trust(everything, frozenset(named)))

    def seen(self, case: Case) -> bool | None:
        """Whether the case's run was trained on a label of its image."""
        return self._trained[self._run(case)].on(case)

    def seen_patient(self, case: Case) -> bool | None:
        """Whether the case's run was trained on another image of its patient."""
        return self._trained[self._run(case)].on_patient(case)

    def _run(self, case: Case) -> Path:
        if case.id not in self._runs:
            raise DataError(f"case {case.id}", "has no run that predicts it", "Leave it out, or train again with it.")
        return self._runs[case.id]


def open_predictions(
    source: Path,
    dataset: Dataset,
    cases: Sequence[Case],
    *,
    device: str = "auto",
    checkpoint: str = "last",
    missing_ok: bool = False,
    trust: Trust = NOTHING,
) -> FolderPredictions | RunPredictions:
    """The predictions in ``source``: a run, a folder of the runs of a cross-validation (each case by one that was not trained
    on it, if there is one), or else a folder of files (``FolderPredictions``). ``trust`` says which code runs may name."""
    if (source / "run.json").exists():
        run_folders = [source]
    else:
        run_folders = sorted(
            (file.parent for file in source.glob("fold-*/run.json")),
            key=lambda run_folder: (len(run_folder.name), run_folder.name),
        )
    if not run_folders:
        return FolderPredictions(source, dataset, cases, missing_ok=missing_ok)
    from debride.training.predict import trained_on

    trained = {run_folder: _Trained(trained_on(run_folder, checkpoint), dataset) for run_folder in run_folders}
    chosen = {case.id: min(run_folders, key=lambda run_folder: trained[run_folder].closeness(case)) for case in cases}
    return RunPredictions(chosen, dataset, device, checkpoint, trust)


def warn_seen(predictions: Predictions, cases: Sequence[Case]) -> str | None:
    """What is to be said of cases whose labels the network may have learnt, errors and all; None if there is nothing."""
    counts = Counter(predictions.seen(case) for case in cases)
    of_patient = sum(predictions.seen(case) is False and predictions.seen_patient(case) is True for case in cases)
    sentences = []
    if counts[True]:
        sentences.append(
            f"The network was trained on the labels of {counts[True]} of these {len(cases)} cases: where it has learnt their "
            "errors it does not find them. Audit with predictions of a cross-validation."
        )
    if counts[None]:
        sentences.append(
            f"Nothing tells whether the network was trained on the labels of {counts[None]} of these {len(cases)} cases. If it "
            "was, it may have learnt their errors, and finds fewer: predictions of a cross-validation are better."
        )
    if of_patient:
        sentences.append(
            f"For {of_patient} of these {len(cases)} cases the network was trained on another image of the same patient, and "
            "may have learnt errors that they share."
        )
    return " ".join(sentences) or None


class _Trained:
    """The cases of a training by id (None: not known), as a data set's cases are met with them."""

    def __init__(self, ids: Sequence[str] | None, dataset: Dataset) -> None:
        self._known = ids is not None
        images = {case.id: image_id(case) for case in dataset.cases}
        rated = {images[case.id] for case in dataset.cases if case.rater}
        self._images = {images[id] if id in images else _image_of(id, rated) for id in ids or ()} | set(ids or ())
        self._by_patient: dict[str, set[str]] = defaultdict(set)
        for case in dataset.cases:
            if images[case.id] in self._images:
                self._by_patient[case.patient].add(images[case.id])

    def on(self, case: Case) -> bool | None:
        """Whether a label of the case's image was trained on."""
        return (case.id in self._images or image_id(case) in self._images) if self._known else None

    def on_patient(self, case: Case) -> bool | None:
        """Whether another image of the case's patient was trained on."""
        trained = self._by_patient.get(case.patient, set())
        return len(trained) > (image_id(case) in trained) if self._known else None

    def closeness(self, case: Case) -> tuple[bool, bool]:
        """Smaller for a training that knows less of a case: nothing of its label, then nothing of its patient."""
        return self.on(case) is not False, self.on_patient(case) is not False


def _image_of(id: str, rated: Collection[str]) -> str:
    """The image of a training case that the data set does not have: of another rater, if the image is ``rated`` by some."""
    image = id.rpartition("@")[0]
    return image if image in rated else id


def _parts(path: Path) -> tuple[Path, ...]:
    """A file and all that belong to it."""
    return (path,) if suffix(path) in MAPS else files_of([path])


def _chosen(paths: Sequence[Path]) -> PredictionFiles:
    """The file of a case that is read, and where it is a map the mask beside it."""
    maps = [path for path in paths if suffix(path) in MAPS]
    pictures = [path for path in paths if suffix(path) not in MAPS]
    masks = [path for path in pictures if not find_pixels(path).lossy] or ([] if maps else pictures)
    for same in (maps, masks):
        if len(same) > 1:
            raise DataError(same[1], f"predicts the same case as {same[0].name}", "Keep one of the two.")
    return PredictionFiles(maps[0], masks[0] if masks else None) if maps else PredictionFiles(masks[0])


def _noted(path: Path) -> tuple[str, ...] | None:
    """The cases that a folder's predictions.json says its network was trained on."""
    if not path.exists() and not path.is_symlink():
        return None
    return read_as(Note, read_json(path), path, 'Write {"trained_on": ["case1", "case2"]}.').trained_on


def _same_classes(run_folder: Path, description: dict[str, Any], dataset: Dataset) -> None:
    """Refuses a run for another task, or with other classes or regions than the data set's. Of a data set with regions one of
    its classes will do: those of a region are added up."""
    from debride.training.description import refuse_other_classes, task_name

    where = run_folder / "run.json"
    regions = tuple(map(region_of, description.get("regions", ())))
    if regions and regions != dataset.regions:
        trained, own = (", ".join(region.name for region in each) for each in (regions, dataset.regions))
        problem = f"was trained on the regions {trained}, the data set has {own or 'none'}"
        raise DataError(where, problem, "Give a run with the same regions of the same classes in the same order.")
    if not regions:
        refuse_task(task_name(description), where)
    refuse_other_classes(where, description, dataset)
