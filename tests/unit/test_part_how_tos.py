"""The examples of docs/how-to/method.md, noise.md and verb.md, as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from tests.datasets import build_folder

from debride import cli
from debride.testing import QUICK_METHOD_CHECKS, check_method

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_method_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_module.py").write_text(blocks("method.md")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    module = __import__("my_module")
    check_method(module.LabelSmoothing, checks=QUICK_METHOD_CHECKS)
    parser = cli.make_parser(["train", "my_module:LabelSmoothing"])
    assert parser.parse_args(["train", "my_module:LabelSmoothing", "x", "--out", "y", "--epsilon", "0.2"])
    sys.modules.pop("my_module")


def test_the_verb_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks("verb.md"):
        exec(block, names)
    monkeypatch.setitem(sys.modules, "debride.cli.patients", cast(ModuleType, SimpleNamespace(**names)))
    monkeypatch.setattr(cli, "VERBS", (*cli.VERBS, "patients"))
    names["test_patients"](build_folder(tmp_path / "scans"), capsys)


def test_the_noise_corrupts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, test = blocks("noise.md")
    names: dict[str, Any] = {}
    exec(first + test, names)
    names["test_salt"]()
    (tmp_path / "my_noises.py").write_text(first)
    monkeypatch.syspath_prepend(tmp_path)
    scans = build_folder(tmp_path / "scans")
    words = ["corrupt", str(scans), str(tmp_path / "noisy"), "--noise", "my_noises:Salt", "--set", "rate=0.05"]
    assert cli.main(words) == 0
    sys.modules.pop("my_noises")
