"""Small data sets, plans and short trainings of nnU-Net, for tests and benchmarks; nothing of nnU-Net is imported here.

``Home`` has the three folders of nnU-Net and runs its commands, in the environment of the running Python or in another one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.datasets import build_nnunet_2d

HEART = 501
"""The id that the small sets have."""

NAME = f"Dataset{HEART}_Heart"


@dataclass(frozen=True)
class Home:
    """A folder with nnU-Net's three, and the folder ``bin`` of the environment that its commands are taken from."""

    root: Path
    bin: Path = Path(sys.executable).parent

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def plans(self) -> Path:
        return self.preprocessed / NAME / "nnUNetPlans.json"

    def environment(self, **more: object) -> dict[str, str]:
        """The variables under which nnU-Net works here, on one core, with those that are given besides."""
        own = {"nnUNet_raw": self.raw, "nnUNet_preprocessed": self.preprocessed, "nnUNet_results": self.results}
        few = {"nnUNet_n_proc_DA": 0, "nnUNet_def_n_proc": 1, "nnUNet_compile": "f", "OMP_NUM_THREADS": 1}
        few["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).with_name("one_core")), os.environ.get("PYTHONPATH") or "."])
        return {**os.environ, **{name: str(value) for name, value in {**own, **few, **more}.items()}}

    def run(self, command: str, *words: object, **more: object) -> str:
        """Runs a command of the environment and returns what it prints; an assertion fails with that where it fails."""
        done = subprocess.run(
            [str(self.bin / command), *map(str, words)],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command} {' '.join(map(str, words))}\n{done.stdout[-4000:]}"
        return done.stdout

    def train(self, trainer: str, fold: int | str = 0, *words: object, configuration: str = "2d", **more: object) -> str:
        """``nnUNetv2_train`` on the CPU."""
        words = (HEART, configuration, fold, "-tr", trainer, "-device", "cpu", *words)
        return self.run("nnUNetv2_train", *words, **more)

    def fold(self, trainer: str, fold: int | str = 0, configuration: str = "2d", plans: str = "nnUNetPlans") -> Path:
        """The folder that a training writes."""
        return self.results / NAME / f"{trainer}__{plans}__{configuration}" / f"fold_{fold}"


def write_heart(raw: Path, data: Path | None, cases: int = 24, tests: int = 6, regions: bool = False) -> Path:
    """A small raw data set of heart slices: so many of ACDC, spread over its patients, or phantoms where there is no ``data``.

    With ``regions`` its labels are the whole heart, its left ventricle with the wall, and the cavity of that.
    """
    root = raw / NAME
    source = None if data is None else data / "nnUNet_raw" / "Dataset102_ACDC"
    if source is None or not source.is_dir():
        build_nnunet_2d(root, cases + 2, size=64)
        (root / "splits_final.json").unlink()
    else:
        for part, number in (("Tr", cases), ("Ts", tests)):
            _take(source, root, part, number)
        shutil.copyfile(source / "dataset.json", root / "dataset.json")
    description = json.loads((root / "dataset.json").read_text())
    description["numTraining"] = len(list((root / "labelsTr").iterdir()))
    if regions:
        description["labels"] = {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3}
        description["regions_class_order"] = [1, 2, 3]
    (root / "dataset.json").write_text(json.dumps(description, indent=1))
    return root


def _take(source: Path, root: Path, part: str, number: int) -> None:
    """Copies slices that lie evenly among all, each with its label."""
    labels = sorted((source / f"labels{part}").iterdir())
    for label in (labels[place * len(labels) // number] for place in range(number)):
        for kind, name in (("images", f"{label.stem}_0000{label.suffix}"), ("labels", label.name)):
            target = root / f"{kind}{part}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / f"{kind}{part}" / name, target)


def prepare_home(home: Home, *words: object, configuration: str = "2d") -> None:
    """Plans and preprocesses the set of the ``home``; nnU-Net checks its integrity."""
    planned = ("-d", HEART, "-c", configuration, "-np", 1, "-npfp", 1, "--verify_dataset_integrity")
    home.run("nnUNetv2_plan_and_preprocess", *planned, *words, nnUNet_n_proc_DA=1)  # which plans for that many threads


def shrink_plans(
    plans: Path,
    configuration: str = "2d",
    *,
    patch: Sequence[int] = (64, 64),
    batch: int = 4,
    features: Sequence[int] = (8, 16, 32, 32),
) -> dict[str, Any]:
    """Makes the patch, the batch and the network of a configuration small, and returns the configuration."""
    described = json.loads(plans.read_text())
    chosen: dict[str, Any] = described["configurations"][configuration]
    chosen["patch_size"], chosen["batch_size"] = list(patch), batch
    network = chosen["architecture"]["arch_kwargs"]
    stages = len(features)
    network["n_stages"], network["features_per_stage"] = stages, list(features)
    network["kernel_sizes"] = network["kernel_sizes"][:stages]
    network["strides"] = network["strides"][:stages]
    for name, length in (
        ("n_conv_per_stage", stages),
        ("n_blocks_per_stage", stages),
        ("n_conv_per_stage_decoder", stages - 1),
    ):
        if name in network:
            network[name] = [1] * length
    plans.write_text(json.dumps(described, indent=1))
    return chosen


def write_two_folds(home: Home) -> None:
    """Lists two folds of all training cases, alternating by patient, where nnU-Net looks for them."""
    names = sorted(path.stem for path in (home.raw / NAME / "labelsTr").iterdir())
    patients = sorted({name.split("_")[0] for name in names})
    parts = [[name for name in names if patients.index(name.split("_")[0]) % 2 == part] for part in (0, 1)]
    folds = [{"train": parts[1 - part], "val": parts[part]} for part in (0, 1)]
    (home.preprocessed / NAME / "splits_final.json").write_text(json.dumps(folds, indent=1))
