"""Grids and configuration files, and the folder of a bench with a finished cell."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from debride.api.given import read_config
from debride.bench.grid import cells, read_grid, run_grid
from debride.bench.results import write_tables
from debride.methods import find_method
from debride.settings import from_mapping
from debride.training.config import TrainConfig
from tests.datasets import build_folder
from tests.fuzz import strict, text_changes
from tests.fuzz.judge import verb
from tests.fuzz.mutations import Mutation, Structural
from tests.fuzz.subject import Exercise, Subject

RARELY = 20

TRAINING = {"epochs": 1, "network": "unet-small", "width": 2, "image_size": [16, 16], "batch_size": 2, "device": "cpu"}


class UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key that stands twice."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    pairs = loader.construct_pairs(node, deep=True)
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


UniqueKeys.add_constructor("tag:yaml.org,2002:map", _mapping)


def yaml_of(path: Path) -> Any:
    """YAML read strictly."""
    return yaml.load(path.read_bytes().decode("utf-8-sig"), UniqueKeys)


def holds(read: Any, said: Any) -> bool:
    """Whether all that was said is found in what was read: numbers may be given as text, one entry for a list of one."""
    if isinstance(said, dict):
        return (
            isinstance(read, dict)
            and all(str(key) in map(str, read) for key in said)
            and all(holds({str(name): value for name, value in read.items()}[str(key)], value) for key, value in said.items())
        )
    if isinstance(said, list):
        return isinstance(read, list | tuple) and len(read) == len(said) and all(map(holds, read, said))
    if isinstance(read, list | tuple):
        return (len(read) == 1 and holds(read[0], said)) or (not read and str(said).lower() == "none")
    if said is None or str(said).lower() == "none":
        return True
    try:
        return float(read) == float(said)
    except (TypeError, ValueError):
        return str(read).lower() == str(said).lower()


class GridFile(Subject):
    """A grid and a configuration file, which are read and not run."""

    name = "grids"

    def build(self) -> None:
        build_folder(self.data, n=5, size=16)
        self.root.mkdir(parents=True)
        grid = {
            "name": "small",
            "datasets": {"toy": {"path": str(self.data), "limit": {"train": 2}, "val_fraction": 0.2}},
            "noises": {"clean": None, "S_DE": {"noise": "dilate-erode", "parameters": {"nearest": 2.0, "farthest": 3.0}}},
            "methods": {"ce": None, "robust": {"method": "gce", "config": {"q": 0.6}, "training": {"epochs": 2}}},
            "seeds": [0, 1],
            "training": TRAINING,
            "augmentation": {"rotate": 10.0},
            "cells": [{"methods": ["ce"]}, {"noises": ["S_DE"], "seeds": [0]}],
            "test_every": 1,
        }
        config = {"training": {**TRAINING, "learning_rate": 0.1, "intensity": "unit"}, "method": {"q": 0.5}}
        (self.root / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
        (self.root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    @property
    def data(self) -> Path:
        return self.root.with_name(f"{self.root.name}-data")

    def files(self) -> list[Path]:
        return [self.root / "grid.yaml", self.root / "grid.yaml", self.root / "config.yaml"]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        return text_changes.of(file)

    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        read = self.grid if file.name == "grid.yaml" else self.config
        return {"read": Exercise(file.name, read, self.may_differ)}

    def grid(self, work: Path) -> dict[str, Any]:
        grid = read_grid(self.root / "grid.yaml")
        return {**asdict(grid), "number": len(cells(grid, work))}

    def config(self, work: Path) -> dict[str, Any]:
        sections = read_config(self.root / "config.yaml")
        where = f"{self.root / 'config.yaml'}"
        return {
            "training": asdict(from_mapping(TrainConfig, sections.get("training", {}), where)),
            "method": asdict(from_mapping(find_method("gce").Config, sections.get("method", {}), where)),
        }

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether the file, read strictly, says what was read."""
        try:
            said = yaml_of(mutation.file)
            assert isinstance(said, dict)
            return holds(now, {key: value for key, value in said.items() if value is not None})
        except Exception:
            return False


class BenchFolder(Subject):
    """A bench of one finished cell, gone on with."""

    name = "benches"

    def build(self) -> None:
        build_folder(self.data, n=5, size=16)
        grid = {
            "name": "small",
            "datasets": {"toy": {"path": str(self.data)}},
            "noises": {"S_DE": {"noise": "dilate-erode", "parameters": {"nearest": 2.0, "farthest": 3.0}}},
            "methods": {"ce": None},
            "training": TRAINING,
        }
        self.grid.write_text(yaml.safe_dump(grid, sort_keys=False))
        run_grid(read_grid(self.grid), self.root)

    @property
    def data(self) -> Path:
        return self.root.with_name(f"{self.root.name}-data")

    @property
    def grid(self) -> Path:
        return self.root.with_name(f"{self.root.name}.yaml")

    def files(self) -> list[Path]:
        cell = next(self.root.glob("cells/*/*/*/*"))
        return [
            *[cell / "result.json"] * 4,
            cell / "cell.json",
            cell / "cell.json",
            cell / "source.json",
            self.root / "grid.json",
        ]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        return text_changes.of(file)

    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        found = {"tables": Exercise("tables", self.tables, self.may_differ)}
        if seed % RARELY == 0:
            found["resume"] = Exercise("resume", self.resume, self.may_differ)
        return found

    def copied(self, work: Path) -> Path:
        out = work / "out"
        shutil.copytree(self.root, out, symlinks=True, ignore=shutil.ignore_patterns(".lock"))
        return out

    def tables(self, work: Path) -> dict[str, Any]:
        """The tables of the finished cells."""
        out = self.copied(work)
        write_tables(cells(read_grid(self.grid), out), out)
        return self.rows(out)

    def resume(self, work: Path) -> dict[str, Any]:
        out = self.copied(work)
        verb("bench", self.grid, "--out", out, "--resume")
        return self.rows(out)

    def rows(self, out: Path) -> dict[str, Any]:
        rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        for row in rows:
            row.pop("minutes", None)
        return {"rows": rows, "table": (out / "table.md").read_text()}

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether a result says what the tables do, and says it in the form that it had; one that is gone is made again."""
        if mutation.file.name != "result.json":
            return False
        if mutation.nature in ("taken away", "dangling link", "link in a circle"):
            return now["rows"] in ([], healthy["rows"])
        try:
            said = strict.json_of(mutation.file)
        except Exception:
            return False
        said.pop("minutes", None)
        return bool(now["rows"] == [said] and (said["failed"] or said["last"]) and _alike(said, healthy["rows"][0]))


def _alike(a: Any, b: Any) -> bool:
    """Whether what two values both have is of the same types; a number may be one that is not known."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_alike(a[key], b[key]) for key in a.keys() & b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return all(_alike(item, b[0]) for item in a) if b else not a
    if None in (a, b):
        return True
    numbers = (int, float)
    return type(a) is type(b) or (type(a) in numbers and type(b) in numbers)
