"""The examples of docs/how-to/format.md and pixels.md, as they stand there: in a list, by path, and on the command line."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder

from debride.cli import main
from debride.data.check import find_problems
from debride.data.formats import FORMATS, Format, detect_format, find_format
from debride.data.open import open_dataset
from debride.data.pixels import PIXELS, add_pixels, find_pixels
from debride.data.pixels.images import read_values
from debride.types import DataError, Dataset, Geometry

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def example(page: str) -> dict[str, Any]:
    """The names that a page's blocks of Python define."""
    names: dict[str, Any] = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL):
        exec(block, names)
    return names


@pytest.fixture
def lists() -> Iterator[None]:
    """The lists of layouts and kinds, as they were before."""
    formats, kinds = dict(FORMATS), dict(PIXELS)
    yield
    for now, before in ((FORMATS, formats), (PIXELS, kinds)):
        now.clear()  # type: ignore[attr-defined]
        now.update(before)  # type: ignore[attr-defined]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The classes of both pages in a module of their own."""
    blocks = [
        re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)[0] for page in ("format.md", "pixels.md")
    ]
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "strangers_files.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield "strangers_files"
    sys.modules.pop("strangers_files", None)


def pairs(root: Path, ending: str = ".png") -> Path:
    source = build_folder(root.with_name("source"), n=8)
    for case in open_dataset(source).cases:
        (root / case.id).mkdir(parents=True)
        assert case.label is not None
        if ending == ".png":
            shutil.copy(case.image[0], root / case.id / "image.png")
            shutil.copy(case.label, root / case.id / "label.png")
        else:
            for file, name in ((case.image[0], "image"), (case.label, "label")):
                values = find_pixels(file).image(file)[0][0]
                with (root / case.id / f"{name}{ending}").open("wb") as opened:
                    np.save(opened, values // (255 if name == "label" else 1))
    for file in root.glob("*/label.png"):
        find_pixels(file).write(file, read_values(file)[0] // 255, Geometry())
    (root / "classes.txt").write_text("background\nlesion")
    (root / "test.txt").write_text("case007")
    return root


def test_a_layout_in_the_list(lists: None, tmp_path: Path) -> None:
    names = example("format.md")
    others = dict(FORMATS)
    FORMATS.clear()
    FORMATS.update({"pairs": names["PairFolders"](), **others})
    root = pairs(tmp_path / "data")
    names["check_pairs"](root, tmp_path / "noisy")
    detected = detect_format(root)
    assert isinstance(detected, Format) and detected.name == "pairs" and open_dataset(root).format == "pairs"
    (root / "case003" / "label.png").unlink()
    assert [problem.problem for problem in find_problems(root)] == ["has no image or no label"]


def test_a_kind_in_the_list(lists: None, tmp_path: Path) -> None:
    names = example("pixels.md")
    add_pixels(names["NumpyFiles"]())
    names["check_numpy_files"](tmp_path, Dataset(tmp_path, "folder", ("background", "a"), (), 2))


def test_a_kind_that_takes_an_ending_of_another(lists: None) -> None:
    kind = example("pixels.md")["NumpyFiles"]()
    kind.endings = (".arr", ".png")
    with pytest.raises(DataError, match=r"claims \.png, which is taken"):
        add_pixels(kind)
    assert "numpy" not in PIXELS


def test_both_on_the_command_line(lists: None, module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pairs(tmp_path / "data", ".arr")
    options = ["--format", f"{module}:PairFolders", "--pixels", f"{module}:NumpyFiles"]
    assert main(["check", str(root), *options]) == 0, capsys.readouterr().err
    assert main(["corrupt", str(root), str(tmp_path / "noisy"), "--noise", "dilate-erode", *options]) == 0
    assert main(["check", str(tmp_path / "noisy"), *options]) == 0, capsys.readouterr().out
    values = [read_values(folder / "case001" / "label.arr")[0] for folder in (root, tmp_path / "noisy")]
    assert (values[0] != values[1]).any() and not (root / "noise.json").exists()


@pytest.mark.parametrize("name", ["nothing", "strangers_files:Nothing", "pathlib:Path"])
def test_what_is_no_layout(name: str, module: str) -> None:
    with pytest.raises(DataError):
        find_format(name)
