"""The SLURM of these tests is one: jobs on two machines, preemption, memory, nodes that are lost, and nothing left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.slurm_here import Slurm, why_not
from tests.cluster.slurm_jobs import state, submit, until

pytestmark = [pytest.mark.system, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
SCRIPT = Path(__file__).with_name("slurm_here.py")


def test_two_machines_with_names_and_processes_of_their_own(slurm: Slurm) -> None:
    assert slurm.run("srun", "--nodes=2", "--label", "hostname").split() in (
        ["0:", "node1", "1:", "node2"],
        ["1:", "node2", "0:", "node1"],
    )
    assert "slurmctld" not in slurm.run("srun", "ps", "ax")


def test_a_partition_takes_the_place_of_another(slurm: Slurm, tmp_path: Path) -> None:
    jobs = [submit(slurm, tmp_path, "--exclusive") for _ in range(2)]
    until(lambda: all(state(slurm, job) == "RUNNING" for job in jobs))
    slurm.run("srun", "--partition=urgent", "true")
    assert sorted(state(slurm, job) for job in jobs) == ["PREEMPTED", "RUNNING"]
    slurm.run("scancel", *jobs)


def test_more_memory_than_asked_for_is_not_given(slurm: Slurm) -> None:
    taking = "x = b'1' * 500_000_000; import time; time.sleep(20)"
    assert "exceeded memory limit" in slurm.run("srun", "--mem=100", sys.executable, "-c", taking, check=False)


def test_a_lost_node_ends_its_job_and_can_come_back(slurm: Slurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "--nodelist=node2")
    until(lambda: state(slurm, job) == "RUNNING")
    slurm.lose("node2")
    until(lambda: slurm.states()["node2"].startswith("down"))
    until(lambda: state(slurm, job) in {"NODE_FAIL", ""})
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
        until(lambda: "Submitted" in (tmp_path / "said").read_text())
        process.send_signal(number)
        process.wait()
    until(lambda: mark not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout, limit=20)
