"""What every noise of masks must do: the checks that ``debride.testing`` has for anyone's noise, and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from debride.noise import CLASS_NOISES, NOISES, Noise, make_noise
from debride.noise.protocol import Label, Spacing
from debride.testing import NOISE_CHECKS, check_noise
from debride.testing.noise_checks import NoiseCheck
from debride.types import IGNORE

PARAMETERS = {"coarse": {"least": 20}}
"""Parameters with which a noise changes small labels, where they are not its defaults."""


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("check", NOISE_CHECKS)
def test_noise(name: str, check: NoiseCheck) -> None:
    check_noise(make_noise(name, **PARAMETERS.get(name, {})), checks=[check])


@dataclass(frozen=True)
class Broken(Noise):
    """Breaks one rule."""

    rule: str

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        copy = label.copy()
        if self.rule == "random":
            copy[copy != IGNORE] = np.random.default_rng().integers(classes, size=(copy != IGNORE).sum())
        elif self.rule == "in place":
            label[label != IGNORE] = 1
        elif self.rule == "class":
            copy[copy != IGNORE] = classes
        elif self.rule == "ignored":
            copy[:] = 0
        return copy


@dataclass(frozen=True)
class Named(Broken):
    """Breaks no rule by default."""

    rule: str = "in a copy"

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        return np.where((label == 0) & (rng.random(label.shape) < 0.1), np.uint8(1), label)


def test_a_class_is_checked_with_its_defaults() -> None:
    made: list[object] = []
    check_noise(Named, checks=[*NOISE_CHECKS, made.append])
    assert made == [Named()]


class Plain(Noise):
    """No dataclass."""

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        return label


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Broken, r"Broken: has parameters without a default; give them: check_noise\(MyNoise\(parameter=value\)\)"),
        (Plain, "Plain: is no dataclass"),
        (Plain(), "Plain: is no dataclass"),
        (CLASS_NOISES["symmetric"], r"Symmetric: lacks .*derive it from debride\.noise\.Noise"),
    ],
)
def test_what_cannot_be_checked_is_told(thing: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_noise(thing)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("random", "the same generator gives another label"),
        ("in place", "changes the label that it is given"),
        ("class", r"gives the classes \[3\], where there are 3"),
        ("ignored", "changes which pixels are ignored"),
        ("none", "changes no label"),
    ],
)
def test_a_broken_rule_is_told(rule: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_noise(Broken(rule))
