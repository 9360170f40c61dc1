"""The documentation's site: links lead somewhere, nothing is loaded from elsewhere, and the reference has all there is."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
from tests.site.site_pages import SitePage, pages_of, target

import debride
from debride import losses, metrics, noise, steps, testing
from debride.cli import VERBS, make_parser

ROOMS = ("losses", "metrics", "noise", "steps", "__version__")
"""Rooms with a page of their own, and a text."""
EXTERNAL = re.compile(r"""(?:@import\s+|url\()\s*["']?(?:https?:)?//""")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, SitePage]:
    return pages_of(site)


def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, SitePage]) -> None:
    assert len(pages) > 80
    lost = []
    for file, page in pages.items():
        for link in page.links:
            found = target(file, link)
            if not found:
                continue
            to, place = found
            if not to.is_file() or (place and to in pages and place not in pages[to].places and not place.startswith("__")):
                lost.append(f"{file.name}: {link}")
    assert not lost


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, SitePage]) -> None:
    for file, page in pages.items():
        assert page.loaded
        for loaded in page.loaded:
            if not loaded.startswith("data:"):
                found = target(file, loaded)
                assert found and found[0].is_file(), f"{file.name} loads {loaded}"
    styles = [*site.rglob("*.css"), *site.rglob("*.svg")]
    assert styles
    assert not [style.name for style in styles if EXTERNAL.search(style.read_text())]


def test_every_page_is_in_the_navigation(site: Path, pages: dict[Path, SitePage]) -> None:
    led_to = {found[0] for link in pages[site / "index.html"].of_nav if (found := target(site / "index.html", link))}
    elsewhere = [file for file in pages if file not in led_to and not file.is_relative_to(site / "files")]
    assert not elsewhere, [str(file.relative_to(site)) for file in elsewhere]


def test_pages_of_files_are_linked_to(site: Path, pages: dict[Path, SitePage]) -> None:
    led_to = {found[0] for file, page in pages.items() for link in page.links if (found := target(file, link))}
    shown = [file for file in pages if file.is_relative_to(site / "files")]
    assert shown and set(shown) <= led_to


def test_search_knows_words_of_pages(site: Path) -> None:
    of_file, of_index = (site / "search" / f"search_index.{kind}" for kind in ("js", "json"))
    assert of_file.read_text().endswith(of_index.read_text()), "a page from a folder reads the index as a script"
    entries = json.loads(of_index.read_text())["docs"]

    def found(word: str) -> set[str]:
        return {entry["location"].partition("#")[0] for entry in entries if word in entry["text"] + entry["title"]}

    assert "methods.html" in found("T-Loss") | found("t-loss")
    assert "reference/commands/train.html" in found("--patch-size")
    assert "reference/functions.html" in found("audit_dataset")
    assert "reference/losses.html" in found("GeneralizedCrossEntropyLoss")
    assert not {place for place in found("import") if place.startswith("files/")} - {"files/benchmarks/claims.md.html"}


def test_pages_have_all_options_of_the_verbs(site: Path, pages: dict[Path, SitePage]) -> None:
    parsers: dict[str, argparse.ArgumentParser] = next(
        dict(action.choices) for action in make_parser()._actions if action.choices
    )
    assert set(parsers) == set(VERBS)
    for verb, parser in parsers.items():
        words = pages[site / "reference" / "commands" / f"{verb}.html"].words
        for action in parser._actions:
            for option in {*action.option_strings} - {"-h", "--help"} if action.help != argparse.SUPPRESS else ():
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", words), f"{verb} {option}"
        assert "default:" not in words, "the default of an option has a column of its own"


def test_pages_have_defaults_and_ranges(site: Path) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", (site / "reference" / "commands" / "train.html").read_text(), re.DOTALL)
    cells = [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)] for row in rows]
    assert ["--batch-size N", "cases in a batch, of all processes together", "8", "at least 1"] in cells


@pytest.mark.parametrize(
    ("name", "page"),
    [
        *((f"debride.{name}", "functions") for name in debride.__all__ if name not in ROOMS),
        *((f"debride.losses.{name}", "losses") for name in losses.__all__),
        *((f"debride.steps.{name}", "steps") for name in steps.__all__),
        *((f"debride.metrics.{name}", "metrics") for name in metrics.__all__),
        *((f"debride.noise.{name}", "noise") for name in noise.__all__),
        *((f"debride.testing.{name}", "testing") for name in testing.__all__),
    ],
)
def test_every_public_name_has_its_place(site: Path, pages: dict[Path, SitePage], name: str, page: str) -> None:
    assert name in pages[site / "reference" / f"{page}.html"].places
    described = (site / "reference" / f"{page}.html").read_text()
    assert re.search(rf'id="{re.escape(name)}".*?<div class="doc doc-contents [a-z]*">\s*<p>\w', described, re.DOTALL), (
        "no docstring"
    )
