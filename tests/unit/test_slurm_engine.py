"""What SLURM is asked, and what its answers mean. Its commands are scripts here; tests/cluster has a real one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from debride.execute.cluster import SlurmOptions
from debride.execute.cluster.engines import refuse_missing
from debride.execute.cluster.slurm_engine import SlurmEngine
from debride.types import DataError

pytest.importorskip("submitit")

COMMANDS = {
    "sbatch": 'cp "$1" "$FAKE/script"; env > "$FAKE/environment"; cat "$FAKE/says" >&2; test -s "$FAKE/says" && exit 1; '
    "echo Submitted batch job 12",
    "squeue": 'echo "$@" > "$FAKE/asked"; cat "$FAKE/queue"; cat "$FAKE/refused" >&2; test ! -s "$FAKE/refused"',
    "scancel": 'echo "$@" >> "$FAKE/cancelled"',
    "srun": "exit 1",
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the scripts say, and of what they were asked."""
    places = tmp_path / "bin", tmp_path / "fake", tmp_path / "logs"
    for place in places:
        place.mkdir()
    for name, script in COMMANDS.items():
        (places[0] / name).write_text(f"#!/bin/sh\n{script}\n")
        (places[0] / name).chmod(0o755)
    for name in ("says", "queue", "refused"):
        (places[1] / name).touch()
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FAKE", str(places[1]))
    monkeypatch.setenv("PATH", f"{places[0]}{os.pathsep}{os.environ['PATH']}")
    return places[1]


def engine(fake: Path, **options: Any) -> SlurmEngine:
    return SlurmEngine(SlurmOptions(**options), fake.with_name("logs"))


def asked_for(fake: Path) -> dict[str, str]:
    """What the batch script asks for."""
    lines = [
        line.removeprefix("#SBATCH --") for line in (fake / "script").read_text().splitlines() if line.startswith("#SBATCH")
    ]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_what_a_job_asks_for(fake: Path) -> None:
    options = {"partition": "gpu", "account": "lab", "cpus": 4, "gpus": 2, "memory": 1.5, "minutes": 90, "at_once": 2}
    assert engine(fake, **options, setup="module load cuda").submit([["python", "-c", "a b"]] * 3) == ["12_0", "12_1", "12_2"]
    asked = asked_for(fake)
    expected = {"partition": "gpu", "account": "lab", "cpus-per-task": "4", "gpus-per-node": "2", "mem": "1536MB", "time": "90"}
    assert {name: asked[name] for name in expected} == expected
    assert asked["array"] == "0-2%2" and asked["signal"] == "CONT@1" and "no-requeue" in asked
    assert not {"qos", "gres", "constraint", "wckey", "requeue"} & set(asked)
    script = (fake / "script").read_text()
    assert "\nmodule load cuda\n" in script and "--cpus-per-task=4" in script.split("srun ")[1]
    assert " -P -u -m submitit" in script


def test_one_job_is_no_array(fake: Path) -> None:
    assert engine(fake).submit([["python"]]) == ["12"]
    assert "array" not in asked_for(fake)


@pytest.mark.parametrize("inside", [False, True])
def test_a_job_knows_nothing_of_the_one_it_was_submitted_from(
    fake: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    names = {"SLURM_CONF": "there", "SBATCH_ACCOUNT": "lab", "SLURM_NTASKS": "4", "RANK": "1", "OWN": "x"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    if inside:
        monkeypatch.setenv("SLURM_JOB_ID", "5")
    before = dict(os.environ)
    engine(fake).submit([["python"]])
    told = dict(line.partition("=")[::2] for line in (fake / "environment").read_text().splitlines())
    assert {name for name in names if name in told} == (set(names) - {"SLURM_NTASKS", "RANK"} if inside else set(names))
    assert dict(os.environ) == before


def test_what_sbatch_says_is_in_the_error(fake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (fake / "says").write_text("sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed\n")
    with pytest.raises(
        DataError, match=r"SLURM: takes no job \(invalid partition specified: x; Batch job submission failed\)\. "
    ):
        engine(fake).submit([["python"]])
    assert capfd.readouterr() == ("", "")


def test_the_queue_says_which_jobs_live_and_how_others_ended(fake: Path) -> None:
    slurm = engine(fake)
    (fake / "queue").write_text(
        "12_0|RUNNING|node1\n12_1|PENDING|\n12_2|NODE_FAIL|node2\n12_3|COMPLETING|node2\n9|PREEMPTED|node1\n"
    )
    ids = ["12_0", "12_1", "12_2", "12_3", "12_4", "9"]
    assert slurm.alive(ids) == {"12_0", "12_1", "12_3"}
    assert "--jobs=9,12 " in (fake / "asked").read_text()
    assert [slurm.ended(id) for id in ("12_2", "9", "12_0", "12_4")] == [
        "NODE_FAIL on node2",
        "PREEMPTED on node1",
        "GONE on node1",
        "GONE",
    ]
    assert slurm.log("12_2") is None
    log = fake.with_name("logs") / "12_2_0_log.err"
    log.write_text(
        "x\nslurmstepd-node2: error: *** STEP 1.0 CANCELLED DUE TO TIME LIMIT ***\nsrun: error: node2: task 0: Killed\n"
    )
    assert slurm.ended("12_2") == "NODE_FAIL on node2 (STEP 1.0 CANCELLED DUE TO TIME LIMIT)"
    assert slurm.log("12_2") == log


def test_many_jobs_are_asked_for_in_parts(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument has 128 kB at most. A user's filters do not count, nor ids of a Ray that did the work before."""
    monkeypatch.setenv("SQUEUE_PARTITION", "other")
    say = 'for id in $(echo "$4" | tr , " "); do echo "${id#--jobs=}|RUNNING|"; done'
    (fake.with_name("bin") / "squeue").write_text(f'#!/bin/sh\ntest -z "$SQUEUE_PARTITION" || exit 1\n{say}\n')
    ids = [str(number) for number in range(1, 1202)]
    assert engine(fake).alive([*ids, "deadbeef"]) == set(ids)
    assert engine(fake).alive(["deadbeef"]) == set()


def test_jobs_live_where_slurm_does_not_answer(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fake / "refused").write_text("slurm_load_jobs error: Unable to contact slurm controller")
    slurm = engine(fake)
    assert slurm.alive(["12_0"]) == slurm.alive(["12_0"]) == {"12_0"}
    assert capsys.readouterr().err == "debride: SLURM does not answer: `squeue` fails. It is asked again until it does.\n"
    (fake / "refused").write_text("slurm_load_jobs error: Invalid job id specified")
    assert engine(fake).alive(["12_0"]) == set()


def test_jobs_are_cancelled_together(fake: Path) -> None:
    engine(fake).cancel(["12_0", "13"])
    assert (fake / "cancelled").read_text() == "--quiet 12_0 13\n"


def test_what_is_missing_is_said(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="has a % in its name"):
        SlurmEngine(SlurmOptions(), fake.with_name("50%") / "logs")
    (fake.with_name("bin") / "scancel").unlink()
    monkeypatch.setenv("PATH", str(fake.with_name("bin")))
    with pytest.raises(DataError, match=r"`cluster` slurm: finds no command scancel\. .*login node"):
        engine(fake)
    monkeypatch.setattr("debride.execute.cluster.engines.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"slurm needs the package submitit, .*pip install 'debride\[slurm\]'"):
        refuse_missing("slurm")
