"""Where nnU-Net keeps predictions of cases that a network has not seen, and which of them are meant.

nnUNet_results/Dataset101_Heart/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/validation/CASE.nii.gz, CASE.npz
                                                                      /crossval_results_folds_0_1_2_3_4/CASE.nii.gz
                               /ensembles/ensemble___A___B___0_1_2_3_4/CASE.nii.gz
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from debride.data.formats.names import name_of
from debride.data.pixels import is_hidden, suffix
from debride.data.pixels.images import is_image
from debride.data.rater_choice import image_id
from debride.files import read_json
from debride.notes import note
from debride.types import DataError, Dataset
from debride.words import listed, some

RESULTS, PREPROCESSED = "nnUNet_results", "nnUNet_preprocessed"
"""The variables of the environment by which nnU-Net's commands find their folders."""

MAPS = (".npy", ".npz")
"""Endings of files that hold arrays of probabilities."""

SOME_FOLD = "some"
"""Stands for the fold of a case in nnU-Net's collected cross-validation, which does not say which."""

ALL = "all"
"""The fold of nnU-Net that is trained on every case."""

FOLDS = 5
"""Folds of nnU-Net where no splits_final.json says how many."""

_FOLD = re.compile(r"fold_(\d+|all)")
_COLLECTED = re.compile(r"crossval_results_folds_[\d_]+")
"""The folder in which nnU-Net v2 brings the validation predictions of its folds together."""
_ENSEMBLE = re.compile(r"ensemble___.+___[\d_]+")
"""The folder in which nnU-Net v2 keeps those of two networks, averaged fold by fold."""
_VALIDATION = ("validation", "validation_raw")
"""Where nnU-Net v2 and v1 write the predictions of a fold's own cases."""
_DATASET = re.compile(r"Dataset(\d{3,})_.+")
_ID = re.compile(r"\d{1,5}|Dataset\d{3,}_[^/\\]+")
_SEVERAL = "Give one of these folders."


@dataclass(frozen=True)
class Place:
    """A ``folder`` with predictions of one network, or of an ensemble: the ``folds`` that wrote them, and the names of the
    ``cases``, and of those among them that have a map of probabilities (``mapped``)."""

    folder: Path
    folds: tuple[str, ...]
    cases: frozenset[str]
    mapped: frozenset[str]

    def told(self, dataset: Dataset) -> str:
        """What it has for a data set, as a message lists it."""
        own = _names(dataset)
        cases = len(self.cases & own)
        newest = max(file.stat().st_mtime for _, part in prediction_folders(self.folder) for file in predictions_in(part))
        date = datetime.fromtimestamp(newest, UTC).date()
        maps = "with probabilities" if self.mapped >= self.cases & own else "masks alone" if not self.mapped else "some maps"
        folds = f"fold{'s' if len(self.folds) > 1 else ''} {listed(self.folds)}" if self.folds else "folds together"
        trained = ", trained on all cases" if self.folds == (ALL,) else ""
        return f"{self.folder} ({folds}{trained}, {cases} of {len(own)} cases, {date}, {maps})"


@dataclass(frozen=True)
class Unvalidated:
    """Folds without predictions: in words ``why``, and the ``commands`` that make them."""

    why: str
    commands: str


def is_prediction(path: Path) -> bool:
    """Whether a file may hold the prediction of a case."""
    return (is_image(path) or suffix(path) in MAPS) and not is_hidden(path) and path.is_file()


def predictions_in(folder: Path) -> list[Path]:
    """The files of a folder that may hold predictions, by name."""
    return sorted(path for path in folder.iterdir() if is_prediction(path))


def prediction_folders(folder: Path) -> list[tuple[str | None, Path]]:
    """The folders that hold predictions, each with the nnU-Net fold that wrote it: its number, "all" for a network trained on
    all cases, ``SOME_FOLD``, or None where it is no cross-validation of nnU-Net.

    They are the ``fold_X/validation`` of a trained configuration, or of one fold, or else the folder itself. Where a
    configuration has numbered folds, ``fold_all`` is left out: it was trained on what it predicts.
    """
    if not folder.is_dir():
        raise DataError(folder, "is no folder", "Give a folder of predictions, or of a run.")
    resolved = folder.resolve()
    folds = [(match[1], part) for part in (*sorted(resolved.iterdir()), resolved) if (match := _FOLD.fullmatch(part.name))]
    inner = ((fold, [part / name for name in _VALIDATION if (part / name).is_dir()]) for fold, part in folds)
    chosen: list[tuple[str | None, Path]] = [(fold, folders[0]) for fold, folders in inner if folders]
    if any(fold != ALL for fold, _ in chosen) and any(fold == ALL for fold, _ in chosen):
        note(folder / "fold_all", "is left out, as it was trained on all cases")
        chosen = [(fold, part) for fold, part in chosen if fold != ALL]
    if chosen:
        return chosen
    if resolved.name in _VALIDATION and (match := _FOLD.fullmatch(resolved.parent.name)):
        return [(match[1], folder)]
    named = resolved.parent if resolved.name == "postprocessed" else resolved
    return [(SOME_FOLD if _COLLECTED.fullmatch(named.name) or _ENSEMBLE.fullmatch(named.name) else None, folder)]


def find_predictions(given: Path, dataset: Dataset) -> Path:
    """The folder of predictions that is meant by a folder of nnU-Net's, or by an id of a data set as its commands take it.

    An id is looked up in the environment's nnUNet_results. Of that folder the data set of the same name is taken, and of a data
    set the only network with predictions, or what notes say. Another folder is returned as it is. Raises DataError with a list
    where there are several, and with the command that makes predictions where there are none.
    """
    folder = _by_id(given, dataset) if _is_id(given) else given
    if not folder.is_dir():
        return folder
    if folder.resolve() == dataset.root.resolve():
        problem = "is the data set itself, not a folder of predictions"
        raise DataError(folder, problem, "Give the folder in nnUNet_results, or the data set's number.")
    if names := _data_sets(folder):
        folder = _own(folder, names, dataset)
    configurations = _configurations(folder)
    if configurations or (folder / "ensembles").is_dir():
        folder = _only(folder, configurations, dataset)
    elif _is_configuration(folder):
        folder = _of_configuration(folder, dataset)
    if folder != given:
        note(given, f"is taken for {folder}: no other network there has predictions")
    if place := _place(folder):
        _say_what_it_lacks(place, dataset)
    return folder


def lacking(folder: Path, missing: Collection[str], dataset: Dataset) -> Unvalidated | None:
    """Which folds of a configuration are not validated, of whose cases some are ``missing``; None of another folder, or where
    there is no such fold."""
    if not _is_configuration(folder):
        return None
    known = _splits(folder, dataset)
    there = {fold for fold, _ in prediction_folders(folder)}
    absent = [str(number) for number in range(len(known) if known else FOLDS) if str(number) not in there]
    own = {fold: [name for name in sorted(missing) if known and name in known[int(fold)]] for fold in absent}
    said = [f"fold {fold} {_state(folder, fold)}" + (f" ({some(own[fold])})" if own[fold] else "") for fold in absent]
    return Unvalidated("; ".join(said), listed(_command(folder, fold) for fold in absent)) if absent else None


def _is_id(given: Path) -> bool:
    """Whether a path is written as an id; one that is also a folder here is the folder."""
    if str(given) != given.name or not _ID.fullmatch(given.name):
        return False
    if given.is_dir():
        results = os.environ.get(RESULTS, "")
        if results and _with_id(Path(results), given.name):
            note(given, "is a folder here, and is taken for that rather than for an id of nnU-Net's")
        return False
    return True


def _by_id(given: Path, dataset: Dataset) -> Path:
    """The folder of a data set in nnUNet_results."""
    results = os.environ.get(RESULTS, "")
    if not results:
        problem = f"has no folder {given}, and nnUNet_results, where an id is looked up, is not set"
        raise DataError("`predictions`", problem, "Give a folder, or set nnUNet_results as for nnU-Net's commands.")
    root = Path(results)
    found = _with_id(root, given.name)
    if not found:
        there = some([path.name for path in _data_sets(root)], 10) if root.is_dir() else ""
        problem = f"holds no data set {given}" + (f", but {there}" if there else "")
        raise DataError(root, problem, "Give one that is there, or check the environment's nnUNet_results.")
    if len(found) > 1:
        raise DataError(root, f"holds several: {listed(path.name for path in found)}", "Give the whole name.")
    return found[0]


def _with_id(root: Path, id: str) -> list[Path]:
    """The folders of data sets with an id (a number, or the whole name) in a folder of results."""
    number = int(id) if id.isdecimal() else None
    return [path for path in _data_sets(root) if path.name == id or _number(path) == number]


def _number(path: Path) -> int:
    match = _DATASET.fullmatch(path.name)
    assert match is not None, path
    return int(match[1])


def _data_sets(folder: Path) -> list[Path]:
    """The folders in it that are named as data sets of nnU-Net."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inside if _DATASET.fullmatch(path.name) and path.is_dir()]


def _own(results: Path, there: Sequence[Path], dataset: Dataset) -> Path:
    """The folder of this data set among those of a folder of results."""
    names = {dataset.root.name, dataset.root.resolve().name}
    own = [path for path in there if path.name in names]
    if not own:
        problem = f"holds no data set named {dataset.root.name}, but {some([path.name for path in there], 10)}"
        raise DataError(results, problem, "Give the folder of one of them, or of a configuration in it.")
    return own[0]


def _configurations(folder: Path) -> list[Path]:
    """The folders in it that are named TRAINER__PLANS__CONFIGURATION."""
    return [path for path in sorted(folder.iterdir()) if _is_named_so(path) and path.is_dir()]


def _is_named_so(path: Path) -> bool:
    parts = path.name.split("__")
    return len(parts) == 3 and all(parts) and not path.name.startswith("ensemble")


def _is_configuration(folder: Path) -> bool:
    """Whether a folder is that of a trained configuration, whatever its name."""
    return any(_FOLD.fullmatch(path.name) and path.is_dir() for path in folder.iterdir()) or _is_named_so(folder.resolve())


def _place(folder: Path) -> Place | None:
    """The predictions that a folder of nnU-Net's has; None where it is none of these, or has no prediction."""
    sources = prediction_folders(folder)
    files = [path for _, part in sources for path in predictions_in(part)]
    if not files or any(fold is None for fold, _ in sources):
        return None
    folds = [fold for fold, _ in sources if fold and fold != SOME_FOLD]
    mapped = frozenset(name_of(path) for path in files if suffix(path) in MAPS)
    return Place(folder, tuple(folds), frozenset(map(name_of, files)), mapped)


def _collected(configuration: Path) -> Iterator[Path]:
    return (path for path in sorted(configuration.iterdir()) if _COLLECTED.fullmatch(path.name) and path.is_dir())


def _places_of(configuration: Path) -> list[Place]:
    """Of a configuration its folds, or where none is validated what was collected of them."""
    place = _place(configuration)
    return [place] if place else [each for path in _collected(configuration) if (each := _place(path))]


def _of_configuration(folder: Path, dataset: Dataset) -> Path:
    places = _places_of(folder)
    if not places:
        raise DataError(folder, f"has no predictions: {_unvalidated(folder)}", f"Run {_first_command(folder)}.")
    return _one_of(folder, places, dataset)


def _only(folder: Path, configurations: Sequence[Path], dataset: Dataset) -> Path:
    """The only network of a data set's folder that has predictions."""
    places = [place for path in configurations for place in _places_of(path)]
    ensembles = folder / "ensembles"
    inside = sorted(path for path in ensembles.iterdir() if path.is_dir()) if ensembles.is_dir() else []
    places += [place for path in inside if (place := _place(path))]
    if not places:
        said = "; ".join(f"{path.name}: {_unvalidated(path)}" for path in configurations) or "ensembles is empty"
        remedy = f"Run {_first_command(configurations[0])}." if configurations else "Train all folds with --npz."
        raise DataError(folder, f"has no predictions of a validation ({said})", remedy)
    return _one_of(folder, places, dataset)


def _one_of(folder: Path, places: Sequence[Place], dataset: Dataset) -> Path:
    if len(places) > 1:
        told = "; ".join(place.told(dataset) for place in places)
        raise DataError(folder, f"holds predictions of {len(places)} networks: {told}", _SEVERAL)
    return places[0].folder


def _say_what_it_lacks(place: Place, dataset: Dataset) -> None:
    """Notes masks without maps, and a name that is another data set's."""
    own = _names(dataset)
    masks = len((place.cases & own) - place.mapped)
    if masks:
        which = "masks alone" if not place.mapped & own else f"masks alone of {masks} cases"
        how = f". {_command(place.folder, place.folds[0])} makes maps, fold by fold" if place.folds else ""
        note(place.folder, f"has {which}, which say nothing of how sure the network was{how}")
    names = [part for part in place.folder.resolve().parts if _DATASET.fullmatch(part)]
    roots = [name for name in (dataset.root.name, dataset.root.resolve().name) if _DATASET.fullmatch(name)]
    if names and roots and names[-1] not in roots:
        note(place.folder, f"is of {names[-1]}, and the data set is {roots[0]}: cases are met by name alone")


def _names(dataset: Dataset) -> frozenset[str]:
    """The names that predictions of labelled cases may have."""
    return frozenset(image_id(case) for case in dataset.cases if case.label)


def _unvalidated(configuration: Path) -> str:
    """What became of the folds of a configuration without predictions."""
    folds = [match[1] for path in sorted(configuration.iterdir()) if (match := _FOLD.fullmatch(path.name)) and path.is_dir()]
    return ", ".join(f"fold {fold} {_state(configuration, fold)}" for fold in folds) or "it has no fold"


def _state(configuration: Path, fold: str) -> str:
    part = configuration / f"fold_{fold}"
    if not part.is_dir():
        return "is not there"
    return "is not validated" if (part / "checkpoint_final.pth").is_file() else "is not trained to its end"


def _first_command(configuration: Path) -> str:
    folds = [match[1] for path in sorted(configuration.iterdir()) if (match := _FOLD.fullmatch(path.name)) and path.is_dir()]
    return _command(configuration, folds[0] if folds else "0")


def _command(configuration: Path, fold: str) -> str:
    """nnU-Net's command that predicts the cases of a fold with probabilities."""
    resolved = configuration.resolve()
    part = resolved / f"fold_{fold}"
    if _FOLD.fullmatch(resolved.name) or resolved.name in _VALIDATION:
        part = resolved if _FOLD.fullmatch(resolved.name) else resolved.parent
        resolved = part.parent
    trainer, plans, name = resolved.name.split("__") if _is_named_so(resolved) else ("", "", "CONFIGURATION")
    match = _DATASET.fullmatch(resolved.parent.name)
    words = ["nnUNetv2_train", match[1] if match else "DATASET", name, fold]
    words += [] if trainer in ("", "nnUNetTrainer") else ["-tr", trainer]
    words += [] if plans in ("", "nnUNetPlans") else ["-p", plans]
    if (part / "checkpoint_final.pth").is_file():
        words.append("--val")
    elif (part / "checkpoint_latest.pth").is_file():
        words.append("--c")
    return " ".join([*words, "--npz"])


def _splits(configuration: Path, dataset: Dataset) -> list[Collection[str]] | None:
    """The validation cases of each fold, as the splits_final.json of nnUNet_preprocessed or of the data set says; None if it
    cannot be told."""
    preprocessed = os.environ.get(PREPROCESSED, "")
    own = Path(preprocessed) / configuration.resolve().parent.name / "splits_final.json" if preprocessed else None
    for file in (own, dataset.root / "splits_final.json"):
        if file and file.is_file():
            try:
                read: Any = read_json(file)
                return [frozenset(map(str, fold["val"])) for fold in read]
            except (DataError, TypeError, KeyError):
                return None  # what is told here is a hint, and the file is not what was asked for
    return None
