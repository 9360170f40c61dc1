"""A record is of the types that its description names, or is refused with the entry that is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest

from debride.records import Count, Decimal, Name, not_different, read_as
from debride.settings import Bounds
from debride.types import DataError


class Inner(TypedDict):
    low: float
    high: float | None


@dataclass(frozen=True)
class Example:
    case: Name
    number: Annotated[int, Bounds(least=1, most=9)]
    kind: Literal["a", "b"]
    box: tuple[tuple[int, int], ...]
    inner: Inner
    values: Mapping[Decimal, Count]
    rate: float = 0.5
    flag: bool = False
    classes: Annotated[tuple[str, ...], not_different] = ()
    either: int | str | None = None


GOOD: dict[str, Any] = {
    **{"case": "case1", "number": 3, "kind": "a", "box": [[0, 1], [2, 3]], "inner": {"low": 1, "high": None}},
    **{"values": {"255": 1}, "rate": 1, "classes": ["x", "y"], "either": "text", "of another version": [1]},
}


def test_what_fits_is_made() -> None:
    made = read_as(Example, GOOD, "f", "Do it again.")
    assert made == Example(
        "case1", 3, "a", ((0, 1), (2, 3)), {"low": 1.0, "high": None}, {"255": 1}, 1.0, False, ("x", "y"), "text"
    )
    assert type(made.rate) is float and type(made.inner["low"]) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"case": "../up"}, "case is '../up', which is no name of a file"),
        ({"case": "/abs"}, "which is no name"),
        ({"case": "a\\b"}, "which is no name"),
        ({"case": ".."}, "which is no name"),
        ({"case": ""}, "which is no name"),
        ({"case": "a\0"}, "no name of a file"),
        ({"case": "n" * 300}, "too long"),
        ({"case": None}, "case is None, not text"),
        ({"number": True}, "number is True, not a whole number"),
        ({"number": 3.0}, "number is 3.0, not a whole number"),
        ({"number": "3"}, "number is '3', not a whole number"),
        ({"number": 0}, "number is 0, not from 1 to 9"),
        ({"number": 10**300}, "not from 1 to 9"),
        ({"kind": "c"}, "kind is 'c', not 'a' or 'b'"),
        ({"kind": ["a"]}, "not 'a' or 'b'"),
        ({"box": [[0, 1, 2]]}, r"box\[0\] has 3 entries, not 2"),
        ({"box": [[0, "1"]]}, r"box\[0\]\[1\] is '1', not a whole number"),
        ({"box": {}}, "box is {}, not a list"),
        ({"inner": {"high": 1}}, "inner.low is missing"),
        ({"inner": [1]}, "inner is .*, not an object"),
        ({"values": {"-1": 1}}, "which is no whole number"),
        ({"values": {"²": 1}}, "which is no whole number"),
        ({"values": {"9" * 5000: 1}}, "which is no whole number"),
        ({"values": {"1": -1}}, "values.1 is -1, not at least 0"),
        ({"rate": "0.5"}, "rate is '0.5', not a number"),
        ({"flag": 1}, "flag is 1, not true or false"),
        ({"classes": ["x", "x"]}, "which has an entry twice"),
        ({"either": [1]}, "either is"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_as(Example, {**GOOD, **change}, "f.json", "Do it again.")
    assert raised.value.where == "f.json" and raised.value.remedy == "Do it again." and len(str(raised.value)) < 300


@pytest.mark.parametrize("value", [None, [], 3, "text", {}])
def test_what_is_no_record(value: Any) -> None:
    with pytest.raises(DataError, match=r"is missing|not an object"):
        read_as(Example, value, "f", "Do it again.")
