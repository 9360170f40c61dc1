"""What all conversions have in common: checksums, the record of sources, all of it or nothing, and what is imported."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.known_archives import zipped

import debride
from debride.files import read_json
from debride.known.converting import convert_known
from debride.known.known_set import KnownFile, KnownSet
from debride.known.registry import KNOWN
from debride.types import DataError
from debride.version import __version__


def pair(folder: Path) -> Path:
    """The smallest archive of Kvasir-SEG's shape."""
    Image.new("RGB", (32, 32)).save(folder / "x.png")
    Image.new("L", (32, 32), 255).save(folder / "y.png")
    files = {"images/x.png": (folder / "x.png").read_bytes(), "masks/x.png": (folder / "y.png").read_bytes()}
    return zipped(folder / "kvasir-seg.zip", files)


def published(size: int | None = None, checksum: str | None = None) -> KnownSet:
    return dataclasses.replace(KNOWN["kvasir-seg"], files=(KnownFile("kvasir-seg.zip", size, checksum),))


def test_a_folder_says_what_it_was_made_from(tmp_path: Path) -> None:
    archive = pair(tmp_path)
    convert_known(published(), [archive], tmp_path / "out", {})
    source = read_json(tmp_path / "out/source.json")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    size = archive.stat().st_size
    assert source["files"] == [{"name": "kvasir-seg.zip", "bytes": size, "sha256": digest, "compared_with_published": False}]
    assert (source["set"], source["licence"], source["debride"]) == ("kvasir-seg", published().licence, __version__)
    assert str(tmp_path) not in (tmp_path / "out/source.json").read_text()
    right = f"md5:{'0' * 32} or md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    convert_known(published(size, right), [archive], tmp_path / "compared", {})
    assert read_json(tmp_path / "compared/source.json")["files"][0]["compared_with_published"] is True


def test_files_that_differ_from_the_published_ones_are_refused(tmp_path: Path) -> None:
    archive = pair(tmp_path)
    with pytest.raises(DataError, match=r"kvasir-seg\.zip: has \d+ bytes, and is published with 1"):
        convert_known(published(1), [archive], tmp_path / "out", {})
    with pytest.raises(DataError, match=r"is not the published file: its checksum is sha256:"):
        convert_known(published(None, f"sha256:{'0' * 64}"), [archive], tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_way_and_one_in_the_source_are_refused(tmp_path: Path) -> None:
    archive = pair(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("stays")
    with pytest.raises(DataError, match="is not empty"):
        debride.convert_dataset("kvasir-seg", archive, tmp_path / "full")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    with pytest.raises(DataError, match="a source is never changed"):
        debride.convert_dataset("kvasir-seg", unpacked, unpacked / "out")
    assert (tmp_path / "full" / "mine.txt").read_text() == "stays"


def test_a_result_says_its_cases_and_stands_for_its_folder(tmp_path: Path) -> None:
    made = debride.convert_dataset("generated", out=tmp_path / "scans", set={"cases": 5, "wrong": 0, "size": 32})
    assert made.said()[0].startswith("5 cases of Generated lesions with planted mistakes (4 train, 1 val")
    assert {row["split"]: row["cases"] for row in made.rows()} == {"train": 4, "val": 1, "test": 0}
    assert len(debride.open_dataset(made).cases) == 5 and made.source["options"]["size"] == 32


def test_what_is_known_needs_no_large_package() -> None:
    code = "import sys, debride; debride.known_datasets(); print(*{'torch', 'numpy', 'PIL', 'scipy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_facts_of_every_set_are_whole() -> None:
    for name, known in KNOWN.items():
        assert name == known.name and name.islower() and known.title and known.cite and known.used_by and known.classes
        assert name == "generated" or known.where.startswith("http"), name
        assert known.licence and known.size and known.cases
        for option in known.options:
            assert option.default == "" or not option.choices or option.default in option.choices
