"""What commands of pages do here: debride and Python run, or have their words parsed; what would change the machine is read.

``PAGES_PARSE`` in the environment: words are parsed, and nothing is done. ``PAGES_ANEW``: what ``--out`` names is written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shutil
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.pages.blocks import ROOT


def run(program: str, words: list[str]) -> int:
    """Does what a program of this name does with its words, and returns its exit code."""
    only_parsed = bool(os.environ.get("PAGES_PARSE"))
    sys.path.insert(0, str(Path.cwd()))
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [program, *words]
    return {**PROGRAMS, **READ}[program](words, only_parsed)


def debride(words: list[str], only_parsed: bool) -> int:
    """The command line; a review ends when its reader has looked at it."""
    from debride import cli

    if only_parsed:
        arguments = cli.make_parser(words).parse_args(words)
        assert hasattr(arguments, "answer"), f"debride {' '.join(words)}: no verb"
        return 0
    from debride.review import server

    if os.environ.get("PAGES_ANEW") and "--out" in words and not {"--resume", "--merge", "--shard"} & set(words):
        _clear(Path(words[words.index("--out") + 1]))
    server.serve = read_once
    return cli.main()


def _clear(path: Path) -> None:
    """Takes away what an earlier command wrote: the page's commands are one way or the other."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def python(words: list[str], only_parsed: bool) -> int:
    """``-c CODE``, ``-m MODULE``, or a script."""
    kind, rest = (words[0], words[1:]) if words[0] in ("-c", "-m") else ("", words)
    name = rest[0]
    sys.argv = rest if kind != "-c" else ["-c", *rest[1:]]
    if kind == "-m" and name in PROGRAMS:
        return PROGRAMS[name](rest[1:], only_parsed)
    if kind == "-c":
        code = compile(name, "-c", "exec")
        if not only_parsed:
            exec(code, {"__name__": "__main__"})
        return 0
    if only_parsed:
        _stop_when_parsed()
    try:
        if kind == "-m":
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(name).parent))
            runpy.run_path(name, run_name="__main__")
    except _Parsed:
        return 0
    assert not only_parsed, f"{name} parses no words"
    return 0


class _Parsed(BaseException):
    """The words of a script were parsed."""


def _stop_when_parsed() -> None:
    """Ends a script that has parsed its words."""
    parse = argparse.ArgumentParser.parse_known_args

    def parse_args(parser: argparse.ArgumentParser, *words: Any) -> Any:
        _, left = parse(parser, *words)
        if left:
            parser.error(f"unrecognized arguments: {' '.join(left)}")
        raise _Parsed

    def parse_known_args(parser: argparse.ArgumentParser, *words: Any) -> Any:
        parse(parser, *words)
        raise _Parsed

    argparse.ArgumentParser.parse_args = parse_args  # type: ignore[method-assign, assignment]
    argparse.ArgumentParser.parse_known_args = parse_known_args  # type: ignore[method-assign, assignment]


def pip(words: list[str], only_parsed: bool) -> int:
    """Installs nothing: what is named must be debride, with extras that it has, or a file that is there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[0] == "install", words
    left = [word for word in words[1:] if word not in ("-q", "-e", "--upgrade")]
    while left:
        word = left.pop(0)
        if word in ("-c", "-r"):
            assert (ROOT / left.pop(0)).is_file(), word
            continue
        if word == "--index-url":
            assert left.pop(0).startswith("https://download.pytorch.org/")
            continue
        if word in ("torch", "build"):
            continue
        named = re.fullmatch(r"(debride|\.)(?:\[([\w,-]+)\])?(==[\d.]+)?", word)
        assert named, f"pip install {word}: is not known here"
        unknown = set((named[2] or "").split(",")) - {"", *extras}
        assert not unknown, f"debride has no extra {unknown}"
    return 0


def opened(words: list[str], only_parsed: bool) -> int:
    """A page or picture that a reader opens is there."""
    for word in words:
        assert only_parsed or Path(word).stat().st_size, word
    return 0


def make(words: list[str], only_parsed: bool) -> int:
    """A target that the Makefile has."""
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets and set(words) <= set(targets[1].split()), words
    return 0


def nnunet(words: list[str], only_parsed: bool) -> int:
    """A program of nnU-Net with a trainer, where one is named, that debride has."""
    if "-tr" in words:
        trainer = words[words.index("-tr") + 1]
        there = "".join(file.read_text() for file in (ROOT / "src/debride/nnunet").glob("*.py"))
        assert re.search(rf"^class {trainer}\(", there, re.MULTILINE), trainer
    return 0


def over(words: list[str], only_parsed: bool) -> int:
    """A program that starts another, here or elsewhere, as ssh and torchrun do; what of ours it starts has its words parsed."""
    assert only_parsed, "is not run here"
    ours = [at for at, word in enumerate(words) if word == "debride"]
    begun = words[ours[0] + 1 :] if ours else []
    return debride(begun, only_parsed) if begun and begun != ["."] else 0


PROGRAMS: dict[str, Callable[[list[str], bool], int]] = {
    "debride": debride,
    "python": python,
    "python3": python,
    "pip": pip,
    "open": opened,
    "xdg-open": opened,
    "make": make,
}
READ = {
    "nnUNetv2_plan_and_preprocess": nnunet,
    "nnUNetv2_train": nnunet,
    "nnUNetv2_predict": nnunet,
    **dict.fromkeys(("ssh", "srun", "torchrun", "git", "sqlite3", "podman", "uv"), over),
}
"""Programs that are there only where words are parsed."""


def read_once(review: Any, *, port: int | None = None, browser: bool = True) -> None:
    """A reader in place of the browser: opens the page and decides on all that is undecided, as ``PAGES_READER`` says: a word
    for all ("accept" if nothing is said). Then ends the review, as Ctrl-C does."""
    from debride.review.server import serving

    with serving(review, port) as address:
        sys.stdout.write(f"{address}\n")
        assert b"<title>" in urllib.request.urlopen(address, timeout=20).read()
        items = _asked(f"{address}api/items")["items"]
        word = os.environ.get("PAGES_READER", "accept")
        for item in items:
            if not item.get("decision"):
                told = {"decision": word, "comment": "", "sent": f"{time.monotonic_ns()}"}
                _asked(f"{address}api/items/{item['place']}/decision", told)


def _asked(address: str, told: Any = None) -> Any:
    """The JSON of an answer."""
    body = None if told is None else json.dumps(told).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"} if body else {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
