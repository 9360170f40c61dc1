"""Pages of benchmarks and papers: their commands take hours, and images that are not here."""

from __future__ import annotations

from tests.pages.blocks import blocks_of, pages
from tests.pages.owners import Page, Parsed

HOURS = Parsed("takes hours and real images; tests/e2e/test_benchmarks_run.py and test_papers_at_toy_size.py run it small")

PAGES = tuple(
    Page(page, others={"sh": HOURS})
    for page in pages()
    if page.startswith(("docs/benchmarks/", "docs/papers/")) and blocks_of(page)
)
