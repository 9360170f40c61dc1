"""Items are done by jobs of a cluster as by one process, whatever becomes of jobs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.here_engine import Here

from debride.execute import Work, scatter, spread
from debride.execute.cluster import on_cluster
from debride.execute.work import Do


def adds(setup: Any) -> Do:
    """Adds numbers, in files too."""

    def do(item: Any) -> Any:
        time.sleep(0.01 * (item % 3))
        return {"sum": setup["to"] + item, "threads": os.environ["OMP_NUM_THREADS"], "nan": float("nan")}

    return do


def sums(jobs: int = 1, **more: Any) -> list[Any]:
    with spread(Work(adds, {"to": 0.5}), range(30), jobs=jobs, **more) as outcomes:
        return [outcome.value() for outcome in outcomes]


def test_results_are_those_of_this_machine(here: Here, tmp_path: Path) -> None:
    alone = sums()
    with on_cluster(here.cluster(at_once=3), tmp_path / "out"):
        assert str(sums()) == str(alone)
        assert (tmp_path / "out.jobs").stat().st_mode & 0o777 == 0o700
        assert len(here.engines[0].submitted) == 3
    assert not list(tmp_path.iterdir())
    assert here.engines[0].closed


def test_items_come_as_they_end(here: Here, tmp_path: Path) -> None:
    with (
        on_cluster(here.cluster(at_once=4), tmp_path / "out"),
        scatter(Work(adds, {"to": 1}), range(6)) as outcomes,
    ):
        assert {number: outcome.value()["sum"] for number, outcome in outcomes} == {n: n + 1 for n in range(6)}
    assert len(here.engines[0].submitted) == 6
