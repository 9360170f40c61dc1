"""The generated set, and the verb ``datasets`` by it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import debride
from debride.cli import main
from debride.known.generated import dice
from debride.known.registry import KNOWN


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_what_is_planted_is_listed_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "generated", "--out", str(tmp_path / "scans"), "--set", "cases=20", "wrong=7", "size=64"]) == 0
    assert "20 cases" in capsys.readouterr().out
    with (tmp_path / "scans" / "planted.csv").open(newline="") as file:
        planted = {row["case"]: row for row in csv.DictReader(file)}
    assert len(planted) == 7 and len({row["mistake"] for row in planted.values()}) >= 4
    right = debride.convert_dataset("generated", (), tmp_path / "right", set={"cases": 20, "wrong": 0, "size": 64})
    assert not (right.out / "right").exists()
    for file in sorted((right.out / "masks").iterdir()):
        given, clean = pixels(tmp_path / "scans" / "masks" / file.name), pixels(file)
        assert (pixels(tmp_path / "scans" / "images" / file.name) == pixels(right.out / "images" / file.name)).all()
        assert np.array_equal(given, clean) == (file.stem not in planted), file.stem
        if file.stem in planted:
            assert (
                dice(given, clean) == pytest.approx(float(planted[file.stem]["dice"]), abs=6e-4) and dice(given, clean) < 0.75
            )
            assert (pixels(tmp_path / "scans" / "right" / file.name) == clean).all()
    assert not debride.check_dataset(tmp_path / "scans").problems


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    options = {"cases": 4, "wrong": 2, "size": 32}
    made = [
        debride.convert_dataset("generated", (), tmp_path / name, set={**options, "seed": seed}).out
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    contents = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()} for folder in made
    ]
    assert contents[0] == contents[1] != contents[2]
    source = json.loads((made[0] / "source.json").read_text())
    assert source["set"] == "generated" and source["debride"] == debride.__version__ and source["files"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generated", "--set", "cases=0"], "cannot be 0 cases"),
        (["generated", "--set", "cases=ten"], "Give a whole number"),
        (["generated", "--set", "colour=1"], "Its options are"),
        (["generated", "scans.zip"], "is not needed"),
        (["generatd"], "Did you mean generated"),
        (["acdc"], "is made from files that you download"),
        (["acdc", "nowhere.zip"], "does not exist"),
        (["qubiq", "nowhere.zip"], "option task of qubiq: is missing"),
    ],
)
def test_what_cannot_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["datasets", *words, "--out", "out"]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_set_is_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    listed = capsys.readouterr().out
    for name, known in KNOWN.items():
        assert name in listed and known.title in listed
        assert main(["datasets", name]) == 0
        described = capsys.readouterr().out
        assert known.licence in described and f"debride datasets {name}" in described
        assert all(page in described for page in known.where.split())
    assert debride.known_datasets() == KNOWN
    assert main(["datasets", "acdc", "ACDC.zip"]) == 2
    assert "--out" in capsys.readouterr().err
