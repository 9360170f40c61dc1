"""Processes that meet in a store which outlives them, as that of torchrun does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not list it

from debride import company
from debride.company import Company
from debride.started import Started
from debride.training import machines
from debride.training.machines import goes_on, note_beginning, refuse_other_device
from debride.types import DataError


@pytest.fixture
def found() -> Iterator[list[Started]]:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield [
        Started("torchrun", 2, 1, world=2, rank=rank, node=rank, local=0, host="127.0.0.1", port=store.port, agent=True)
        for rank in range(2)
    ]


def met(found: list[Started]) -> list[Company]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(Company, found))


def leave(both: list[Company]) -> None:
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(Company.leave, both))


def test_what_earlier_processes_left_in_the_store_is_no_news(found: list[Started], monkeypatch: pytest.MonkeyPatch) -> None:
    """They failed. Of those that follow one machine counts a restart and the other does not, as agents of torchrun do."""
    first = met(found)
    assert first[0].shared("first") == first[1].shared("") == "first"
    assert first[1].failed_first() and not first[0].failed_first()
    leave(first)
    monkeypatch.setattr(company, "_restarts", iter([1, 0, 0]).__next__)  # whichever process asks first
    second = met(found)
    assert second[0].restarts == 1
    assert second[0].shared("second") == second[1].shared("") == "second"
    assert second[1].failed_first(), "no failure of theirs"
    leave(second)


def test_where_one_machine_counts_a_restart_all_go_on(
    found: list[Started], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "mine", "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    note_beginning(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    both = met(found)
    for restarts, expected in ((0, False), (1, True)):
        both[0].restarts = restarts
        answers = []
        for each in both:
            monkeypatch.setattr(machines, "in_company", lambda each=each: each)
            answers.append(goes_on(tmp_path))
        assert answers == [expected, expected]
    leave(both)


def test_machines_without_the_device_of_the_first_are_refused(found: list[Started]) -> None:
    both = met(found)
    refuse_other_device(both[0], "cuda")
    with pytest.raises(DataError, match=r"`device`: is cpu on .*, and cuda in the first process"):
        refuse_other_device(both[1], "cpu")
    both[1].failed_first()
    leave(both)


def test_a_process_without_a_sign_of_life_is_told(found: list[Started], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "SILENT", 2)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(company, "GRACE", 0.1)
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(Company, "_say_lost", lambda self, rank: said.append((self.found.rank, rank)))
    both = met(found)
    both[1]._over.set()  # its beats end, and it has not left
    both[0]._over.wait(4)
    both[0]._over.set()
    assert said == [(0, 1)] and ended[:1] == [2]
