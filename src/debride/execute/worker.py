"""A process that does items: told what to do by its arguments and a line of JSON, then a line for each item; it answers each
with a line."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, NoReturn, TextIO

from debride.escapes import shown_output
from debride.execute.work import Do, ending, perform
from debride.plugins import load
from debride.stopping import Stopped, end_with, stoppable

READY = "ready"


def main(path: str, parent: int) -> NoReturn:
    """Does what ``path``, as package.module:name, begins, until standard input ends or the process ``parent`` is gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    end_with(parent)
    code = 0
    try:
        with stoppable(), shown_output():
            _serve(path, answers)
    except Stopped as stop:
        code = 128 + stop.number
    except BrokenPipeError:  # nobody listens any more
        code = 1
    sys.stdout.flush()
    os._exit(code)


def _serve(path: str, answers: TextIO) -> None:
    def answer(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    try:
        begin: Any = load(path, "the work")
        do: Do = begin(json.loads(sys.stdin.readline()))
        answer(json.dumps({READY: True}))
        for line in sys.stdin:
            answer(perform(do, json.loads(line)))
    except (Stopped, BrokenPipeError):
        raise
    except Exception as error:
        answer(ending(error))
