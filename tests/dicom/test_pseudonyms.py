from __future__ import annotations

import threading
from pathlib import Path

import pytest

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.pseudonyms import KEY, key_of, make_key, pseudonym
from debride.types import DataError


def test_a_key_is_made_once_whoever_asks(tmp_path: Path) -> None:
    """Also by many at once: none sees half of one, and all get the same."""
    made: list[bytes] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        made.append(make_key(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and set(made) == {key_of(tmp_path)}
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [KEY]
    assert (tmp_path / FOLDER / KEY).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700


def test_a_disk_without_hard_links_gets_a_key_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert make_key(tmp_path) == key_of(tmp_path)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path)
    (tmp_path / FOLDER / KEY).write_text("")
    with pytest.raises(DataError, match="no key of pseudonyms"):
        make_key(tmp_path)


def test_a_pseudonym_is_of_all_that_it_is_made_of() -> None:
    """Parts that only join alike give other names, and so do other keys and prefixes."""
    one = pseudonym(b"key", "p", "ab", "c")
    assert one == pseudonym(b"key", "p", "ab", "c") and one.startswith("p-") and len(one) == 14
    others = {pseudonym(b"key", "p", "a", "bc"), pseudonym(b"yek", "p", "ab", "c"), pseudonym(b"key", "s", "ab", "c")}
    assert len(others) == 3 and one not in others
