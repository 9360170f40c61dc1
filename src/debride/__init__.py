"""debride: train on imperfect labels of medical images, find the wrong ones, and measure what helps.

The names in ``__all__`` are the public face. Each is imported when it is first asked for, so that ``import debride`` takes no
time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from debride.version import __version__

if TYPE_CHECKING:
    from debride import losses, metrics, noise, steps
    from debride.api.public import (
        audit_dataset,
        calibrate,
        check_dataset,
        choose_cases,
        compare_runs,
        convert_dataset,
        corrupt_dataset,
        evaluate,
        export_run,
        known_datasets,
        list_changes,
        open_dataset,
        predict,
        repair_dataset,
        review_audit,
        run_bench,
        train,
    )
    from debride.api.public_arrays import audit_labels
    from debride.types import IGNORE, DataError, Dataset

__all__ = [
    "IGNORE",
    "DataError",
    "Dataset",
    "__version__",
    "audit_dataset",
    "audit_labels",
    "calibrate",
    "check_dataset",
    "choose_cases",
    "compare_runs",
    "convert_dataset",
    "corrupt_dataset",
    "evaluate",
    "export_run",
    "known_datasets",
    "list_changes",
    "losses",
    "metrics",
    "noise",
    "open_dataset",
    "predict",
    "repair_dataset",
    "review_audit",
    "run_bench",
    "steps",
    "train",
]

_PACKAGES = ("losses", "metrics", "noise", "steps")

_HOMES = {"IGNORE": "types", "DataError": "types", "Dataset": "types", "audit_labels": "api.public_arrays"}
"""Modules of names that are not in ``api.public``."""


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'api.public')}")
    return globals().setdefault(name, getattr(home, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
