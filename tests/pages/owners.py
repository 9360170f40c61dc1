"""What an entry of the ledger says of a page: on which stage its blocks run, and who owns the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.pages.blocks import Block, blocks_of

if TYPE_CHECKING:
    from tests.pages.stage import Stage

RUN = ("sh", "bash", "python")
"""Languages of what runs on the stage where nothing else is said."""


@dataclass(frozen=True)
class Run:
    """Runs on the stage: all of Python and shell, unless something else is said of it."""


@dataclass(frozen=True)
class Parsed:
    """Needs what is not here, ``why`` says what: the shell reads it, and each command's own parser takes its words."""

    why: str


@dataclass(frozen=True)
class File:
    """A file that a reader writes, by its path on the stage: blocks below use it."""

    path: str


@dataclass(frozen=True)
class Printed:
    """What the block above prints: each line of it, in this order; ``figures`` False where other sizes give others."""

    figures: bool = True


@dataclass(frozen=True)
class Read:
    """The program reads it: a function of its text and of the stage, which raises where it is wrong."""

    by: Callable[[str, Stage], object]


@dataclass(frozen=True)
class Elsewhere:
    """Another test owns it, ``tests/FILE.py::test_name``, and reads the page."""

    test: str


@dataclass(frozen=True)
class Text:
    """No code and no output: ``why`` says what else. Its language is ``text``."""

    why: str


Owner = Run | Parsed | File | Printed | Read | Elsewhere | Text


def nothing(stage: Stage) -> None:
    """For pages that need nothing, or are not looked at afterwards."""


@dataclass(frozen=True)
class Page:
    """One page's entry.

    ``stage`` prepares the folder ``stage.root`` in which blocks run from the page's top to its end. ``quick`` has words of the
    page and what is said here instead, so that it takes seconds: each must occur. ``others`` has the owners of what does not
    simply run, by the words that a block begins with, or by its language. ``programs`` are scripts of the shell that
    stand for programs that are not here. ``after`` looks at what there is in the end: ``stage.root``, ``stage.names`` of
    Python, ``stage.said`` of each block. ``system`` is for what takes long, or needs what `make test` has not.
    """

    path: str
    stage: Callable[[Stage], None] = nothing
    quick: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Owner] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    after: Callable[[Stage], None] = nothing
    system: bool = False

    def owners(self, block: Block) -> list[Owner]:
        """Who owns a block: one, where all is well. What is said by a block's words counts before what is said by language."""
        by_words = [owner for words, owner in self.others.items() if block.text.startswith(words)]
        by_language = [self.others[block.language]] if block.language in self.others else []
        return by_words or by_language or ([Run()] if block.language in RUN else [])

    def owned(self) -> list[tuple[Block, Owner]]:
        """Its blocks, each with its owner."""
        return [(block, self.owners(block)[0]) for block in blocks_of(self.path)]

    def runs(self) -> bool:
        """Whether anything of it is done on the stage."""
        return any(not isinstance(owner, Elsewhere | Text) for _, owner in self.owned())
