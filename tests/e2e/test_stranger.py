"""A stranger's package, installed, brings a method, a noise, a layout and a network; what files name of it needs trust."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.datasets import build_folder
from tests.e2e.conftest import Answer, Command

from debride.cli import main

PACKAGE = Path(__file__).parents[1] / "stranger"
METHOD, NETWORK = "stranger_labels.focal:Focal", "stranger_labels.focal:tiny"
NOISE, LAYOUT = "stranger_labels.holes:Holes", "stranger_labels.pairs:PairFolders"
QUICK = ("--epochs", "1", "--batch-size", "2", "--width", "2", "--log-to", "none", "--device", "cpu")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the package is installed, without the network and beside the environment."""
    source, target = tmp_path_factory.mktemp("source") / "stranger", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)  # setuptools builds in the source
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that the package leaves where it is imported."""
    return tmp_path / "imported"


@pytest.fixture
def process(installed: Path) -> Command:
    """Runs a verb in a process of its own that finds the package."""

    def run(*words: object) -> Answer:
        path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "debride", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def debride(
    installed: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Runs a verb here, as if the package had never been imported."""
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("STRANGER_MARK", str(mark))
    monkeypatch.setenv("PYTHONPATH", str(installed), prepend=os.pathsep)  # for processes that it starts

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("stranger_labels")]:
            del sys.modules[name]

    def run(*words: object) -> Answer:
        forget()
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    yield run
    forget()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A data set in the stranger's layout: eight discs, of which two are test cases."""
    root = tmp_path / "pairs"
    for number in range(8):
        folder = root / f"case{number}"
        folder.mkdir(parents=True)
        rows, columns = np.indices((32, 32))
        disc = (rows - 12 - number) ** 2 + (columns - 16) ** 2 < 64
        Image.fromarray((disc * 150 + 50).astype(np.uint8)).save(folder / "image.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / "label.png")
    (root / "pairs.json").write_text(json.dumps({"classes": ["background", "disc"]}))
    (root / "splits.json").write_text(json.dumps({"test": ["case6", "case7"]}))
    return root


def succeeded(answer: Answer) -> str:
    assert answer.code == 0, answer.out + answer.err
    return answer.out


@pytest.mark.parametrize(("method", "noise", "layout"), [("focal", "holes", "pairs"), (METHOD, NOISE, LAYOUT)])
def test_all_of_it_from_the_command_line(
    method: str, noise: str, layout: str, pairs: Path, debride: Command, process: Command, tmp_path: Path
) -> None:
    if ":" in method:  # found by its path as anywhere else: a process of its own is for what is installed
        process = debride
    own = ("--format", layout)
    assert "no problems" in succeeded(debride("check", pairs, *own))
    noisy = tmp_path / "noisy"
    succeeded(process("corrupt", pairs, noisy, "--noise", noise, "--set", "rate=0.5", *own))
    record = json.loads((noisy / "noise.json").read_text())
    assert record["noise"] == NOISE and record["parameters"] == {"rate": 0.5} and 0 < record["overall_dice"] < 0.9
    run_folder = tmp_path / "run"
    words = ("train", method, noisy, "--out", run_folder, "--my-gamma", "1.5", *own, *QUICK)
    succeeded(process(*words))
    described = json.loads((run_folder / "run.json").read_text())
    assert described["method"] == method and described["method_config"] == {"my_gamma": 1.5}
    succeeded(debride(*words, "--resume"))
    audit = tmp_path / "audit"
    cross = ("--method", method, "--folds", "2", *own, *QUICK)
    succeeded(process("audit", noisy, "--out", audit, *cross))
    assert json.loads((audit / "audit.json").read_text()) and (audit / "report.html").exists()


def test_lists_import_nothing_and_name_what_is_installed(debride: Command, mark: Path) -> None:
    listed = succeeded(debride("methods"))
    assert "Methods of installed packages\n  ce, focal" in listed and "Label noise of installed packages\n  holes" in listed
    succeeded(debride("methods", "ce"))
    assert not mark.exists(), "a built-in name is never taken"
    assert "--my-gamma" in succeeded(debride("methods", "focal")) and mark.exists()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return build_folder(tmp_path / "toy", n=6)


def refused(answer: Answer, mark: Path, *says: str) -> None:
    assert answer.code == 2, answer.out + answer.err
    assert all(text in answer.err for text in (*says, "would be imported and run", "--trust-code")), answer.err
    assert not mark.exists(), "it was imported before it was refused"


@pytest.mark.parametrize(
    ("train", "again"), [((METHOD,), ("--method", METHOD)), (("ce", "--network", NETWORK), ("--network", NETWORK))]
)
def test_what_a_run_names_is_imported_when_it_is_trusted(
    train: tuple[str, ...], again: tuple[str, ...], toy: Path, debride: Command, mark: Path, tmp_path: Path
) -> None:
    run_folder, named = tmp_path / "run", again[1]
    succeeded(debride("train", train[0], toy, "--out", run_folder, *train[1:], *QUICK))
    mark.unlink()
    predict = ("predict", run_folder, toy, "--device", "cpu")
    says = ("run.json", named, f"{again[0]} {named}")
    refused(debride(*predict, "--out", tmp_path / "a"), mark, *says)
    refused(debride(*predict, "--out", tmp_path / "a", again[0], "other.module:Name"), mark, *says)
    for source in ("--run", "--predictions"):
        refused(debride("audit", toy, source, run_folder, "--out", tmp_path / f"audit{source}"), mark, *says)
    succeeded(debride(*predict, "--out", tmp_path / "b", *again))
    succeeded(debride(*predict, "--out", tmp_path / "c", "--trust-code"))
    succeeded(debride("audit", toy, "--run", run_folder, "--out", tmp_path / "d", *again))


def test_a_registered_name_in_a_file_needs_no_more_trust(toy: Path, debride: Command, tmp_path: Path) -> None:
    succeeded(debride("train", "focal", toy, "--out", tmp_path / "run", *QUICK))
    succeeded(debride("predict", tmp_path / "run", toy, "--out", tmp_path / "out", "--device", "cpu"))


def test_a_network_that_a_configuration_file_names(toy: Path, debride: Command, mark: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"training": {"network": NETWORK}}))
    for words in (("train", "ce", toy), ("audit", toy, "--folds", "2")):
        refused(debride(*words, "--config", config, "--out", tmp_path / words[0], *QUICK), mark, "config.yaml", NETWORK)
    succeeded(debride("train", "ce", toy, "--config", config, "--out", tmp_path / "named", "--network", NETWORK, *QUICK))
    succeeded(debride("train", "ce", toy, "--config", config, "--out", tmp_path / "all", "--trust-code", *QUICK))
    succeeded(debride("train", "ce", toy, "--config", config, "--out", tmp_path / "own", "--network", "unet", *QUICK))


def grid(toy: Path, **changes: object) -> dict[str, object]:
    plain = {
        "name": "toy",
        "datasets": {"toy": {"path": str(toy)}},
        "noises": {"clean": {}},
        "methods": {"ce": None},
        "training": {"epochs": 1, "batch_size": 2, "width": 2, "device": "cpu"},
        "last_ten": False,
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "where", "named"),
    [
        ({"methods": {"own": {"method": METHOD}}}, "methods, own", METHOD),
        ({"methods": {"ce": {"training": {"network": NETWORK}}}}, "methods, ce, training, network", NETWORK),
        ({"noises": {"own": {"noise": NOISE}}}, "noises, own", NOISE),
        ({"training": {"network": NETWORK}}, "training, network", NETWORK),
        ({"datasets": {"toy": {"path": "x", "format": LAYOUT}}}, "datasets, toy, format", LAYOUT),
        ({"datasets": {"toy": {"path": "x", "training": {"network": NETWORK}}}}, "datasets, toy, training, network", NETWORK),
    ],
)
def test_a_grid_names_code(
    changes: dict[str, object], where: str, named: str, toy: Path, debride: Command, mark: Path, tmp_path: Path
) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(grid(toy, **changes)))
    refused(debride("bench", file, "--out", tmp_path / "bench"), mark, f"grid.yaml, {where}", named)


def test_a_grid_that_is_trusted_runs_in_several_processes(toy: Path, debride: Command, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    methods = {"own": {"method": METHOD, "training": {"network": NETWORK}}, "focal": {"method": "focal"}}
    file.write_text(yaml.safe_dump(grid(toy, methods=methods, noises={"own": {"noise": NOISE}})))
    done = succeeded(debride("bench", file, "--out", tmp_path / "bench", "--jobs", "2", "--trust-code"))
    assert "table.md" in done


@pytest.mark.parametrize("named_by", ["its path", "a registered name"])
def test_a_grid_reads_a_layout(named_by: str, pairs: Path, debride: Command, mark: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "grid.yaml", tmp_path / "bench"
    layout, trust = (LAYOUT, ["--trust-code"]) if named_by == "its path" else ("pairs", [])
    file.write_text(yaml.safe_dump(grid(pairs, datasets={"own": {"path": str(pairs), "format": layout}})))
    if trust:
        refused(debride("bench", file, "--out", out), mark, "grid.yaml, datasets, own, format", LAYOUT)
    succeeded(debride("bench", file, "--out", out, *trust))
    (result,) = (json.loads(line) for line in (out / "results.jsonl").read_text().splitlines())
    assert result["dataset"] == "own" and not result["failed"]
