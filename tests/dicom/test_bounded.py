"""Small files that claim what would take all memory, or all time, are refused before they do."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from tests.dicom_made import make_series

from debride.data.dicom import bounded
from debride.data.dicom.tags import MOST_FRAMES, read_facts
from debride.types import DataError

ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(group: int, number: int, kind: bytes, length: int, value: bytes = b"") -> bytes:
    """An element of a VR whose length has 32 bits."""
    return struct.pack("<HH", group, number) + kind + b"\0\0" + struct.pack("<I", length) + value


REGIONS = 0x18, 0x6011  # a sequence that is looked at

CLAIMS = {
    "a name of 4 GB": element(0x10, 0x10, b"UN", 0xFFFFFFF0),
    "a sequence of 4 GB": element(*REGIONS, b"SQ", 0xFFFFFFF0),
    "zeros for gigabytes": element(0x9, 0x1010, b"UN", 0x100),
    "many items": element(*REGIONS, b"SQ", 0xFFFFFFFF, ITEM * 5000 + END),
    "many items of known length": element(*REGIONS, b"SQ", 8 * 5000, ITEM * 5000),
    "items in items": element(*REGIONS, b"SQ", 0xFFFFFFFF, struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * 5000,
}


@pytest.fixture
def header(tmp_path: Path) -> bytes:
    """The first elements of a file."""

    made = make_series(tmp_path / "whole", np.zeros((1, 4, 4), np.uint16))
    data = made.files[0].read_bytes()
    return data[: data.index(struct.pack("<HH", 0x8, 0x60))]


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_refused(name: str, header: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "_ITEMS", 4000)
    path = tmp_path / "crafted"
    with path.open("wb") as file:
        file.write(header + CLAIMS[name])
        file.truncate(6 << 30)  # nothing but a number: the file takes no room

    with pytest.raises(DataError, match=r"claims to be longer|more than 4000 items|RecursionError"):
        read_facts(path, "that file")


def test_more_frames_than_any_label_has_are_refused(tmp_path: Path) -> None:

    path = make_series(tmp_path / "whole", np.zeros((1, 1, 1), np.uint8), stored=8).files[0]
    dataset: Dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = MOST_FRAMES + 1
    dataset.save_as(path)
    with path.open("ab") as file:
        file.truncate(1 << 30)

    with pytest.raises(DataError, match="100001 frames"):
        read_facts(path, "that file")


def test_honest_files_are_read(tmp_path: Path) -> None:
    """All bytes of values are given, and where they stand."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    with path.open("rb") as file:
        read = bounded.Bounded(file, "that file", 100)
        assert read.read(8) == bytes(range(8)) and read.tell() == 8
        read.seek(150)
        assert read.read(92) == bytes(range(150, 200))
        with pytest.raises(DataError, match="that file"):
            read.read(51)
