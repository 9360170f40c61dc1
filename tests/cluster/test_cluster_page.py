"""The scripts of docs/cluster.md do on a SLURM what the page says, as they stand there but for sizes."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.cluster.slurm_here import Slurm, why_not
from tests.cluster.slurm_jobs import none_left
from tests.datasets import build_folder

from debride.execute.cluster import CLUSTERS

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
SCRIPTS = {
    re.search(r"--job-name=(\S+)", script)[1]: script  # type: ignore[index]
    for script in re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
}
SMALLER = {
    "--image-size 256 256": "--image-size 32 32 --network unet-small --width 4 --epochs 2",
    "--epochs 60": "--epochs 2",
    "--folds 5": "--folds 2 --planted 4",
    "--predictions predictions": "--predictions predictions --planted 4",
    "--array=1-8": "--array=1-2",
    "$SLURM_ARRAY_TASK_ID/8": "$SLURM_ARRAY_TASK_ID/2",
    "cpus=8 memory=32": "cpus=1 memory=8 at_once=2",
    "at_once=8": "at_once=2",
    "at_once=32": "at_once=2",
    "--ntasks-per-node=4": "--ntasks-per-node=1",
    "--cpus-per-task=32": "--cpus-per-task=8",
    "--devices 4": "--devices 1",
    "--nproc-per-node 4": "--nproc-per-node 1",
}
"""What a script says, and what it says here: small images, two parts, and two processes in place of eight."""

ORDER = ("train", "predict", "work", "corrupt", "parts", "audit", "bench", "nodes", "torchrun")
"""Each has what those before it have written."""

on_slurm = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a user works: scans, predictions of all of them, names of verified cases, a grid."""
    root = tmp_path_factory.mktemp("page")
    data = build_folder(root / "scans", n=24)
    (root / "predictions").mkdir()
    for file in sorted((data / "masks").iterdir()):
        mask = np.roll(np.array(Image.open(file)), 1, axis=0)
        Image.fromarray(mask).save(root / "predictions" / file.name)
    (root / "verified.txt").write_text("".join(f"case{at:03d}\n" for at in range(6)))
    training = {"epochs": 2, "network": "unet-small", "width": 4, "image_size": [32, 32], "batch_size": 4}
    grid: dict[str, Any] = {"datasets": {"toy": {"path": "scans"}}, "noises": {"clean": None}, "training": training}
    (root / "grid.yaml").write_text(yaml.safe_dump(grid | {"methods": {"ce": None, "gce": None}}, sort_keys=False))
    return root


def smaller(script: str) -> str:
    for said, here in SMALLER.items():
        script = script.replace(said, here)
    return script


def test_each_script_is_known() -> None:
    assert set(SCRIPTS) == set(ORDER)
    assert not [said for said in SMALLER if said not in "".join(SCRIPTS.values())]


def test_the_table_of_options_names_each_with_its_default() -> None:
    table = PAGE.split("### Options")[1].split("\n### ")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    said = {name: row[1] for row in rows for name in re.findall(r"\w+", row[0])}
    options = {field.name: field.default for kind in CLUSTERS.values() for field in fields(kind)}
    usual = {"folder": "OUT.jobs", "address": "$RAY_ADDRESS"}
    assert said == {name: usual.get(name, "" if value is None else str(value)) for name, value in options.items()}


@pytest.mark.system
@on_slurm
def test_the_scripts_run(slurm: Slurm, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name in ORDER:
        script = root / f"{name}.sbatch"
        script.write_text(smaller(SCRIPTS[name]))
        said = slurm.run("sbatch", "--wait", f"--output={root}/{name}-%A-%a.log", script, check=False, limit=400, cwd=root)
        logs = "\n".join(file.read_text() for file in sorted(root.glob(f"{name}-*.log")))
        assert "Traceback" not in logs, logs
        assert none_left(slurm), logs
        assert list(root.glob(OUTCOMES[name])), f"{name}: {said}\n{logs}"
    merge = "debride audit scans/ --predictions predictions --planted 4 --out parts --merge"
    slurm.run(*merge.split(), cwd=root)
    assert (root / "parts" / "report.html").exists()
    assert not list(root.glob("*.jobs"))


OUTCOMES = {
    "train": "runs/gce/weights/best.safetensors",
    "predict": "masks/*.png",
    "work": "runs/gce/calibration.json",
    "corrupt": "noisy/noise.json",
    "parts": "parts",
    "audit": "audit/report.html",
    "bench": "results/report.html",
    "nodes": "runs/nodes/weights/best.safetensors",
    "torchrun": "runs/torchrun/weights/best.safetensors",
}
"""What is there when a script has ended well."""
