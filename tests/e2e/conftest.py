"""The command line in process: its exit code and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from debride.cli import main


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def debride(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``debride WORDS``; whatever happens, a user never sees a traceback."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Answer(code, out, err)

    return run
