"""Every block of code of every page is run, read or parsed by one owner; a block that nobody owns fails here."""

from __future__ import annotations

import ast
import re

import pytest
from tests.pages.blocks import ROOT, blocks_in, blocks_of, pages
from tests.pages.ledger import ENTRIES, LEDGER
from tests.pages.owners import Elsewhere, Page, Parsed, Printed, Run, Text
from tests.pages.stage import in_turn

WITH_BLOCKS = [page for page in pages() if blocks_of(page)]
SHELL = ("sh", "bash")

of_each_page = pytest.mark.parametrize("path", WITH_BLOCKS)
of_each_entry = pytest.mark.parametrize("page", ENTRIES, ids=lambda page: page.path)


@of_each_page
def test_each_block_has_one_owner(path: str) -> None:
    assert path in LEDGER, f"{path} has blocks and no entry in tests/pages/staged"
    for block in blocks_of(path):
        assert block.fenced, f"{block}: is indented; fence it with ``` and its language"
        assert block.language, f"{block}: say its language after ```; text is one"
        owners = LEDGER[path].owners(block)
        assert owners, f"{block}: has no owner; tests/pages/owners.py has the kinds"
        assert len(owners) == 1, f"{block}: has {len(owners)} owners"


def test_each_entry_is_of_a_page_with_blocks() -> None:
    assert sorted(page.path for page in ENTRIES) == sorted(WITH_BLOCKS)


@of_each_entry
def test_all_that_an_entry_says_occurs(page: Page) -> None:
    blocks = blocks_of(page.path)
    for words in page.others:
        assert any(block.text.startswith(words) or block.language == words for block in blocks), f"no block begins with {words}"
    text = "".join(block.text for block in blocks)
    assert not [words for words in page.quick if words not in text]


@of_each_entry
def test_owners_fit_their_blocks(page: Page) -> None:
    for block, owner in page.owned():
        match owner:
            case Run():
                assert block.language in (*SHELL, "python"), block
            case Parsed(why):
                assert block.language in (*SHELL, "python") and why, block
            case Text(why):
                assert block.language == "text" and why, block
            case Printed():
                assert block.language in ("text", "console", "markdown"), block
            case Elsewhere(test):
                assert reads(test, page.path), f"{block}: {test} is not there, or does not read the page"


def reads(test: str, page: str) -> bool:
    """Whether a test is there, in a file that names the page."""
    name, _, function = test.partition("::")
    if not (ROOT / name).is_file():
        return False
    text = (ROOT / name).read_text(encoding="utf-8")
    functions = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return function in functions and page.rpartition("/")[2] in text


def test_blocks_are_found() -> None:
    text = "Text.\n\n    indented\n\n    more\n\n- item\n\n    not code\n\n```sh\nls\n```\n\n"
    text += '=== "A"\n\n    ```python\n    x = 1\n    ```\n'
    found = [(block.line, block.language, block.text, block.fenced) for block in blocks_in(text)]
    assert found == [(3, "", "indented\n\nmore\n", False), (12, "sh", "ls\n", True), (18, "python", "x = 1\n", True)]
    with pytest.raises(ValueError, match="line 1: a fence is not closed"):
        blocks_in("```sh\nls\n")


def test_what_is_shown_must_have_been_said() -> None:
    said = "first\nbest epoch:  3, Dice 0.812\nlast\n"
    in_turn("first\nbest epoch: 3, Dice 0.812\n", said, figures=True)
    in_turn("best epoch: 7, Dice 0.9\n", said, figures=False)
    in_turn("best … Dice 0.812\nlast\n", said, figures=True)
    for shown in ("best epoch: 7, Dice 0.9\n", "last\nfirst\n", "best\n"):
        with pytest.raises(AssertionError, match=re.escape("not said")):
            in_turn(shown, said, figures=True)
