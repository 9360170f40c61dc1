"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in their binary versions, with the human labels of CIFAR-N (Wei et al., ICLR 2022).

The Python versions of CIFAR and the .npy files of CIFAR-N are pickles, which are never loaded. Of CIFAR-N the .pt files are
read by torch's ``weights_only``, which runs no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.files import write_json, writing
from debride.known.archive import Archive
from debride.known.as_nnunet import WRONG
from debride.known.known_set import Value
from debride.known.members import Member, members_of, spoken_of
from debride.types import DataError

Labels = npt.NDArray[np.int64]

SIDE = 32
HUMAN = "human"
"""The folder of all labels of the training images, each an array in their order: what the noise ``file`` takes."""

CLEAN = "clean"
_CLEAN_KEY = "clean_label"
_SIZE = 1 << 29


@dataclass(frozen=True)
class Binary:
    """One binary version: its files, where in a record the class stands, and the files that name the classes."""

    name: str
    train: tuple[str, ...]
    test: str
    labels: int
    names: str
    human: str
    kinds: Mapping[str, str]


CIFAR10 = Binary(
    "cifar10",
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
    1,
    "batches.meta.txt",
    "CIFAR-10_human.pt",
    {
        "aggregate": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worse": "worse_label",
    },
)
CIFAR100 = Binary(
    "cifar100", ("train.bin",), "test.bin", 2, "fine_label_names.txt", "CIFAR-100_human.pt", {"noisy": "noisy_label"}
)


def convert_10(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write CIFAR-10 and its human labels."""
    _convert(CIFAR10, archives, out, str(options["labels"]))


def convert_100(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write CIFAR-100, with its fine classes, and its human labels."""
    _convert(CIFAR100, archives, out, str(options["labels"]))


def _convert(binary: Binary, archives: Sequence[Archive], out: Path, given: str) -> None:
    """Write one .npz file, whose training labels are those ``given``, and all kinds of labels into ``human``.

    DataError where labels are those of other images: the clean ones of both sources must be the same, image by image.
    """
    packed, human = _sources(binary, archives)
    held = {member.path.name: member for member in members_of(packed)}
    names = _lines(packed, held, binary.names)
    parts = [_records(packed, held, name, binary, len(names)) for name in binary.train]
    images, clean = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    kinds: dict[str, Labels] = {CLEAN: clean}
    if human is not None:
        stored = human_labels(human)
        for name, key in ((CLEAN, _CLEAN_KEY), *binary.kinds.items()):
            kinds[name] = _fitting(human, key, stored, len(clean), len(names))
        if (other := np.flatnonzero(kinds[CLEAN] != clean)).size:
            problem = f"has other clean labels than {binary.name} for {other.size} images, the first in row {other[0]}"
            raise DataError(human, problem, "Give the binary version of CIFAR and the .pt file of CIFAR-N, as published.")
    if given not in kinds:
        raise DataError(f"labels {given}", "are not in what is given", f"Give {binary.human} of CIFAR-N too.")
    tested, targets = _records(packed, held, binary.test, binary, len(names))
    with writing(out):
        file = out / f"{binary.name}.npz"
        labels = kinds[given]
        np.savez_compressed(file, train_images=images, train_labels=labels, test_images=tested, test_labels=targets)
        (out / HUMAN).mkdir()
        for name, each in kinds.items():
            np.save(out / HUMAN / f"{name}.npy", each.astype(np.uint8))
    write_json(out / "dataset.json", {"classes": names})


def _sources(binary: Binary, archives: Sequence[Archive]) -> tuple[list[Archive], Path | None]:
    """The archives of images, and the file of human labels, which may lie in a folder."""
    human = [archive.path for archive in archives if archive.path.suffix == ".pt"]
    packed = [archive for archive in archives if archive.path.suffix != ".pt"]
    human += [archive.path / name for archive in packed if archive.path.is_dir() for name in archive.names() if _is_human(name)]
    if not packed:
        raise DataError(binary.name, "has no archive of images", "Give the binary version of CIFAR.")
    if len(human) > 1:
        raise DataError(human[1], "is a second file of human labels", "Give one.")
    return packed, human[0] if human else None


def _is_human(name: str) -> bool:
    return PurePosixPath(name).name.endswith("_human.pt")


def _lines(archives: Sequence[Archive], held: Mapping[str, Member], name: str) -> list[str]:
    """The lines of a text file."""
    member = _found(archives, held, name)
    text = archives[member.archive].read(member.name, 1 << 16).decode("ascii", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _records(
    archives: Sequence[Archive], held: Mapping[str, Member], name: str, binary: Binary, classes: int
) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Images (N, 32, 32, 3) and classes (N,) of a file of records: bytes of classes, of which the last counts, then three
    planes of colour."""
    member = _found(archives, held, name)
    content = archives[member.archive].read(member.name, _SIZE)
    length = binary.labels + 3 * SIDE * SIDE
    if not content or len(content) % length:
        problem = f"has {len(content)} bytes, which are no records of {length}"
        raise DataError(spoken_of(archives, member), problem, WRONG)
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    labels = records[:, binary.labels - 1].astype(np.int64)
    if labels.max() >= classes:
        raise DataError(spoken_of(archives, member), f"holds the class {labels.max()} of {classes}", WRONG)
    planes = records[:, binary.labels :].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _found(archives: Sequence[Archive], held: Mapping[str, Member], name: str) -> Member:
    if name not in held:
        called = ", ".join(archive.called for archive in archives)
        raise DataError(called, f"holds no {name}", "Give the binary version of CIFAR: the others are pickles.")
    return held[name]


def _fitting(file: Path, key: str, stored: Mapping[str, Any], count: int, classes: int) -> Labels:
    """The labels of a kind, (N,)."""
    if key not in stored:
        there = ", ".join(sorted(map(str, stored))[:8])
        raise DataError(file, f"holds no {key}, but {there}", "Get the file again: it is not as it was published.")
    labels: npt.NDArray[Any] = np.asarray(stored[key]).reshape(-1)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(file, f"holds {key} as {labels.dtype} of shape {labels.shape}, and not {count} classes", WRONG)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(file, f"holds {key} from {labels.min()} to {labels.max()}, and not 0 to {classes - 1}", WRONG)
    return labels.astype(np.int64)


class _Kind:
    """Stands for a type of NumPy in a file: its code, such as "i8", and its order of bytes."""

    def __init__(self, code: str = "", *_: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = str(state[1])


class _Array:
    """Stands for an array of NumPy in a file, of whose bytes one is made only when they fit."""

    def __init__(self, *_: object) -> None:
        self.shape: tuple[int, ...] = ()
        self.kind, self.content = _Kind(), b""

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, self.shape, self.kind, _, self.content = state

    def made(self) -> npt.NDArray[Any]:
        """The array; ValueError if it is none of integers."""
        return np.frombuffer(self.content, _integers(self.kind, self.content)).reshape(self.shape)


class _Number:
    """Stands for a number of NumPy in a file."""

    def __init__(self, kind: Any = None, content: Any = None) -> None:
        self.kind, self.content = kind, content

    def made(self) -> int:
        """The number; ValueError if it is no integer."""
        return int(np.frombuffer(self.content, _integers(self.kind, self.content))[0])


def _integers(kind: Any, content: Any) -> np.dtype[Any]:
    """The type of integers that a file names; ValueError for any other."""
    code = kind.code if isinstance(kind, _Kind) else ""
    if code not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8") or not isinstance(content, bytes):
        raise ValueError(f"numbers of the kind {code or 'object'}")
    return np.dtype(f"{kind.order if kind.order in '<>' else '='}{code}")


def _made(value: Any) -> npt.NDArray[Any]:
    """An array of what stands for one, of a tensor, or of a list."""
    if isinstance(value, _Array):
        return value.made()
    if isinstance(value, list | tuple):
        return np.asarray([each.made() if isinstance(each, _Number) else each for each in value])
    return np.asarray(value)


def human_labels(file: Path) -> dict[str, Any]:
    """The labels in a .pt file by their names, as arrays. Nothing of the file runs, and it makes none of NumPy's own types.

    DataError for a file that holds anything else, and where torch is too old to be trusted with it.
    """
    import torch

    from debride.training.initial import SAFE_TORCH

    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        remedy = f"Update torch to {'.'.join(map(str, SAFE_TORCH))}."
        raise DataError(file, f"is a pickle, of which torch {torch.__version__} may run code", remedy)
    stand_ins: list[Any] = [(_Kind, "numpy.dtype"), (_Array, "numpy.ndarray")]
    for core in ("core", "_core"):
        stand_ins += [(_Array, f"numpy.{core}.multiarray._reconstruct"), (_Number, f"numpy.{core}.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(stand_ins):
            held: Any = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(held, Mapping):
            raise ValueError(f"a {type(held).__name__} in place of labels by name")
        return {str(name): _made(value) for name, value in held.items()}
    except Exception as error:  # of pickle, zip files and torch, unrelated kinds
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        problem = f"is not read: it holds more than labels, or is damaged ({line})"
        raise DataError(file, problem, "Get the file again from its page.") from None
