"""What audits and repairs are for."""

from __future__ import annotations

from debride.types import DataError

TASKS = frozenset({"segmentation", "classification"})
"""The tasks whose labels can be audited and repaired."""

_KINDS = {"segmentation": "images and masks", "classification": "images with one class each"}


def refuse_task(task: str, where: object, wanted: str = "segmentation", remedy: str = "") -> None:
    """Raises DataError, naming ``where``, for what is for another task than the one that is ``wanted``.

    Without a ``remedy`` it asks for the other kind of images, and runs on them.
    """
    if task != wanted:
        raise DataError(where, f"is for {task}, not for {wanted}", remedy or f"Give {_KINDS[wanted]}, and runs on them.")
