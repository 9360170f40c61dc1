from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from debride.cli import main
from debride.cli.options import add_settings, setting_values
from debride.data.augmentation import Augmentation
from debride.methods import METHODS
from debride.settings import Bounds, bounds_of, check_bounds, convert, from_mapping, paper_values, setting
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


@dataclass(frozen=True, kw_only=True)
class Bounded:
    q: float = setting(0.7, "above 0, to 1", above=0, most=1)
    rate: float | None = setting(None, "a share", least=0, below=1)
    count: int = setting(3, "how many", least=1)
    shape: tuple[int, ...] | None = setting(None, "sides", least=1)
    rows: tuple[tuple[float, ...], ...] = setting(((0.5,),), "a matrix", least=0, most=1)
    low: float = setting(-4.0, "the lower one", below=0)
    high: float = setting(1.0, "the higher one")
    kind: Literal["a", "b"] = setting("a", "which")

    def conflicts(self) -> Iterator[DataError]:
        if self.low >= self.high:
            problem = f"is {self.low}, not less than `high`, which is {self.high}"
            yield DataError("`low`", problem, "Lower `low`, or raise `high`.")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"q": 5}, "q: is 5.0. Give a number above 0 and at most 1."),
        ({"q": 0}, "q: is 0.0. Give a number above 0 and at most 1."),
        ({"rate": 1}, "rate: is 1.0. Give a number from 0 to below 1, or none."),
        ({"rate": -0.1}, "rate: is -0.1. Give a number from 0 to below 1, or none."),
        ({"count": 0}, "count: is 0. Give a whole number of at least 1."),
        ({"shape": [8, 0]}, "shape: is (8, 0). Give whole numbers of at least 1, each, or none."),
        ({"rows": [[0.5, 0.5], [2, 0]]}, "rows: is ((0.5, 0.5), (2.0, 0.0)). Give numbers from 0 to 1, each."),
        ({"low": 0}, "low: is 0.0. Give a number below 0."),
        ({"low": float("-inf")}, "low: is -inf. Give a number below 0."),
        ({"q": float("nan")}, "q: is nan. Give a number."),
    ],
)
def test_values_out_of_range_name_their_source(values: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError) as raised:
        from_mapping(Bounded, values, "grid.yaml, methods, gce")
    assert str(raised.value) == f"grid.yaml, methods, gce: {says}"
    (name,) = values
    with pytest.raises(DataError) as raised:
        from_mapping(Bounded, values, "None: method", given={name: f"--{name}"})
    assert str(raised.value) == f"--{says}"


def test_the_ends_of_a_range() -> None:
    ends = {"q": 1, "rate": 0, "count": 1, "shape": None, "rows": [[0, 1]]}
    assert from_mapping(Bounded, ends, "here") == Bounded(q=1.0, rate=0.0, count=1, rows=((0.0, 1.0),))
    assert not any(Bounds(least=0).hold(number) for number in (float("nan"), float("inf"), -1e-9))


@pytest.mark.parametrize(
    ("values", "given", "says"),
    [
        ({"low": -1, "high": -2}, {}, "f: low: is -1.0, not less than high, which is -2.0. Lower low, or raise high."),
        ({"high": -9}, {}, "f: low: is -4.0, not less than high, which is -9.0. Lower low, or raise high."),
        (
            {"high": -9},
            {"high": "--high"},
            "`low`: is -4.0, not less than --high, which is -9.0. Lower `low`, or raise --high.",
        ),
        (
            {"low": -1, "high": -2},
            {"low": "--low"},
            "--low: is -1.0, not less than high of f, which is -2.0. Lower --low, or raise high of f.",
        ),
        (
            {"low": -1, "high": -2},
            {"high": "--high"},
            "f: low: is -1.0, not less than --high, which is -2.0. Lower low, or raise --high.",
        ),
    ],
)
def test_settings_that_do_not_fit_together(values: dict[str, Any], given: dict[str, str], says: str) -> None:
    with pytest.raises(DataError) as raised:
        from_mapping(Bounded, values, "f", given=given)
    assert str(raised.value) == says


def test_settings_made_in_python_are_checked_where_they_are_used() -> None:
    check_bounds(Bounded())
    for settings, says in (
        (Bounded(q=5), "Bounded.q: is 5.0. Give a number above 0 and at most 1."),
        (Bounded(q=True), "Bounded.q: is True. Give a number."),
        (Bounded(q=float("nan")), "Bounded.q: is nan. Give a number."),
        (Bounded(kind="c"), "Bounded.kind: is 'c'. Choose one of a, b."),  # type: ignore[arg-type]
        (Bounded(high=-9.0), "Bounded.low: is -4.0, not less than `high`"),
    ):
        with pytest.raises(DataError) as raised:
            check_bounds(settings)
        assert str(raised.value).startswith(says)


@dataclass(frozen=True, kw_only=True)
class Required:
    path: str
    file: str = setting(dataclasses.MISSING, "the labels")
    either: str | Mapping[int, int] = setting("all", "a word or a map")


def test_a_setting_without_a_default_must_be_given() -> None:
    with pytest.raises(DataError, match=r"^here: has no path. Give path, which has no default.$"):
        from_mapping(Required, {}, "here")
    with pytest.raises(DataError, match=r"^here: has no file. Give file, the labels.$"):
        from_mapping(Required, {"path": "x"}, "here")
    assert from_mapping(Required, {"path": "x", "file": "y"}, "here") == Required(path="x", file="y")


@pytest.mark.parametrize(("value", "expected"), [("none", "none"), ({"0": "1"}, {0: 1})])
def test_a_word_or_a_map(value: Any, expected: Any) -> None:
    assert from_mapping(Required, {"path": "x", "file": "y", "either": value}, "here").either == expected


def test_ranges_in_words() -> None:
    words = {field.name: bounds_of(field) for field in dataclasses.fields(Bounded)}
    assert words == {
        "q": "above 0 and at most 1",
        "rate": "from 0 to below 1",
        "count": "at least 1",
        "shape": "at least 1",
        "rows": "from 0 to 1",
        "low": "below 0",
        "high": "",
        "kind": "",
    }


def test_a_set_of_choices_is_left_to_who_makes_it() -> None:
    @dataclass(frozen=True)
    class Chosen:
        kinds: frozenset[Literal["a", "b"]] = frozenset({"a"})
        one: Literal["a", "b"] = "a"

    check_bounds(Chosen())
    with pytest.raises(DataError, match="one: is 'c'"):
        check_bounds(Chosen(one="c"))  # type: ignore[arg-type]


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_settings(parser, Example, "example", prefix="my_", dest="x_")
    return parser


def values_of(*words: str) -> dict[str, Any]:
    return setting_values(options().parse_args(words), Example, prefix="my_", dest="x_")


def test_options_that_are_not_given_leave_no_trace() -> None:
    assert values_of() == {}


def test_options_are_settings_by_their_names() -> None:
    words = (
        "--my-count 4 --my-rate 1e-3 --my-limit none --my-kind b --my-size 8 16 --my-axes none --my-span 1 2 --no-my-own-way"
    )
    values = values_of(*words.split())
    given = {name.removeprefix("my_"): value for name, value in values.items()}
    assert len(given) == len(values) == 8
    settings = from_mapping(Example, given, "here")
    assert {name: getattr(settings, name) for name in given} == {
        "count": 4,
        "rate": 0.001,
        "limit": None,
        "kind": "b",
        "size": (8, 16),
        "axes": (),
        "span": (1.0, 2.0),
        "own_way": False,
    }
    with pytest.raises(DataError, match="`count`: is 'x'"):
        from_mapping(Example, {"count": values_of("--my-count", "x")["my_count"]}, "here", {"count": "`count`"})


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


def test_a_noise_says_what_its_parameters_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "markov"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "preference 0.2 chance that a step grows the object, P (from 0 to 1)" in shown
    assert main(["methods", "flip"]) == 0


def test_the_preset_of_the_paper_sets_what_has_another_default() -> None:
    @dataclass(frozen=True)
    class Config:
        rate: float = setting(0.5, "a rate", least=0, paper=0.1)
        search: float | None = setting(1.0, "a search", paper=None)
        kept: int = setting(3, "kept as it is")

    assert paper_values(Config) == {"rate": 0.1, "search": None}
    assert from_mapping(Config, {**paper_values(Config), "rate": 0.2}, "here") == Config(rate=0.2, search=None)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_papers_say_are_settings_that_fit_and_no_default_is_repeated(method: type[Any]) -> None:
    values = paper_values(method.Config)
    settings, usual = from_mapping(method.Config, values, "here"), method.Config()
    assert not [name for name in values if getattr(settings, name) == getattr(usual, name)]
