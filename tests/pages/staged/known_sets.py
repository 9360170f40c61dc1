"""The page of known data sets."""

from __future__ import annotations

from tests.pages.owners import Page, Parsed, Run
from tests.pages.stage import Stage


def made(stage: Stage) -> None:
    assert len(list((stage.root / "generated" / "masks").iterdir())) == 60


PAGES = (
    Page(
        "docs/datasets.md",
        others={"debride datasets generated": Run(), "sh": Parsed("needs files that a person downloads")},
        after=made,
    ),
)
