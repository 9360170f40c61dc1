"""Each page of the ledger from its top to its end, on a stage of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pages.ledger import ENTRIES
from tests.pages.owners import Page
from tests.pages.stage import Stage, Warm


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A process that has imported debride."""
    running = Warm(tmp_path_factory.mktemp("warm"))
    yield running
    running.end()


def marked(page: Page) -> object:
    marks = [pytest.mark.system] if page.system else [pytest.mark.slow]
    return pytest.param(page, id=page.path, marks=marks)


@pytest.mark.parametrize("page", [marked(page) for page in ENTRIES if page.runs()])
def test_a_page_runs_from_top_to_end(page: Page, tmp_path: Path, warm: Warm) -> None:
    root = tmp_path / "stage"
    root.mkdir()
    stage = Stage(page, root, warm)
    with stage.here():
        page.stage(stage)
    for block, owner in page.owned():
        try:
            stage.do(block, owner)
        except BaseException as error:
            error.add_note(f"{block}")
            raise
    with stage.here():
        page.after(stage)
