"""What a training loop of your own can take from debride's methods: functions of tensors, which need no run and no folder.

Labels are class ids (B, *S) int64 with ``IGNORE`` (255) where there is none; ``class_ids`` makes them of (B, 1, *S).
Losses are per pixel (B, *S), as ``debride.losses`` gives them with ``reduction="none"``, or per image (B,).

- Selection: ``keep_rate`` and ``small_losses`` leave out the largest losses, ``joint_loss`` is what two networks sort by.
- Weights: ``BoundaryDistance`` and ``distance_weight`` by outlines, ``CentreSums``, ``centre_distance`` and ``importance`` by
  features of images, ``BoundaryTerm`` by features of pixels, ``look_ahead_weights`` by what helps on trusted cases.
- Refinement: ``label_errors`` or ``confidence_sums``, ``thresholds`` and ``corrected`` by confident learning,
  ``superpixel_labels``, ``prototype_labels``, and ``tidy`` for specks and holes.
- Regions from one image to another: ``draw_regions`` and ``transplant``. Gradients: ``keep_critical``.
"""

from debride.geometry.distance import BoundaryDistance, distance_weight
from debride.geometry.superpixels import Superpixels, superpixel_mean
from debride.losses.agreement import joint_loss, symmetric_kl
from debride.losses.hardness import CentreSums, centre_distance, importance
from debride.losses.reduce import keep_rate, masked_mean
from debride.methods.cdr import keep_critical
from debride.methods.parts.boundary import BoundaryTerm
from debride.methods.parts.meta_weights import both_losses, pseudo_label
from debride.methods.parts.transfer import draw_regions, transplant
from debride.refine.confident import confidence_sums, corrected, label_errors, thresholds
from debride.refine.regions import tidy
from debride.steps.class_id import class_ids
from debride.steps.refining import prototype_labels, superpixel_labels
from debride.steps.small_loss import small_losses
from debride.steps.weighing import Weighed, look_ahead_weights

__all__ = [
    "BoundaryDistance",
    "BoundaryTerm",
    "CentreSums",
    "Superpixels",
    "Weighed",
    "both_losses",
    "centre_distance",
    "class_ids",
    "confidence_sums",
    "corrected",
    "distance_weight",
    "draw_regions",
    "importance",
    "joint_loss",
    "keep_critical",
    "keep_rate",
    "label_errors",
    "look_ahead_weights",
    "masked_mean",
    "prototype_labels",
    "pseudo_label",
    "small_losses",
    "superpixel_labels",
    "superpixel_mean",
    "symmetric_kl",
    "thresholds",
    "tidy",
    "transplant",
]
