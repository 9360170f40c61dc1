"""The checks of a method themselves: a sound one passes them, and each fails for what it is there for."""

from __future__ import annotations

import pytest
from tests import broken_methods
from tests.broken_methods import Sound

from debride.methods.base import Method
from debride.testing import METHOD_CHECKS, QUICK_METHOD_CHECKS, SLOW_METHOD_CHECKS, check_method
from debride.testing import method_checks as checks


def test_a_sound_method_passes_without_trainings() -> None:
    check_method(Sound, checks=QUICK_METHOD_CHECKS)


@pytest.mark.slow
def test_a_sound_method_passes(capsys: pytest.CaptureFixture[str]) -> None:
    check_method(Sound, checks=SLOW_METHOD_CHECKS)
    assert capsys.readouterr().out == ""


def test_settings_are_those_that_are_given() -> None:
    seen = []
    check_method(Sound, config=Sound.Config(factor=2.0), checks=[lambda subject: seen.append(subject.config.factor)])
    assert seen == [2.0]


def test_all_checks_are_listed() -> None:
    assert set(METHOD_CHECKS) == {value for name, value in vars(checks).items() if name.startswith("check_")} - {check_method}


@pytest.mark.parametrize(
    ("method", "check", "message"),
    [
        (broken_methods.Untold, checks.check_says_where_it_comes_from, "factor in its Config does not say what it is"),
        (broken_methods.Clashing, checks.check_option_names_do_not_clash, "an option of its Config"),
        (broken_methods.Twins, checks.check_networks_start_apart, "two layers begin with the same weights"),
    ],
)
def test_a_broken_rule_is_told(method: type[Method], check: checks.Check, message: str) -> None:
    with pytest.raises(AssertionError, match=f"{method.__name__} for segmentation: .*{message}"):
        check_method(method, checks=[check])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "check", "message"),
    [
        (broken_methods.Unseeded, checks.check_same_seed_gives_same_weights, "two trainings with the same seed differ"),
        (broken_methods.Forgetful, checks.check_resumed_equals_uninterrupted, "a resumed training ends with other weights"),
        (broken_methods.Starving, checks.check_takes_unlabelled, "does not train where trusted cases alone have a label"),
        (broken_methods.Unsure, checks.check_predicts_probabilities, "they must sum to one"),
        pytest.param(
            broken_methods.Idle, checks.check_learns, "learns an easy data set to a dice of", marks=pytest.mark.system
        ),
    ],
)
def test_a_broken_rule_is_told_after_trainings(method: type[Method], check: checks.Check, message: str) -> None:
    with pytest.raises(AssertionError, match=f"{method.__name__} for segmentation: .*{message}"):
        check_method(method, checks=[check])


def test_a_class_that_no_name_leads_to_is_told() -> None:
    class Hidden(Sound):
        """Defined inside a function."""

    with pytest.raises(AssertionError, match="cannot import"):
        check_method(Hidden, checks=QUICK_METHOD_CHECKS)
