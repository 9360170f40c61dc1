"""What audits and repairs are for."""

from __future__ import annotations

from debride.types import DataError

TASKS = frozenset({"segmentation"})
"""The tasks whose labels can be audited and repaired."""


def refuse_task(task: str, where: object) -> None:
    """Raises DataError, naming ``where``, for what is for another task than audits are."""
    if task not in TASKS:
        able = " and ".join(sorted(TASKS))
        raise DataError(where, f"is for {task}; audit and repair are for {able}", "Give images and masks, and runs on them.")
