"""The command line in process: its exit code and what it says; an audit that files share, and a cache of a test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.audits import Audited

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


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Made once for all files: it takes seconds, and no test changes it."""
    done = Audited(tmp_path_factory.mktemp("audited"))
    words = ["audit", done.data, "--predictions", done.root / "probability", "--out", done.audit]
    assert main([str(word) for word in words]) == 0
    return done


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))
