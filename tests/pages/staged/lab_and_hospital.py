"""Tutorials whose data are made by a script of examples/: two readers."""

from __future__ import annotations

from tests.pages.blocks import ROOT
from tests.pages.owners import Page, Parsed, Printed, Text
from tests.pages.stage import Stage

SHOWN = Printed(figures=False)
TRAINED = Text("what networks find that have trained for as long as the page says")
READERS = Parsed("needs people in front of a browser; tests/e2e/test_review_verb.py has a review")
SMALL = "--network unet-small --width 2 --epochs 1"


def a_clone(stage: Stage) -> None:
    """Its own cache."""
    stage.environment["DEBRIDE_CACHE"] = str(stage.root / "cache")


def readers_compared(stage: Stage) -> None:
    """The page ends with a table of both readers."""
    assert [line.split()[0] for line in stage.said[-1].splitlines()] == ["ann", "ben"]
    assert (stage.root / "signed" / "changes.html").is_file()
    assert len(list((stage.root / "audit-2" / "raters" / "consensus" / "labels").iterdir())) == 24


PAGES = (
    Page(
        "docs/tutorials/two-readers.md",
        a_clone,
        quick={
            "--network unet-small --width 8 --epochs 40 --learning-rate 0.05": SMALL,
            "examples/made_readers.py readers": f"{ROOT}/examples/made_readers.py readers 3",
            "--decisions audit/review.db": "--accept all",
            "--since audit --review": "--since audit",
        },
        others={
            "debride review": READERS,
            "144 labels": TRAINED,
            "2 in conflict": TRAINED,
            "- Mean Dice": SHOWN,
            "ann dice": SHOWN,
            "case,image": SHOWN,
        },
        after=readers_compared,
    ),
    Page(
        "docs/tutorials/hospital.md",
        a_clone,
        quick={
            "examples/made_archive.py": f"{ROOT}/examples/made_archive.py",
            "--network unet-small --width 8 --epochs 60 --learning-rate 0.05": SMALL,
            "--decisions audit/review.db": "--accept all",
            "debride review audit --reader ada": "true",
        },
        others={"studies: no": SHOWN, "18 labels": TRAINED},
    ),
    Page(
        "docs/tutorials/classes.md",
        a_clone,
        quick={
            "examples/made_classes.py": f"{ROOT}/examples/made_classes.py",
            "--epochs 15": "--epochs 1",
            "--decisions audit/review.db": "--accept all",
        },
        others={"debride review": READERS, "cells: no": SHOWN, "480 labels": TRAINED},
    ),
)
