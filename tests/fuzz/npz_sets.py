"""Data sets in .npz files, whose members and headers are mutated."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.classes.class_cache import prepare_classes
from debride.data.open import open_dataset
from debride.testing.toy_sets import write_classes
from debride.types import IGNORE
from tests.fuzz.checked_sets import CheckedSet
from tests.fuzz.judge import same
from tests.fuzz.mutations import Mutation, Structural
from tests.fuzz.subject import Exercise

SPLITS = ("train", "val", "test")

Arrays = dict[str, Any]


def members(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content)) as archive:
        return {name: archive[name] for name in archive.files}


def saved(arrays: Arrays, pack: Callable[..., None] = np.savez_compressed) -> bytes:
    stream = io.BytesIO()
    pack(stream, **arrays)
    return stream.getvalue()


def array_changed(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """One array of another type, shape, order or values, or under another name."""
    arrays = members(content)
    name = rng.choice(list(arrays))
    array = arrays[name]
    changes: dict[str, Callable[[], Any]] = {
        "float": lambda: array.astype(np.float32),
        "int64": lambda: array.astype(np.int64),
        "big-endian": lambda: array.astype(">i4"),
        "bool": lambda: array.astype(bool),
        "text": lambda: array.astype(str),
        "complex": lambda: array.astype(complex),
        "objects": lambda: array.astype(object),
        "negative": lambda: -array.astype(np.int64) - 1,
        "large": lambda: array.astype(np.int64) + 250,
        "shorter": lambda: array[:-1],
        "empty": lambda: array[:0],
        "longer": lambda: np.concatenate([array, array]),
        "one axis more": lambda: array[..., None],
        "flat": lambda: array.reshape(-1),
        "in Fortran's order": lambda: np.asfortranarray(array),
        "transposed": array.T.copy,
        "a number": lambda: np.array(3),
        "other values": lambda: array // 2,
    }
    what = rng.choice((*changes, "renamed", "gone", "second"))
    if what in changes:
        arrays[name] = changes[what]()
    elif what == "renamed":
        arrays[rng.choice((f"{name}x", f"../{name}", name.upper()))] = arrays.pop(name)
    elif what == "gone":
        arrays.pop(name)
    else:
        arrays["extra_images"] = array
    return f"{name} {what}", saved(arrays, rng.choice((np.savez, np.savez_compressed)))


def header_changed(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """One .npy header within the zip file, whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    name = rng.choice(list(parts))
    what, parts[name] = npy_header(rng, parts[name])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, body in parts.items():
            archive.writestr(member, body)
    return f"{name}: {what}", stream.getvalue()


def npy_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """The text of a .npy header, in its length."""
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].decode("latin-1")
    shape = header[header.index("(") : header.index(")") + 1]
    kind = header[header.index("'descr'") + 9 :].split(",")[0].strip()
    old, new = rng.choice(
        (
            (shape, "(99999, 99999)"),
            (shape, "(2147483647,)"),
            (shape, "(-1,)"),
            (shape, "(10**9,)"),
            (shape, "(0,)"),
            (shape, "()"),
            (shape, "((3,),)"),
            (shape, "(True,)"),
            (shape, "'x'"),
            (kind, "'|O'"),
            (kind, "'<f8'"),
            (kind, "'>u2'"),
            (kind, "'<M8[s]'"),
            (kind, "'|V3'"),
            (kind, "[('a', '<i4')]"),
            (kind, "'x'"),
            ("False", "True"),
            ("False", "None"),
            ("'shape'", "'shapes'"),
            ("{", "{("),
            ("{", "__import__('os')" + "{"),
        )
    )
    changed = header.replace(old, new, 1).rstrip()[: length - 1].ljust(length - 1) + "\n"
    return f"{old} is {new}", content[:10] + changed.encode("latin-1") + content[10 + length :]


def member_twice(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """A member that stands twice, the second time with other numbers."""
    name = rng.choice(list(members(content)))
    stream = io.BytesIO(content)
    array = io.BytesIO()
    np.lib.format.write_array(array, members(content)[name] // 2)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(f"{name}.npy", array.getvalue())
    return f"{name} twice", stream.getvalue()


ARRAYS: tuple[Structural, ...] = (array_changed, array_changed, header_changed, header_changed, member_twice)


class NpzSet(CheckedSet):
    """One compressed file of images and classes."""

    name = "npz"
    joined = True
    pack: Any = staticmethod(np.savez_compressed)

    def build(self) -> None:
        write_classes(self.root, n=6, size=5)
        file = self.root / "small.npz"
        file.write_bytes(saved(members(file.read_bytes()), self.pack))

    def files(self) -> list[Path]:
        return [self.root / "small.npz"]

    def structural(self, file: Path) -> tuple[Structural, ...]:
        return ARRAYS

    def readings(self, file: Path) -> dict[str, Exercise]:
        return {"train": Exercise("train", self.train, self.may_differ)}

    def train(self, work: Path) -> dict[str, Any]:
        """What a training sees of every split."""
        dataset = open_dataset(self.root)
        read: dict[str, Any] = {}
        for split in SPLITS:
            prepared = prepare_classes(dataset.of(split), None, work)
            if len(prepared):
                read[split] = prepared.images(np.arange(len(prepared))), prepared.targets
        return read

    def may_differ(self, mutation: Mutation, now: Any, healthy: Any) -> bool:
        """Whether NumPy reads the same, all checksums being right and no name standing twice."""
        try:
            with zipfile.ZipFile(mutation.file) as archive:
                assert archive.testzip() is None
                assert len(set(archive.namelist())) == len(archive.namelist())
            arrays = members(mutation.file.read_bytes())
            said: dict[str, Any] = {}
            for split in SPLITS:
                if f"{split}_images" in arrays and len(arrays[f"{split}_images"]):
                    images = arrays[f"{split}_images"]
                    labels = arrays.get(f"{split}_labels", np.full(len(images), IGNORE))
                    assert images.dtype == np.uint8 and labels.dtype.kind in "iu" and labels.size == len(images)
                    images = images[..., None] if images.ndim == 3 else images
                    said[split] = np.moveaxis(images, -1, 1), labels.reshape(-1).astype(np.int64)
        except Exception:
            return False
        if "val" not in said and "train" in said:  # drawn
            return len(now["train"][1]) + len(now["val"][1]) == len(said["train"][1])
        return same(now, said)


class StoredNpzSet(NpzSet):
    """The same without compression."""

    name = "npz-stored"
    pack: Any = staticmethod(np.savez)
