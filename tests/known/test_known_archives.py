"""Archives read member by member: what counts, what is left out, and what is refused by name."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from debride.known.archive import Archive
from debride.types import DataError

CONTENT = {"set/a.txt": b"first" * 1000, "set/b/c.bin": bytes(range(256)) * 50}


def zipped(path: Path, content: dict[str, bytes] = CONTENT, how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, held in content.items():
            archive.writestr(name, held)
    return path


def tarred(path: Path, mode: str = "w", content: dict[str, bytes] = CONTENT) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, held in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(held)
            archive.addfile(entry, io.BytesIO(held))
    return path


def folder(path: Path) -> Path:
    for name, held in CONTENT.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(held)
    return path


@pytest.mark.parametrize("kind", ["zip", "stored", "tar", "gz", "bz2", "xz", "folder"])
def test_all_kinds_give_the_same(tmp_path: Path, kind: str) -> None:
    made = {
        "zip": lambda: zipped(tmp_path / "x.zip"),
        "stored": lambda: zipped(tmp_path / "x", how=zipfile.ZIP_STORED),
        "tar": lambda: tarred(tmp_path / "x.tar"),
        "folder": lambda: folder(tmp_path / "x"),
        **{name: (lambda name=name: tarred(tmp_path / f"x.tar.{name}", f"w:{name}")) for name in ("gz", "bz2", "xz")},  # type: ignore[misc]
    }[kind]()
    archive = pickle.loads(pickle.dumps(Archive(made)))
    assert archive.names() == sorted(CONTENT)
    for name in reversed(archive.stored()):  # also backwards
        assert archive.read(name) == CONTENT[name] and archive.size(name) == len(CONTENT[name])
        archive.copy(name, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == CONTENT[name]
    with pytest.raises(DataError, match=r"set/a\.txt: is larger \(5000 bytes\) than such a file may be \(4999\)"):
        archive.read("set/a.txt", 4999)
    with pytest.raises(DataError, match="none: is not in the archive"):
        archive.read("none")
    archive.close()
    assert archive.read("set/a.txt") == CONTENT["set/a.txt"], "opened again"


def test_what_others_add_and_what_leads_away_is_left_out(tmp_path: Path) -> None:
    strange = ("__MACOSX/set/a", "set/._a.txt", ".DS_Store", "../out", "/etc/out", "C:/out", "set/../../out")
    both = {**CONTENT, **dict.fromkeys(strange, b"x")}
    for path in (zipped(tmp_path / "x.zip", both), tarred(tmp_path / "x.tar", content=both)):
        assert Archive(path).names() == sorted(CONTENT)
    with tarfile.open(tmp_path / "x.tar", "a") as archive:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)):
            entry = tarfile.TarInfo(f"set/link{number}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    assert Archive(tmp_path / "x.tar").names() == sorted(CONTENT)
    link = zipfile.ZipInfo("set/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert Archive(tmp_path / "x.zip").names() == sorted(CONTENT)
    root = folder(tmp_path / "root")
    (root / "link").symlink_to("/etc/passwd")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    assert Archive(root).names() == sorted(CONTENT)


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = tarred(tmp_path / "inner.tar.gz", "w:gz").read_bytes()
    outer = Archive(zipped(tmp_path / "outer.zip", {"deep/inner.tar.gz": inner}))
    with outer.inside("deep/inner.tar.gz") as archive:
        place = archive.path
        assert archive.names() == sorted(CONTENT)
        with pytest.raises(DataError, match=r"outer\.zip: deep/inner\.tar\.gz: none: is not in the archive"):
            archive.read("none")
    assert not place.exists()
    assert Archive(tarred(tmp_path / "t.tar", content={"z.zip": zipped(tmp_path / "z.zip").read_bytes()})).names() == ["z.zip"]


def test_a_packed_file_that_was_changed_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.bin": os.urandom(3000), "b.bin": b"whole"})
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    archive = Archive(path)
    assert archive.read("b.bin") == b"whole"
    for read in (lambda: archive.read("a.bin"), lambda: archive.copy("a.bin", tmp_path / "copy")):
        with pytest.raises(DataError, match=r"x\.zip: a\.bin: is damaged"):
            read()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_what_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    held = {"a.bin": os.urandom(200_000), "b.bin": os.urandom(200_000)}
    path = tmp_path / f"x.{kind}"
    zipped(path, held) if kind == "zip" else tarred(path, f"w:{kind[4:]}", held)
    path.write_bytes(path.read_bytes()[:300_000])
    archive = Archive(path)
    with pytest.raises(DataError, match=rf"x\.{kind}"):
        for name in archive.names():
            archive.read(name)
        archive.read("b.bin")


def test_an_encrypted_file_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.zip: set/a\.txt: is encrypted"):
        Archive(path).read("set/a.txt")


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.bin": bytes(1000)})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 24 : entry + 28] = struct.pack("<I", 2_000_000_000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.bin: claims to unpack from \d+ to 2000000000 bytes, which it cannot"):
        Archive(path).copy("a.bin", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_size == 0

    whole = zipped(tmp_path / "y.zip", {"a.bin": os.urandom(5000)}, zipfile.ZIP_STORED)
    content = bytearray(whole.read_bytes())
    entry = content.index(b"PK\1\2")
    again = bytes(content[entry : content.index(b"PK\5\6")]).replace(b"a.bin", b"b.bin")
    end = content.index(b"PK\5\6")
    content[end:end] = again
    end += len(again)
    content[end + 8 : end + 16] = struct.pack("<HHI", 2, 2, 2 * len(again))
    whole.write_bytes(content)
    with pytest.raises(DataError, match="holds files that overlap"):
        Archive(whole).names()

    with tarfile.open(tmp_path / "z.tar", "w") as archive:
        entry_of_tar = tarfile.TarInfo("a.bin")
        entry_of_tar.size = 1 << 45
        archive.addfile(entry_of_tar)
    with pytest.raises(DataError, match=r"z\.tar"):
        Archive(tmp_path / "z.tar").names()


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.txt", "two")
    with pytest.raises(DataError, match=r"holds two files called a\.txt"):
        Archive(tmp_path / "x.zip").names()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text", "is no zip, no tar and no folder"),
        (b"7z\xbc\xaf\x27\x1c0000", "packed by 7z"),
        (b"Rar!\x1a\7\1\0", "packed by rar"),
    ],
)
def test_other_files_are_refused_as_what_they_are(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=said):
        Archive(tmp_path / "x").names()
    with pytest.raises(DataError, match="does not exist"):
        Archive(tmp_path / "nowhere").names()
