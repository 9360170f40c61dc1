"""The examples of docs/how-to/method.md, noise.md and verb.md, as they stand there."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from tests.datasets import build_folder

from debride import cli
from debride.noise import NOISES
from debride.testing import QUICK_METHOD_CHECKS, check_method

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)


@pytest.fixture
def in_my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Writes code to my_module.py, where Python finds it, and imports it."""

    def write(code: str) -> Any:
        (tmp_path / "my_module.py").write_text(code)
        return importlib.import_module("my_module")

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    sys.modules.pop("my_module", None)


@pytest.mark.slow
def test_the_method_keeps_the_contract(in_my_module: Callable[[str], Any]) -> None:
    code, check = blocks("method.md")
    module = in_my_module(code)
    with pytest.MonkeyPatch.context() as patch:
        quick = functools.partial(check_method, checks=QUICK_METHOD_CHECKS)
        patch.setattr("debride.testing.check_method", quick)
        exec(check, {})
    assert module.LabelSmoothing.tasks == {"segmentation"}
    parser = cli.make_parser(["train", "my_module:LabelSmoothing"])
    assert parser.parse_args(["train", "my_module:LabelSmoothing", "x", "--out", "y", "--epsilon", "0.2"])


def test_the_verb_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    function, code, test = blocks("verb.md")
    counting = ModuleType("debride.api.counting")
    monkeypatch.setitem(sys.modules, counting.__name__, counting)
    exec(function, vars(counting))
    names: dict[str, Any] = {}
    exec(code, names)
    monkeypatch.setitem(sys.modules, "debride.cli.patients", cast(ModuleType, SimpleNamespace(**names)))
    monkeypatch.setattr(cli, "VERBS", tuple(dict.fromkeys((*cli.VERBS, "patients"))))
    exec(test, names)
    names["test_patients"](tmp_path, capsys)


def test_the_noise_corrupts(
    tmp_path: Path, in_my_module: Callable[[str], Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, test = blocks("noise.md")
    salt = in_my_module(code).Salt
    names: dict[str, Any] = {}
    exec(test, names)
    for name in ("test_salt_keeps_the_contract", "test_salt"):
        names[name]()
    scans = build_folder(tmp_path / "scans")
    words = ["corrupt", str(scans), str(tmp_path / "noisy"), "--noise", "my_module:Salt", "--set", "rate=0.05"]
    assert cli.main(words) == 0
    capsys.readouterr()
    assert cli.main(["methods", "my_module:Salt"]) == 0
    described = capsys.readouterr().out
    assert described.startswith("my_module:Salt: label noise") and "rate" in described and "(from 0 to 1)" in described
    monkeypatch.setitem(NOISES, "salt", salt)  # a line in NOISES that is not yet in the table
    assert cli.main(["methods", "salt"]) == 0
    assert capsys.readouterr().out == described.replace("my_module:Salt", "salt")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_module:No", "method or noise my_module:No: cannot import 'my_module:No'"),
        ("my_module:setting", "is neither a method nor a noise"),
        ("my_module:Half", "noise my_module:Half: is no dataclass"),
        ("my_module:Mute", "method my_module:Mute: has no paper"),
    ],
)
def test_what_is_no_method_and_no_noise_cannot_be_shown(
    name: str, says: str, in_my_module: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    bases = "\n\nfrom debride.methods.base import Method\n\nclass Half(Noise): ...\n\nclass Mute(Method): ...\n"
    in_my_module(blocks("noise.md")[0] + bases)
    assert cli.main(["methods", name]) == 2
    assert says in capsys.readouterr().err
