"""The folders that nnU-Net keeps beside the raw data sets, and how they are told by what they hold."""

from __future__ import annotations

import re
from pathlib import Path

from debride.data.links import is_named
from debride.types import DataError
from debride.words import some

_DATASET = re.compile(r"(Dataset\d{3}_.+|Task\d{3}_.+)")
"""What nnU-Net names a data set: version 2, and version 1."""


def not_raw(root: Path) -> DataError | None:
    """What a folder of nnU-Net is that is not one raw data set, and which folder to give; None for any other folder."""
    if not root.is_dir() or is_named(root / "imagesTr") or is_named(root / "imagesTs"):
        return None
    inside = sorted(path for path in root.iterdir() if path.is_dir() and _DATASET.fullmatch(path.name))
    raw = [path for path in inside if is_named(path / "imagesTr") or is_named(path / "imagesTs")]
    if raw:
        problem = f"holds {len(raw)} data set{'s' if len(raw) > 1 else ''} of nnU-Net ({some([path.name for path in raw], 3)})"
        return DataError(root, problem, f"Give one of them: {raw[0]}.")
    own = next((what for path in [*inside, root] if (what := _is_made(path))), None)
    if own is None:
        return None
    places = (*inside, root, *root.parents)
    name = next((place.name for place in places if _DATASET.fullmatch(place.name)), "DatasetNNN_NAME")
    raw_folder = f"nnUNet_raw/{name}"
    beside = next((place / raw_folder for place in root.parents if (place / raw_folder).is_dir()), None)
    remedy = f"Give the folder of the raw data set: {beside or raw_folder}."
    if own == "results":
        remedy += " Predictions are given by `predictions`."
    return DataError(root, f"is a folder of nnU-Net's {own}, which hold no data set as it was given", remedy)


def _is_made(folder: Path) -> str | None:
    """Whether a folder has the files that nnU-Net makes: preprocessed data, or results."""
    names = {path.name for path in folder.iterdir()}
    if names & {"nnUNetPlans.json", "dataset_fingerprint.json", "gt_segmentations"}:
        return "preprocessed data"
    trained = [name for name in names if len(name.split("__")) == 3 and name.startswith("nnUNetTrainer")]
    if trained or ({"plans.json", "dataset.json"} <= names and any(re.fullmatch(r"fold_(\d+|all)", name) for name in names)):
        return "results"
    return "results" if re.fullmatch(r"fold_(\d+|all)", folder.name) and names & {"validation", "progress.png"} else None
