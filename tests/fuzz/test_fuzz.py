"""Mutations of every kind of input: refused by name, or read as they are, and never a mistake, a hang or a silent change.

A failure prints ``DEBRIDE_FUZZ=subject:seed``. With that in the environment only this mutation is tried.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from debride.data.pixels.pictures import Pictures
from tests.fuzz import judge as judging
from tests.fuzz.judge import BAD, Finding, fuzzed
from tests.fuzz.kinds import KINDS, SUBJECTS
from tests.fuzz.subject import Subject

FEW, MANY = 100, 2000
"""Mutations of each kind in ``make test``, and in ``make test-system``."""


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """The inputs, each made when it is first asked for."""
    root = tmp_path_factory.mktemp("fuzz")

    class Made(dict[str, Subject]):
        def __missing__(self, name: str) -> Subject:
            self[name] = SUBJECTS[name](root / name)
            return self[name]

    return Made()


@pytest.fixture(autouse=True)
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reports of mistakes go to a folder that is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield


def findings(kind: str, count: int, subjects: dict[str, Subject]) -> list[Finding]:
    """What came of ``count`` mutations of a kind, shared by what stands for it."""
    of_kind = KINDS[kind]
    asked = os.environ.get("DEBRIDE_FUZZ", "").split(":")
    if len(asked) == 2:
        pairs = [(name, int(asked[1])) for name in [subject.name for subject in of_kind] if name == asked[0]]
    else:
        pairs = [(of_kind[number % len(of_kind)].name, number // len(of_kind)) for number in range(count)]
    return [finding for name, seed in pairs for finding in fuzzed(subjects[name], seed)]


def judge(kind: str, count: int, subjects: dict[str, Subject]) -> None:
    found = findings(kind, count, subjects)
    bad = [finding for finding in found if finding.outcome in BAD]
    assert not bad, f"{Counter(finding.outcome for finding in found)}:\n" + "\n".join(map(str, bad[:10]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_refused_or_read_as_they_are(kind: str, subjects: dict[str, Subject]) -> None:
    judge(kind, FEW, subjects)


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutations_are_refused_or_read_as_they_are(kind: str, subjects: dict[str, Subject]) -> None:
    judge(kind, MANY, subjects)


def test_a_decoder_that_errs_without_a_word_is_caught(subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer can fail: with a decoder that turns what it reads from files that are not as they were."""
    subject, values = subjects["pictures"], Pictures.values
    sizes = {path: path.stat().st_size for path in subject.files()}

    def wrong(self: Pictures, path: Path) -> object:
        read, geometry = values(self, path)
        return (read if path.stat().st_size == sizes[path] else np.flipud(read)), geometry

    monkeypatch.setattr(Pictures, "values", wrong)
    caught = Counter(finding.outcome for seed in range(60) for finding in fuzzed(subject, seed))
    assert caught["silent"]


@pytest.mark.parametrize("outcome", ["mistake", "hang", "changed"])
def test_what_else_must_not_be_is_caught(outcome: str, subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    subject, values = subjects["pictures"], Pictures.values
    seeds = range(6)
    for seed in seeds:
        fuzzed(subject, seed)  # what is right is known from now on

    def wrong(self: Pictures, path: Path) -> object:
        if outcome == "mistake":
            raise KeyError("a mistake")
        if outcome == "hang":
            while True:
                pass
        for other in subject.files():
            os.utime(other)
        return values(self, path)

    monkeypatch.setattr(judging, "SECONDS", 0.1)
    monkeypatch.setattr(Pictures, "values", wrong)
    assert Counter(finding.outcome for seed in seeds for finding in fuzzed(subject, seed))[outcome]
