"""CIFAR with human labels, and MedMNIST, from tiny files of their shapes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.known_archives import tarred, unpacked

from debride.api.corrupting import corrupt_dataset
from debride.api.datasets import check_dataset
from debride.api.known_sets import convert_dataset
from debride.data.open import open_dataset
from debride.files import read_json
from debride.known import cifar_n, medmnist
from debride.known.archive import Archive
from debride.known.known_set import KnownSet
from debride.known.medmnist_files import MD5, NAMES
from debride.known.registry import KNOWN
from debride.types import Case, DataError

NAMES_10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EACH = 6
"""Images in a file of the tiny CIFAR-10."""


def converted(convert: Any, out: Path, *archives: Path, **options: Any) -> tuple[Case, ...]:
    """Converts archives into the new folder ``out``, which must pass its check; gives its cases."""
    out.mkdir()
    convert([Archive(path) for path in archives], out, options)
    checked = check_dataset(out)
    assert not checked.problems, checked.problems
    return open_dataset(out).cases


def records(seed: int, coarse: bool, count: int = EACH) -> tuple[bytes, npt.NDArray[np.uint8], list[int]]:
    """A file of records, its images (N, H, W, 3) and their classes, put together byte by byte."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    classes = (np.resize(rng.permutation(100), count) if coarse else rng.integers(0, 10, count)).tolist()
    content = b""
    for image, target in zip(images, classes, strict=True):
        content += bytes([target // 5, target] if coarse else [target])
        for channel in range(3):
            content += image[:, :, channel].tobytes()
    return content, images, classes


def cifar10(change: dict[str, bytes] | None = None) -> dict[str, bytes]:
    files = {f"data_batch_{n}.bin": records(n, False)[0] for n in range(1, 6)}
    files |= {"test_batch.bin": records(9, False)[0], "batches.meta.txt": "\n".join([*NAMES_10, ""]).encode()}
    return {f"cifar-10-batches-bin/{name}": content for name, content in (files | (change or {})).items()}


def clean10() -> npt.NDArray[np.int64]:
    return np.array([target for n in range(1, 6) for target in records(n, False)[2]])


def human10(file: Path, **change: Any) -> Path:
    """What CIFAR-N publishes: a dict of arrays of NumPy, saved by torch."""
    clean = clean10()
    kinds = {"clean_label": clean, "worse_label": (clean + 1) % 10, "aggre_label": clean.copy()}
    kinds |= {f"random_label{n}": np.roll(clean, n) for n in (1, 2, 3)}
    torch.save({**kinds, **change}, file)
    return file


def test_cifar_10_and_its_human_labels(tmp_path: Path) -> None:
    packed, human = tarred(tmp_path / "cifar.tar", cifar10()), human10(tmp_path / "CIFAR-10_human.pt")
    cases = converted(cifar_n.convert_10, tmp_path / "out", packed, human, labels="worse")
    assert len(cases) == 6 * EACH and read_json(tmp_path / "out/dataset.json") == {"classes": NAMES_10}
    held = np.load(tmp_path / "out/cifar10.npz")
    for n in range(1, 6):
        assert (held["train_images"][(n - 1) * EACH : n * EACH] == records(n, False)[1]).all()
    assert held["test_labels"].tolist() == records(9, False)[2]
    assert (held["train_labels"] == (clean10() + 1) % 10).all()
    kinds = {file.stem: np.load(file) for file in (tmp_path / "out/human").iterdir()}
    assert set(kinds) == {"clean", "aggregate", "random1", "random2", "random3", "worse"}
    assert (kinds["random2"] == np.roll(clean10(), 2)).all() and (kinds["clean"] == clean10()).all()
    folder = unpacked(tmp_path / "folder", cifar10())
    human10(folder / "CIFAR-10_human.pt")
    again = converted(cifar_n.convert_10, tmp_path / "again", folder, labels="clean")
    assert [case.target for case in again if case.array == "train_images"] == clean10().tolist()


def test_tensors_and_bytes_of_another_order_are_labels_too(tmp_path: Path) -> None:
    clean = clean10()
    turned = clean.astype(">i4").reshape(-1, 1)
    lists = {"aggre_label": list(clean), "random_label1": clean.tolist()}
    human = human10(tmp_path / "a_human.pt", clean_label=torch.tensor(clean), worse_label=turned, **lists)
    read = cifar_n.human_labels(human)
    assert read["aggre_label"].tolist() == read["random_label1"].tolist() == clean.tolist()
    assert read["clean_label"].tolist() == read["worse_label"].reshape(-1).tolist() == clean.tolist()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"worse_label": Evil()}, "holds more than labels"),
        ({"worse_label": np.array([{}], object)}, "holds more than labels"),
        ({"worse_label": np.array([0.5])}, "holds more than labels"),
        ({"worse_label": np.zeros(3, int)}, "of shape (3,)"),
        ({"worse_label": np.full(30, 10)}, "from 10 to 10, and not 0 to 9"),
        ({"clean_label": np.zeros(30, int)}, "has other clean labels than cifar10"),
    ],
)
def test_labels_that_are_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    archives = [unpacked(tmp_path / "cifar", cifar10()), human10(tmp_path / "CIFAR-10_human.pt", **change)]
    with pytest.raises(DataError) as raised:
        convert_dataset("cifar-10n", archives, tmp_path / "out", jobs=1)
    assert said in str(raised.value) and "CIFAR-10_human.pt" in raised.value.where
    assert not (tmp_path / "evil").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_batch_3.bin": records(3, False)[0][:-1]}, "which are no records of 3073"),
        ({"data_batch_3.bin": b"\x0b" + records(3, False)[0][1:]}, "holds the class 11 of 10"),
    ],
)
def test_wrong_records_are_refused_by_name(tmp_path: Path, change: dict[str, bytes], said: str) -> None:
    with pytest.raises(DataError, match=said) as raised:
        convert_dataset("cifar-10n", unpacked(tmp_path / "cifar", cifar10(change)), tmp_path / "out")
    assert "data_batch_3.bin" in raised.value.where


def test_cifar_100_has_its_fine_classes(tmp_path: Path) -> None:
    files = {"train.bin": records(1, True, 600)[0], "test.bin": records(2, True, 9)[0]}
    files["fine_label_names.txt"] = "\n".join(f"class {n}" for n in range(100)).encode()
    packed = tarred(tmp_path / "c.tar", {f"cifar-100-binary/{name}": content for name, content in files.items()})
    cases = converted(cifar_n.convert_100, tmp_path / "out", packed, labels="clean")
    assert [case.target for case in cases] == records(1, True, 600)[2] + records(2, True, 9)[2]
    assert (np.load(tmp_path / "out/cifar100.npz")["train_images"] == records(1, True, 600)[1]).all()
    with pytest.raises(DataError, match="labels noisy: are not in what is given"):
        converted(cifar_n.convert_100, tmp_path / "no", packed, labels="noisy")
    noisy = np.roll(records(1, True, 600)[2], 3)
    torch.save({"clean_label": np.array(records(1, True, 600)[2]), "noisy_label": noisy}, tmp_path / "CIFAR-100_human.pt")
    converted(cifar_n.convert_100, tmp_path / "both", packed, tmp_path / "CIFAR-100_human.pt", labels="noisy")
    assert (np.load(tmp_path / "both/cifar100.npz")["train_labels"] == noisy).all()


def test_human_labels_are_a_noise(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "cifar", cifar10())
    human10(folder / "CIFAR-10_human.pt")
    out = convert_dataset("cifar-10n", folder, tmp_path / "cifar-10n").out
    noisy = corrupt_dataset(out, tmp_path / "noisy", "file", set={"file": str(out / "human/worse.npy")}).out
    right = {case.id: case.target for case in open_dataset(out).of("train")}
    assert right and all(case.target == (right[case.id] + 1) % 10 for case in open_dataset(noisy).of("train"))


def medmnist_file(folder: Path, name: str, classes: int, **change: Any) -> Path:
    rng = np.random.default_rng(0)
    held: dict[str, Any] = {}
    for split, count in (("train", 12), ("val", 4), ("test", 5)):
        held[f"{split}_images"] = rng.integers(0, 255, (count, 28, 28, 3)).astype(np.uint8)
        held[f"{split}_labels"] = (np.arange(count) % classes).astype(np.uint8)[:, None]
    np.savez_compressed(folder / name, **{**held, **change})
    return folder / name


def test_medmnist_gets_its_names(tmp_path: Path) -> None:
    file = medmnist_file(tmp_path, "bloodmnist_64.npz", 8)
    cases = converted(medmnist.convert, tmp_path / "out", file)
    assert [case.split for case in cases] == ["train"] * 12 + ["val"] * 4 + ["test"] * 5
    assert read_json(tmp_path / "out/dataset.json")["classes"][7] == "platelet"
    assert (tmp_path / "out/bloodmnist_64.npz").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("chestmnist.npz", {}, "several labels for each image"),
        ("organmnist3d.npz", {}, "holds volumes"),
        ("flowers.npz", {}, "is none of MedMNIST's files"),
        ("bloodmnist.npz", {"val_labels": np.full((4, 1), 8)}, "val_labels that are not 0 to 7"),
        ("bloodmnist.npz", {"val_labels": np.array([{}] * 4, object)}, "bloodmnist.npz"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as raised:
        converted(medmnist.convert, tmp_path / "out", medmnist_file(tmp_path, name, 3, **change))
    assert said in str(raised.value)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not the published file: its checksum is md5:[0-9a-f]{32}"):
        convert_dataset("medmnist", medmnist_file(tmp_path, "bloodmnist.npz", 8), tmp_path / "out")


def test_checksums_are_well_formed() -> None:
    assert {file.removesuffix(".npz").split("_")[0] for file in MD5} == set(NAMES)
    sets: list[KnownSet] = list(KNOWN.values())
    for known in sets:
        for file in known.files:
            for checksum in (file.checksum or "md5:" + "0" * 32).split(" or "):
                kind, _, digest = checksum.partition(":")
                assert len(digest) == {"md5": 32, "sha256": 64}[kind] and set(digest) <= set("0123456789abcdef")
