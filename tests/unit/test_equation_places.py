"""The pages on papers say of every equation where it is, and it is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAPERS = Path(__file__).parents[2] / "docs" / "papers"
EQUATIONS = {"gsd-net": 20, "alc": 11, "self-cleansing": 8}
"""How many numbered equations a paper has."""
PLACE = re.compile(r"\[`([\w.]+)::([\w.]+)`\]\(([^)]+)\)")


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
    rows = re.findall(r"^\| (\d+) \| \S.* \| (.*) \|$", (PAPERS / f"{paper}.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, EQUATIONS[paper] + 1))
    assert all(PLACE.search(place) for _, place in rows)


def test_a_wrong_place_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("LIMIT = 1\nclass A:\n    def one(self): ...\ndef two(): ...\n")
    good = "[`module.py::A.one`](module.py) [`module.py::two`](module.py) [`module.py::LIMIT`](module.py)"
    assert not wrong_places(good, tmp_path)
    bad = "[`module.py::A.two`](module.py) [`other.py::two`](module.py) [`none.py::two`](none.py)"
    assert wrong_places(bad, tmp_path) == ["module.py::A.two", "other.py::two", "none.py::two"]
