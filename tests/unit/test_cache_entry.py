"""Whatever happened to an entry of the cache, it is as it was made or made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder

from debride.data.cache import Prepared, prepare
from debride.data.cache_entry import entry, mapped
from debride.data.classes.class_cache import prepare_classes
from debride.data.masks.foreground import prepare_foreground
from debride.data.masks.prepared_maps import prepare_maps
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.files import reserve
from debride.geometry.superpixels import Superpixels
from debride.types import DataError


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "within").mkdir(parents=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def other_shape(path: Path) -> None:
    array = np.load(path)
    with path.open("wb") as file:
        np.save(file, array[..., :-1])


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: list[Callable[[Path], Any]] = [
    a_folder,
    a_pipe,
    cut,
    flip,
    Path.unlink,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"garbage"),
]
JSON_DAMAGES: list[Callable[[Path], Any]] = [
    a_folder,
    cut,
    Path.unlink,
    *(lambda path, text=text: path.write_text(text) for text in ("", "[]", "{}", '{"checksum": 5}', "[" * 100_000, "\0")),
]


def made(calls: list[int]) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    calls.append(1)
    return np.arange(12.0).reshape(3, 4), {"box": ((1, 2), (3, 4)), "spacing": [0.1, 2.5]}


@pytest.mark.parametrize(
    ("suffix", "damage"), [(".npy", d) for d in (*DAMAGES, other_shape)] + [(".json", d) for d in JSON_DAMAGES]
)
def test_what_was_damaged_is_made_again(tmp_path: Path, suffix: str, damage: Callable[[Path], Any]) -> None:
    calls: list[int] = []
    file = tmp_path / "ab" / "abc.npy"
    about = entry(file, lambda: made(calls))
    assert entry(file, lambda: made(calls)) == about == {"box": [[1, 2], [3, 4]], "spacing": [0.1, 2.5]} and len(calls) == 1
    damage(file.with_suffix(suffix))
    assert entry(file, lambda: made(calls)) == about and len(calls) == 2
    assert np.array_equal(mapped(file), made([])[0])
    assert entry(file, lambda: made(calls)) == about and len(calls) == 2
    assert sorted(path.name for path in file.parent.iterdir()) == ["abc.json", "abc.npy"]


def test_a_changed_description_is_made_again(tmp_path: Path) -> None:
    calls: list[int] = []
    file = tmp_path / "ab" / "abc.npy"
    about = entry(file, lambda: made(calls))
    described = file.with_suffix(".json")
    described.write_text(described.read_text().replace("2.5", "2.6"))
    assert entry(file, lambda: made(calls)) == about and len(calls) == 2


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "ab").write_text("")
    assert entry(tmp_path / "ab" / "abc.npy", lambda: made([]))["spacing"] == [0.1, 2.5]


def test_a_whole_entry_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ab" / "abc.npy"
    entry(file, lambda: made([]))
    entry(file, lambda: made([]))
    opened: list[Path] = []
    open_ = Path.open

    def watched(path: Path, *arguments: Any, **more: Any) -> Any:
        opened.append(path)
        return open_(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", watched)
    entry(file, lambda: made([]))
    assert file not in opened


def test_what_is_damaged_after_it_was_opened_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ab" / "abc.npy"
    entry(file, lambda: made([]))
    cut(file)
    with pytest.raises(DataError, match="damaged meanwhile") as raised:
        mapped(file)
    assert raised.value.where == str(file)


def all_kinds(root: Path, cache: Path) -> tuple[Prepared, list[Path]]:
    """A prepared case of every kind of entry, and the files of one entry of each."""
    dataset = open_dataset(root)
    prepared = prepare(dataset, dataset.cases, Preparation(image_size=(16, 16)), cache)
    prepared = prepare_foreground(prepare_maps(prepared, {"regions": Superpixels(4)}, cache), cache)
    classes = prepare_classes(dataset.cases, (16, 16), cache)
    files = [prepared.image_files[0], prepared.label_files[0], prepared.foreground_files[0], prepared.map_files["regions"][0]]
    return prepared, [file for file in (*files, classes.file) if file]


def test_images_labels_maps_foreground_and_classes(tmp_path: Path) -> None:
    root, cache = build_folder(tmp_path / "data"), tmp_path / "cache"
    _, files = all_kinds(root, cache)
    assert len(files) == 5
    content = [file.read_bytes() for file in files]
    for damage in (*DAMAGES, shutil.rmtree):
        if damage is shutil.rmtree:
            shutil.rmtree(cache)
        else:
            for file in files:
                damage(file)
        all_kinds(root, cache)
        assert [file.read_bytes() for file in files] == content


def test_a_mapped_file_has_its_room_on_the_disk(tmp_path: Path) -> None:
    reserve(tmp_path / "a", 1 << 20)
    assert (tmp_path / "a").stat().st_blocks * 512 >= 1 << 20 == (tmp_path / "a").stat().st_size
