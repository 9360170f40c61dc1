"""Data sets whose labels are regions, as those of BraTS and KiTS are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from debride.types import Region
from tests.datasets import build_nnunet_2d, build_nnunet_3d, save_json

LABELS = {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3}
ORDER = [1, 2, 3]
REGIONS = (Region("heart", (1, 2, 3), 1), Region("left", (2, 3), 2), Region("cavity", (3,), 3))

KITS = (Region("kidney", (1, 2, 3), 1), Region("masses", (2, 3), 3), Region("tumour", (2,), 2))
"""Regions of which the last paints a lower value than the one before."""


def with_regions(root: Path, **entries: Any) -> Path:
    """Makes regions of the labels 1, 2 and 3 of a data set of nnU-Net; ``entries`` take the place of those of dataset.json."""
    description = json.loads((root / "dataset.json").read_text())
    save_json(root / "dataset.json", {**description, "labels": LABELS, "regions_class_order": ORDER, **entries})
    return root


def build_regions_2d(root: Path, n: int = 6, size: int = 32) -> Path:
    """``build_nnunet_2d`` with the three regions."""
    return with_regions(build_nnunet_2d(root, n, size))


def build_regions_3d(root: Path, n: int = 5) -> Path:
    """``build_nnunet_3d`` with the three regions."""
    return with_regions(build_nnunet_3d(root, n, classes=4, channels=1))
