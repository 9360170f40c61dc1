"""What audits and repairs are for."""

from __future__ import annotations

from debride.types import DataError

TASKS = frozenset({"segmentation", "classification"})
"""The tasks whose labels can be audited and repaired."""

_KINDS = {"segmentation": "images and masks", "classification": "images with one class each"}


def refuse_task(task: str, where: object, wanted: str = "segmentation") -> None:
    """Raises DataError, naming ``where``, for what is for another task than the one that is ``wanted``."""
    if task != wanted:
        raise DataError(where, f"is for {task}, not for {wanted}", f"Give {_KINDS[wanted]}, and runs on them.")
