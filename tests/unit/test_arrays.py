"""Arrays of .npz files: as NumPy reads them, in pieces, and what is refused."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debride.data.pixels import arrays
from debride.types import DataError


def save(path: Path, compressed: bool = True, **held: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **held)
    return path


def member(array: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, **options)
    return content.getvalue()


def archive(path: Path, content: bytes, name: str = "a.npy", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(name, content)
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(7,), (7, 1), (5, 4, 3), (6, 4, 3, 3), (0, 4, 3), (1, 2, 2)])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4"])
def test_reads_what_numpy_reads(tmp_path: Path, compressed: bool, shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    file = save(tmp_path / "a.npz", compressed, first=np.arange(3), wanted=values)
    assert arrays.names(file) == ("first", "wanted")
    assert arrays.header(file, "wanted") == (shape, np.dtype(dtype))
    found = arrays.array(file, "wanted")
    assert found.dtype.newbyteorder("=") == values.dtype.newbyteorder("=") and found.shape == shape
    assert np.array_equal(found, np.load(file)["wanted"])


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("chunk", "sizes"), [(1, [1] * 7), (24, [2, 2, 2, 1]), (35, [2, 2, 2, 1]), (36, [3, 3, 1]), (999, [7])]
)
def test_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool, chunk: int, sizes: list[int]) -> None:
    """A row has 12 bytes: a piece has as many as fit in a chunk, at least one."""
    monkeypatch.setattr(arrays, "_CHUNK", chunk)
    values = np.random.default_rng(0).integers(0, 256, (7, 4, 3), np.uint8)
    pieces = list(arrays.rows(save(tmp_path / "a.npz", compressed, a=values), "a"))
    assert [len(piece) for piece in pieces] == sizes
    assert np.array_equal(np.concatenate(pieces), values)


def test_a_reader_that_stops_early_leaves_no_open_file(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", a=np.zeros((3, 2), np.uint8))
    pieces = arrays.rows(file, "a")
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # a generator
    file.unlink()


@pytest.mark.parametrize("read", [arrays.header, arrays.described, arrays.array])
def test_a_header_that_claims_more_than_the_file_holds(read: Callable[..., Any], tmp_path: Path) -> None:
    file = archive(tmp_path / "a.npz", member(np.zeros((100, 10), np.uint8))[:200])
    with pytest.raises(DataError, match=r"ends inside the array a: its header says uint8 of shape \(100, 10\)"):
        read(file, "a")


@pytest.mark.parametrize(
    "said",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
        "{'descr': open('x'), 'shape': (1,), }",
        "{'descr': '<q99', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': 3, 'fortran_order': 0, 'shape': 'x', }",
        "'''",
        "(" * 500,
        "\0\0",
        "",
    ],
)
def test_headers_that_are_no_literals(said: str, tmp_path: Path) -> None:
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said) + 1) + said.encode() + b"\n" + bytes(64)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy: (cannot be read|holds no)"):
        arrays.load(tmp_path / "a.npy")
    file = archive(tmp_path / "a.npz", content)
    for read in (arrays.header, arrays.described, arrays.array):
        with pytest.raises(DataError, match=r"a\.npz"):
            read(file, "a")


def test_arrays_without_an_element(tmp_path: Path) -> None:
    file = archive(tmp_path / "a.npz", member(np.zeros((10**15, 0), np.uint8)))
    assert arrays.array(file, "a").shape == (10**15, 0)


def test_a_second_piece_that_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_CHUNK", 10)
    content = member(np.zeros((4, 10), np.uint8))
    pieces = arrays.rows(archive(tmp_path / "a.npz", content[:-5]), "a")
    with pytest.raises(DataError, match="ends inside the array a"):
        next(pieces)


class Trap:
    """An object that says that it was unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return spring, ()


def spring() -> None:
    Trap.sprung = True


def test_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    objects = np.empty(1, object)
    objects[0] = Trap()
    content = member(objects, allow_pickle=True)
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.sprung  # the trap works
    Trap.sprung = False
    file = archive(tmp_path / "a.npz", content)
    for read in (arrays.array, arrays.header, lambda *words: list(arrays.rows(*words))):
        with pytest.raises(DataError, match="holds Python objects in a, which are never unpickled") as refused:
            read(file, "a")
        assert refused.value.where == str(file)
    assert not Trap.sprung


def test_fortran_order_is_refused_where_it_matters(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", grid=np.asfortranarray(np.arange(6).reshape(2, 3)), line=np.asfortranarray(np.arange(3)))
    with pytest.raises(DataError, match=r"holds grid in an order that is not read.*ascontiguousarray"):
        arrays.array(file, "grid")
    assert arrays.array(file, "line").tolist() == [0, 1, 2]


def test_a_number_is_no_array(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds a in an order that is not read"):
        arrays.array(save(tmp_path / "a.npz", a=np.uint8(3)), "a")


def test_names_of_what_is_missing(tmp_path: Path) -> None:
    file = save(tmp_path / "it's.npz", here=np.zeros(2), nowhere=np.zeros(3))
    for read in (arrays.header, arrays.array):
        with pytest.raises(DataError) as refused:
            read(file, "there")
        assert (refused.value.where, refused.value.problem) == (str(file), "has no array there, but here, nowhere")
    many = save(tmp_path / "many.npz", **{f"a{number}": np.zeros(1) for number in range(11)})
    with pytest.raises(DataError, match=r"has no array b, but a0, .*, a9, \.\.\.\. Save"):
        arrays.array(many, "b")
    with pytest.raises(DataError, match="has no array b, but no array at all"):
        arrays.array(save(tmp_path / "none.npz"), "b")
    with pytest.raises(DataError, match="does not exist"):
        arrays.names(tmp_path / "absent.npz")


def test_damaged_files(tmp_path: Path) -> None:
    """Cut off anywhere, or with one byte wrong anywhere: read as it was, or refused, and never a wrong array."""
    values = np.random.default_rng(0).integers(0, 9, (40, 5), np.uint8)
    for compressed in (True, False):
        whole = save(tmp_path / "whole.npz", compressed, a=values).read_bytes()
        refused = 0
        for place in range(0, len(whole), 7):
            broken = bytearray(whole)
            broken[place] ^= 0x5A
            for content in (whole[:place], bytes(broken)):
                (tmp_path / "broken.npz").write_bytes(content)
                try:
                    found = arrays.array(tmp_path / "broken.npz", "a")
                except DataError as error:
                    refused += 1
                    assert error.where == str(tmp_path / "broken.npz") and error.remedy
                else:
                    assert np.array_equal(found, values), (compressed, place)
        assert refused > len(whole) / 7  # every cut, and most of the bytes


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, method: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (200, 5), np.uint8)
    file = archive(tmp_path / "a.npz", member(values), method=method)
    assert np.array_equal(arrays.array(file, "a"), values)
    content = bytearray(file.read_bytes())
    content[200:240] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz"):
        arrays.array(file, "a")


def test_no_archives(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("not a zip file, but a text that is long enough to look for an end in")
    (tmp_path / "folder.npz").mkdir()
    np.save(tmp_path / "alone.npy", np.zeros(3))
    for name in ("empty.npz", "text.npz", "folder.npz", "alone.npy"):
        with pytest.raises(DataError, match=r"is no \.npz file that can be read") as refused:
            arrays.names(tmp_path / name)
        assert refused.value.where == str(tmp_path / name)


def test_an_encrypted_archive(tmp_path: Path) -> None:
    """The flag that says so is bit 0 of the flags in both headers."""
    file = archive(tmp_path / "a.npz", member(np.zeros(3)), method=zipfile.ZIP_STORED)
    content = bytearray(file.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        arrays.array(file, "a")


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00\x02\x00{}", b"something else entirely", b"\x93NUMPY\x09\x00\x02\x00{}"]
)
def test_a_member_that_is_no_array(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"is no \.npz file that can be read"):
        arrays.array(archive(tmp_path / "a.npz", content), "a")


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", a=np.zeros(3), b=np.ones(3))
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a.npy", member(np.ones(3)))
    for read in (arrays.names, lambda path: arrays.array(path, "b")):
        with pytest.raises(DataError, match=r"holds a\.npy more than once"):
            read(path)


def test_a_name_that_its_member_does_not_have_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", compressed=False, images=np.zeros(3), labels=np.ones(3))
    content = path.read_bytes()
    at = content.rindex(b"labels.npy")  # in the directory at the end
    path.write_bytes(content[:at] + b"lapels" + content[at + 6 :])
    with pytest.raises(DataError, match=r"is no \.npz file that can be read"):
        arrays.array(path, "images")


def test_a_length_that_is_no_number_is_refused(tmp_path: Path) -> None:
    content = member(np.zeros(3)).replace(b"(3,), ", b"(True,), ", 1).replace(b"    \n", b" \n", 1)
    path = archive(tmp_path / "a.npz", content)
    with pytest.raises(DataError, match=r"\(True,\)"):
        arrays.header(path, "a")
