"""``run.json``: what a training was, enough to predict with it and to resume it. ``job.describe`` says what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from debride.types import DataError, TaskName

FREE_ON_RESUME = ("versions", "dataset_root", "parameters")
"""Entries that may differ when a training is resumed; ``training`` entries that may are in ``FREE_SETTINGS``."""
FREE_SETTINGS = ("device", "tensorboard", "keep_last")


def same_training(file: Path, description: dict[str, Any]) -> None:
    """Refuses to resume a training with other data or settings, naming the first entry that differs."""
    old = read_description(file)
    for name, value in description.items():
        if name in FREE_ON_RESUME:
            continue
        before = old.get(name)
        if name == "training" and isinstance(before, dict):
            value = {key: item for key, item in value.items() if key not in FREE_SETTINGS}
            before = {key: item for key, item in before.items() if key not in FREE_SETTINGS}
        if value != before:
            raise DataError(
                file,
                f"was written by a training with other {_difference(name, before, value)}",
                "Resume with the same settings and data.",
            )


def read_description(file: Path) -> dict[str, Any]:
    """Reads ``run.json``."""
    try:
        description: Any = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(file, "does not exist", "Give the folder that `debride train --out` wrote.") from error
    except ValueError as error:
        raise DataError(file, f"is not valid JSON ({error})", "Restore it or train again.") from error
    if not isinstance(description, dict) or "versions" not in description:
        raise DataError(file, "does not describe a training", "Give the folder that `debride train --out` wrote.")
    return description


def task_name(description: dict[str, Any]) -> TaskName:
    """What a run was trained for; runs from before there was more than segmentation do not say it."""
    name: TaskName = description.get("task", "segmentation")
    return name


def _difference(name: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        changed = [key for key in now if now[key] != before.get(key)]
        return f"{name} ({', '.join(f'{key}: {before.get(key)}, now {now[key]}' for key in changed)})"
    return name
