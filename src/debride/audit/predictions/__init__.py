"""Where an audit's predictions come from: files of masks or maps, nnU-Net's folders, runs of ours, a cross-validation.

All are ``Predictions``: files with a probability for each case, on the grid of its label, and whether the network was trained
on it. ``KeptPredictions`` write those of networks, ``NoPredictions`` are none. ``case_files`` reads the files, and needs no
network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from debride.audit.predictions.case_files import Prediction, PredictionFiles, onto_label, read_prediction
from debride.audit.predictions.none import NONE, NoPredictions

if TYPE_CHECKING:
    from debride.audit.predictions.cross_validation import cross_validate
    from debride.audit.predictions.kept import KeptPredictions, kept_predictions
    from debride.audit.predictions.sources import (
        FolderPredictions,
        Predictions,
        RunPredictions,
        open_predictions,
        warn_seen,
    )

__all__ = [
    "NONE",
    "FolderPredictions",
    "KeptPredictions",
    "NoPredictions",
    "Prediction",
    "PredictionFiles",
    "Predictions",
    "RunPredictions",
    "cross_validate",
    "kept_predictions",
    "onto_label",
    "open_predictions",
    "read_prediction",
    "warn_seen",
]

_WITH_NETWORKS = {
    "sources": ("FolderPredictions", "Predictions", "RunPredictions", "open_predictions", "warn_seen"),
    "kept": ("KeptPredictions", "kept_predictions"),
    "cross_validation": ("cross_validate",),
}
"""What is loaded when it is first asked for, by module: it imports torch."""


def __getattr__(name: str) -> Any:
    for module, names in _WITH_NETWORKS.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
