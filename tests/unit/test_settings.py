from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from debride.cli.options import add_settings, given_settings
from debride.data.augmentation import Augmentation
from debride.methods import METHODS
from debride.settings import convert, from_mapping, setting
from debride.training.config import TrainConfig
from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class Example:
    count: int = setting(3, "how many")
    rate: float = setting(0.5, "share, 50 % of all")
    limit: float | None = setting(12.0, "largest, or none")
    kind: Literal["a", "b"] = setting("a", "which")
    size: tuple[int, ...] | None = setting(None, "shape")
    axes: tuple[int, ...] = setting((0, 1), "axes")
    span: tuple[float, float] = setting((0.7, 1.4), "from, to")
    name: str = setting("unet", "its name")
    own_way: bool = setting(True, "or not")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        ("3", int, 3),
        (3.0, int, 3),
        ("1e3", int, 1000),
        ("-2", int, -2),
        ("9007199254740993", int, 9007199254740993),
        (9007199254740993, int, 9007199254740993),
        (3, float, 3.0),
        ("1e-4", float, 1e-4),
        (".5", float, 0.5),
        ("inf", float, float("inf")),
        (True, bool, True),
        ("no", bool, False),
        ("True", bool, True),
        ("text", str, "text"),
        ("none", float | None, None),
        (None, float | None, None),
        ("None", tuple[int, ...] | None, None),
        ("0.5", float | None, 0.5),
        (["32", 16], tuple[int, ...] | None, (32, 16)),
        (32, tuple[int, ...], (32,)),
        ([], tuple[int, ...], ()),
        ("none", tuple[int, ...], ()),
        (None, tuple[int, ...], ()),
        (("1", 2.5), tuple[float, float], (1.0, 2.5)),
        ("a", Literal["a", "b"], "a"),
        (16, Literal["32", "bf16", "16"], "16"),
        ({"train": "8"}, Mapping[str, int], {"train": 8}),
        (None, Mapping[str, int], {}),
        ({"a": [1, "x"]}, Mapping[str, Any], {"a": [1, "x"]}),
    ],
)
def test_values_that_fit(value: Any, hint: Any, expected: Any) -> None:
    found = convert(value, hint, "here")
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "says"),
    [
        ("2.5", int, "here: is '2.5'. Give a whole number."),
        (2.5, int, "here: is 2.5. Give a whole number."),
        (True, int, "here: is True. Give a whole number."),
        ("inf", int, "here: is 'inf'. Give a whole number."),
        ("nan", int, "here: is 'nan'. Give a whole number."),
        (None, int, "here: is None. Give a whole number."),
        ([1], int, "here: is [1]. Give a whole number."),
        ("nan", float, "here: is 'nan'. Give a number."),
        (float("nan"), float, "here: is nan. Give a number."),
        (10**400, float, "Give a number."),
        ("none", float, "here: is 'none'. Give a number."),
        (False, float, "here: is False. Give a number."),
        ({}, float, "here: is {}. Give a number."),
        ("maybe", bool, "here: is 'maybe'. Give true or false."),
        (1, bool, "here: is 1. Give true or false."),
        (3, str, "here: is 3. Give text."),
        (None, str, "here: is None. Give text."),
        ("c", Literal["a", "b"], "here: is 'c'. Choose one of a, b."),
        (["a"], Literal["a", "b"], "here: is ['a']. Choose one of a, b."),
        (["1", "x"], tuple[int, ...], "here: is 'x'. Give a whole number."),
        ([1], tuple[float, float], "here: has 1 entries. Give 2."),
        (3, tuple[float, float], "here: has 1 entries. Give 2."),
        ({"train": "many"}, Mapping[str, int], "here: train: is 'many'. Give a whole number."),
        (["train"], Mapping[str, int], "here: is ['train']. Write NAME: VALUE pairs."),
    ],
)
def test_values_that_do_not_fit(value: Any, hint: Any, says: str) -> None:
    with pytest.raises(DataError) as raised:
        convert(value, hint, "here")
    assert says in str(raised.value)


def test_from_mapping() -> None:
    assert from_mapping(Example, {}, "file") == Example()
    found = from_mapping(Example, {"count": "7", "size": [1, 2], "limit": "none", "own_way": "no"}, "file")
    assert found == Example(count=7, size=(1, 2), limit=None, own_way=False)
    with pytest.raises(DataError, match=r"file: has no setting 'counts'. Known settings: count, rate, limit"):
        from_mapping(Example, {"counts": 3}, "file")
    with pytest.raises(DataError, match=r"file: count: is 'x'. Give a whole number."):
        from_mapping(Example, {"count": "x"}, "file")


@pytest.mark.parametrize("cls", [TrainConfig, Augmentation, *(method.Config for method in METHODS.values())])
def test_what_is_written_is_read_back(cls: type[Any]) -> None:
    settings = cls()
    assert from_mapping(cls, dataclasses.asdict(settings), "run.json") == settings
    texts = {name: str(value) for name, value in dataclasses.asdict(settings).items() if not isinstance(value, tuple | list)}
    assert from_mapping(cls, texts, "words") == settings


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_settings(parser, Example, "example", prefix="my_", dest="x_")
    return parser


def test_options_that_are_not_given_leave_no_trace() -> None:
    assert given_settings(options().parse_args([]), Example, prefix="my_", dest="x_") == {}


def test_options_are_converted() -> None:
    words = (
        "--my-count 4 --my-rate 1e-3 --my-limit none --my-kind b --my-size 8 16 --my-axes none --my-span 1 2 --no-my-own-way"
    )
    given = given_settings(options().parse_args(words.split()), Example, prefix="my_", dest="x_")
    assert given == {
        "count": 4,
        "rate": 0.001,
        "limit": None,
        "kind": "b",
        "size": (8, 16),
        "axes": (),
        "span": (1.0, 2.0),
        "own_way": False,
    }
    with pytest.raises(DataError, match="--my-count: is 'x'"):
        given_settings(options().parse_args(["--my-count", "x"]), Example, prefix="my_", dest="x_")


def test_help_shows_defaults_and_takes_percent_signs() -> None:
    text = " ".join(options().format_help().split())
    for shown in (
        "how many (default: 3)",
        "50 % of all (default: 0.5)",
        "shape (default: none)",
        "(default: 0.7 1.4)",
        "{a,b}",
    ):
        assert shown in text


def test_a_refusal_can_leave_a_process() -> None:
    error = copy.copy(DataError("file.png", "is empty", "Restore it."))
    assert isinstance(error, DataError) and str(error) == "file.png: is empty. Restore it."
    assert (error.where, error.problem, error.remedy) == ("file.png", "is empty", "Restore it.")
