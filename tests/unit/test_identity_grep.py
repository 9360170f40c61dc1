"""The search for identity finds it in every form that it names, and finds nothing where there is none."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tests.dicom_made import HILDEGARD, IGNATZ, ROOT
from tests.identity_grep import identity_in, identity_said

from debride.data.dicom.pseudonyms import pseudonym

NAME = "Zwiebelkuchen"


def _tar(data: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        entry = tarfile.TarInfo("inside.txt")
        entry.size = len(data)
        file.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _zip(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.bin", data)
    return made.getvalue()


def _png(data: bytes) -> bytes:
    said, made = PngImagePlugin.PngInfo(), io.BytesIO()
    said.add_text("Comment", data.decode(), zip=True)
    Image.new("L", (4, 4)).save(made, "PNG", pnginfo=said)
    return made.getvalue()


def _sqlite(data: bytes) -> bytes:
    base = sqlite3.connect(":memory:")
    base.execute("PRAGMA encoding = 'UTF-16'")
    base.execute("CREATE TABLE t (v)")
    base.execute("INSERT INTO t VALUES (?)", (gzip.compress(data),))
    base.commit()
    return base.serialize()


def _npz(data: bytes) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, names=np.array([data.decode()]))
    return made.getvalue()


WRAPPED: dict[str, Callable[[bytes], bytes]] = {
    "zip": _zip,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "tar": _tar,
    "zlib in the middle": lambda data: b"%PDF stream\n" + zlib.compress(data) + b"\nendstream",
    "PNG's text": _png,
    "SQLite": _sqlite,
    "NumPy's strings": _npz,
    "zip in gzip in tar": lambda data: _tar(gzip.compress(_zip(data))),
    "base64": lambda data: b'<img src="data:image/png;base64,' + base64.b64encode(_png(data)) + b'">',
    "base64 of text": lambda data: b"x" + base64.b64encode(b"a" + data + b"b") + b"y",
}


@pytest.mark.parametrize("name", WRAPPED)
def test_containers_are_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(WRAPPED[name](f"patient {NAME}, and more words that make it long enough".encode()))
    assert identity_in(tmp_path) == [f"{tmp_path / 'file'}: {NAME}"]
    (tmp_path / "file").write_bytes(WRAPPED[name](b"nobody's name, and more words that make it long enough"))
    assert not identity_in(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1"])
def test_encodings_are_known(encoding: str) -> None:
    assert identity_said("von Käsemann und".encode(encoding)) == {"Käsemann"}
    assert identity_said("VON ZWIEBELKUCHEN UND".encode(encoding)) == {NAME}


def test_spellings_are_known() -> None:
    for said in ("1957-03-13", "13.03.1957", "03/13/1957", "on 19570313"):
        assert identity_said(said) == {HILDEGARD.born}
    assert identity_said("10:11:12.345671") == {HILDEGARD.at}
    for said in (
        json.dumps("Käsemann"),
        "K&#228;semann",
        "K%C3%A4semann",
        "KÄSEMANN",
        "Ka\u0308semann",
        repr("Käsemann".encode()),
    ):
        assert "Käsemann" in identity_said(said), said
    assert identity_said(NAME.encode().hex()) == {NAME}
    assert identity_said(f"{ROOT}.17") == {ROOT}
    assert identity_said("nothing", more=["nothing"]) == {"nothing"}


def test_names_of_files_and_links_count(tmp_path: Path) -> None:
    (tmp_path / IGNATZ.number).mkdir()
    (tmp_path / "link").symlink_to(f"/nowhere/{NAME}")
    assert identity_in(tmp_path) == [f"{tmp_path / IGNATZ.number}: {IGNATZ.number}", f"{tmp_path / 'link'}: {NAME}"]
    assert not identity_in(tmp_path, but=lambda path: path.name in (IGNATZ.number, "link"))


def test_pseudonyms_are_no_identity(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(pseudonym(b"k" * 32, "mr", HILDEGARD.name, HILDEGARD.number))
    assert not identity_in(tmp_path)
