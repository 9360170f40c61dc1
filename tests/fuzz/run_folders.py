"""Runs of trainings, whose descriptions, weights, states and records are mutated."""

from __future__ import annotations

import json
import random
import shutil
import struct
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from debride.calibration.bias_record import FILE, plain_record
from debride.state import LabelState
from debride.training import checkpoint
from debride.training import fit as fit_module
from debride.training.predict import load_run, trained_on
from debride.training.run_calibration import recorded
from debride.training.schedule import make_optimiser
from tests.calibrations import write_calibration
from tests.datasets import build_folder
from tests.fuzz import strict, text_changes
from tests.fuzz.judge import same, verb
from tests.fuzz.mutations import Mutation, Structural
from tests.fuzz.subject import Exercise, Subject

RESUMED = 12
"""One seed of so many goes on with the training too."""

RARELY = 50

TRAIN = (
    "--log-to",
    "none",
    "--epochs",
    2,
    "--batch-size",
    2,
    "--network",
    "unet-small",
    "--width",
    2,
    "--image-size",
    16,
    16,
    "--device",
    "cpu",
)


def tensor_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """The JSON of a safetensors file, with its length set right."""
    length = struct.unpack("<Q", content[:8])[0]
    change = rng.choice((text_changes.json_value, text_changes.json_key))
    what, header = change(rng, content[8 : 8 + length])
    return f"header: {what}", struct.pack("<Q", len(header)) + header + content[8 + length :]


def tensor_length(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    length = rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(content)))
    return f"header of {length} bytes", struct.pack("<Q", length) + content[8:]


def tensor_nan(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """One weight that is no number."""
    place = 8 + struct.unpack("<Q", content[:8])[0]
    place += 4 * rng.randrange((len(content) - place) // 4)
    return f"NaN at {place}", content[:place] + struct.pack("<f", float("nan")) + content[place + 4 :]


def agrees(said: Any, read: Any) -> bool:
    """Whether a file says what was read of it; None stands for what it does not say."""
    if isinstance(read, dict):
        return isinstance(said, dict) and all(agrees(said.get(name), value) for name, value in read.items())
    if isinstance(read, list):
        return isinstance(said, list) and len(said) == len(read) and all(map(agrees, said, read))
    return bool(said == read) and isinstance(said, bool) == isinstance(read, bool)


class RunFolder(Subject):
    """A training of two epochs with a label state, cut off after the first."""

    name = "runs"
    joined = True

    def build(self) -> None:
        build_folder(self.data, n=5, size=16)
        real, done = fit_module._epoch, []

        def once(run: Any, *more: Any) -> None:
            if done:
                raise KeyboardInterrupt
            done.append(True)
            real(run, *more)

        with patch.object(fit_module, "_epoch", once), suppress(AssertionError):
            self.train(self.root)
        shutil.rmtree(self.root / "scratch", ignore_errors=True)
        write_calibration(self.root, offsets=(0, 1), shifts=(0, 0.5), parents=(0, 0))

    @property
    def data(self) -> Path:
        return self.root.with_name(f"{self.root.name}-data")

    @property
    def cache(self) -> Path:
        return self.root.with_name(f"{self.root.name}-cache")

    def train(self, out: Path, *words: str) -> None:
        verb("train", "self-cleansing", self.data, "--out", out, "--cache", self.cache, *TRAIN, *words)

    def files(self) -> list[Path]:
        found = sorted(path for path in self.root.rglob("*") if path.is_file() and not path.name.startswith("."))
        texts = [path for path in found if path.suffix in (".json", ".jsonl")]
        return [*found, *texts, *(path for path in texts if path.name == "run.json")]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        if file.suffix == ".safetensors":
            return tensor_header, tensor_header, tensor_length, tensor_nan
        return text_changes.of(file)

    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        inside = "resume" in file.parts
        found = {"state": Exercise("state", self.state)} if inside else {"load": Exercise("load", self.load, self.may_differ)}
        if seed % RESUMED == 0 or (file.name == "metrics.jsonl" and seed % 3 == 0):
            found["resume"] = Exercise(f"resume {file.name}", partial(self.resume, file))
        if seed % RARELY == 0 and not inside:
            found["predict"] = Exercise("predict", self.predict, self.may_differ_in_masks)
        return found

    def load(self, work: Path) -> dict[str, Any]:
        """What a prediction takes from the run."""
        read: dict[str, Any] = {}
        for which in ("best", "last"):
            trained = load_run(self.root, which, torch.device("cpu"))
            labels = trained.labels
            read[which] = {name: tensor.numpy() for name, tensor in trained.method.state_dict().items()}
            read["said"] = {
                "training": asdict(trained.config),
                "channels": trained.channels,
                "classes": list(labels.classes),
                "ndim": labels.ndim,
                "ignore": labels.ignore,
                "values": {str(raw): id for raw, id in labels.values.items()},
                "task": labels.task,
            }
        read["train"] = trained_on(self.root, "last")
        record = recorded(self.root, read["said"]["classes"])
        read["calibration"] = json.loads(json.dumps(plain_record(record))) if record else None
        return read

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether run.json, or calibration.json, says all that was read, and nothing was made up for what it does not say."""
        if mutation.file.name == FILE:
            own = now["calibration"] is None or agrees(strict.json_of(self.root / FILE), now["calibration"])
            return own and {**now, "calibration": None}.keys() == healthy.keys() and same(now["best"], healthy["best"])
        if mutation.file.name != "run.json" or any(now[which].keys() != healthy[which].keys() for which in ("best", "last")):
            return False
        try:
            said = strict.json_of(self.root / "run.json")
            plain = json.loads(json.dumps(now["said"]))
            ids = [entry[0] for entry in said["train"]]
        except Exception:
            return False
        return all(said.get(name) == value for name, value in plain.items()) and list(now["train"]) == ids

    def state(self, work: Path) -> dict[str, Any]:
        """What a training that goes on takes from its last state."""
        trained = load_run(self.root, "last", torch.device("cpu"))
        optimiser = make_optimiser(trained.config, trained.method.parameters())
        store = LabelState(trained.method.fields(), ((16, 16),) * 3, work / "scratch")
        latest = checkpoint.latest_state(self.root)
        if latest is None:
            return {}
        read = checkpoint.load_state(latest, trained.method, optimiser, store)
        plain = {
            f"{at} {key}": np.array(value)
            for at, entry in optimiser.state_dict()["state"].items()
            for key, value in entry.items()
        }
        labels = {path.name: path.read_bytes() for path in sorted((work / "scratch").iterdir())}
        weights = {name: tensor.numpy() for name, tensor in trained.method.state_dict().items()}
        return {"counters": read, "optimiser": plain, "labels": labels, "weights": weights}

    def resume(self, file: Path, work: Path) -> dict[str, Any]:
        """What the training ends with, but for what it does not look at."""
        out = work / "run"
        shutil.copytree(self.root, out, symlinks=True)
        self.train(out, "--resume")
        files = sorted(path for path in (out / "weights").glob("*.safetensors") if path.is_file())
        read = {path.name: path.read_bytes() for path in files}
        for name in ("epoch-0001.safetensors", file.name, f"copy-{file.name}"):
            read.pop(name, None)
        return {**read, "scores": (out / "label_scores.csv").exists()}

    def predict(self, work: Path) -> dict[str, bytes]:
        said = verb("predict", self.root, self.data, "--out", work / "out", "--device", "cpu")
        masks = {path.name: path.read_bytes() for path in sorted((work / "out").iterdir()) if path.suffix == ".png"}
        return {"not applied": b"is not applied" * ("is not applied" in said), **masks}

    def may_differ_in_masks(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        told = mutation.file.name in ("run.json", FILE) or bool(now["not applied"])
        return told and now.keys() == healthy.keys()
