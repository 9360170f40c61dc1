"""Pipes, sockets, folders and links that lead to themselves in place of a file are refused at once: nothing waits for them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets import build_folder

from debride.data.check import find_problems
from debride.data.copy import copy_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import copy_image, hash_of, read_header, read_image
from debride.files import content_hash, read_json, read_jsonl
from debride.types import DataError


def a_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may not be long
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "socket": a_socket,
}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_no_reader_waits(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.png")
    readers: list[Callable[[Path], object]] = [
        lambda path: content_hash([path]),
        lambda path: hash_of([path]),
        read_json,
        read_header,
        lambda path: read_image([path]),
        lambda path: copy_image(path, tmp_path / "copy" / "a.png"),
    ]
    for read in readers:
        with pytest.raises(DataError) as raised:
            read(tmp_path / "a.png")
        assert raised.value.where == str(tmp_path / "a.png")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_records_too(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.jsonl")
    with pytest.raises(DataError):
        read_jsonl(tmp_path / "a.jsonl")


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("where", ["images", "masks"])
def test_data_sets(make: Callable[[Path], None], where: str, tmp_path: Path) -> None:
    root = build_folder(tmp_path / "set")
    file = sorted((root / where).iterdir())[1]
    file.unlink()
    make(file)
    assert [problem.file for problem in find_problems(root)] == [str(file)]
    with pytest.raises(DataError) as raised:
        copy_dataset(open_dataset(root), tmp_path / "out", lambda case, label, geometry: label)
    assert raised.value.where == str(file) and not (tmp_path / "out").exists()
