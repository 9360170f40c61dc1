"""Data sets whose text files are mutated, and what these say by a reading of their own."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debride.data.open import open_dataset
from debride.testing.toy_sets import write_classes
from debride.types import Dataset
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, save_json
from tests.fuzz import strict, text_changes
from tests.fuzz.checked_sets import CheckedSet
from tests.fuzz.mutations import Mutation, Structural
from tests.fuzz.subject import Exercise

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}

Said = dict[str, Any]
"""Cases by id, each [image names, label name, split (None: drawn), patient (None: none said), trusted], and the legend."""


class TextSet(CheckedSet):
    """A data set of which the text files are mutated."""

    joined = True
    texts: tuple[str, ...]

    @abstractmethod
    def said(self) -> Said:
        """What the files say, read strictly; raises where they say nothing that makes sense."""

    def files(self) -> list[Path]:
        return [self.root / name for name in self.texts]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        return text_changes.of(file)

    def readings(self, file: Path) -> dict[str, Exercise]:
        return {"open": Exercise("open", self.open, self.may_differ)}

    def open(self, work: Path) -> Said:
        return described(open_dataset(self.root))

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether what was read is what the files say. An optional file that is not there says nothing."""
        try:
            said = self.said()
        except Exception:
            return False
        for id, (images, label, split, patient, trusted) in said["cases"].items():
            read = now["cases"].get(id)
            if read is None or read[:2] != [images, label] or read[4] != trusted:
                return False
            if (split is not None and read[2] != split) or (patient is not None and read[3] != patient):
                return False
        return bool(now["cases"].keys() == said["cases"].keys() and same_legend(now, said))


def same_legend(now: Said, said: Said) -> bool:
    """Whether classes, ignored value and meaning of values are those that were said, as far as they were."""
    if said["classes"] is None:
        return bool(now["ignore"] is None)
    plain = {str(id): id for id in range(len(said["classes"]))}
    values = {str(int(key)): id for key, id in (said["values"] or plain).items()}
    return bool(now["classes"] == said["classes"] and now["ignore"] == said["ignore"] and (now["values"] or plain) == values)


def described(dataset: Dataset) -> Said:
    """A data set as plain values."""
    root = dataset.root
    return {
        "cases": {
            case.id: [
                [path.relative_to(root).as_posix() for path in case.image],
                case.label.relative_to(root).as_posix() if case.label else case.target,
                case.split,
                case.patient,
                case.trusted,
            ]
            for case in dataset.cases
        },
        "classes": list(dataset.classes),
        "ignore": dataset.ignore,
        "values": {str(raw): id for raw, id in dataset.values.items()},
    }


def legend(path: Path) -> Said:
    """The legend of dataset.json."""
    description = strict.json_of(path) if path.exists() or path.is_symlink() else {}
    classes, ignore, values = description.get("classes"), description.get("ignore"), description.get("values", {})
    if not classes:
        assert ignore is None and not values
        return {"classes": None, "ignore": None, "values": None}
    assert isinstance(classes, list) and all(isinstance(name, str) and name for name in classes)
    assert len(set(classes)) == len(classes) >= 2
    assert ignore is None or (type(ignore) is int and 0 <= ignore <= 65535)
    assert not values or sorted(set(values.values())) == list(range(len(classes)))
    assert all(type(id) is int for id in values.values()) and len({int(key) for key in values}) == len(values)
    taken = {int(key) for key in values} or set(range(len(classes)))
    assert ignore not in taken
    return {"classes": classes, "ignore": ignore, "values": values}


def people(path: Path, cases: Iterable[str]) -> tuple[dict[str, str], set[str]]:
    """Patients and trusted cases of dataset.json."""
    description = strict.json_of(path) if path.exists() or path.is_symlink() else {}
    patients, trusted = description.get("patients", {}), description.get("trusted", [])
    assert isinstance(patients, dict) and isinstance(trusted, list)
    assert set(patients) | set(trusted) <= set(cases) and all(isinstance(name, str) for name in patients.values())
    return patients, set(trusted)


class FolderTexts(TextSet):
    """images/ and masks/ with dataset.json and splits.json."""

    name = "folder-texts"
    texts = ("dataset.json", "splits.json")

    def build(self) -> None:
        build_folder(self.root, n=5, size=8)
        save_json(
            self.root / "dataset.json",
            {
                "classes": ["background", "lesion"],
                "values": {"0": 0, "255": 1},
                "ignore": 128,
                "patients": {f"case00{n}": f"P{n}" for n in range(5)},
                "trusted": ["case000"],
            },
        )

    def said(self) -> Said:
        ids = [path.stem for path in sorted((self.root / "images").iterdir())]
        file = self.root / "splits.json"
        lists = strict.json_of(file) if file.exists() or file.is_symlink() else {}
        splits: dict[str, str] = {}
        for name, members in lists.items():
            assert isinstance(members, list)
            for id in members:
                assert id in ids and id not in splits
                splits[id] = SPLITS[name.lower()]
        assert not file.exists() or set(splits) == set(ids)
        patients, trusted = people(self.root / "dataset.json", ids)
        cases = {
            id: [[f"images/{id}.png"], f"masks/{id}.png", splits.get(id), patients.get(id, id).strip(), id in trusted]
            for id in ids
        }
        return {"cases": cases, **legend(self.root / "dataset.json")}


class NnUNetTexts(TextSet):
    """nnU-Net's dataset.json and splits_final.json."""

    name = "nnunet-texts"
    texts = ("dataset.json", "splits_final.json")

    def build(self) -> None:
        build_nnunet_2d(self.root, size=8, classes=3)

    def said(self) -> Said:
        description = strict.json_of(self.root / "dataset.json")
        labels = description["labels"]
        assert description["file_ending"] == ".png" and len(description["channel_names"]) == 1
        assert labels["background"] == 0 and all(type(value) is int for value in labels.values())
        assert len(set(labels.values())) == len(labels)
        named = {name: value for name, value in labels.items() if name != "ignore"}
        classes = sorted(named, key=named.__getitem__)
        cases: dict[str, list[Any]] = {}
        for part in ("Tr", "Ts"):
            for path in sorted((self.root / f"labels{part}").iterdir()):
                id = path.stem
                split = "test" if part == "Ts" else None
                cases[id] = [[f"images{part}/{id}_0000.png"], f"labels{part}/{id}.png", split, id, False]
        file = self.root / "splits_final.json"
        if file.exists() or file.is_symlink():
            folds = strict.json_of(file)
            assert isinstance(folds, list) and set(folds[0]) == {"train", "val"}
            first = {}
            for split, members in folds[0].items():
                assert isinstance(members, list)
                for id in members:
                    assert id in cases and id not in first and cases[id][2] is None
                    first[id] = split
            for id, split in first.items():
                cases[id][2] = split
            cases = {id: case for id, case in cases.items() if case[2]}
        patients, trusted = people(self.root / "dataset.json", cases)
        for id, case in cases.items():
            case[3], case[4] = patients.get(id, id).strip(), id in trusted
        values = {str(named[name]): id for id, name in enumerate(classes)}
        return {"cases": cases, "classes": classes, "ignore": labels.get("ignore"), "values": values}


class ManifestTexts(TextSet):
    """manifest.csv of several raters, and dataset.json."""

    name = "manifest-texts"
    texts = ("manifest.csv", "manifest.csv", "dataset.json")

    def build(self) -> None:
        build_manifest(self.root, n=4, size=8, raters=2)
        save_json(self.root / "dataset.json", {"classes": ["background", "lesion"]})

    def said(self) -> Said:
        rows = strict.rows_of(self.root / "manifest.csv")
        cases: dict[str, list[Any]] = {}
        for row in rows:
            id = row["case"] + (f"@{row['rater']}" if row.get("rater") else "")
            assert row["case"] and id not in cases
            images = [name.strip() for name in row["image"].split(";")]
            assert all((self.root / name).is_file() and ".." not in name for name in (*images, row["label"]))
            split = SPLITS[row["split"].lower()] if row.get("split") else None
            cases[id] = [images, row["label"], split, row.get("patient") or row["case"], FLAGS[row.get("trusted", "").lower()]]
        assert len({case[1] for case in cases.values()}) == len(cases)
        return {"cases": cases, **legend(self.root / "dataset.json")}


class TableTexts(TextSet):
    """labels.csv of images with one class each, and dataset.json."""

    name = "table-texts"
    texts = ("labels.csv", "labels.csv", "dataset.json")

    def build(self) -> None:
        build_folder(self.root, n=6, size=8)
        rows = ["case,image,class,split,patient,trusted"]
        for n in range(6):
            split = "train" if n < 4 else "val"
            rows.append(f"c{n},images/case00{n}.png,{'polyp' if n % 2 else 'none'},{split},P{n},{int(n == 0)}")
        (self.root / "labels.csv").write_text("\n".join(rows) + "\n")
        (self.root / "splits.json").unlink()
        shutil.rmtree(self.root / "masks")
        save_json(self.root / "dataset.json", {"classes": ["none", "polyp"]})

    def said(self) -> Said:
        rows = strict.rows_of(self.root / "labels.csv")
        words = legend(self.root / "dataset.json")
        classes = words["classes"] or sorted({row["class"] for row in rows if row["class"]})
        cases: dict[str, list[Any]] = {}
        for row in rows:
            id = row.get("case") or row["image"].rsplit(".", 1)[0]
            assert id and id not in cases and (self.root / row["image"]).is_file() and ".." not in row["image"]
            split = SPLITS[row["split"].lower()] if row.get("split") else None
            target = classes.index(row["class"]) if row["class"] else None
            cases[id] = [[row["image"]], target, split, row.get("patient") or id, FLAGS[row.get("trusted", "").lower()]]
        return {"cases": cases, "classes": classes, "ignore": None, "values": {}}


class NpzTexts(TextSet):
    """dataset.json and splits.json beside an .npz file."""

    name = "npz-texts"
    texts = ("dataset.json", "splits.json")

    def build(self) -> None:
        write_classes(self.root, n=6, size=4)
        ids = [f"train_{n:05d}" for n in range(6)]
        save_json(self.root / "splits.json", {"train": ids[:4], "val": ids[4:], "test": ["test_00000"]})
        description = {"classes": ["red", "green", "blue"], "patients": {"train_00000": "P0"}, "trusted": ["train_00001"]}
        save_json(self.root / "dataset.json", description)

    def said(self) -> Said:
        import numpy as np

        with np.load(self.root / "small.npz") as arrays:
            targets = {
                f"{split}_{n:05d}": int(target)
                for split in ("train", "val", "test")
                for n, target in enumerate(arrays[f"{split}_labels"][:, 0])
            }
        file = self.root / "splits.json"
        lists = strict.json_of(file) if file.exists() or file.is_symlink() else {}
        splits = {id: id.split("_")[0] for id in targets}
        if lists:
            splits = {}
            for name, members in lists.items():
                assert isinstance(members, list)
                for id in members:
                    assert id in targets and id not in splits
                    splits[id] = SPLITS[name.lower()]
        patients, trusted = people(self.root / "dataset.json", targets)
        words = legend(self.root / "dataset.json")
        cases = {
            id: [["small.npz"], targets[id], split, patients.get(id, id).strip(), id in trusted] for id, split in splits.items()
        }
        return {"cases": cases, **words, "ignore": None, "values": {}}
