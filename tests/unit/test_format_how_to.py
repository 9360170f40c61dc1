"""The examples of docs/how-to/format.md and pixels.md, as they stand there: in files of their own, in a list, and on the
command line."""

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
from debride.data.formats import FORMATS, Format, NewLabels, detect_format, find_format
from debride.data.formats.layout import copy_cases
from debride.data.open import open_dataset
from debride.data.pixels import PIXELS, add_pixels, find_pixels
from debride.data.pixels.images import read_values, write_values
from debride.files import write_json
from debride.types import Case, DataError, Dataset, Geometry

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str) -> list[str]:
    """A page's blocks of Python: the example, and its test."""
    return re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)


def names_of(block: str) -> dict[str, Any]:
    """The names that a block of Python defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(block, names)
    return names


@pytest.fixture
def lists() -> Iterator[None]:
    """The lists of layouts and kinds without what the pages add, and at the end as they were before."""
    formats, kinds = dict(FORMATS), dict(PIXELS)
    FORMATS.pop("pairs", None)
    PIXELS.pop("numpy", None)
    yield
    for now, before in ((FORMATS, formats), (PIXELS, kinds)):
        now.clear()  # type: ignore[attr-defined]
        now.update(before)  # type: ignore[attr-defined]


@pytest.fixture
def modules(lists: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples of both pages, each in the file that its test names."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_layout.py").write_text(blocks("format.md")[0])
    (tmp_path / "code" / "my_files.py").write_text(blocks("pixels.md")[0])
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield
    for name in ("my_layout", "my_files"):
        sys.modules.pop(name, None)


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
    write_json(root / "pairs.json", {"classes": ["background", "lesion"]})
    write_json(root / "splits.json", {"test": ["case007"]})
    return root


@pytest.mark.parametrize(("page", "test"), [("format.md", "test_pairs"), ("pixels.md", "test_numpy_files")])
def test_the_test_of_a_page_passes(modules: None, page: str, test: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    names_of(blocks(page)[1])[test](tmp_path / "out")


def test_a_layout_in_the_list(lists: None, tmp_path: Path) -> None:
    others = dict(FORMATS)
    FORMATS.clear()
    FORMATS.update({"pairs": names_of(blocks("format.md")[0])["PairFolders"](), **others})
    root = pairs(tmp_path / "data")
    detected = detect_format(root)
    assert isinstance(detected, Format) and detected.name == "pairs" and open_dataset(root).format == "pairs"
    (root / "case003" / "label.png").unlink()
    assert [problem.problem for problem in find_problems(root)] == ["has no image or no label"]


def test_images_of_one_name_are_told_apart(modules: None, tmp_path: Path) -> None:
    root = pairs(tmp_path / "data")
    shutil.copy(root / "case001" / "image.png", root / "case002" / "image.png")
    problems = find_problems(root, format="my_layout:PairFolders")
    assert [problem.problem for problem in problems] == ["has the same pixels as case001"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (lambda case, file, kind: Path(case.id), r"puts .*/a/image\.png and .*/a/label\.png at the same path a\."),
        (lambda case, file, kind: Path(file.name), r"puts .*/a/image\.png and .*/b/image\.png at the same path image\.png"),
        (lambda case, file, kind: file, r"puts .*/a/image\.png outside the new folder, at .*/a/image\.png"),
        (lambda case, file, kind: Path("..", case.id, file.name), r"puts .* outside the new folder, at \.\./a/image\.png"),
    ],
)
def test_a_layout_that_misplaces_files_is_told(place: Any, says: str, tmp_path: Path) -> None:
    cases = []
    for name in ("a", "b"):
        files = [tmp_path / name / "image.png", tmp_path / name / "label.png"]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            write_values(file, np.eye(4, dtype=np.uint8), Geometry())
        cases.append(Case(name, (files[0],), files[1], name))
    dataset = Dataset(tmp_path, "mine:Own", ("background", "a"), tuple(cases), 2)

    labels = NewLabels(lambda placed: [case.label for case in placed], {}, lambda done, total: None)
    with pytest.raises(DataError, match=r"^layout mine:Own: its place\(\) " + says):
        copy_cases(dataset, tmp_path / "copy", labels, place)


def test_a_folder_of_an_unknown_kind_says_so(modules: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no cases.*Not read as images: \.arr; name a kind of your own by"):
        open_dataset(pairs(tmp_path / "data", ".arr"), format="my_layout:PairFolders", report=lambda problem: None)


def test_a_kind_that_takes_an_ending_of_another(lists: None) -> None:
    kind = names_of(blocks("pixels.md")[0])["NumpyFiles"]()
    kind.endings = (".arr", ".png")
    with pytest.raises(DataError, match=r"claims \.png, which is taken"):
        add_pixels(kind)
    assert "numpy" not in PIXELS


def test_both_on_the_command_line(modules: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pairs(tmp_path / "data", ".arr")
    options = ["--format", "my_layout:PairFolders", "--pixels", "my_files:NumpyFiles"]
    assert main(["check", str(root), *options]) == 0, capsys.readouterr().err
    assert main(["corrupt", str(root), str(tmp_path / "noisy"), "--noise", "dilate-erode", *options]) == 0
    assert main(["check", str(tmp_path / "noisy"), *options]) == 0, capsys.readouterr().out
    values = [read_values(folder / "case001" / "label.arr")[0] for folder in (root, tmp_path / "noisy")]
    assert (values[0] != values[1]).any() and not (root / "noise.json").exists()


@pytest.mark.parametrize("name", ["nothing", "my_layout:Nothing", "pathlib:Path"])
def test_what_is_no_layout(name: str, modules: None) -> None:
    with pytest.raises(DataError):
        find_format(name)
