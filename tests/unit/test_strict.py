"""JSON and YAML are read as they are meant, or refused with what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from debride.files import read_json, read_jsonl, read_text, read_yaml
from debride.strict import parse_json
from debride.strict_yaml import parse_yaml
from debride.types import DataError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n"a": 2}', "has 'a' twice"),
        ('{"a": {"b": 1, "b": 1}}', "has 'b' twice"),
        ("NaN", "holds NaN"),
        ("[-Infinity]", "holds -Infinity"),
        ("1e999", "too large"),
        ("-" + "9" * 5000, "too large"),
        ("[" * 100_000, "nests too deep"),
        ('"\\ud800"', "half of a character"),
        ('{"a":\n', ":2: is not valid JSON"),
        ("", "is not valid JSON"),
        ("1 2", "is not valid JSON"),
    ],
)
def test_json_that_could_mean_two_things(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        parse_json(text, "f.json")
    assert raised.value.where.startswith("f.json") and len(str(raised.value)) < 200


def test_json_that_is_meant() -> None:
    assert parse_json('{"a": [1, -0.5, 1e3, null, true, "\\ud83d\\ude00"]}', "f") == {"a": [1, -0.5, 1000, None, True, "😀"]}
    undefined = parse_json("[NaN]", "f", undefined=True)[0]
    assert undefined != undefined
    with pytest.raises(DataError, match="holds Infinity"):
        parse_json("Infinity", "f", undefined=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", ":3: has 'a' twice"),
        ("a: {b: 1, 'b': 2}", ":1: has 'b' twice"),
        ("1: a\n1.0: b", ":2: has 1.0 twice"),
        ("a: 010", "Write 10 for a number, or put it in quotation marks"),
        ("a: .nan", "no finite number"),
        ("a: 1e400", "no finite number"),
        ("a: " + "9" * 5000, "no finite number"),
        ("a: 0x" + "f" * 400, "no finite number"),
        ("[" * 3000, "nests too deep"),
        ("a: &x [*x]", "an anchor that holds itself"),
        (BOMB, "once its anchors are written out"),
        ("!!int abc", "no finite number"),
        ("!!bool maybe", "not true or false"),
        ("!!null x", "not null"),
        ("!!timestamp 2001-99-99", "type tag:yaml.org,2002:timestamp"),
        ("!!python/object/apply:os.system [x]", "which is not read"),
        ("!!str [1]", "expected a scalar"),
        ('"\\ud800"', "half of a character"),
        ('"\\Uffffffff"', "no character"),
        ("\x07", "characters that YAML does not permit"),
        ("a\tb: [", "is not valid YAML"),
        ("? [1]\n: 2", "is not valid YAML"),
        ("--- 1\n--- 2", "is not valid YAML"),
        ("a: *b", "is not valid YAML"),
        ("{<<: 3}", "is not valid YAML"),
        ("a: @b", "is not valid YAML"),
    ],
)
def test_yaml_that_could_mean_two_things(text: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        parse_yaml(text, "f.yaml")
    assert message in str(raised.value) and raised.value.where.startswith("f.yaml") and len(str(raised.value)) < 200


def test_yaml_that_is_meant() -> None:
    words = (
        "no: off\nrate: 1e3\ntime: 1:30\nday: 2001-01-02\nhex: 0x10\noct: 0o10\nnone: ~\nempty:\nid: '010'\nyes: TRUE\nx: 1_0"
    )
    assert parse_yaml(words, "f") == {
        **{"no": "off", "rate": 1000.0, "time": "1:30", "day": "2001-01-02", "hex": 16, "oct": 8},
        **{"none": None, "empty": None, "id": "010", "yes": True, "x": "1_0"},
    }
    assert parse_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", "f") == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}
    assert parse_yaml("[-0.5, +3, 1., .5, 0, -1, 2e-3]", "f") == [-0.5, 3, 1.0, 0.5, 0, -1, 0.002]
    assert parse_yaml("", "f") is None and parse_yaml("\ufeffa: 1", "f") == {"a": 1}


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml, read_jsonl])
def test_what_is_no_text_file(read: object, tmp_path: Path) -> None:
    assert callable(read)
    pipe, latin = tmp_path / "pipe", tmp_path / "latin"
    os.mkfifo(pipe)
    latin.write_bytes("größe\n".encode("latin-1"))
    for path, message in ((tmp_path, "is a folder, not a file"), (pipe, "is no file"), (latin, "is not UTF-8")):
        with pytest.raises(DataError, match=message):
            read(path)


def test_the_line_of_a_record(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 1, "a": 2}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: has 'a' twice"):
        read_jsonl(tmp_path / "a.jsonl")
