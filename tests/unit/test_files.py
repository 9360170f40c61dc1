from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from debride.files import append_jsonl, atomic_path, content_hash, read_json, read_jsonl, write_csv, write_json, write_text
from debride.folders import LOCK, atomic_folder, exclusive, new_folder
from debride.temporaries import TEMPORARY
from debride.types import DataError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_replaces_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["a.nii.gz"]


def test_atomic_path_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_names_the_file(tmp_path: Path, number: int) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(DataError) as raised, atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert raised.value.where == str(target) and os.strerror(number) in raised.value.problem and raised.value.remedy
    assert names(tmp_path) == []


def test_other_os_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()


def test_atomic_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
        assert names(target) == []
    assert names(target) == ["a"] and names(tmp_path) == ["set"]


def test_atomic_folder_is_removed_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "set") as folder:
        (folder / "a").write_text("1")
        raise RuntimeError
    assert names(tmp_path) == []


def test_atomic_folder_takes_the_place_of_what_counts_as_empty(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with exclusive(target):
        (target / f"{TEMPORARY}1-folder").mkdir()
        (target / f"{TEMPORARY}2-file").touch()
        with pytest.raises(DataError, match="another process"), atomic_folder(new_folder(target)) as folder:
            (folder / "a").write_text("1")
        assert names(tmp_path) == ["set"] and LOCK in names(target)
    with atomic_folder(new_folder(target)) as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path) == ["set"] and names(target) == ["a"]


def test_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder(Path("deep/new")) == tmp_path / "deep" / "new"
    assert names(tmp_path) == []
    write_text(Path("full/a"), "")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    for out, problem in (
        ("full/a", "is a file"),
        ("full/a/b/c", f"cannot be a folder: {Path('full/a')} is a file"),
        ("full", "is not empty"),
        ("link", "is not empty"),
    ):
        with pytest.raises(DataError) as raised:
            new_folder(Path(out))
        assert (raised.value.where, raised.value.problem) == (out, problem) and raised.value.remedy
    assert new_folder(tmp_path / "link", may_go_on=True) == tmp_path / "full"
    with pytest.raises(DataError, match="Take another"):
        new_folder(Path("full"), remedy="Take another.")


@pytest.mark.parametrize("may_go_on", [False, True])
def test_new_folder_keeps_apart_from_sources(tmp_path: Path, may_go_on: bool) -> None:
    write_text(tmp_path / "source" / "image", "")
    (tmp_path / "link").symlink_to(tmp_path / "source")
    sources = {"the other source": tmp_path / "none", "the data set": tmp_path / "link"}
    for out, problem in (
        (tmp_path / "source", "lies in the data set"),
        (tmp_path / "link" / "new", "lies in the data set"),
        (tmp_path / "none" / ".." / "source" / "a" / "b", "lies in the data set"),
        (tmp_path, "holds the other source"),
        (tmp_path / "none" / "new", "lies in the other source"),
    ):
        with pytest.raises(DataError) as raised:
            new_folder(out, apart_from=sources, may_go_on=may_go_on)
        assert (raised.value.where, raised.value.problem) == (str(out), problem)
    assert new_folder(tmp_path / "source2", apart_from=sources, may_go_on=may_go_on) == tmp_path / "source2"
    assert names(tmp_path) == ["link", "source"]


def test_json_round_trip_and_line_of_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]}
    write_text(path, '{"a": 1,\n"b": }')
    with pytest.raises(DataError) as raised:
        read_json(path)
    assert raised.value.where == f"{path}:2"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read_json(path)


def test_csv_is_written_row_by_row_with_plain_newlines(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    asked: list[list[str]] = []

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(3):
            asked.append(names(path.parent))
            yield number, 'a "b", c', None, 0.1, "é\nü"

    write_csv(path, ("n", "text", "none", "share", "lines"), rows())
    line = ',"a ""b"", c",,0.1,"é\nü"\n'
    assert path.read_bytes().decode() == "n,text,none,share,lines\n" + "".join(f"{number}{line}" for number in range(3))
    assert all(found and not {"a.csv"} & set(found) for found in asked) and names(path.parent) == ["a.csv"]

    def broken() -> Iterator[tuple[int]]:
        yield (1,)
        raise RuntimeError

    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        write_csv(path, ("n",), broken())
    assert path.read_bytes() == before and names(path.parent) == ["a.csv"]


def test_jsonl_survives_a_kill_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"n": 1})
    first = path.stat().st_size
    append_jsonl(path, {"n": "zwölf"})
    whole = path.read_bytes()
    for size in range(first, len(whole)):
        path.write_bytes(whole[:size])
        assert read_jsonl(path) == [{"n": 1}]
        append_jsonl(path, {"n": 3})
        assert [json.loads(line) for line in path.read_text().splitlines()] == [{"n": 1}, {"n": 3}]


def test_jsonl_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_jsonl(path) == []
    path.write_text('{"n"')
    assert read_jsonl(path) == []
    append_jsonl(path, 5)
    assert read_jsonl(path) == [5]


def test_jsonl_cuts_a_long_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_jsonl(path, 1)
    path.write_bytes(path.read_bytes() + b'"' + b"x" * 200_000)
    append_jsonl(path, 2)
    assert read_jsonl(path) == [1, 2]


def test_jsonl_names_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(DataError) as raised:
        read_jsonl(path)
    assert raised.value.where == f"{path}:2"


def test_content_hash_sees_bytes_order_and_extras_only(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(b"xy")
    b.write_bytes(b"z")
    c.write_bytes(b"xy")
    assert content_hash([a, b], "k", 1) == content_hash([c, b], "k", 1)
    different = {
        content_hash([a, b]),
        content_hash([b, a]),
        content_hash([a]),
        content_hash([a, b], 1),
        content_hash([a, b], "1"),
    }
    assert len(different) == 5
    c.write_bytes(b"xyz")
    assert content_hash([c]) != content_hash([a, b])
    with pytest.raises(DataError, match="missing"):
        content_hash([tmp_path / "missing"])
