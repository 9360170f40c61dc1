"""The documentation says what the program says, in short sentences."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from tests.training_jobs import TEST_METHODS

from debride.cli import make_parser
from debride.known.datasets_page import page as datasets_page
from debride.methods import METHODS
from debride.methods.page import page

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
HAND_WRITTEN = [file for file in PAGES if file != ROOT / "docs" / "methods.md"]
"""methods.md is made from the docstrings of the methods."""
LONGEST_SENTENCE = 30
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)

of_each_page = pytest.mark.parametrize("file", HAND_WRITTEN, ids=lambda file: str(file.relative_to(ROOT)))


def sentences(markdown: str) -> list[str]:
    """The sentences of the running text: no code, tables or headings; a piece of code in a line counts as one word."""
    paragraphs = [""]
    for line in FENCE.sub("", markdown).splitlines():
        if not line.strip() or line.startswith(("    ", "|", "#")):
            paragraphs.append("")
        else:
            begins = re.match(r"\s*([-*]|\d+\.) ", line)
            paragraphs.append("") if begins else None
            paragraphs[-1] += " " + line[begins.end() if begins else 0 :].strip()
    pieces = []
    for paragraph in paragraphs:
        text = re.sub(r"`[^`]*`", "code", paragraph)
        text = re.sub(r"\]\([^)]*\)", "]", text)
        text = re.sub(r"\b(al|Eq|Fig|vs)\. ", r"\1 ", text)
        pieces += re.split(r"(?<=[.!?])[)*\"]* ", text)
    return [piece.strip() for piece in pieces if piece.strip()]


def long_sentences(markdown: str) -> list[str]:
    return [
        text for text in sentences(markdown) if sum(any(map(str.isalnum, word)) for word in text.split()) > LONGEST_SENTENCE
    ]


def commands(markdown: str) -> list[tuple[str, str, list[str]]]:
    """Every `debride VERB FIRST ... --flag ...` of a page, in blocks and in the text: verb, first word, and the flags."""
    text = re.sub(r"\\\n", " ", markdown)
    lines = [line for fence in FENCE.findall(text) for line in fence.splitlines()]
    lines += [line for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    pieces = (piece for line in lines for piece in re.split(r"#|&&|;", line))
    matches = (re.search(r"(?:^|(?<!from)\s)debride ([a-z][a-z-]*) *(\S*)(.*)", piece) for piece in pieces)
    return [(match[1], match[2], re.findall(r"(?<!\S)--[a-z][a-z-]*", match[2] + match[3])) for match in matches if match]


def flags_of(verb: str, first: str) -> set[str] | None:
    """The flags of a verb, with those of the method that ``train`` is given; None for what is no verb."""
    parser = make_parser((verb, first) if first in METHODS else ())
    verbs: dict[str, argparse.ArgumentParser] = next(dict(action.choices) for action in parser._actions if action.choices)
    return {flag for action in verbs[verb]._actions for flag in action.option_strings} if verb in verbs else None


def test_methods_page_is_up_to_date() -> None:
    for name in TEST_METHODS:
        METHODS.pop(name, None)
    assert (ROOT / "docs" / "methods.md").read_text() == page(), "run `debride methods --markdown > docs/methods.md`"


def test_page_of_known_sets_is_up_to_date() -> None:
    remedy = "run `debride datasets --markdown > docs/datasets.md`"
    assert (ROOT / "docs" / "datasets.md").read_text() == datasets_page(), remedy


def test_readme_names_every_method_and_verb() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in set(METHODS) - set(TEST_METHODS):
        assert f"`{name}`" in readme
    verbs = next(action.choices for action in make_parser()._actions if action.choices)
    assert verbs
    for verb in verbs:
        assert re.search(rf"debride {verb}\b|make {verb}\b", readme), verb


def test_links_between_pages_lead_somewhere() -> None:
    for file in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


@of_each_page
def test_sentences_are_short(file: Path) -> None:
    assert not long_sentences(file.read_text())


@of_each_page
def test_commands_and_their_flags_exist(file: Path) -> None:
    for verb, first, flags in commands(file.read_text()):
        known = flags_of(verb, first)
        assert known is not None, f"debride {verb}"
        assert not set(flags) - known, f"debride {verb} {first}"


@of_each_page
def test_files_of_the_project_exist(file: Path) -> None:
    text = file.read_text()
    code = [*re.findall(r"`([^`\n]+)`", FENCE.sub("", text)), *FENCE.findall(text), *re.findall(r"^    .*", text, re.MULTILINE)]
    paths = {path for piece in code for path in re.findall(r"(?<![\w/.$])(?:src|tests|benchmarks)/[\w./-]*\w", piece)}
    paths |= {f"src/debride/{path}" for path in re.findall(r"`((?!src|tests|benchmarks)[a-z_]+(?:/[a-z_]+)*\.py)`", text)}
    assert not [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]


def test_checks_of_prose_can_fail() -> None:
    short = "A sentence with `some code of its own` and a [link](to/a/page.md), and 20 words less than it may have, says Eq. 7."
    assert len(sentences(short)) == 1
    assert not long_sentences(short + "\n\n| " + "word " * 40 + "|\n\n```\n" + "word " * 40 + "\n```\n")
    assert long_sentences("- " + "word " * 15 + "\n  " + "word " * 16 + ".\n")
    block = "```sh\ndebride train gce scans/ \\\n  --q 0.5 && debride check x # --none\n```\n"
    block += "```python\nfrom debride import steps\n```\n"
    assert commands(block + "Text `debride bench --jobs 2`.") == [
        ("train", "gce", ["--q"]),
        ("check", "x", []),
        ("bench", "--jobs", ["--jobs"]),
    ]
    assert (
        "--q" in (flags_of("train", "gce") or ())
        and "--q" not in (flags_of("train", "ce") or ())
        and flags_of("bake", "") is None
    )
