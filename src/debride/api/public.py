"""The functions that ``import debride`` shows: as the verbs call them, and what was noted comes as warnings at their end."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from debride.api import (
    auditing,
    benching,
    calibrating,
    choices,
    comparing,
    corrupting,
    datasets,
    evaluating,
    predicting,
    repairing,
    trainings,
)
from debride.api.dataset_shown import dataset_html
from debride.notes import take_notes
from debride.stopping import stoppable
from debride.types import Dataset

P = ParamSpec("P")
R = TypeVar("R")


def _public(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the package: notes on files become warnings of the caller's line, and SIGTERM ends it as Ctrl-C does."""

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with stoppable():
                return function(*args, **kwargs)
        finally:
            for sentence in take_notes():
                warnings.warn(f"debride: {sentence}", stacklevel=2)

    told.__module__ = "debride"
    return told


open_dataset = _public(datasets.open_dataset)
check_dataset = _public(datasets.check_dataset)
corrupt_dataset = _public(corrupting.corrupt_dataset)
choose_cases = _public(choices.choose_cases)
train = _public(trainings.train)
compare_runs = _public(comparing.compare_runs)
predict = _public(predicting.predict)
evaluate = _public(evaluating.evaluate)
calibrate = _public(calibrating.calibrate)
audit_dataset = _public(auditing.audit_dataset)
repair_dataset = _public(repairing.repair_dataset)
run_bench = _public(benching.run_bench)

Dataset.in_notebook = dataset_html
