"""What a review reads before it is asked: the first item at the start, and the next one after each decision."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.written_audits import two_findings

from debride.review.desk import Desk
from debride.review.opened import Reader, open_review
from debride.review.volumes import Volumes
from debride.review.worklist_index import Filters


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_newest_wish_alone_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, audit = two_findings(tmp_path)
    read: list[int] = []
    goes_on = Event()

    def slow(_: Volumes, item: dict[str, Any], part: str, channel: int = 0) -> None:
        read.append(item["place"])
        assert part == "crop" and goes_on.wait(20)

    monkeypatch.setattr(Volumes, "part", slow)
    desk = Desk(open_review(audit, dataset, Reader("ada")))
    until(lambda: read == [1])  # as the server starts
    decide = lambda place: desk.decide(place, "accept", Filters(), comment="", label="", sent=str(place))  # noqa: E731
    for place in (3, 1):  # next are 1, and then 2, while the first is still read
        desk.thread.submit(decide, place).result()
    goes_on.set()
    until(lambda: len(read) == 2)
    desk.close()
    assert read == [1, 2]
