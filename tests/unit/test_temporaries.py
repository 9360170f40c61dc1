"""What a killed process was writing is removed by the next one that writes there, and what a living one writes is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from debride.files import atomic_files, atomic_path, write_text
from debride.folders import atomic_folder, exclusive
from debride.temporaries import TEMPORARY, remove_orphans, temporary_file, temporary_folder
from debride.types import DataError

WRITER = """
import sys, time
from pathlib import Path
from debride.temporaries import temporary_file, temporary_folder
with temporary_file(Path(sys.argv[1]) / "a.nii.gz") as file, temporary_folder(Path(sys.argv[1]) / "b") as folder:
    (folder / "inside").touch()
    print("there", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_orphans_of_a_kill_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        remove_orphans(tmp_path)
        assert len(names(tmp_path)) == 2
        process.kill()
    assert len(names(tmp_path)) == 2
    write_text(tmp_path / "c", "")
    assert names(tmp_path) == ["c"]


def test_own_temporaries_are_kept(tmp_path: Path) -> None:
    with temporary_file(tmp_path / "a.png") as file, temporary_folder(tmp_path / "b") as folder:
        remove_orphans(tmp_path)
        assert file.exists() and folder.is_dir()
    assert not names(tmp_path)


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_what_another_machine_may_be_writing_is_kept_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    with make(tmp_path / "a.npz") as path:
        left = path.name
    monkeypatch.setattr("debride.temporaries._machine", lambda: "0123abcd")
    assert left[len(TEMPORARY) :].split("-")[0] != "0123abcd"
    for place, age in ((tmp_path / "young", 3600), (tmp_path / "old", 25 * 3600)):
        place.mkdir()
        (place / left).touch()
        os.utime(place / left, (time.time() - age,) * 2)
        remove_orphans(place)
    assert names(tmp_path / "young") == [left] and not names(tmp_path / "old")


def test_what_older_versions_left_and_links_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}0123456789ab-case.npy").touch()
    (tmp_path / f"{TEMPORARY}abc" / "deep").mkdir(parents=True)
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / f"{TEMPORARY}link").symlink_to(kept)
    with exclusive(tmp_path):
        assert names(tmp_path) == [".lock", f"{TEMPORARY}link", "kept"]


@pytest.mark.parametrize("name", ["n" * 248 + ".nii.gz", "n" * 255, "é" * 125 + ".png"])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) >= 254
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("a")
        assert temporary.name.endswith(name[-7:])
    with atomic_files(tmp_path / "files" / name) as temporary:
        temporary.write_text("b")
    with atomic_folder(tmp_path / "folder" / name) as folder:
        (folder / "c").touch()
    assert (tmp_path / name).read_text() == "a" and (tmp_path / "files" / name).read_text() == "b"
    assert names(tmp_path / "folder" / name) == ["c"]


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_a_signal_while_it_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("debride.temporaries._lock", stop)
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_a_mount_point_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(DataError, match=r"mount point.*Choose a folder in it"), atomic_folder(tmp_path):
        raise AssertionError("work was begun")
