"""What precision "auto" stands for, what a resumed training keeps, and the warning where half precision is emulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training_jobs import same, small_job, weights

from debride.files import read_json, write_json
from debride.training import precision
from debride.training.config import ClassTrainConfig, TrainConfig
from debride.training.fit import fit
from debride.training.precision import computes_in, settle
from debride.types import DataError


@pytest.fixture(autouse=True)
def _anew() -> None:
    precision._warn.cache_clear()


def processor(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """A processor with some instructions."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize(
    ("capability", "bf16", "half"),
    [
        ("avx512_bf16", True, False),
        ("amx_bf16", True, False),
        ("bf16", True, False),
        ("avx512_fp16", False, True),
        ("amx_fp16", False, True),
        ("fp16_arith", False, True),
        ("avx2", False, False),
    ],
)
def test_a_processor_computes_in_what_it_has_instructions_for(
    monkeypatch: pytest.MonkeyPatch, capability: str, bf16: bool, half: bool
) -> None:
    processor(monkeypatch, **{capability: True})
    assert (computes_in("bf16", "cpu"), computes_in("16", "cpu")) == (bf16, half)
    processor(monkeypatch, **{capability: False})
    assert not computes_in("bf16", "cpu") and not computes_in("16", "cpu")


@pytest.mark.parametrize(("has", "chosen"), [(True, "bf16"), (False, "32")])
def test_auto_is_bf16_where_there_are_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has: bool, chosen: str
) -> None:
    processor(monkeypatch, avx512_bf16=has)
    assert settle(TrainConfig(precision="auto"), "cpu").precision == chosen
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has and not including_emulation)
    assert settle(TrainConfig(precision="auto"), "cuda").precision == chosen
    assert not capsys.readouterr().err


@pytest.mark.parametrize("given", ["bf16", "16"])
def test_slow_half_precision_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: Any
) -> None:
    processor(monkeypatch, avx2=True)
    config = ClassTrainConfig(precision=given)
    assert settle(settle(config, "cpu"), "cpu") == config
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and f"no instructions for precision {given}" in said and " times as long" in said
    settle(config, "cuda")
    settle(TrainConfig(), "cpu")
    assert not capsys.readouterr().err


def test_a_resumed_training_keeps_the_precision_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch)
    settings = {"epochs": 1, "n": 6, "precision": "auto"}
    fit(small_job(tmp_path, "ce", **settings))
    file = tmp_path / "run/run.json"
    described = read_json(file)
    assert described["training"]["precision"] == "32"
    processor(monkeypatch, avx512_bf16=True)
    before = weights(tmp_path / "run", "epoch-0001")
    fit(small_job(tmp_path, "ce", resume=True, **settings))
    assert read_json(file) == described and same(before, weights(tmp_path / "run", "epoch-0001"))
    with pytest.raises(DataError, match="precision: 32, now bf16"):
        fit(small_job(tmp_path, "ce", resume=True, **{**settings, "precision": "bf16"}))
    write_json(file, {**described, "training": {**described["training"], "precision": ["?"]}})
    with pytest.raises(DataError, match="precision"):
        fit(small_job(tmp_path, "ce", resume=True, **settings))
