"""A module that a file names is not imported unless it is trusted, wherever the name stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.datasets import build_folder, build_npz

from debride.bench.grid import read_grid
from debride.cli import main
from debride.training.predict import load_run, task_of
from debride.types import DataError

NAMED = "marks_its_import:Thing"


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the module leaves where it is imported."""
    left = tmp_path / "imported"
    (tmp_path / "path").mkdir()
    code = f"from pathlib import Path\nPath({str(left)!r}).touch()\nThing = 1\n"
    (tmp_path / "path" / "marks_its_import.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield left
    sys.modules.pop("marks_its_import", None)


def write_run(folder: Path, task: str = "segmentation", method: str = "ce", **training: Any) -> Path:
    described = {
        **{"method": method, "method_config": {}, "training": training, "task": task, "ndim": 2, "channels": 3},
        **{"classes": ["a", "b"], "values": {}, "ignore": None, "versions": {}, "train": [["case000", "x", "y"]]},
    }
    (folder / "weights").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(described))
    (folder / "weights" / "last.safetensors").write_bytes(b"")
    return folder


RUNS: list[dict[str, Any]] = [
    {"method": NAMED},
    {"network": NAMED},
    {"network": NAMED, "task": "classification"},
    {"method": NAMED, "network": NAMED},
]


@pytest.mark.parametrize("named", RUNS)
def test_a_run_names_it(named: dict[str, Any], mark: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", **named)
    task_of(run)
    with pytest.raises(DataError, match="would be imported and run"):
        load_run(run, "last", torch.device("cpu"))
    data = build_folder(tmp_path / "data") if "task" not in named else build_npz(tmp_path / "data")
    lines = [["predict", run, data, "--out", tmp_path / "p"]]
    if "task" not in named:
        write_run(tmp_path / "several" / "fold-1", **named)
        lines += [["audit", data, option, run, "--out", tmp_path / option] for option in ("--run", "--predictions")]
        lines += [["audit", data, "--predictions", tmp_path / "several", "--out", tmp_path / "s"]]
    for words in lines:
        assert main([str(word) for word in words]) == 2
        assert "would be imported and run" in capfd.readouterr().err
    assert not mark.exists()
    with pytest.raises(DataError) as raised:
        load_run(run, "last", torch.device("cpu"), trust_all())
    assert mark.exists() and "would be imported" not in str(raised.value), "the mark works"


def trust_all() -> Any:
    from debride.plugins import Trust

    return Trust(everything=True)


@pytest.mark.parametrize(
    "place",
    [
        ("training", "network"),
        ("datasets", "toy", "format"),
        ("datasets", "toy", "training", "network"),
        ("noises", "n", "noise"),
        ("methods", "m", "method"),
        ("methods", "m", "training", "network"),
    ],
)
def test_a_grid_names_it(place: tuple[str, ...], mark: Path, tmp_path: Path) -> None:
    grid: dict[str, Any] = {
        **{"datasets": {"toy": {"path": str(tmp_path)}}, "noises": {"n": None}, "methods": {"m": {"method": "ce"}}},
        **{"training": {"epochs": 1}},
    }
    inside = grid
    for name in place[:-1]:
        inside[name] = inside = inside.get(name) or {}
    inside[place[-1]] = NAMED
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    with pytest.raises(DataError, match="would be imported and run"):
        read_grid(tmp_path / "grid.yaml")
    assert not mark.exists()


@pytest.mark.parametrize("verb", ["train", "audit"])
def test_a_configuration_file_names_it(verb: str, mark: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(f"training: {{network: '{NAMED}'}}\n")
    data = build_folder(tmp_path / "data")
    words = [verb, *(["ce"] if verb == "train" else []), data, "--config", tmp_path / "c.yaml", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 2
    assert "would be imported and run" in capfd.readouterr().err and not mark.exists()


def test_a_value_of_yaml_makes_nothing(mark: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = "!!python/object/apply:marks_its_import.Thing []"
    (tmp_path / "c.yaml").write_text(f"training: {made}\n")
    data = build_folder(tmp_path / "data")
    lines = [
        ["train", "ce", data, "--config", tmp_path / "c.yaml", "--out", tmp_path / "out"],
        ["corrupt", data, tmp_path / "noisy", "--noise", "markov", "--set", f"steps={made}"],
        ["bench", tmp_path / "c.yaml", "--out", tmp_path / "bench"],
    ]
    for words in lines:
        assert main([str(word) for word in words]) == 2
    assert "which is not read" in capfd.readouterr().err and not mark.exists()
