"""Losses as pure functions of tensors, and as modules for a training loop of your own.

The modules are the names below; ``loss_base`` says what they share. Of the functions ``pixel`` has cross-entropy and its
robust forms, ``region`` Dice and T-loss, ``agreement`` what two networks share. ``centres`` and ``hardness`` have distances of
features, ``semi`` has terms of semi-supervised steps, ``reduce`` means and small-loss selection.
"""

from debride.losses.early_learning import EarlyLearningRegularizationLoss
from debride.losses.pixel_modules import (
    BootstrappingLoss,
    GeneralizedCrossEntropyLoss,
    MeanAbsoluteErrorLoss,
    ReverseCrossEntropyLoss,
    SpatiallyVaryingLabelSmoothingLoss,
    SymmetricCrossEntropyLoss,
)
from debride.losses.region_modules import NoiseRobustDiceLoss, TLoss

__all__ = [
    "BootstrappingLoss",
    "EarlyLearningRegularizationLoss",
    "GeneralizedCrossEntropyLoss",
    "MeanAbsoluteErrorLoss",
    "NoiseRobustDiceLoss",
    "ReverseCrossEntropyLoss",
    "SpatiallyVaryingLabelSmoothingLoss",
    "SymmetricCrossEntropyLoss",
    "TLoss",
]
