"""The index of an archive: what it finds, what it reads again, and what damage, crafted entries and other processes do."""

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.dicom_labels_made import make_seg
from tests.dicom_made import PEOPLE, PLANTED, make_series

from debride.data.dicom import index as module
from debride.data.dicom.index import FILE, files_below, opened_index
from debride.types import DataError

KEY = bytes(range(32))
VOXELS = np.arange(3 * 6 * 8, dtype=np.uint16).reshape(3, 6, 8)


def archive(root: Path) -> Path:
    """Two series of three slices, a SEG, and files of other kinds."""
    one = make_series(root / "a b" / "ü", VOXELS)
    make_series(root / "c", VOXELS, person=PEOPLE[1])
    make_seg(one, {"Heart": VOXELS > 70}, root / "c" / "seg")
    (root / "notes.txt").write_text("nothing")
    return root


def found(root: Path, folder: Path, key: bytes = KEY, jobs: int = 1) -> tuple[list[list[str]], list[str], list[str]]:
    """Files of each series, label objects, and what damaged files are called."""
    with opened_index(folder, root, key) as index:
        index.refresh(jobs)
        series = [sorted(image.planes[0].file for image in images) for images in index.series()]
        return sorted(series), [file for file, _ in index.labels()], [error.where for error in index.damaged()]


def test_every_file_is_found_and_read_once(tmp_path, monkeypatch):
    root, folder = archive(tmp_path / "studies"), tmp_path / "studies" / "pseudonyms"
    read: list[str] = []
    original = module.read_facts
    monkeypatch.setattr(module, "read_facts", lambda path, where: (read.append(path.name), original(path, where))[1])
    series, labels, damaged = found(root, folder)
    assert [len(files) for files in series] == [3, 3] and labels == ["c/seg"] and damaged == []
    assert len(read) == 8 and all((root / file).is_file() for files in series for file in files)
    read.clear()
    assert found(root, folder) == (series, labels, damaged) and read == []
    os.utime(root / series[0][0], ns=(1, 1))
    (root / series[1][0]).unlink()
    again, _, _ = found(root, folder)
    assert read == [Path(series[0][0]).name] and again == [series[0], series[1][1:]]
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_several_processes_find_what_one_does(tmp_path, monkeypatch):
    root = archive(tmp_path / "studies")
    monkeypatch.setattr("debride.execute.local.ALONE", 0.0)
    monkeypatch.setattr(module, "_TOGETHER", 3)
    assert found(root, tmp_path / "two", jobs=2) == found(root, tmp_path / "one")


def test_what_is_hidden_or_ours_is_passed_over_and_links_lead_nowhere(tmp_path):
    root = archive(tmp_path / "studies")
    before = [path for path, _ in files_below(root)]
    for name in (".hidden", ".tmp-1/x", "pseudonyms/x", "repairs/given/x", "weights/x", "c/.x", "c/Thumbs.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "circle").symlink_to(root)
    (root / "away").symlink_to(tmp_path)
    (root / "nowhere").symlink_to(root / "none")
    os.mkfifo(root / "pipe")
    assert [path for path, _ in files_below(root)] == before
    (root / "c" / "repairs").mkdir()
    (root / "c" / "repairs" / "x").write_bytes(b"x")
    (root / "linked").symlink_to(root / "notes.txt")
    assert {path for path, _ in files_below(root)} - set(before) == {b"c/repairs/x", b"linked"}


def test_deep_folders_and_odd_names_are_no_mistakes(tmp_path):
    root = archive(tmp_path / "studies")
    where = os.open(root, os.O_RDONLY)
    for _ in range(1200):  # deeper than Python's recursion
        os.mkdir("d", dir_fd=where)
        inner = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = inner
    os.close(where)
    files = sorted((root / "c").iterdir())
    files[0].rename(root / "c" / "back\\slash")
    files[1].rename(os.fsdecode(os.fsencode(root / "c") + b"/\xff\xfe"))
    _, _, damaged = found(root, tmp_path / "index")
    os.removedirs(root / Path(*["d"] * 1200))
    assert len(damaged) == 2 and all(name.startswith("file-") for name in damaged)


def test_damaged_and_foreign_databases_are_made_again(tmp_path):
    root, folder = archive(tmp_path / "studies"), tmp_path / "index"
    whole = found(root, folder)
    file = folder / FILE
    for content in (b"no database at all" * 100, b"", file.read_bytes()[:100]):
        file.write_bytes(content)
        assert found(root, folder) == whole
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("create table files (path)")
    assert found(root, folder) == whole


def test_entries_that_are_not_as_they_were_written_are_refused(tmp_path):
    root, folder = archive(tmp_path / "studies"), tmp_path / "index"
    found(root, folder)
    for column, value in (("facts", '{"instance": 1}'), ("facts", "no JSON"), ("series", "1.2.3"), ("facts", None)):
        with closing(sqlite3.connect(folder / FILE)) as crafted:
            crafted.execute(f"update files set {column} = ? where kind = 'image'", (value,))
            crafted.commit()
        with pytest.raises(DataError, match="not as it was written"):
            found(root, folder)
        (folder / FILE).unlink()
        found(root, folder)
    with pytest.raises(DataError, match="not as it was written"):
        found(root, folder, key=bytes(32))  # of another key
    content = bytearray((folder / FILE).read_bytes())
    content[3000:] = bytes(len(content) - 3000)
    (folder / FILE).write_bytes(content)
    try:
        found(root, folder)
    except DataError as error:
        assert error.where == str(folder / FILE) and not any(word in str(error) for word in PLANTED)


def test_two_that_begin_at_once_find_the_same(tmp_path):
    root, folder = archive(tmp_path / "studies"), tmp_path / "index"
    expected = found(root, tmp_path / "alone")
    results, begin = [], threading.Barrier(4)

    def work() -> None:
        begin.wait()
        results.append(found(root, folder))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4 and found(root, folder) == expected


def test_who_waits_too_long_for_another_is_told_and_deletes_nothing(tmp_path, monkeypatch):
    root, folder = archive(tmp_path / "studies"), tmp_path / "index"
    expected = found(root, folder)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(DataError, match=r"cannot be used \(database is locked\)"):
            found(root, folder)
    assert found(root, folder) == expected


def test_files_are_compared_by_their_bytes_and_named_by_pseudonyms(tmp_path):
    root = archive(tmp_path / "studies")
    (root / "copy").write_bytes((root / "c" / "seg").read_bytes())
    with opened_index(tmp_path / "index", root, KEY) as index:
        assert index.same(["c/seg", "copy"]) and not index.same(["c/seg", "notes.txt"])
        with pytest.raises(DataError) as caught:
            index.same(["c/seg", "Zwiebelkuchen"])
        assert caught.value.where == index.name_of("Zwiebelkuchen") and "Zwiebel" not in str(caught.value)
