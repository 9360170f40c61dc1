"""SIGTERM and SIGHUP end the program as Ctrl-C does: one line, an exit code, nothing half written, no process left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

import debride.cli
from debride.files import atomic_path
from debride.folders import atomic_folder
from debride.stopping import Stopped, ending_processes, stoppable


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGHUP, 129, "ended by SIGHUP")],
)
def test_a_signal_ends_a_verb(
    number: signal.Signals,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def verb(_: list[str]) -> int:
        with atomic_path(tmp_path / "file") as file, atomic_folder(tmp_path / "folder") as folder:
            file.write_text("half")
            (folder / "a").touch()
            os.kill(os.getpid(), number)
            time.sleep(30)
        return 0

    monkeypatch.setattr(debride.cli, "_answer", verb)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert debride.cli.main(["check"]) == code
    assert capsys.readouterr().err == f"debride: {said}; what was complete is kept.\n"
    assert not list(tmp_path.iterdir())
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_does_not_disturb_the_end() -> None:
    ended = False
    with pytest.raises(Stopped), stoppable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            ended = True
    assert ended


def test_processes_end_with_the_work_that_started_them() -> None:
    context = multiprocessing.get_context("fork")
    other = context.Process(target=time.sleep, args=(30,))
    other.start()
    own = [context.Process(target=time.sleep, args=(30,)) for _ in range(2)]
    with pytest.raises(Stopped), ending_processes():
        for process in own:
            process.start()
        raise Stopped(signal.SIGTERM)
    assert not any(process.is_alive() for process in own) and other.is_alive()
    other.kill()
    other.join()
