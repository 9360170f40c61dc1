"""What every method must do, whatever its paper says: the checks that ``debride.testing`` has for anyone's method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.training_jobs import TEST_METHODS

from debride.methods import METHODS
from debride.methods.base import Method
from debride.testing import QUICK_METHOD_CHECKS, SLOW_METHOD_CHECKS, Subject
from debride.testing.method_checks import Check, check_learns, check_resumed_equals_uninterrupted
from debride.types import TaskName

NAMES = sorted(METHODS)
SUBJECTS: list[tuple[str, TaskName]] = [(name, task) for name in NAMES for task in sorted(METHODS[name].tasks)]

# "cl" corrects labels once: not before the network knows them, which a tenth of 120 steps is too few for.
LEARNING: dict[str, dict[str, Any]] = {"cl": {"warm_up": 0.5}}
"""Settings with which a method learns an easy data set, where they are not its defaults."""

ONE_OF_A_KIND = {"ce", "self-cleansing", "dcd"}
"""Methods that always show that they learn: a loss, new labels, a division of the images. The others do so
before a release: such a training takes ten times as long as all other checks of a method."""


def cases(checks: tuple[Check, ...], subjects: list[tuple[str, TaskName]], *marks: pytest.MarkDecorator) -> list[Any]:
    """Every check of every subject; those of one subject follow each other, for they share its trainings."""

    def marked(name: str, check: Check) -> list[pytest.MarkDecorator]:
        return [*marks, *([pytest.mark.system] if check is check_learns and name not in ONE_OF_A_KIND else [])]

    return [
        pytest.param(name, task, check, id=f"{name}-{task}-{check.__name__.removeprefix('check_')}", marks=marked(name, check))
        for name, task in subjects
        for check in checks
    ]


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, TaskName], Subject]:
    """The methods whose trainings were begun; one at a time is kept."""
    return {}


@pytest.mark.parametrize(
    ("name", "task", "check"),
    [
        *cases(QUICK_METHOD_CHECKS, SUBJECTS),
        *cases(SLOW_METHOD_CHECKS, SUBJECTS, pytest.mark.slow),
        *cases((check_resumed_equals_uninterrupted,), [(name, "segmentation") for name in TEST_METHODS], pytest.mark.slow),
    ],
)
def test_method(name: str, task: TaskName, check: Check, subjects: dict[tuple[str, TaskName], Subject], tmp_path: Path) -> None:
    key = name, task
    if check is check_learns and name in LEARNING:
        check(Subject(METHODS[name], task, tmp_path, METHODS[name].Config(**LEARNING[name])))
        return
    if key not in subjects:
        subjects.clear()
        subjects[key] = Subject(TEST_METHODS.get(name) or METHODS[name], task, tmp_path)
    check(subjects[key])


@pytest.mark.parametrize("name", NAMES)
def test_at_most_one_layer_lies_between_a_method_and_its_base(name: str) -> None:
    assert Method in METHODS[name].__mro__[1:3]
