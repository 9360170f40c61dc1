"""Jobs of a Ray cluster. Ray pickles the function below and its arguments between its own processes; the function starts a
process of ours by its argument list, as any other engine does."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from debride.execute.cluster.cluster_options import RayOptions
from debride.notes import tell
from debride.stopping import PATIENCE
from debride.types import DataError

GIGABYTE = 2**30
_PASSED_ON = ("PYTHONPATH", "DEBRIDE_", "nnUNet_", "OMP_")
"""Beginnings of the variables of this process's environment that jobs have too."""


class RayEngine:
    """Jobs of the Ray cluster at ``options.address``, whose output goes to files in ``logs``.

    ``HOST:6379`` needs a node of Ray on this machine, ``ray://HOST:10001`` needs none. A process that is connected to Ray
    already stays so. Raises DataError where the cluster is not reached, or ``ray://`` is lost while jobs wait or run. Ray
    itself ends a node that has lost its head for a minute, and this process with it.
    """

    def __init__(self, options: RayOptions, logs: Path) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to Ray's makers
        import ray

        self._ray, self._logs = ray, logs.resolve()
        self._jobs: dict[str, Any] = {}
        self._files: dict[str, Path] = {}
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._connect(options.address)
        wanted = {"CPU": options.cpus, "GPU": options.gpus, "memory": int(GIGABYTE * (options.memory or 0))}
        self._tell_of_room({name: amount for name, amount in wanted.items() if amount})
        self._run = self._ray.remote(
            name="debride",
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            memory=wanted["memory"] or None,
            max_retries=0,  # the supervisor submits again
            max_calls=0,  # a process of ours holds the GPU, and not Ray's worker, which may stay
            scheduling_strategy="SPREAD",
        )(_running())

    def submit(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """Starts a job for each argument list, and returns their ids."""
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        ids = []
        for command in commands:
            log = self._logs / f"ray-{os.getpid()}-{len(self._jobs) + 1}.log"
            job = self._run.remote([*command], environment, str(Path.cwd()), str(log), PATIENCE)
            self._jobs[job.hex()], self._files[job.hex()] = job, log
            ids.append(job.hex())
        return ids

    def alive(self, ids: Collection[str]) -> set[str]:
        """Those of these jobs that wait or run."""
        jobs = [self._jobs[each] for each in ids if each in self._jobs]
        if not jobs:
            return set()
        try:
            _, waiting = self._ray.wait(jobs, num_returns=len(jobs), timeout=0, fetch_local=False)
        except ConnectionError as error:
            remedy = "Start the same command again when it is back: it goes on from what is done."
            raise DataError("the Ray cluster", f"was lost: {_first_line(error)}", remedy) from error
        return {job.hex() for job in waiting}

    def cancel(self, ids: Collection[str]) -> None:
        """Ends jobs. Those of a process that is gone have ended with it: Ray does that by itself."""
        for each in ids:
            if each in self._jobs:
                self._ray.cancel(self._jobs[each], force=False)

    def ended(self, id: str) -> str:
        """How a job ended that is no longer alive: its state, and the machine where that is known."""
        errors = self._ray.exceptions
        if id not in self._jobs:
            return "GONE"
        try:
            told = self._ray.get(self._jobs[id])
        except errors.TaskCancelledError:
            return "CANCELLED"
        except errors.OutOfMemoryError as error:
            return f"OUT_OF_MEMORY: {_first_line(error)}"
        except errors.RayTaskError as error:
            return f"FAILED: {_first_line(error)}"
        except errors.RayError as error:
            return f"NODE_FAIL: {type(error).__name__}: {_first_line(error)}"
        file = self._files[id]
        if told["said"] and not (file.exists() and file.stat().st_size):  # its machine has another folder in that place
            _append(file, told["said"])
        return _by_itself(told["code"], told["host"])

    def log(self, id: str) -> Path | None:
        """The file that has what a job printed."""
        return self._files.get(id)

    def close(self) -> None:
        """Ends what still runs, waits until it has, and ends the connection if it was made here."""
        with suppress(DataError, ConnectionError):
            self.cancel(self.alive(self._jobs))
            if self._jobs:
                self._ray.wait([*self._jobs.values()], num_returns=len(self._jobs), timeout=PATIENCE, fetch_local=False)
        if self._ours:
            self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        where = address or os.environ.get("RAY_ADDRESS") or "auto"
        try:
            _knock(where)
            with _own_signals():
                self._ray.init(address=where, log_to_driver=False, configure_logging=False, logging_level="ERROR")
            _keep_messages(self._ray, self._logs / "ray.log")
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            remedy = (
                "Start it by `ray start --head`; give `cluster_option` address=HOST:6379 on a machine that is a node of it, "
                "address=ray://HOST:10001 on others."
            )
            raise DataError(f"the Ray cluster {where}", f"cannot be reached: {_first_line(error)}", remedy) from error

    def _tell_of_room(self, wanted: dict[str, int]) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            units = {"CPU": "cores", "GPU": "GPUs", "memory": "bytes of memory"}
            said = ", ".join(f"{amount} {units[name]}" for name, amount in wanted.items())
            tell(f"no node of the Ray cluster has what a job asks for ({said}): jobs wait until one joins.")


def _running() -> Callable[..., dict[str, Any]]:
    """What Ray runs on a node. It is made here, and needs the standard library alone, so that Ray sends it as code: Ray's
    workers need not find debride, only the process that they start."""

    def run(command: list[str], environment: dict[str, str], folder: str, log: str, patience: float) -> dict[str, Any]:
        import os
        import signal
        import socket
        import subprocess
        import tempfile
        import time
        from contextlib import suppress

        host, process = socket.gethostname(), None
        try:
            output = os.fdopen(os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "rb+")
        except OSError:  # a machine that does not see the folder
            output = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            while process.poll() is None:
                time.sleep(0.05)  # what Ray cancels is interrupted here
        except OSError as error:
            return {"host": host, "code": 127, "said": f"{error}"}
        finally:
            if process is not None and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                end = time.monotonic() + patience
                while process.poll() is None and time.monotonic() < end:
                    time.sleep(0.05)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        output.seek(max(0, output.seek(0, os.SEEK_END) - 2000))
        return {"host": host, "code": process.returncode, "said": output.read().decode(errors="replace")}

    return run


def _knock(where: str) -> None:
    """OSError where nobody listens at an address: ``ray.init`` would try for minutes."""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _by_itself(code: int, host: str) -> str:
    if code < 0 or code > 128:
        return f"KILLED by {signal.Signals(-code if code < 0 else code - 128).name} on {host}"
    return f"FAILED with exit code {code} on {host}" if code else f"COMPLETED on {host}"


def _append(file: Path, said: str) -> None:
    """Adds to a log, which is for nobody else."""
    with suppress(OSError), os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as log:
        log.write(said + "\n")


def _keep_messages(ray: Any, file: Path) -> None:
    """What Ray tells its driver of lost nodes goes to a file: it is many lines, and for standard output, which has results."""

    def keep(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        _append(file, "\n".join(map(str, data["lines"])))

    ray._private.worker.print_to_stdstream = keep


@contextmanager
def _own_signals() -> Iterator[None]:
    """``ray.init`` puts a handler of its own in place of what SIGTERM does here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    """The first sentence of what Ray says, which is long."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.split(". ")[0]
