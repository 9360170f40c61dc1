"""An index, or handles, that a stranger made lead nowhere and run nothing; files that went away are not named."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tests.dicom_studies import make_archive
from tests.identity_grep import identity_said

from debride.api.datasets import open_dataset
from debride.data.dicom.handles import FOLDER, LABELS, SERIES, read_label, read_series
from debride.data.dicom.identities import roots_of
from debride.data.dicom.index import FILE, Index, opened_index
from debride.data.dicom.pseudonyms import key_of
from debride.data.pixels.dicom import Dicom
from debride.execute.cluster import in_use
from debride.types import DataError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    make_archive(tmp_path / "studies", 2, shape=(2, 16, 16))
    open_dataset(tmp_path / "studies")
    return tmp_path / "studies"


def ids(root: Path) -> list[str]:
    return [case.id for case in open_dataset(root).cases]


@pytest.mark.parametrize(
    "crafted",
    [
        "create trigger run after insert on files begin delete from files; end",
        "create view more as with recursive n(i) as (select 1 union all select i + 1 from n) select i from n",
        "alter table files add column more as (length(path))",
    ],
)
def test_an_index_with_more_than_ours_is_made_anew(crafted: str, archive: Path) -> None:
    before = ids(archive)
    with sqlite3.connect(archive / FOLDER / FILE) as database:
        database.execute("update files set size = 0")
        database.execute(crafted)
    database.close()

    assert ids(archive) == before
    with sqlite3.connect(archive / FOLDER / FILE) as database:
        assert database.execute("select count(*) from sqlite_master").fetchone() == (2,)
    database.close()


def test_a_link_is_no_index(archive: Path, tmp_path: Path) -> None:
    before, elsewhere = ids(archive), tmp_path / "elsewhere"
    (archive / FOLDER / FILE).unlink()
    (archive / FOLDER / FILE).symlink_to(elsewhere)

    assert ids(archive) == before
    assert not elsewhere.exists() and not (archive / FOLDER / FILE).is_symlink()


@pytest.mark.parametrize("facts", ["[]", "{}", '{"planes": [{}]}', '{"planes": 1}', "[" * 5000, "nothing"])
def test_signed_entries_of_another_form_are_refused(facts: str, archive: Path) -> None:
    """Whoever gave the folder has its key, too."""
    key = key_of(archive)
    assert key is not None
    with opened_index(archive / FOLDER, archive, key) as index:
        index.refresh()
        database = sqlite3.connect(archive / FOLDER / FILE)
        rows = [row[:8] for row in database.execute("select * from files").fetchall()]
        signed = [Index._signed(index, *row, facts) for row in rows]
        database.executemany("insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", signed)
        database.commit()
        database.close()
        with pytest.raises(DataError, match="not as it was written"):
            list(index.series())
        with pytest.raises(DataError, match=r"not as it was written|index\.db"):
            list(index.labels())


@pytest.mark.parametrize("name", ["../../key", "/etc/passwd", "..", "", "a\\b", "a\0"])
def test_handles_name_no_other_folder(name: str, archive: Path) -> None:
    label, series = (next((archive / FOLDER / each).iterdir()) for each in (LABELS, SERIES))
    said = json.loads(label.read_text())
    label.write_text(json.dumps({**said, "series": name}))
    with pytest.raises(DataError):
        read_label(label)
    if name not in ("", "a\\b", "a\0", ".."):
        label.write_text(json.dumps({**said, "files": [name]}))
        with pytest.raises(DataError):
            read_label(label)
    said = json.loads(series.read_text())
    series.write_text(json.dumps({**said, "slices": [{**said["slices"][0], "file": name}]}))
    with pytest.raises(DataError):
        read_series(series)


def test_a_file_that_went_away_is_not_named(archive: Path, tmp_path: Path) -> None:
    case = open_dataset(archive).cases[0]
    assert case.label is not None
    kind = Dicom()
    for path in (*case.image, case.label):
        for file in kind.files(path)[1:]:
            file.unlink()
        for what in (
            kind.files,
            kind.header if path == case.label else kind.image,
            lambda path: kind.copy(path, tmp_path / "x.dcm"),
        ):
            try:
                what(path)
            except DataError as error:
                assert path.name in str(error) and not identity_said(str(error))
            else:
                assert what == kind.header  # which asks the handle alone


def test_an_archive_is_looked_through_by_this_machine_alone(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a cluster get what they do in files, which would name those of the archive, and the key."""
    (archive / FOLDER / FILE).unlink()
    token = in_use._IN_USE.set(object())  # type: ignore[arg-type]  # any use of it fails
    try:
        assert ids(archive)
    finally:
        in_use._IN_USE.reset(token)


def test_records_that_name_no_folder_are_passed_over(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"root": "x" * 5000, "dataset": {"root": str(archive)}}))

    assert roots_of([tmp_path]) == [archive.resolve()]


def test_a_handle_names_a_folder(archive: Path) -> None:
    series = next((archive / FOLDER / SERIES).iterdir())
    series.write_text(json.dumps({**json.loads(series.read_text()), "studies": "a\0"}))
    with pytest.raises(DataError, match="no path of a folder"):
        Dicom().files(series)
