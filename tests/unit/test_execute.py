"""Items are done by several processes as by one: in order, with the same results, and none is lost without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from debride.execute import Work, cores, local, spread
from debride.execute.work import WorkerError
from debride.notes import note, take_notes
from debride.types import DataError

Do = Callable[[Any], Any]


def halves(setup: Any) -> Do:
    """Work whose later items are done sooner; numbers below 0 are refused."""

    def do(item: Any) -> Any:
        if item < 0:
            raise DataError(f"item {item}", "is below 0", "Give another.")
        time.sleep(0.002 * (item % 3))
        if item % 2:
            note(f"item {item}", "is odd")
        return {"half": item / 2, "nan": float("nan"), "setup": setup, "process": os.getpid()}

    return do


def dying(setup: Any) -> Do:
    """Work whose item 3 kills its process."""

    def do(item: Any) -> Any:
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return do


def raising(setup: Any) -> Do:
    """Work that raises what ``setup`` names at item 2."""

    def do(item: Any) -> Any:
        if item == 2:
            raise {"MemoryError": MemoryError, "KeyError": KeyError}[setup](f"at {item}")
        sys.stdout.write("not an answer\n")
        return item

    return do


def refusing(setup: Any) -> Do:
    """Work that does not begin."""
    raise DataError("setup", "is not wanted", "Give another.")


def sleeping(setup: Any) -> Do:
    """Work whose items, but for the first, say that they began, and last."""

    def do(item: Any) -> Any:
        if item == 0:
            return 0
        (Path(setup) / str(item)).write_text(str(os.getpid()))
        return time.sleep(60)

    return do


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(local, "ALONE", 0.0)
    take_notes()
    yield
    take_notes()


def results(jobs: int, items: list[int]) -> list[Any]:
    with spread(Work(halves, {"a": [1]}), items, jobs=jobs) as outcomes:
        return [outcome.value() for outcome in outcomes]


def test_results_come_in_the_order_of_the_items() -> None:
    one, three = results(1, list(range(40))), results(3, list(range(40)))
    assert [result["half"] for result in one] == [item / 2 for item in range(40)]
    processes = {result.pop("process") for result in three}
    assert {result.pop("process") for result in one} == {os.getpid()}
    assert len(processes) > 1 and os.getpid() not in processes
    assert str(one) == str(three)


def test_small_work_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ALONE", 60.0)
    assert {result["process"] for result in results(8, list(range(5)))} == {os.getpid()}


def test_quick_items_are_done_while_others_start(monkeypatch: pytest.MonkeyPatch) -> None:
    one = results(1, list(range(400)))
    monkeypatch.setattr(local, "ALONE", 0.02)
    monkeypatch.setattr(local, "AHEAD", 90)
    two = results(2, list(range(400)))
    here = [at for at, result in enumerate(two) if result.pop("process") == os.getpid()]
    assert len(here) > 20  # more than 0.02 s take
    assert {result.pop("process") for result in one} == {os.getpid()}
    assert str(one) == str(two)


def test_no_items() -> None:
    assert results(2, []) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_notes_come_back(jobs: int) -> None:
    results(jobs, [2, 5, 4, 3, 3])
    assert take_notes() == ["item 5 is odd (and 1 more like it)."]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_belongs_to_its_item(jobs: int) -> None:
    with spread(Work(halves), [1, -1, 3], jobs=jobs) as outcomes:
        first, second, third = outcomes
    assert (first.value()["half"], third.value()["half"]) == (0.5, 1.5)
    with pytest.raises(DataError, match="item -1: is below 0"):
        second.value()


def test_a_killed_process_ends_its_item_alone() -> None:
    with spread(Work(dying), range(8), jobs=2, name=lambda item: f"case{item}") as outcomes:
        told = list(outcomes)
    assert [outcome.result for outcome in told] == [0, 1, 2, None, 4, 5, 6, 7]
    with pytest.raises(DataError, match=r"case3: .*ended by SIGKILL.*Use fewer `jobs`"):
        told[3].value()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_ends_all_work(jobs: int) -> None:
    with pytest.raises(MemoryError, match="at 2"), spread(Work(raising, "MemoryError"), range(9), jobs=jobs) as outcomes:
        list(outcomes)
    with pytest.raises((WorkerError, KeyError), match="at 2"), spread(Work(raising, "KeyError"), range(9), jobs=jobs) as told:
        list(told)
    with pytest.raises(DataError, match="setup: is not wanted"), spread(Work(refusing), range(9), jobs=jobs) as outcomes:
        list(outcomes)


def test_a_mistake_brings_its_traceback() -> None:
    with pytest.raises(WorkerError) as caught, spread(Work(raising, "KeyError"), range(9), jobs=2) as outcomes:
        list(outcomes)
    assert "in do" in caught.value.__notes__[0]


def test_leaving_early_ends_the_processes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), spread(Work(sleeping, str(tmp_path)), range(4), jobs=2) as outcomes:
        assert next(outcomes).value() == 0
        _until(lambda: len(_pids(tmp_path)) == 2)
        raise KeyboardInterrupt
    for pid in _pids(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import sys; from debride.execute import Work, local, spread\n"
        "from debride.stopping import stoppable\n"
        "from tests.unit.test_execute import sleeping\n"
        "local.ALONE = 0\n"
        "with stoppable(), spread(Work(sleeping, sys.argv[1]), range(4), jobs=2) as outcomes: list(outcomes)\n"
    )
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )
    _until(lambda: len(_pids(tmp_path)) == 2)
    process.send_signal(number)
    process.wait(20)
    for pid in _pids(tmp_path):
        _until(lambda pid=pid: not Path(f"/proc/{pid}").exists() or _is_zombie(pid))  # type: ignore[misc]


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


def _pids(folder: Path) -> list[int]:
    return [int(text) for path in folder.iterdir() if (text := path.read_text())]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")
