"""A grid by jobs of a Ray with two nodes has the rows and weights of the grid in one process, whatever happens to nodes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.slurm_jobs import DEBRIDE, until
from tests.cluster.small_grid import EPOCHS, build_grid, ended_well, under_way, words_of
from tests.datasets import build_folder

pytestmark = [pytest.mark.system, pytest.mark.skipif(find_spec("ray") is None, reason="needs debride[ray]")]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
"""A dead node is noticed after seconds."""
CLIENTS = 20000 + os.getpid() % 10000
"""The port of the head for those who are no nodes."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The grid, and what one process makes of it."""
    return build_grid(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and another node of one core each, on this machine."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "ray_client_server_port": CLIENTS, "_system_config": QUICK})
    try:
        yield nodes
    finally:
        nodes.shutdown()


def on_ray(nodes: Any, root: Path, out: Path, *more: object) -> subprocess.Popen[str]:
    """Two jobs at once."""
    options = ["--cluster", "ray", "--cluster-option", f"address={nodes.address}", "at_once=2"]
    words = [str(word) for word in (*words_of(root), "--out", out, *options, *more)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until_both_train(process: subprocess.Popen[str], out: Path) -> None:
    """Waits until two cells are under way."""
    until(lambda: len(under_way(out)) >= 2 or process.poll() is not None, 120)
    assert process.poll() is None, process.communicate()


def jobs_of(out: Path) -> list[str]:
    """The ids of the processes that do a grid's cells."""
    found = subprocess.run(
        ["pgrep", "-f", f"execute.cluster.shard.*{out}.jobs"], check=False, stdout=subprocess.PIPE, text=True
    )
    return found.stdout.split()


def test_one_of_two_nodes_is_killed(nodes: Any, root: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", nodes.add_node(**NODE)
    process = on_ray(nodes, root, out)
    until_both_train(process, out)
    trained = {file: file.read_text() for file in under_way(out)}
    nodes.remove_node(other, allow_graceful=False)
    until(lambda: len(jobs_of(out)) == 1, 20)
    until(lambda: [*out.with_name("out.jobs").glob("map-*/begun-*-2.json")] or process.poll() is not None, 120)
    assert process.poll() is None, "the cell of the dead node was not given to another job"
    said = ended_well(process, root, out)
    assert "Raylet" not in said and "Traceback" not in said
    for file, before in trained.items():
        assert file.read_text().startswith(before), "a cell did not go on from where it was"
        assert len(file.read_text().splitlines()) == EPOCHS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_submitting_process_is_ended_and_goes_on(nodes: Any, root: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "out"
    nodes.add_node(**NODE)
    process = on_ray(nodes, root, out)
    until_both_train(process, out)
    os.kill(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (128 + number if number == signal.SIGINT else -number), said
    until(lambda: not jobs_of(out), 20)
    ended_well(on_ray(nodes, root, out, "--resume"), root, out)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root, and mounts of its own")
def test_a_node_that_does_not_see_the_folder_is_told_of(nodes: Any, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o700)
    ray = f"{sys.executable} -m ray.scripts.scripts start --address={nodes.address} --num-cpus=1 --block"
    words = f"mount -t tmpfs none {folder} && exec {ray} --object-store-memory={NODE['object_store_memory']}"
    blind = subprocess.Popen(["unshare", "--mount", "sh", "-c", words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: sum(node["Alive"] for node in nodes_of(nodes)) == 2)
        process = on_ray(nodes, root, tmp_path / "out", f"folder={folder}")
        said, _ = process.communicate(timeout=120)
    finally:
        blind.terminate()
        blind.wait()
    assert process.returncode == 2, said
    assert "is not seen by the machine" in said and str(folder) in said and "folder=" in said and "Traceback" not in said
    until(lambda: not jobs_of(tmp_path / "out"), 20)


def nodes_of(nodes: Any) -> list[dict[str, Any]]:
    """What the head knows of nodes."""
    found: list[dict[str, Any]] = nodes.global_state.node_table()
    return found


def test_a_machine_that_is_no_node_goes_by_rays_client(nodes: Any, tmp_path: Path) -> None:
    """What is written by ``ray://`` is what one process writes."""
    data = build_folder(tmp_path / "data", n=8)
    words = [*DEBRIDE, "corrupt", str(data)]
    more = ["--noise", "markov", "--set", "steps=30"]
    subprocess.run([*words, str(tmp_path / "one"), *more, "--jobs", "1"], check=True)
    address = f"ray://127.0.0.1:{CLIENTS}"
    until(lambda: listens(CLIENTS))
    by_ray = [*words, str(tmp_path / "many"), *more, "--cluster", "ray", "--cluster-option", f"address={address}", "at_once=2"]
    subprocess.run(by_ray, check=True)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def listens(port: int) -> bool:
    """Whether a port of this machine is open."""
    with socket.socket() as asked:
        return not asked.connect_ex(("127.0.0.1", port))


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their place."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_no_cluster_is_there(root: Path, tmp_path: Path, address: str) -> None:
    words = [
        *map(str, words_of(root)),
        "--out",
        str(tmp_path / "out"),
        "--cluster",
        "ray",
        "--cluster-option",
        f"address={address}",
    ]
    ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"the Ray cluster {address}" in ended.stderr and "ray start --head" in ended.stderr
