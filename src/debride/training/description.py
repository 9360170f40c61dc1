"""``run.json``: what a training was, enough to predict with it, to resume it and to repeat it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.data.classes.class_cache import PreparedClasses
from debride.types import DataError

if TYPE_CHECKING:
    from debride.data.cache import Prepared
    from debride.methods.base import Method
    from debride.training.fit import Job

FREE_ON_RESUME = ("versions", "dataset_root", "parameters")
"""Entries that may differ when a training is resumed; ``training`` entries that may are in ``FREE_SETTINGS``."""
FREE_SETTINGS = ("device", "tensorboard", "keep_last")


def describe(job: Job, train: Prepared | PreparedClasses, val: Prepared | PreparedClasses, method: Method) -> dict[str, Any]:
    """Everything that determines a training, as plain JSON. Cases are listed by id, so that predictions on training cases
    can be told. In classification ``working_size`` is what images were resized to, or had."""
    dataset = job.dataset
    description = {
        "method": job.method,
        "method_config": asdict(job.method_config),
        "training": asdict(job.config),
        "augmentation": asdict(job.augmentation),
        "dataset_root": str(dataset.root),
        "task": dataset.task,
        "ndim": dataset.ndim,
        "channels": train.channels,
        "classes": list(dataset.classes),
        "values": {str(raw): value for raw, value in dataset.values.items()},
        "ignore": dataset.ignore,
        "train": [train.fingerprint(row) for row in range(len(train))],
        "val": [val.fingerprint(row) for row in range(len(val))],
        "trusted": [case.id for case in train.cases if case.trusted],
        "parameters": sum(p.numel() for p in method.parameters()),
        "versions": {
            "debride": version("debride"),
            "torch": version("torch"),
            "monai": version("monai"),
            "python": platform.python_version(),
        },
    }
    if isinstance(train, PreparedClasses):
        description["working_size"] = train.size
    plain: dict[str, Any] = json.loads(json.dumps(description))
    return plain


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


def _difference(name: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        changed = [key for key in now if now[key] != before.get(key)]
        return f"{name} ({', '.join(f'{key}: {before.get(key)}, now {now[key]}' for key in changed)})"
    return name
