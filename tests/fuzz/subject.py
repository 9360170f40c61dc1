"""What is fuzzed: an input of some files, what is read of it, and when another result is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.mutations import Mutation, Structural


@dataclass(frozen=True)
class Exercise:
    """Something that is done with an input, in a folder to work in; ``key`` tells it from others of the same subject.

    ``may_differ(mutation, now, healthy)`` says whether the file as it is now means what was read, by a reading of its own:
    then nobody can tell that it was changed. None: nothing may differ.
    """

    key: str
    run: Callable[[Path], Any]
    may_differ: Callable[[Mutation, Any, Any], bool] | None = None


class Subject(ABC):
    """An input of one kind in a folder ``root``, made once and put back after every mutation."""

    name: str

    joined: bool = False
    """Whether files are read together, so that a message may name the folder or another file of what does not fit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Makes the healthy input in ``root``."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that are mutated; one that stands twice is drawn twice as often."""

    @abstractmethod
    def structural(self, file: Path) -> tuple[Structural, ...]:
        """The changes that know what a file's bytes mean."""

    @abstractmethod
    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        """What is done with the input after ``file`` was changed: little for every seed, verbs that take longer for some."""
