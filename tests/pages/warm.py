"""A process that has imported debride already, and does what commands of pages say in copies of itself.

``python -m tests.pages.warm SOCKET`` listens; ``CLIENT`` is the program that stands in the shell's PATH for ``debride`` and
``python``: it hands its words, folder, environment and open files over, and ends as the copy does. So the shell is a real one,
and a command takes a fraction of the seconds that it takes to import PyTorch.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback

CLIENT = """#!{python} -SE
import json, os, socket, sys
told = json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [len(told).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(told)
    code = line.recv(1)
sys.exit(code[0] if code else 70)
"""
LIMIT = 240
"""Seconds that a command may take."""
ROOMS = (
    "cli",
    "api",
    "training",
    "audit",
    "calibration",
    "data",
    "evaluation",
    "methods",
    "noise",
    "bench",
    "review",
    "testing",
)
"""Rooms of debride that are imported beforehand."""


def main() -> None:
    """Answers until its standard input ends."""
    import torch

    torch.set_num_threads(1)
    import debride.cli
    import debride.execute

    debride.execute.cores = lambda: 1  # type: ignore[assignment]
    for room in ROOMS:
        package = importlib.import_module(f"debride.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"debride.{room}."):
            importlib.import_module(module.name)
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen(8)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"warm\n")
    while True:
        line, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _answer(line)
        line.close()


def _answer(line: socket.socket) -> None:
    """Becomes what is asked for, and ends as it does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.alarm(LIMIT)
    size, files, _, _ = socket.recv_fds(line, 8, 3)
    left, told = int.from_bytes(size, "big"), b""
    while len(told) < left:
        told += line.recv(left - len(told))
    program, words, folder, environment = json.loads(told)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 70
    try:
        from tests.pages import programs

        code = programs.run(program, words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    line.send(bytes([code & 255]))
    os._exit(0)


if __name__ == "__main__":
    main()
