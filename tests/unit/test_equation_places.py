"""The pages on papers say of every equation where it is, and it is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAPERS = Path(__file__).parents[2] / "docs" / "papers"
EQUATIONS = {"meta-dcseg": 48, "gsd-net": 20, "alc": 11, "self-cleansing": 8, "dcd": 11}
"""How many numbered equations a paper has."""
PLACE = re.compile(r"\[`([\w.]+)::([\w.]+)`\]\(([^)]+)\)")

REASON = re.compile(r"\b(Eq\. \d+|proof|nowhere|optimiser|differentiation)\b")
"""Words of a row that names no place: it is another equation, a step of a proof, or nothing of ours computes it."""


def numbers(cell: str) -> list[int]:
    """The numbers of "7", of "8, 9" and of "10 to 12"."""
    spans = [part.split(" to ") for part in cell.split(", ")]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def names(source: str) -> set[str]:
    """Functions, classes and constants of a module, and the methods of its classes as CLASS.METHOD."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        for child in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(child, ast.FunctionDef):
                found.add(f"{node.name}.{child.name}")  # type: ignore[attr-defined]
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def wrong_places(page: str, folder: Path) -> list[str]:
    wrong = []
    for file, name, target in PLACE.findall(page):
        path = folder / target
        if path.name != file or not path.exists() or name not in names(path.read_text()):
            wrong.append(f"{file}::{name}")
    return wrong


@pytest.mark.parametrize("page", sorted(PAPERS.glob("*.md")), ids=lambda page: page.stem)
def test_places_of_equations_exist(page: Path) -> None:
    assert not wrong_places(page.read_text(), page.parent)


@pytest.mark.parametrize("paper", EQUATIONS)
def test_every_equation_has_a_row(paper: str) -> None:
    page = (PAPERS / f"{paper}.md").read_text()
    rows = re.findall(r"^\| (\d+(?:, \d+| to \d+)*) \| \S.* \| (.*) \|$", page, re.MULTILINE)
    assert [number for cell, _ in rows for number in numbers(cell)] == list(range(1, EQUATIONS[paper] + 1))
    assert [cell for cell, place in rows if not (PLACE.search(place) or REASON.search(place))] == []


def test_several_equations_may_share_a_row() -> None:
    assert [*numbers("7"), *numbers("8, 9"), *numbers("10 to 12")] == [7, 8, 9, 10, 11, 12]


def test_the_index_names_every_page() -> None:
    index = (PAPERS / "index.md").read_text()
    assert [page.name for page in PAPERS.glob("*.md") if page.stem != "index" and f"({page.name})" not in index] == []


def test_a_wrong_place_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("LIMIT = 1\nclass A:\n    def one(self): ...\ndef two(): ...\n")
    good = "[`module.py::A.one`](module.py) [`module.py::two`](module.py) [`module.py::LIMIT`](module.py)"
    assert not wrong_places(good, tmp_path)
    bad = "[`module.py::A.two`](module.py) [`other.py::two`](module.py) [`none.py::two`](none.py)"
    assert wrong_places(bad, tmp_path) == ["module.py::A.two", "other.py::two", "none.py::two"]
