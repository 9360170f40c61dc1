"""The page on installing: its steps are checked here, and done by release/check.py."""

from __future__ import annotations

from tests.pages.owners import Page, Parsed

PAGES = (Page("docs/install.md", others={"sh": Parsed("installs packages; release/check.py does such steps")}),)
