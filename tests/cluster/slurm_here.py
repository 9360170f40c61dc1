"""A real SLURM on this machine, for as long as it is needed: a login node ``login`` and the nodes ``node1`` and ``node2``.

    python tests/cluster/slurm_here.py COMMAND...      what COMMAND... does on the login node, and its exit code

It needs Linux, root, and Debian's ``slurm-wlm``, ``munge``, ``iproute2`` and ``util-linux``; ``why_not`` says what is missing.
Each of the three is a machine of its own: own host name, network, processes and mounts, by namespaces without names. So two of
these clusters know nothing of each other. They see the files of this machine, and no network but their own. All of it goes
when the process that made it ends, however it ends; a folder in the temporary folder then stays only after SIGKILL.

A node says that it has 32 cores, 256 GB and 4 GPUs, whatever this machine has. The partition ``main`` is for all; jobs of
``urgent`` cancel those of ``main`` where they need room. No job is requeued unless it asks; one that takes more memory than
it asked for is killed. Nothing is accounted for: ``sacct`` has nothing to say, and ``squeue`` forgets a job seconds after its
end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

NODES = ("node1", "node2")
LOGIN = "login"
ADDRESSES = {LOGIN: "10.0.0.1", "node1": "10.0.0.11", "node2": "10.0.0.12"}
COMMANDS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "ip", "mount", "unshare", "nsenter")
OF_ITS_OWN = ("--mount", "--uts", "--net", "--pid")
"""What a machine does not share with others."""

CONFIGURATION = """
ClusterName=debride
SlurmctldHost=login(10.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
JobRequeue=0
MinJobAge=5
KillWait=5
SlurmdTimeout=10
BatchStartTimeout=10
ReturnToService=2
NodeName=node1 NodeAddr=10.0.0.11 CPUs=32 RealMemory=256000 Gres=gpu:4
NodeName=node2 NodeAddr=10.0.0.12 CPUs=32 RealMemory=256000 Gres=gpu:4
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=node1,node2 MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why there can be no SLURM on this machine; None if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a SLURM on this machine needs Linux and root"
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        return f"{', '.join(missing)} missing: apt-get install slurm-wlm munge iproute2"
    if subprocess.run(["unshare", *OF_ITS_OWN, "--fork", "true"], capture_output=True, check=False).returncode:
        return "this machine lets root make no namespaces"
    return None


class Machine:
    """Namespaces with a first process of ours; all that runs in them ends with it."""

    def __init__(self, name: str, folder: Path, inside: Machine | None = None) -> None:
        words = [*(inside.enter() if inside else []), "unshare", *OF_ITS_OWN, "--fork", "--mount-proc"]
        words += [sys.executable, "-I", "-S", __file__, "--first", name, str(folder / "hosts")]
        with (folder / "log" / "machines").open("a") as log:
            self._outside = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert self._outside.stdout is not None
        if self._outside.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{name} did not start")
        self.first = _innermost(self._outside.pid)

    def enter(self) -> list[str]:
        """What stands before a command that runs here."""
        return ["nsenter", "--target", str(self.first), *OF_ITS_OWN, "--wd=.", "--"]

    def end(self) -> None:
        """All its processes die at once, as when its power is cut."""
        if self._outside.poll() is None:
            os.kill(self.first, signal.SIGKILL)
        self._outside.wait()
        for pipe in (self._outside.stdin, self._outside.stdout):
            if pipe is not None:
                pipe.close()


class Slurm:
    """The cluster while a ``with`` block lasts. ``run`` and ``start`` are for commands of its user."""

    def __enter__(self) -> Slurm:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)  # a socket in it is for all users
        self.machines: dict[str, Machine] = {}
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self.machines)):
            self.machines.pop(name).end()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, without what an outer SLURM says, and with the way to this one."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        return kept | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self, *words: object, on: str = LOGIN, **options: Any) -> subprocess.Popen[str]:
        """A command that begins on a machine; ``signal`` reaches it."""
        command = [*self.machines[on].enter(), *(str(word) for word in words)]
        return subprocess.Popen(command, env=self.environment, text=True, **options)

    def run(self, *words: object, on: str = LOGIN, check: bool = True, limit: float = 300, **options: Any) -> str:
        """What a command says on both its streams; RuntimeError with it after a failure, or after ``limit`` seconds."""
        process = self.start(*words, on=on, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.signal(process, signal.SIGKILL)
            raise RuntimeError(f"{words} took over {limit} s: {process.communicate()[0]}") from None
        if check and process.returncode:
            raise RuntimeError(f"{words} ended with {process.returncode}: {said}")
        return said

    def signal(self, process: subprocess.Popen[str], number: int) -> None:
        """A signal to the command that ``start`` began."""
        if process.poll() is None:
            os.kill(_innermost(process.pid, deepest=1), number)

    def lose(self, node: str) -> None:
        """A node is gone, with SLURM's daemon and all jobs on it."""
        self.machines.pop(node).end()

    def add(self, node: str) -> None:
        """A node begins, for the first time or again."""
        login = self.machines[LOGIN]
        machine = self.machines[node] = Machine(node, self.folder, login)
        of_login = ["nsenter", "--target", str(login.first), "--net", "--"]
        _done([*of_login, "ip", "link", "add", node, "type", "veth", "peer", "name", "eth0", "netns", str(machine.first)])
        _done([*of_login, "ip", "link", "set", node, "master", "bridge", "up"])
        _done([*machine.enter(), "ip", "address", "add", f"{ADDRESSES[node]}/24", "dev", "eth0"])
        _done([*machine.enter(), "ip", "link", "set", "eth0", "up"])
        (self.folder / node).mkdir(exist_ok=True)
        self.run("slurmd", on=node)

    def hide(self, node: str, folder: Path) -> None:
        """A node sees a folder empty from now on, as one that does not mount the file system of the others."""
        self.run("mount", "-t", "tmpfs", "none", folder, on=node)

    def states(self) -> dict[str, str]:
        """The state of each node, as ``sinfo`` says it."""
        said = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T")
        return dict(line.split() for line in said.splitlines())

    def wait_until_idle(self, *nodes: str, limit: float = 60) -> None:
        """Until SLURM would start jobs on these nodes."""
        until = time.monotonic() + limit
        while any(self.states()[node] != "idle" for node in nodes):
            if time.monotonic() > until:
                raise RuntimeError(f"nodes are {self.states()}: {self.logs()}")
            time.sleep(0.2)

    def logs(self) -> str:
        """The last lines of what the daemons say."""
        logs = sorted((self.folder / "log").iterdir())
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)

    def _begin(self) -> None:
        for name in ("munge", "state", "log"):
            (self.folder / name).mkdir()
        hosts = self.folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in ADDRESSES.items()))
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(folder=self.folder))
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/tty[0-3]\n")
        login = self.machines[LOGIN] = Machine(LOGIN, self.folder)
        for words in ("link add bridge type bridge", f"address add {ADDRESSES[LOGIN]}/24 dev bridge", "link set bridge up"):
            _done([*login.enter(), "ip", *words.split()])
        munge = self.folder / "munge"
        self.run("mungekey", "--create", f"--keyfile={munge}/key")
        files = [f"--{name}-file={munge}/{name}" for name in ("key", "log", "pid", "seed")]
        self.run("munged", f"--socket={munge}/socket", *files)
        self.run("slurmctld")
        for node in NODES:
            self.add(node)
        self.wait_until_idle(*NODES)


def _done(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")


def _innermost(process: int, deepest: int = 100) -> int:
    """The child of the child ... of a process that waits for one child."""
    while deepest and (children := Path(f"/proc/{process}/task/{process}/children").read_text().split()):
        process, deepest = int(children[0]), deepest - 1
    return process


def _first(name: str, hosts: str) -> None:
    """The first process of a machine: takes care of orphans, and ends with the process that holds its standard input."""

    def bury(_: int, __: FrameType | None) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    socket.sethostname(name)
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGCHLD, bury)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


def main(words: Sequence[str]) -> int:
    """Does a command on the login node of a cluster that lasts as long."""
    if not words:
        sys.exit(__doc__)
    if reason := why_not():
        sys.exit(reason)
    with Slurm() as slurm:
        process = slurm.start(*words)

        def pass_on(number: int, _: FrameType | None) -> None:
            slurm.signal(process, number)

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells both
        signal.signal(signal.SIGTERM, pass_on)
        return process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first"]:
        _first(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
