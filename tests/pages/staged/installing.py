"""The page on installing: its steps are checked here, and done by release/check.py."""

from __future__ import annotations

from tests.pages.owners import Page, Parsed

STEPS = Parsed("installs packages; release/check.py does such steps")

PAGES = (
    Page(
        "docs/install.md",
        quick={
            "python3 -m build --wheel": "true",  # what is no part of `make test`
            ". debride-env/bin/activate": "true",
            "mkdir -p ~/.config/fish/completions": "true",
            "> ~/.config/fish/completions/": "> ~/",
        },
        others={"sh": STEPS},
    ),
)
