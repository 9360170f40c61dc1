"""The commands of docs/dicom.md run as they stand there, and its segments.json is one."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pydicom
import pytest
from tests.dicom_made import PLANTED
from tests.dicom_studies import fix_key, make_archive
from tests.dicom_workflow import SMALL
from tests.identity_grep import identity_said

from debride.cli import main
from debride.data.dicom.segments_file import SegmentsFile, read_segments

PAGE = (Path(__file__).parents[2] / "docs" / "dicom.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))
    make_archive(Path("studies"), 4, shape=(3, 24, 24), segments=False)
    fix_key(Path("studies"))
    whole, shown = BLOCKS
    lines = [line for line in whole.splitlines() if line.startswith("debride ")]
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        assert main([*words, *(SMALL if words[0] == "train" else ())]) == 0, line
    assert not identity_said(*capsys.readouterr())
    (line,) = shown.splitlines()
    assert main(shlex.split(line, comments=True)[1:]) == 0
    for folder in ("masks", "repaired/labels"):
        (first, *_) = sorted(Path(folder).glob("*.dcm"))
        assert pydicom.dcmread(first).Modality in ("SEG", "RTSTRUCT")
    assert main(["evaluate", "masks", "studies", "--out", "out", "--splits", "train", "val", "--show-identity"]) == 0
    table = (Path("out") / "identities.csv").read_text()
    assert (Path("out") / "identities.csv").stat().st_mode & 0o777 == 0o600
    assert "Zwiebelkuchen" in table and "Umrisser" in table


def test_the_example_of_segments_json_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "segments.json").write_text(example)
    read = read_segments(tmp_path)
    assert read.names == ("background", "heart", "lesion", "heart & lesion")
    table = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert table == set(json.loads(example)) - {"format"} == set(SegmentsFile.__dataclass_fields__) - {"format"}
    assert not any(planted in PAGE for planted in PLANTED)
