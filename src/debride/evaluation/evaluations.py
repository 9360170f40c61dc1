"""How predictions are measured, by task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from debride.evaluation.evaluate import evaluate_folder
from debride.evaluation.evaluate_classes import evaluate_classes

EVALUATIONS: dict[str, Callable[..., Any]] = {"segmentation": evaluate_folder, "classification": evaluate_classes}
"""Each takes predictions, the data set with the reference labels, a new folder and ``splits``, and writes the same files:
cases.csv, summary.json and summary.md. A folder with content is refused, unless ``resume`` goes on with what was cut off."""
