"""Data sets as subjects: what is wrong with them is looked for after every mutation, by the verb for some."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from debride.data.check import find_problems
from tests.fuzz.judge import RefusedError, verb
from tests.fuzz.subject import Exercise, Subject


class CheckedSet(Subject):
    """A data set in ``root``."""

    rarely = 50
    """One seed of so many does the verb too."""

    @abstractmethod
    def readings(self, file: Path) -> dict[str, Exercise]:
        """What is read of the data set after ``file`` was changed."""

    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        found = {"check": Exercise("check", self.check), **self.readings(file)}
        if seed % self.rarely == 0:
            found["verb check"] = Exercise("verb check", lambda work: len(verb("check", self.root)) > 0)
        return found

    def check(self, work: Path) -> bool:
        """That nothing is wrong. What nobody can detect has no effect here."""
        if problems := find_problems(self.root):
            raise RefusedError("\n".join(f"{problem.file}: {problem.problem}. {problem.remedy}" for problem in problems))
        return True
