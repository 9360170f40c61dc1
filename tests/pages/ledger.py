"""The ledger: one entry for each page that has blocks. Each file of ``staged/`` has entries of pages that belong together."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.pages.owners import Page

STAGED = sorted(file.stem for file in (Path(__file__).parent / "staged").glob("*.py"))
ENTRIES: list[Page] = [page for name in STAGED for page in importlib.import_module(f"tests.pages.staged.{name}").PAGES]
LEDGER: dict[str, Page] = {page.path: page for page in ENTRIES}
