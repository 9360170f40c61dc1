"""No verb writes into a source: a data set, the folder of predictions, or a part of either."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.datasets import build_folder, build_npz

from debride.cli import main

SMALL = ["--device", "cpu", "--epochs", "1"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return build_folder(tmp_path / "source")


@pytest.mark.parametrize("inside", ["results", "images/deep/results", "."])
@pytest.mark.parametrize("verb", ["train", "corrupt", "audit", "evaluate", "bench"])
def test_a_data_set(verb: str, inside: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, masks = source / inside, tmp_path / "masks"
    masks.mkdir()
    words: dict[str, list[object]] = {
        "train": ["ce", source, "--out", out, *SMALL],
        "corrupt": [source, out, "--noise", "shift"],
        "audit": [source, "--out", out, "--predictions", masks],
        "evaluate": [masks, source, "--out", out],
        "bench": [grid_of(source, tmp_path), "--out", out],
    }
    before = contents(source)
    assert main([verb, *map(str, words[verb])]) == 2
    assert "lies in the data set" in capsys.readouterr().err
    assert contents(source) == before and not (source / "results").exists()


@pytest.mark.parametrize("verb", ["audit", "evaluate"])
def test_the_folder_of_predictions(verb: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    words = {"audit": [source, "--predictions", masks], "evaluate": [masks, source]}[verb]
    assert main([verb, *map(str, words), "--out", str(masks / "out")]) == 2
    assert "lies in the folder of predictions" in capsys.readouterr().err and not list(masks.iterdir())


def test_the_folder_of_predicted_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, predictions = build_npz(tmp_path / "classes"), tmp_path / "predictions"
    predictions.mkdir()
    assert main(["evaluate", str(predictions), str(source), "--out", str(predictions / "out")]) == 2
    assert "lies in the folder of predictions" in capsys.readouterr().err and not list(predictions.iterdir())


@pytest.mark.parametrize(("verb", "by"), [("train", "option"), ("train", "environment"), ("bench", "environment")])
def test_the_cache(
    verb: str, by: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, out = source / "cache", tmp_path / "out"
    words = {"train": ["ce", source], "bench": [grid_of(source, tmp_path)]}[verb]
    if by == "environment":
        monkeypatch.setenv("DEBRIDE_CACHE", str(cache))
    given = ["--cache", cache] if by == "option" else []
    assert main([verb, *map(str, [*words, *given, "--out", out])]) == 2
    assert f"{cache}: lies in the data set" in capsys.readouterr().err
    assert not cache.exists() and not out.exists()


def grid_of(source: Path, folder: Path) -> Path:
    grid = {"datasets": {"d": {"path": str(source)}}, "noises": {"clean": {}}, "methods": {"ce": {}}, "training": {"epochs": 1}}
    file = folder / "grid.yaml"
    file.write_text(yaml.safe_dump(grid))
    return file
