"""The documentation says what the program says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.training_jobs import TEST_METHODS

from debride.cli import make_parser
from debride.methods import METHODS
from debride.methods.page import page

ROOT = Path(__file__).parents[2]


def test_methods_page_is_up_to_date() -> None:
    for name in TEST_METHODS:
        METHODS.pop(name, None)
    assert (ROOT / "docs" / "methods.md").read_text() == page(), "run `debride methods --markdown > docs/methods.md`"


def test_readme_names_every_method_and_verb() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in set(METHODS) - set(TEST_METHODS):
        assert f"`{name}`" in readme
    verbs = next(action.choices for action in make_parser()._actions if action.choices)
    assert verbs
    for verb in verbs:
        assert re.search(rf"debride {verb}\b|make {verb}\b", readme), verb


def test_links_between_pages_lead_somewhere() -> None:
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
            assert (file.parent / target).exists(), f"{file.name}: {target}"
