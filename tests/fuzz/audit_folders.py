"""Folders of audits that are repaired from, and folders of predictions that are audited by."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from debride.audit.predictions import FolderPredictions
from debride.audit.repair import parse_acceptance, repair
from debride.data.open import open_dataset
from debride.testing.toy_sets import nested_balls
from debride.types import Geometry
from tests.datasets import save_json, save_png
from tests.fuzz import headers, readers, strict, text_changes
from tests.fuzz.judge import verb
from tests.fuzz.mutations import Mutation, Structural
from tests.fuzz.npz_sets import ARRAYS, npy_header
from tests.fuzz.subject import Exercise, Subject

RARELY = 50
SIZE = 24
CASES = 4


def build_set(root: Path) -> dict[str, Any]:
    """Images with a mask of two classes, of which some have an object too many or too few; the right masks by case."""
    rng = np.random.default_rng(3)
    right = {}
    for number in range(CASES):
        id = f"case{number}"
        image, label = nested_balls(rng, (SIZE, SIZE), 3)
        right[id] = label
        given = label.copy()
        if number == 1:
            given[given > 0] = 0
        if number == 2:
            given[1:6, 1:6] = 1
        save_png(root / "images" / f"{id}.png", image)
        save_png(root / "masks" / f"{id}.png", given)
    save_json(root / "dataset.json", {"classes": ["background", "shell", "core"]})
    ids = list(right)
    save_json(root / "splits.json", {"train": ids[:-1], "val": ids[-1:]})
    return right


class AuditFolder(Subject):
    """What an audit wrote, and decisions on it."""

    name = "audits"
    joined = True

    def build(self) -> None:
        right = build_set(self.data)
        predictions = self.data.with_name(f"{self.root.name}-predictions")
        for id, label in right.items():
            save_png(predictions / f"{id}.png", label)
        verb("audit", self.data, "--predictions", predictions, "--out", self.root, "--planted", 6, "--pictures", 0)
        rows = [json.loads(line) for line in (self.root / "findings.jsonl").read_text().splitlines()]
        assert rows
        lines = ["case,number,decision", *(f"{row['case']},{row['number']},accept" for row in rows)]
        (self.root / "decisions.csv").write_text("\n".join(lines) + "\n")

    @property
    def data(self) -> Path:
        return self.root.with_name(f"{self.root.name}-data")

    def files(self) -> list[Path]:
        names = ("audit.json", "audit.json", "cases.csv", "findings.jsonl", "findings.jsonl", "decisions.csv")
        return [*(self.root / name for name in names), *sorted((self.root / "proposals").iterdir())]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        return ARRAYS if file.suffix == ".npz" else text_changes.of(file)

    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        decided = file.name == "decisions.csv"
        found = {"repair": Exercise(f"repair {decided}", lambda work: self.repair(decided, work), self.may_differ)}
        if seed % RARELY == 0:
            accept = ("--decisions", file) if decided else ("--accept", "all")
            found["verb"] = Exercise(
                f"verb {decided}",
                lambda work: bool(verb("repair", self.data, self.root, "--out", work / "out", "--allow-removal", *accept)),
            )
        return found

    def repair(self, decided: bool, work: Path) -> dict[str, Any]:
        """The labels after all findings were accepted."""
        dataset = open_dataset(self.data)
        words = [] if decided else ["all"]
        decisions = self.root / "decisions.csv" if decided else None
        accept = parse_acceptance(words, dataset.classes, decisions=decisions, allow_removal=True, rare=0)
        repair(dataset, self.root, work / "out", accept)
        return {path.stem: np.asarray(Image.open(path)) for path in sorted((work / "out" / "masks").iterdir())}

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether the labels are what findings, maps and decisions say when read strictly."""
        try:
            findings = strict.lines_of(self.root / "findings.jsonl")
            decided = mutation.file.name == "decisions.csv"
            rows = strict.rows_of(self.root / "decisions.csv") if decided else []
            accepted = {(row["case"], int(row["number"])) for row in rows if row["decision"].lower() == "accept"}
            for id in now:
                label = np.asarray(Image.open(self.data / "masks" / f"{id}.png")).copy()
                mine = [row for row in findings if row["case"] == id]
                if not decided:
                    accepted |= {(id, row["number"]) for row in mine}
                if mine:
                    with np.load(self.root / "proposals" / f"{id}.npz", allow_pickle=False) as maps:
                        numbers, proposed = maps["number"], maps["proposed"]
                    for row in mine:
                        where = numbers == row["number"]
                        assert where.any()
                        if (id, row["number"]) in accepted:
                            label[where] = proposed[where]
                if not np.array_equal(label, now[id]):
                    return False
        except Exception:
            return False
        return True


def npy_values(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """The numbers of a .npy file: NaN, out of range, or of another case."""
    start = 10 + int.from_bytes(content[8:10], "little")
    values = np.frombuffer(content[start:], "<f4").copy()
    what = rng.choice(("nan", "inf", "minus", "large", "turned", "logits", "zero"))
    place = rng.randrange(len(values))
    if what in ("nan", "inf", "large"):
        values[place] = {"nan": np.nan, "inf": np.inf, "large": 7.0}[what]
    elif what == "minus":
        values *= -1
    elif what == "turned":
        values = values[::-1]
    elif what == "logits":
        values = np.log(values + 1e-6)
    else:
        values[:] = 0
    return f"numbers {what}", content[:start] + values.astype("<f4").tobytes()


class PredictionFolder(Subject):
    """Maps of probabilities in .npy and .npz files, a mask, and what the network was trained on."""

    name = "predictions"

    def build(self) -> None:
        right = build_set(self.data)
        self.root.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for number, (id, label) in enumerate(right.items()):
            sharp = np.stack([label == value for value in range(3)]) * 0.8 + rng.random((3, *label.shape)) * 0.1 + 0.02
            maps = (sharp / sharp.sum(axis=0)).astype(np.float32)
            if number < 2:
                np.save(self.root / f"{id}.npy", maps)
            elif number == 2:
                np.savez_compressed(self.root / f"{id}.npz", probabilities=maps)
            else:
                save_png(self.root / f"{id}.png", label)
        save_json(self.root / "predictions.json", {"trained_on": ["case0", "case1"]})

    @property
    def data(self) -> Path:
        return self.root.with_name(f"{self.root.name}-data")

    def files(self) -> list[Path]:
        return sorted(self.root.iterdir())

    def structural(self, file: Path) -> tuple[Structural, ...]:
        if file.suffix == ".npy":
            return npy_header, npy_header, npy_values
        return ARRAYS if file.suffix == ".npz" else headers.of(file) if file.suffix == ".png" else text_changes.of(file)

    def exercises(self, file: Path, seed: int) -> dict[str, Exercise]:
        found = {"read": Exercise("read", self.read, self.may_differ)}
        if seed % (4 * RARELY) == 0:
            found["audit"] = Exercise("audit", self.audit)
        return found

    def read(self, work: Path) -> dict[str, Any]:
        """What an audit takes from the folder."""
        dataset = open_dataset(self.data)
        predictions = FolderPredictions(self.root, dataset)
        read: dict[str, Any] = {}
        for case in dataset.cases:
            prediction = predictions.of(case, (SIZE, SIZE), Geometry())
            read[case.id] = {
                "maps": np.array(prediction.probability),
                "hard": prediction.hard,
                "seen": predictions.seen(case),
            }
        return read

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether NumPy, or a PNG reader, finds what was read, and it is probabilities; or whether the note says so."""
        try:
            if mutation.file.name == "predictions.json":
                note = strict.json_of(mutation.file) if mutation.file.is_symlink() or mutation.file.exists() else {}
                ids = note.get("trained_on") if isinstance(note, dict) else note
                return all(case["seen"] == (None if ids is None else id in ids) for id, case in now.items())
            read = now[mutation.file.name.split(".")[0]]
            if mutation.file.suffix == ".png":
                mask = readers.png(mutation.file)[0]
                return bool(read["hard"] and mask.max() < 3 and np.array_equal(read["maps"].argmax(axis=0), mask))
            loaded = np.load(mutation.file, allow_pickle=False)
            if mutation.file.suffix == ".npz":
                assert loaded.zip.testzip() is None and len(set(loaded.zip.namelist())) == len(loaded.zip.namelist())
                loaded = loaded["probabilities"]
            maps = np.asarray(loaded, np.float64)
            assert maps.shape == (3, SIZE, SIZE) and np.isfinite(maps).all() and maps.min() > -0.02 and maps.max() < 1.02
            total = maps.sum(axis=0)
            assert np.abs(total - 1).max() < 0.02
            return bool(np.allclose(maps / total, read["maps"], atol=0.02))
        except Exception:
            return False

    def audit(self, work: Path) -> bool:
        words = ("--planted", 6, "--pictures", 0, "--out", work / "out")
        return bool(verb("audit", self.data, "--predictions", self.root, *words))
