"""The benchmark of crops in a browser runs, on a small volume."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from benchmarks import review_crop
from tests.review_pages import CHROMIUM

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


def test_it_times_the_page_the_next_items_and_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["review_crop.py", "--shape", "24", "48", "48", "--cases", "2"])
    review_crop.main()
    assert [line.rsplit(maxsplit=2)[0] for line in capsys.readouterr().out.splitlines()] == [
        "the page and its first item",
        "the next finding of a case",
        "a finding of the next case",
        "the whole volume on demand",
    ]
