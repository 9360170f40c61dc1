"""Items are done by jobs of a cluster as by one process, whatever becomes of jobs."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_work import adds, counting, getting_on, raising, where
from tests.here_engine import Here

from debride.execute import Work, scatter, spread
from debride.execute.cluster import cluster_in_use, on_cluster, supervise
from debride.execute.cluster import session as sessions
from debride.execute.cluster.session import Session
from debride.execute.work import WorkerError
from debride.notes import take_notes
from debride.types import DataError


def sums(jobs: int = 1, **more: Any) -> list[Any]:
    with spread(Work(adds, {"to": 0.5}), [*range(20), -1, 3], jobs=jobs, **more) as outcomes:
        return [str(outcome.error or outcome.value()) for outcome in outcomes]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def squares(out: Path, here: Here, ends: list[int], number: int = 12, options: Any = None, **setup: Any) -> list[Any]:
    """Outcomes of ``counting``, whose file is beside ``out``."""
    folder = out.with_name("out.jobs")
    setup = {"file": str(out.with_name("counted")), "folder": str(folder), "ends": ends, **setup}
    with (
        on_cluster(here.cluster(options, at_once=2), out),
        spread(Work(counting, setup), range(number), name=lambda item: f"item{item}") as outcomes,
    ):
        return list(outcomes)


def counted(out: Path) -> list[int]:
    return sorted(map(int, out.with_name("counted").read_text().split()))


def test_results_are_those_of_this_machine(here: Here, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = sums()
    notes = take_notes()
    with on_cluster(here.cluster(at_once=3), out):
        assert sums() == alone and "item -1: is below 0" in alone[-2]
        assert take_notes() == notes == ["item 1 is odd (and 9 more like it)."]
        assert out.with_name("out.jobs").stat().st_mode & 0o777 == 0o700
        assert len(here.engines[0].submitted) == 3
    assert not list(out.parent.iterdir())
    assert here.engines[0].closed and cluster_in_use() is None


def test_items_come_as_they_end_each_by_its_job_with_its_threads(here: Here, out: Path) -> None:
    with (
        on_cluster(here.cluster(at_once=4, cpus=2), out),
        scatter(Work(adds, {"to": 1}), range(6)) as outcomes,
    ):
        told = {number: outcome.value() for number, outcome in outcomes}
    assert {number: result["sum"] for number, result in told.items()} == {n: n + 1 for n in range(6)}
    assert {result["threads"] for result in told.values()} == {"2"}
    assert len(here.engines[0].submitted) == 6


def test_the_cores_of_a_job_are_for_processes_where_threads_are_few(here: Here, out: Path) -> None:
    told = squares(out, here, [4, 9], once=True, number=10, options={"cpus": 2})
    assert [outcome.value() for outcome in told] == [n * n for n in range(10)]
    assert counted(out) == sorted([*range(10), 4, 9])
    assert len(here.engines[0].submitted) == 4
    work = Work(raising, "mistake")
    with (
        pytest.raises(WorkerError) as caught,
        on_cluster(here.cluster(at_once=1, cpus=2), out),
        spread(work, range(9)) as others,
    ):
        list(others)
    assert str(caught.value) == "KeyError: 'at 2'" and "in do" in caught.value.__notes__[0]


def test_files_are_for_nobody_else_and_hold_json(here: Here, out: Path) -> None:
    with on_cluster(here.cluster(per_job=15), out), spread(Work(adds, {"to": 1}), range(20)) as outcomes:
        next(outcomes)
        files = [path for path in out.with_name("out.jobs").rglob("*") if path.is_file() and path.parent.name != "logs"]
        assert {path.stat().st_mode & 0o777 for path in files if path.name != ".lock"} == {0o600}
        assert {"work.json", "items-0000.jsonl", "items-0001.jsonl", "begun-0000-1.json"} <= {path.name for path in files}
        assert all(json.loads(line) for path in files for line in path.read_text().splitlines() if "json" in path.suffix)


def test_nothing_to_do_submits_nothing(here: Here, out: Path) -> None:
    with on_cluster(here.cluster(), out), spread(Work(adds), []) as outcomes:
        assert not list(outcomes)
    assert not here.engines and not list(out.parent.iterdir())


def test_what_others_cannot_find_is_done_here(here: Here, out: Path) -> None:
    with on_cluster(here.cluster(), out), spread(Work(lambda setup: lambda item: [item, os.getpid()]), [1]) as outcomes:
        assert [outcome.value() for outcome in outcomes] == [[1, os.getpid()]]
    assert not here.engines


@pytest.mark.parametrize(("gpus", "seen"), [(0, ""), (1, "2,3")])
def test_a_job_is_in_the_same_folder_and_an_ordinary_process(
    here: Here, out: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, seen: str
) -> None:
    monkeypatch.chdir(out.parent)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with on_cluster(here.cluster(gpus=gpus), Path("out")), spread(Work(where), [1]) as outcomes:
        assert next(outcomes).value() == [str(out.parent), [], seen]


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_goes_on_in_another(here: Here, out: Path, by: int) -> None:
    told = squares(out, here, [4, 9], once=True, by=by)
    assert [outcome.value() for outcome in told] == [n * n for n in range(12)]
    assert counted(out) == sorted([*range(12), 4, 9])
    assert len(here.engines[0].submitted) == 4
    assert [path.name for path in out.parent.iterdir()] == ["counted"]


def test_a_torn_line_does_not_count(here: Here, out: Path) -> None:
    told = squares(out, here, [6], once=True, torn=True)
    assert [outcome.value() for outcome in told] == [n * n for n in range(12)]


def test_nodes_that_are_lost_before_a_job_begins(here: Here, out: Path) -> None:
    here.before(lambda number, command: ["sh", "-c", "kill -9 $$"] if number < 5 else command)
    told = squares(out, here, [])
    assert [outcome.value() for outcome in told] == [n * n for n in range(12)]
    assert len(here.engines[0].submitted) == 7


def test_an_item_that_ends_all_its_jobs_is_an_error_of_its_own(here: Here, out: Path) -> None:
    told = squares(out, here, [2], number=6, options={"retries": 1})
    assert [outcome.result for outcome in told] == [0, 1, None, 9, 16, 25]
    error = told[2].error
    assert error and error.where == "item2"
    assert "could not be worked on: 3 jobs ended too soon, the last with NODE_FAIL on node1" in str(error)
    log = Path(str(error).split("Look into ")[1].split(". ")[0])
    assert log.is_file() and log.parent == out.with_name("out.jobs") / "logs"
    assert squares(out, here, []) and not out.with_name("out.jobs").exists()


def test_a_job_that_was_interrupted_after_long_work_is_always_started_again(
    here: Here, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a training, which has come some epochs further."""
    monkeypatch.setattr(supervise, "LONG", 0.0)
    told = squares(out, here, [0, 1], number=2, once=True, options={"retries": 0})
    assert [outcome.value() for outcome in told] == [0, 1]
    out.with_name("counted").unlink()
    monkeypatch.setattr(supervise, "LONG", 60.0)
    told = squares(out, here, [0, 1], number=2, once=True, options={"retries": 0})
    assert [str(outcome.error).split(" could")[0] for outcome in told] == ["item0:", "item1:"]


def test_an_item_that_comes_further_with_every_job_is_not_given_up(here: Here, out: Path) -> None:
    with (
        on_cluster(here.cluster(retries=0), out),
        scatter(Work(getting_on, str(out.with_name("steps"))), [3]) as outcomes,
    ):
        assert [(number, outcome.value()) for number, outcome in outcomes] == [(0, 3)]
    assert len(here.engines[0].submitted) == 3


def test_jobs_that_have_ended_are_not_asked_for_again(here: Here, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PATIENCE", 0.2)
    session = Session(here.cluster(), out.with_name("out.jobs"))
    session.submit([["true"], ["true"], ["sleep", "60"]])
    (engine,) = here.engines
    first, second, third = engine.jobs
    engine.jobs[first].wait()
    engine.jobs[second].wait()
    assert session.alive({first}) == {third}
    asked: list[set[str]] = []
    engine.alive = lambda ids: asked.append(set(ids)) or set(ids)  # type: ignore[method-assign,func-returns-value]
    session.alive(set())
    assert asked == [{first, third}]
    session.close(failed=False, done=True)
    assert set(engine.cancelled) == {first, third}
    assert not out.with_name("out.jobs").exists(), "a job that does not end has nothing to do"


def test_a_machine_on_which_no_job_begins_spoils_no_others(here: Here, out: Path) -> None:
    here.before(lambda number, command: ["sh", "-c", "echo no module; exit 1"] if command[5] == "1" else command)
    told = squares(out, here, [], number=4, options={"retries": 3})
    assert [outcome.result for outcome in told] == [0, None, 4, None]
    assert "(no module)" in str(told[1].error)


def test_a_node_with_another_folder_of_that_name(here: Here, out: Path) -> None:
    here.before(lambda number, command: [*command[:7], "another-token", *command[8:]])
    with pytest.raises(DataError, match=r"out\.jobs: is not seen by the machine \S+\. .*folder=FOLDER.*cache"):
        squares(out, here, [])
    assert out.with_name("out.jobs").exists()


def test_a_node_that_does_not_see_the_folder(here: Here, out: Path) -> None:
    here.before(lambda number, command: ["sh", "-c", "exit 1"])
    with pytest.raises(DataError, match=r"out\.jobs: is not seen by the machine node1\. "):
        squares(out, here, [])
    assert len(here.engines[0].submitted) == 2


def test_a_job_that_cannot_begin_says_why(here: Here, out: Path) -> None:
    here.before(lambda number, command: ["sh", "-c", "echo no module of this name >&2; exit 1"])
    with pytest.raises(
        DataError, match=r"`cluster` here: does not begin the work: 3 jobs .*FAILED.*\(no module of this name\)\. Look into"
    ) as caught:
        squares(out, here, [])
    assert "no module" in Path(str(caught.value).split("Look into ")[1].split(". ")[0]).read_text()


@pytest.mark.parametrize(("setup", "error"), [("refused", DataError), ("memory", MemoryError), ("mistake", WorkerError)])
def test_what_ends_all_work(here: Here, out: Path, setup: str, error: type[Exception]) -> None:
    with (
        pytest.raises(error) as caught,
        on_cluster(here.cluster(at_once=1), out),
        spread(Work(raising, setup), range(9)) as told,
    ):
        list(told)
    assert str(caught.value) == {"refused": "setup: is not wanted. Give another.", "memory": "at 2"}.get(
        setup, "KeyError: 'at 2'"
    )
    if setup == "mistake":
        assert "in do" in caught.value.__notes__[0]


def test_a_cluster_that_takes_no_job(here: Here, out: Path) -> None:
    here.before(lambda number, command: [])
    with pytest.raises(DataError, match=r"the cluster: takes no job\. Ask for less\."):
        squares(out, here, [])
    assert not list(out.parent.iterdir())


def test_a_cluster_that_takes_no_job_for_a_while(here: Here, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here.before(lambda number, command: [] if number in (2, 3) else command)
    told = squares(out, here, [4], once=True)
    assert [outcome.value() for outcome in told] == [n * n for n in range(12)]
    assert capsys.readouterr().err.count("takes no job. It is tried again.") == 2


def test_leaving_early_ends_the_jobs(here: Here, out: Path) -> None:
    with on_cluster(here.cluster(), out):
        with spread(Work(adds, {"to": 1}), range(0, 100000, 3)) as outcomes:
            next(outcomes)
        engine = here.engines[0]
        assert engine.cancelled
        ended = set(engine.jobs) - set(engine.cancelled)  # on a busy machine some have done their share by then
        assert {engine.ended(id) for id in ended} <= {"COMPLETED on node1"}
    assert not any(engine.runs(id) for id in engine.jobs)
    assert not list(out.parent.iterdir())


def test_jobs_that_wait_long_are_said_to(
    here: Here, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervise, "QUIET", 0.0)
    here.before(lambda number, command: ["sh", "-c", 'sleep 0.5; exec "$@"', "sh", *command])
    squares(out, here, [], number=1)
    assert capsys.readouterr().err == "debride: jobs of here have waited for 1 s, and none has begun.\n"


def test_a_cluster_that_does_not_answer_is_waited_for(here: Here, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_cluster(here.cluster(at_once=1), out):
        setup = {"file": str(out.with_name("counted")), "ends": [1], "once": True}
        with spread(Work(counting, setup), range(3)) as outcomes:
            next(outcomes)
            engine = here.engines[0]
            engine.answers = False
            monkeypatch.setattr(supervise, "POLL", (0.02, 0.02))
            real, asked = engine.alive, []

            def alive(ids: Any) -> Any:
                asked.append(ids)
                engine.answers = len(asked) > 5
                return real(ids)

            monkeypatch.setattr(engine, "alive", alive)
            assert [outcome.value() for outcome in outcomes] == [1, 4]
    assert len(asked) > 5 and len(engine.submitted) == 2


def test_the_python_of_jobs_is_this_one(here: Here, out: Path) -> None:
    with on_cluster(here.cluster(), out), spread(Work(adds, {"to": 1}), [1]) as outcomes:
        list(outcomes)
    command = here.engines[0].submitted[0]
    assert command[0] == sys.executable and all(Path(place).is_absolute() for place in command[8:])
