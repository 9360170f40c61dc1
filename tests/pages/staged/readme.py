"""The first screen."""

from __future__ import annotations

import tomllib

from tests.pages.owners import Elsewhere, Page, Parsed, Read
from tests.pages.stage import Stage

from debride.methods import METHODS, find_method

LATER = Parsed("is not on a stage yet")


def a_method(stage: Stage) -> None:
    """A method in a package of the user's own."""
    (stage.root / "my_package").mkdir()
    code = "from debride.methods.ce import CrossEntropy as MyMethod"
    (stage.root / "my_package" / "my_module.py").write_text(code)


def entry_points(text: str, stage: Stage) -> None:
    """The group is one that the program looks for, and what is named is there."""
    ((group, names),) = tomllib.loads(text)["project"]["entry-points"].items()
    assert group == METHODS.group
    for path in names.values():
        find_method(path)


PAGES = (
    Page(
        "README.md",
        a_method,
        others={
            "sh": LATER,
            "python": Elsewhere("tests/e2e/test_examples.py::test_the_readme_trains"),
            "toml": Read(entry_points),
        },
    ),
)
