"""Files are hashed once, and again when anything says that they may have changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets import build_folder

from debride.cli import main
from debride.data import source_hashes
from debride.data.cache import prepare
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.data.source_hashes import SourceHashes, forget
from debride.files import content_hash


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as they are. What was just written counts as settled."""
    names: list[str] = []
    real = source_hashes.file_digest

    def counted(path: Path) -> bytes:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(source_hashes, "file_digest", counted)
    monkeypatch.setattr(source_hashes, "UNSETTLED", -(10**12))
    return names


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "data").mkdir()
    found = [tmp_path / "data" / name for name in ("a.png", "b.png", "ü.png")]
    for file in found:
        file.write_text(f"of {file.name}")
    return found


def hashed(files: list[Path], cache: Path) -> str:
    with SourceHashes(cache, files[0].parent) as hashes:
        return hashes.of(files, "image", 1)


def test_the_second_start_reads_no_file(tmp_path: Path, files: list[Path], read: list[str]) -> None:
    expected = content_hash(files, "image", 1)
    assert hashed(files, tmp_path / "cache") == expected and read == ["a.png", "b.png", "ü.png"]
    assert hashed(files, tmp_path / "cache") == expected and len(read) == 3
    assert hashed(files, tmp_path / "other cache") == expected and len(read) == 6
    forget(tmp_path / "cache", files[0].parent)
    assert hashed(files, tmp_path / "cache") == expected and len(read) == 9


def append(file: Path) -> None:
    file.write_text(file.read_text() + "more")


def rewrite_with_its_date(file: Path) -> None:
    stat = file.stat()
    file.write_text(file.read_text().upper())
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace_with_its_date(file: Path) -> None:
    shutil.copy2(file, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize("change", [append, rewrite_with_its_date, replace_with_its_date, touch])
def test_a_file_that_may_have_changed_is_read_again(
    change: Callable[[Path], None], tmp_path: Path, files: list[Path], read: list[str]
) -> None:
    hashed(files, tmp_path / "cache")
    read.clear()
    change(files[1])
    for _ in range(2):
        assert hashed(files, tmp_path / "cache") == content_hash(files, "image", 1)
        assert read == ["b.png"]


def test_a_file_that_was_changed_just_before_is_read_again(
    tmp_path: Path, files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where dates are coarse it may change again without a new one."""
    monkeypatch.setattr(source_hashes, "UNSETTLED", 10**15)
    for _ in range(2):
        read.clear()
        hashed(files, tmp_path / "cache")
        assert len(read) == 3


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = source_hashes.file_digest

    def meanwhile(path: Path) -> bytes:
        found = digest(path)
        if path.name == "b.png":
            append(path)
        return found

    monkeypatch.setattr(source_hashes, "file_digest", meanwhile)
    hashed(files, tmp_path / "cache")
    monkeypatch.setattr(source_hashes, "file_digest", digest)
    read.clear()
    assert hashed(files, tmp_path / "cache") == content_hash(files, "image", 1) and read == ["b.png"]


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"a": 1}', b"[" * 100_000, b"\xff", b'{"a": [[1e999], ""]}', None])
def test_a_damaged_record_counts_as_absent(damage: bytes | None, tmp_path: Path, files: list[Path], read: list[str]) -> None:
    expected = hashed(files, tmp_path / "cache")
    (record,) = (tmp_path / "cache" / "sources").iterdir()
    if damage is None:  # a hash that is none
        damage = json.dumps({name: [stamp, "00"] for name, (stamp, _) in json.loads(record.read_bytes()).items()}).encode()
    record.write_bytes(damage)
    read.clear()
    assert hashed(files, tmp_path / "cache") == expected and len(read) == 3


def test_two_at_a_time_lose_nothing_but_time_and_what_is_gone_is_forgotten(
    tmp_path: Path, files: list[Path], read: list[str]
) -> None:
    cache, root = tmp_path / "cache", files[0].parent
    with SourceHashes(cache, root) as first, SourceHashes(cache, root) as second:
        first.of(files[:2])
        second.of(files[1:])
    read.clear()
    hashed(files, tmp_path / "cache")
    assert read == []
    files[0].unlink()
    append(files[1])
    hashed(files[1:], tmp_path / "cache")
    (record,) = (tmp_path / "cache" / "sources").iterdir()
    assert sorted(map(os.path.basename, json.loads(record.read_bytes()))) == ["b.png", "ü.png"]


def test_what_was_read_before_an_error_is_kept(tmp_path: Path, files: list[Path], read: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), SourceHashes(tmp_path / "cache", files[0].parent) as hashes:
        hashes.of(files)
        raise ZeroDivisionError
    read.clear()
    hashed(files, tmp_path / "cache")
    assert read == []


@pytest.mark.parametrize("verb", ["train", "audit", "bench"])
def test_verify_forgets_what_is_known(
    verb: str, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cases are prepared twice, then by each verb, of which no more than its beginning is done."""
    root, cache = build_folder(tmp_path / "data", n=4, size=16), tmp_path / "cache"
    monkeypatch.setenv("DEBRIDE_CACHE", str(cache))
    dataset = open_dataset(root)
    for expected in (8, 0):
        read.clear()
        prepare(dataset, dataset.cases, Preparation(), cache)
        assert len(read) == expected

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place in ("training.fit.fit", "audit.predictions.cross_validate", "bench.grid.run_cells"):
        monkeypatch.setattr(f"debride.{place}", stop)
    (tmp_path / "grid.yaml").write_text(f"datasets: {{a: {{path: {root}}}}}\nnoises: {{n: {{}}}}\nmethods: {{ce: {{}}}}\n")
    words = {"train": ["ce", root], "audit": [root], "bench": [tmp_path / "grid.yaml"]}[verb]
    more: list[str]
    for more, expected in (([], 0), (["--verify"], 8)):
        assert main([verb, *map(str, words), "--out", str(tmp_path / f"out{expected}"), *more]) == 130
        read.clear()
        prepare(dataset, dataset.cases, Preparation(), cache)
        assert len(read) == expected
    capsys.readouterr()
