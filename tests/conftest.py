"""One thread: tests run beside each other, and sums in one order are the same everywhere. The home folder is left alone."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from debride.data.formats import FORMATS
from debride.data.pixels import PIXELS
from debride.methods import METHODS
from debride.noise import CLASS_NOISES, NOISES
from debride.notes import take_notes
from debride.plugins import Registry
from tests.here_engine import Here

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEBRIDE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


REGISTRIES: tuple[Registry[Any], ...] = (METHODS, NOISES, CLASS_NOISES, FORMATS, PIXELS)


@pytest.fixture(autouse=True)
def what_a_test_registers_or_notes_goes_with_it() -> Iterator[None]:
    before = [set(registry) for registry in REGISTRIES]
    yield
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in set(registry) - names:
            del registry[name]
    take_notes()


@pytest.fixture(autouse=True)
def what_a_test_reads_of_persons_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debride.mistakes._private", threading.Event())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """A cluster "here", whose jobs are processes of this machine."""
    cluster = Here(monkeypatch)
    yield cluster
    cluster.end()
