"""Where an audit's predictions come from: files of masks or maps, nnU-Net's folders, runs of ours, a cross-validation.

All are ``Predictions``: a probability for each case, on the grid of its label, and whether the network was trained on it.
``KeptPredictions`` keep those of networks on the disk between the passes.
"""

from debride.audit.predictions.cross_validation import cross_validate
from debride.audit.predictions.kept import KeptPredictions
from debride.audit.predictions.sources import (
    FolderPredictions,
    Prediction,
    Predictions,
    RunPredictions,
    onto_label,
    open_predictions,
    warn_seen,
)

__all__ = [
    "FolderPredictions",
    "KeptPredictions",
    "Prediction",
    "Predictions",
    "RunPredictions",
    "cross_validate",
    "onto_label",
    "open_predictions",
    "warn_seen",
]
