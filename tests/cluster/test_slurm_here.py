"""The SLURM of these tests is one: jobs on two machines, preemption, memory, nodes that are lost, and nothing left behind."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cluster.slurm_here import Slurm, why_not

pytestmark = [pytest.mark.system, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
SCRIPT = Path(__file__).with_name("slurm_here.py")


def _until(holds: Callable[[], bool], limit: float = 60) -> None:
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def _submit(slurm: Slurm, folder: Path, *words: str, command: str = "sleep 100") -> str:
    said = slurm.run("sbatch", "--parsable", f"--output={folder}/%j", *words, f"--wrap={command}")
    return said.strip()


def _state(slurm: Slurm, job: str) -> str:
    return slurm.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def test_two_machines_with_names_and_processes_of_their_own(slurm: Slurm) -> None:
    assert slurm.run("srun", "--nodes=2", "--label", "hostname").split() in (
        ["0:", "node1", "1:", "node2"],
        ["1:", "node2", "0:", "node1"],
    )
    assert "slurmctld" not in slurm.run("srun", "ps", "ax")


def test_a_partition_takes_the_place_of_another(slurm: Slurm, tmp_path: Path) -> None:
    jobs = [_submit(slurm, tmp_path, "--ntasks=4", "--nodes=1") for _ in range(2)]
    _until(lambda: all(_state(slurm, job) == "RUNNING" for job in jobs))
    slurm.run("srun", "--partition=urgent", "true")
    assert sorted(_state(slurm, job) for job in jobs) == ["PREEMPTED", "RUNNING"]
    slurm.run("scancel", *jobs)


def test_more_memory_than_asked_for_is_not_given(slurm: Slurm) -> None:
    taking = "x = b'1' * 500_000_000; import time; time.sleep(20)"
    assert "exceeded memory limit" in slurm.run("srun", "--mem=100", sys.executable, "-c", taking, check=False)


def test_a_lost_node_ends_its_job_and_can_come_back(slurm: Slurm, tmp_path: Path) -> None:
    job = _submit(slurm, tmp_path, "--nodelist=node2")
    _until(lambda: _state(slurm, job) == "RUNNING")
    slurm.lose("node2")
    _until(lambda: slurm.states()["node2"].startswith("down"))
    _until(lambda: _state(slurm, job) in {"NODE_FAIL", ""})
    slurm.add("node2")
    slurm.wait_until_idle("node1", "node2")
    assert slurm.run("srun", "--nodelist=node2", "hostname").strip() == "node2"


def test_its_command_line_gives_the_exit_code_and_leaves_nothing(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "sh", "-c", "echo $SLURM_CONF; srun hostname; exit 7"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    configuration, host = done.stdout.split()
    assert host == "node1" and not Path(configuration).parent.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_processes_end_with_their_maker(number: int, tmp_path: Path) -> None:
    mark = f"{tmp_path.name}-{number}"
    command = f"sbatch --output=/dev/null --wrap='sleep 1000 # {mark}' && sleep 1000 # {mark}"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, str(SCRIPT), "bash", "-c", command], stdout=said)
        _until(lambda: "Submitted" in (tmp_path / "said").read_text())
        process.send_signal(number)
        process.wait()
    _until(lambda: mark not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout, limit=20)
