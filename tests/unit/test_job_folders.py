"""The folder of jobs is ours alone, and what a submitting process leaves when it is killed is settled by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cluster_work import lasting
from tests.here_engine import Here

from debride.execute import Work, spread
from debride.execute.cluster import cluster_in_use, job_folder, on_cluster
from debride.folders import exclusive
from debride.types import DataError

PROGRAM = """
import sys
from pathlib import Path
import pytest
from debride.execute import Work, spread
from debride.execute.cluster import on_cluster
from debride.stopping import stoppable
from tests.cluster_work import lasting
from tests.here_engine import Here

out = Path(sys.argv[1])
with pytest.MonkeyPatch.context() as patch, stoppable(), on_cluster(Here(patch).cluster(at_once=2), out):
    with spread(Work(lasting, str(out.parent)), range(4)) as outcomes:
        print([outcome.value() for outcome in outcomes])
"""


def work_of_one_item() -> None:
    with spread(Work(lasting), [0]) as outcomes:
        assert next(outcomes).value() == 0


def make(folder: Path, mode: int = 0o700) -> Path:
    folder.mkdir()
    folder.chmod(mode)
    return folder


def of_another(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives folders away")
    os.chown(make(folder), 12345, -1)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "and is no folder": lambda path: path.write_text("x"),
    "and is no folder ": lambda path: path.symlink_to(make(path.with_name("elsewhere"))),
    "and others may write to it": lambda path: make(path, 0o770),
    "and holds other things": lambda path: (make(path) / "mine").touch(),
    "and belongs to another user": of_another,
}


@pytest.mark.parametrize("problem", FOREIGN)
@pytest.mark.parametrize("named", [False, True])
def test_a_folder_that_is_none_of_ours_is_refused(here: Here, tmp_path: Path, problem: str, named: bool) -> None:
    folder = tmp_path / ("named" if named else "out.jobs")
    FOREIGN[problem](folder)
    before = sorted(tmp_path.rglob("*"))
    cluster = here.cluster(folder=str(folder)) if named else here.cluster()
    said = f"{folder}: is to be the folder of jobs, {problem.strip()}. Name another by"
    with pytest.raises(DataError, match=said), on_cluster(cluster, tmp_path / "out"):
        raise AssertionError("it is refused before any work")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_of_ours_is_taken_and_given_back(here: Here, tmp_path: Path) -> None:
    folder = make(tmp_path / "named", 0o755)
    with on_cluster(here.cluster(folder=str(folder)), tmp_path / "out"):
        work_of_one_item()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["out/jobs", "out", "."])
def test_a_folder_of_jobs_is_apart_from_the_results(here: Here, tmp_path: Path, place: str) -> None:
    refused = pytest.raises(DataError, match=r"is not apart from .*out\. Name one beside it")
    with refused, on_cluster(here.cluster(folder=str(tmp_path / place)), tmp_path / "out"):
        raise AssertionError("it is refused before any work")


def test_a_folder_that_a_job_still_writes_to_stays_ours(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's file system keeps the files there that are open."""
    with monkeypatch.context() as patch, on_cluster(here.cluster(), tmp_path / "out"):
        patch.setattr("shutil.rmtree", lambda *names, **more: None)
        work_of_one_item()
        cluster_in_use().close(failed=False, done=True)  # type: ignore[union-attr]
    assert (tmp_path / "out.jobs" / "logs").exists()
    with on_cluster(here.cluster(), tmp_path / "out"):
        work_of_one_item()
    assert not (tmp_path / "out.jobs").exists()


def test_two_processes_do_not_share_a_folder(here: Here, tmp_path: Path) -> None:
    refused = pytest.raises(DataError, match="is being written by another process")
    with exclusive(make(tmp_path / "out.jobs")), refused, on_cluster(here.cluster(), tmp_path / "out"):
        work_of_one_item()


def test_a_folder_that_the_machine_of_a_job_lacks(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    here.before(lambda number, command: ["sh", "-c", 'rmdir "$0"; cd /; exec "$@"', str(work), *command])
    said = f"{work}: is no folder on the machine .*that all machines of the cluster see"
    with pytest.raises(DataError, match=said), on_cluster(here.cluster(), tmp_path / "out"):
        work_of_one_item()


def test_a_line_that_has_not_come_whole_is_read_later(tmp_path: Path) -> None:
    """Over a network a file may have its end before its middle, which is zero bytes until then."""
    path, lines = tmp_path / "done", [b'{"number": 1}\n', b'{"number": 2}\n', b'{"number": 3}\n']
    assert not list(job_folder.read_done(path))
    path.write_bytes(lines[0] + bytes(len(lines[1])) + lines[2])
    assert [told for _, _, told in job_folder.read_done(path)] == [{"number": 1}]
    path.write_bytes(b"".join(lines) + b'{"number": 4')
    read = list(job_folder.read_done(path, len(lines[0])))
    assert [told["number"] for _, _, told in read] == [2, 3]
    assert [(begin, end) for begin, end, _ in read] == [(14, 28), (28, 42)]


def start(out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(out)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def running(folder: Path) -> set[int]:
    """The processes of items that began."""
    pids = {int(path.name.partition("-")[2]) for path in folder.glob("[1-9]-*")}
    return {pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()}


def until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 20 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_jobs_end_with_a_process_that_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "wait").touch()
    process = start(tmp_path / "out")
    until(lambda: len(running(tmp_path)) == 2)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert not running(tmp_path)
    assert not (tmp_path / "out.jobs").exists()


def test_a_process_that_was_killed_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    first = start(tmp_path / "out")
    until(lambda: len(running(tmp_path)) == 2)
    first.kill()
    first.communicate(timeout=20)
    left = running(tmp_path)
    assert len(left) == 2
    (tmp_path / "wait").unlink()
    said, mistakes = start(tmp_path / "out").communicate(timeout=20)
    assert said == "[0, 1, 2, 3]\n", mistakes
    assert not running(tmp_path)
    assert not (tmp_path / "out.jobs").exists()


@pytest.mark.parametrize(("file", "content"), [("token", "another"), ("map-0001/begun-0001-2.json", "{}")])
def test_a_job_that_nobody_waits_for_ends(here: Here, tmp_path: Path, file: str, content: str) -> None:
    """Its id was not noted: the process was killed before it could. Or it was taken for lost, and the next has begun."""
    (tmp_path / "wait").touch()
    watched = "from debride.execute.cluster import shard; shard.WATCHED = 0.1; from debride.execute.cluster.shard import main; "
    here.before(
        lambda number, command: [*command[:2], command[2].replace("from debride", f"{watched}from debride"), *command[3:]]
    )
    with on_cluster(here.cluster(), tmp_path / "out"), spread(Work(lasting, str(tmp_path)), range(2)) as outcomes:
        next(outcomes)
        until(lambda: len(running(tmp_path)) == 1)
        (tmp_path / "out.jobs" / file).write_text(content)
        until(lambda: not running(tmp_path))
        here.before(lambda number, command: [])
