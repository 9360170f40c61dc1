"""``--show-identity`` names whom pseudonyms stand for in what is printed and in one table, and nothing does without it."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from tests.dicom_made import HILDEGARD
from tests.identity_grep import identity_said

from debride import cli
from debride.cli import main
from debride.cli.identity import Naming
from debride.data.dicom.handles import FOLDER
from debride.data.dicom.identities import OUT, read_identities, roots_of, write_identities
from debride.data.dicom.quiet import quiet
from debride.types import DataError

PERSON = HILDEGARD
CASE, PATIENT, READER = "mr-3f9a81c2d4e0", "p-0011223344ff", "r-aabbccddeeff"
COLUMNS = "case,patient,PatientID,PatientName,StudyDate,SeriesNumber,SeriesDescription,SeriesInstanceUID,folder\n"


def build_known(root: Path, case: str = CASE) -> Path:
    """A data set's folder of pseudonyms, with tables of one case and one reader."""
    (root / FOLDER).mkdir(parents=True)
    row = f"{case},{PATIENT},{HILDEGARD.number},{HILDEGARD.name},{HILDEGARD.studied},3,\x1b[31mT1,'=1.2.3,MRT/series1\n"
    (root / FOLDER / "series.csv").write_text(COLUMNS + row)
    (root / FOLDER / "names.csv").write_text(f"pseudonym,kind,name\n{READER},reader,Umrisser^Kunibert\n")
    return root


class Knows:
    def __init__(self, root: Path) -> None:
        self.known = read_identities(root)

    def of(self, pseudonym: str) -> dict[str, str] | None:
        return self.known.get(pseudonym)


def test_whom_a_pseudonym_stands_for_is_named_behind_it_once_a_line(tmp_path: Path) -> None:
    stream = io.StringIO()
    naming = Naming(stream, Knows(build_known(tmp_path)))  # type: ignore[arg-type]
    naming.write(
        f"/a/{CASE}.dicom-series: is bad, {CASE} too\nmr-000000000000 of {PATIENT}\n{CASE}@{READER}: x\n{CASE}0 {READER}\n"
    )
    first, second, third, last = stream.getvalue().splitlines()
    about = f"{HILDEGARD.number}, {HILDEGARD.name}, {HILDEGARD.studied}, 3, \\x1b[31mT1, =1.2.3, MRT/series1"
    assert first == f"/a/{CASE}.dicom-series [{about}]: is bad, {CASE} too"
    assert second == f"mr-000000000000 of {PATIENT} [{HILDEGARD.number}, {HILDEGARD.name}]"
    assert third == f"{CASE}@{READER} [{about}]: x"
    assert last == f"{CASE}0 {READER} [reader, Umrisser^Kunibert]"


def test_the_table_is_its_owners_and_lies_with_the_pseudonyms_where_there_are_some(tmp_path: Path) -> None:
    root, out = build_known(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    file = write_identities(out, read_identities(root))
    assert file == out / OUT and file.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(file.open()))
    assert {row["pseudonym"]: row["PatientID"] for row in rows}[CASE] == HILDEGARD.number
    assert {row["pseudonym"]: row["name"] for row in rows}[READER] == "Umrisser^Kunibert"
    assert write_identities(root, read_identities(root)) == root / FOLDER / OUT
    assert sorted(path.name for path in out.iterdir()) == [OUT]


def test_a_record_leads_to_its_data_set(tmp_path: Path) -> None:
    root, run = build_known(tmp_path / "data"), tmp_path / "run"
    run.mkdir()
    for said in ({"dataset_root": str(root)}, {"dataset": {"root": str(root)}}, {"reference": str(root)}):
        (run / "run.json").write_text(json.dumps(said))
        assert roots_of([run]) == [root.resolve()]
    for odd in ("[" * 10000, '{"root": "a\\u0000b"}', "{", '{"root": 3, "dataset": [1]}', "null"):
        (run / "run.json").write_text(odd)
        assert roots_of([run, tmp_path / "nowhere"]) == []


def test_verbs_name_identity_only_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = build_known(tmp_path / "data"), tmp_path / "out"
    out.mkdir()

    def fails(*_: object, **__: object) -> None:
        raise DataError(root / f"{CASE}.dicom-series", "is damaged", "Look.")

    monkeypatch.setattr("debride.cli.evaluate.answer", fails)
    words = ["evaluate", str(tmp_path), str(root), "--out", str(out)]
    before = sys.stdout, sys.stderr
    assert main(words) == 2
    plain = capsys.readouterr()
    assert not identity_said(plain.out, plain.err) and CASE in plain.err and not list(out.iterdir())
    assert main([*words, "--show-identity"]) == 2
    named = capsys.readouterr()
    assert f"{CASE}.dicom-series [{HILDEGARD.number}, {HILDEGARD.name}" in named.err
    assert [path.name for path in out.iterdir()] == [OUT]
    assert (sys.stdout, sys.stderr) == before


def test_a_mistake_of_ours_says_nothing_of_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with quiet():  # as where a file of DICOM is read
        pass

    def fails(*_: object, **__: object) -> None:
        try:
            raise ValueError(f"invalid value {PERSON.name}")
        except ValueError as error:
            raise KeyError(PERSON.number) from error

    monkeypatch.setattr("debride.cli.evaluate.answer", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["evaluate", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr()
    (file,) = tmp_path.glob("debride-*.txt")
    assert not identity_said(said.err, file.read_text())
    assert "KeyError" in said.err and "ValueError\n" in file.read_text() and cli.__file__ in file.read_text()
