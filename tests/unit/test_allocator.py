"""Freed memory is kept by the program that trains, and by nothing that only imports the library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import debride.cli
from debride.cli import allocator

GLIBC = sys.platform == "linux" and bool(os.confstr("CS_GNU_LIBC_VERSION"))

KEPT = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(100_000_000))
before = libc.sbrk(0)
libc.free(libc.malloc(100_000_000))
kept = libc.sbrk(0) == before and 0 < before - libc.malloc(90_000_000) < 200_000_000
"""
"""Whether a block that was freed is given out again, from the heap, which has not shrunk."""


def python(code: str, **environment: str) -> str:
    """What a new process prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(not GLIBC, reason="glibc alone has mallopt")
def test_freed_memory_is_kept_here_and_in_processes_started_later() -> None:
    started = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1] if sys.argv[1:] else CODE])"
    keep = "from debride.cli.allocator import keep_freed_memory; print(keep_freed_memory(), flush=True)"
    code = f"CODE = {KEPT + 'print(kept)'!r}\n{keep}\n{KEPT}\nprint(kept, flush=True)\n{started}"
    assert python(code).split() == ["True", "True", "True"]
    assert python(f"import debride.cli\n{KEPT}\nprint(kept)") == "False"


def test_an_environment_that_says_it_itself_is_left_alone() -> None:
    code = "import os; from debride.cli.allocator import keep_freed_memory as k; print(k(), os.environ.get('MALLOC_MMAP_MAX_'))"
    assert python(code, MALLOC_TRIM_THRESHOLD_="1000000") == "False None"


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise ValueError(name)

    monkeypatch.setattr(os, "confstr", unknown)
    before = dict(os.environ)
    assert not allocator.keep_freed_memory()
    assert dict(os.environ) == before


@pytest.mark.parametrize(("words", "kept"), [(["train"], 1), (["bench", "--help"], 1), (["check"], 0), ([], 0)])
def test_the_program_alone_says_it_for_verbs_that_train(
    words: list[str], kept: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(debride.cli, "keep_freed_memory", lambda: calls.append(True))
    monkeypatch.setattr(sys, "argv", ["debride", *words])
    debride.cli.main(words)
    assert not calls
    debride.cli.main()
    assert len(calls) == kept
