"""A job: a process that does the items of a shard which no job before it has done.

It is told what to do by its argument list and files of JSON (``job_folder``), and says what became of each item in another.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from debride.escapes import shown_output
from debride.execute.cluster import job_folder
from debride.execute.local import KILLED, lines
from debride.execute.work import Do, EndedWorkerError, Work, ending, hearing, perform
from debride.files import SETTLED
from debride.mistakes import traceback_of
from debride.plugins import load
from debride.stopping import PATIENCE, Stopped, end_with, stoppable
from debride.types import DataError

UNSEEN = "debride: no folder of jobs: "
"""What a job prints on a machine that does not see the folder, before its name and that of the folder."""

WATCHED = 10.0
"""Seconds after which a job looks again whether it is still wanted."""

Tell = Callable[[dict[str, Any]], None]

_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_BEGIN = (
    "import os, sys; os.environ.update({environment}); sys.path[:] = sys.argv[6:]; "
    "from debride.execute.cluster.shard import main; main(*sys.argv[1:6])"
)


def command_of(map_folder: Path, shard: int, attempt: int, token: str, threads: int, gpus: bool) -> list[str]:
    """The argument list of a job with so many threads, which sees ``gpus`` or none."""
    environment = {f"{library}_NUM_THREADS": str(threads) for library in _THREADS}
    environment["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    if not gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    begin = _BEGIN.format(environment=environment)
    places = [str(Path(place or Path.cwd()).absolute()) for place in sys.path]
    return [sys.executable, "-c", begin, str(map_folder.parent), map_folder.name, str(shard), str(attempt), token, *places]


def main(folder: str, name: str, shard: str, attempt: str, token: str) -> NoReturn:
    """Does what is left of a shard."""
    end_with(os.getppid())
    for variable in [variable for variable in os.environ if variable.startswith(("SLURM", "SRUN_", "SUBMITIT_", "PMI"))]:
        del os.environ[variable]  # a job is a process like any other: no library is to take it for a part of several
    code = 0
    try:
        with stoppable():
            _begin(Path(folder) / name, int(shard), int(attempt), token)
    except Stopped as stop:
        sys.stderr.write(f"debride: ended by {stop}\n")
        code = 128 + stop.number
    except DataError as error:
        sys.stderr.write(f"debride: {error}\n")
        code = 2
    except Exception as error:
        sys.stderr.write(traceback_of(error))
        code = 3
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _begin(map_folder: Path, shard: int, attempt: int, token: str) -> None:
    folder = map_folder.parent
    if job_folder.read_token(folder) != token:
        sys.stderr.write(f"{UNSEEN}{socket.gethostname()} does not see {folder}\n")
        sys.stderr.flush()
        os._exit(2)
    try:
        with job_folder.private(map_folder / job_folder.begun_file(shard, attempt), "x") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}, file)
    except FileExistsError:
        raise DataError(map_folder.name, f"{shard} was begun before as job {attempt}", "Let it be started anew.") from None
    log = job_folder.private(job_folder.log_of(map_folder, shard, attempt), "a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable()
    successor = map_folder / job_folder.begun_file(shard, attempt + 1)
    threading.Thread(target=_end_unwanted, args=(folder, token, successor), daemon=True).start()
    with shown_output(), job_folder.private(map_folder / job_folder.done_file(shard, attempt), "x") as file:
        settled = time.monotonic()

        def tell(told: dict[str, Any], settle: bool = False) -> None:
            nonlocal settled
            if told:
                file.write(json.dumps(told) + "\n")
            file.flush()
            if settle or time.monotonic() - settled >= SETTLED:
                os.fsync(file.fileno())
                settled = time.monotonic()

        try:
            with hearing(lambda: tell({"further": True})):
                _serve(map_folder, shard, attempt, tell)
        except EndedWorkerError:  # another job tries it again
            raise
        except Exception as error:
            tell(json.loads(ending(error)), settle=True)
        finally:
            tell({}, settle=True)


def _serve(map_folder: Path, shard: int, attempt: int, tell: Tell) -> None:
    """Does what is left."""
    work = json.loads((map_folder / job_folder.WORK).read_text(encoding="utf-8"))
    try:
        os.chdir(work["cwd"])
    except OSError as error:
        problem = f"is no folder on the machine {socket.gethostname()} ({error.strerror})"
        raise DataError(work["cwd"], problem, "Work in a folder that all machines of the cluster see.") from None
    earlier = [map_folder / job_folder.done_file(shard, before) for before in range(attempt)]
    done = {told["number"] for path in earlier for _, _, told in job_folder.read_done(path) if "number" in told}
    begin: Any = load(work["path"], "the work")
    with (map_folder / job_folder.items_file(shard)).open(encoding="utf-8") as file:
        left = [number for number, _ in map(json.loads, file) if number not in done]
        file.seek(0)
        items = (item for number, item in map(json.loads, file) if number not in done)
        processes = min(work["processes"], len(left))
        if processes > 1:
            _share(Work(begin, work["setup"]), items, left, processes, work["threads"], tell)
            return
        do: Do = begin(work["setup"])
        for number, item in zip(left, items, strict=True):
            tell({"number": number, "line": perform(do, item)})


def _share(work: Work, items: Iterator[Any], numbers: list[int], processes: int, threads: int, tell: Tell) -> None:
    """Has items done by processes of this machine. One that kills its process is left for another job."""
    with closing(lines(work, items, processes, str, threads)) as told:
        for at, line in told:
            if KILLED not in json.loads(line):
                tell({"number": numbers[at], "line": line})
            else:
                sys.stderr.write(f"debride: {json.loads(line)['error'][1]}\n")


def _end_unwanted(folder: Path, token: str, successor: Path) -> None:
    """Ends this process where nobody waits for it any more: the folder has gone, another process took it, or the cluster took
    this job for lost and the next one has begun."""
    missed = 0
    while missed < 2:
        time.sleep(WATCHED)
        missed = 0 if job_folder.read_token(folder) == token and not successor.exists() else missed + 1
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)
