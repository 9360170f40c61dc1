"""Tables as Excel and other programs write them, and names with spaces or of another Unicode form."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, save_json, save_png

from debride.audit.decided.decision_tables import read_decision_table
from debride.data.check import find_problems
from debride.data.formats.csv_rows import read_table
from debride.data.open import open_dataset
from debride.notes import take_notes
from debride.types import DataError

ROWS = "case,patient,image,label,split\na,P1,images/a.png,masks/a.png,train\nb,P2,images/b.png,masks/b.png,val\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "ab":
        pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
        save_png(tmp_path / "images" / f"{name}.png", pixels if name == "a" else 255 - pixels)
        save_png(tmp_path / "masks" / f"{name}.png", (pixels > 20).astype(np.uint8))
    take_notes()
    return tmp_path


def opened(root: Path, content: str | bytes) -> list[tuple[str, str, str, str]]:
    data = content if isinstance(content, bytes) else content.encode()
    (root / "manifest.csv").write_bytes(data)
    return [
        (case.id, case.patient, case.image[0].relative_to(root).as_posix(), case.split) for case in open_dataset(root).cases
    ]


WANTED = [("a", "P1", "images/a.png", "train"), ("b", "P2", "images/b.png", "val")]


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        "sep=;\r\n" + ROWS.replace(",", ";").replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
        ROWS.replace("\n", ";;\n").replace(",", ";"),
        ROWS.replace("\n", "\n\n") + ",,,,\n",
        ROWS.replace("case,patient,image", "Case, PATIENT ,Image"),
        ROWS.replace("a,P1,", " a ,P1  ,").replace(",train", ", Train"),
        b"\xef\xbb\xbf" + ROWS.encode(),
        b"\xff\xfe" + ROWS.replace(",", "\t").encode("utf-16-le"),
        b"\xfe\xff" + ROWS.replace(",", "\t").encode("utf-16-be"),
        ROWS.replace("images/a", "images\\a"),
        ROWS.replace("\n", ",\n"),
    ],
    ids=[
        *("plain", "semicolons", "tabs", "sep hint", "old Mac", "empty columns", "empty rows", "capitals", "spaces"),
        *("UTF-8 mark", "UTF-16", "UTF-16 BE", "backslashes", "last comma"),
    ],
)
def test_what_programs_write(root: Path, content: str | bytes) -> None:
    assert opened(root, content) == WANTED


def test_absolute_paths_inside_the_folder(root: Path) -> None:
    assert opened(root, ROWS.replace("images/", f"{root}/images/").replace("masks/", f"{root}/masks/")) == WANTED
    for away in ("/etc/passwd", "C:\\data\\a.png", "../a.png", f"{root}/../a.png"):
        with pytest.raises(DataError, match="leads out of the folder"):
            opened(root, ROWS.replace("images/a.png", away))


def test_channels_between_semicolons_in_quotation_marks(root: Path) -> None:
    opened(root, ROWS.replace(",", ";").replace("images/a.png", '"images/a.png; images/b.png"'))
    assert [path.name for path in open_dataset(root).cases[0].image] == ["a.png", "b.png"]


def test_rows_that_do_not_fit_are_named(root: Path) -> None:
    (root / "manifest.csv").write_text(ROWS + "c,P3,images/a.png\n\nd,P1,images/b.png,masks/b.png,train,more\n")
    lines = [problem.file.rpartition(":")[2] for problem in find_problems(root) if "as many fields" in problem.problem]
    assert lines == ["4", "6"]
    with pytest.raises(DataError, match="the column 'case' twice"):
        opened(root, ROWS.replace("patient", "Case"))
    with pytest.raises(DataError, match=r"manifest\.csv:1: has no column label"):
        opened(root, ROWS.replace("label", "lable"))


def test_text_that_is_not_utf8_says_how_to_save_it(root: Path) -> None:
    with pytest.raises(DataError, match="CSV UTF-8"):
        opened(root, ROWS.replace("P1", "Pé").encode("latin-1"))


def test_a_table_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    for content in (ROWS.encode(), b"\xff\xfe" + ROWS.encode("utf-16-le"), b'sep=;\r\nA;"b"\r\n01;"x;y"\r\n1e3;2'):
        (tmp_path / "t.csv").write_bytes(content)
        table = read_table(tmp_path / "t.csv", ["a", "b"] if b"sep" in content else ["case"], lambda problem: None)
        again = table.content(table.rows, {})
        assert again == content + b"\r\n" * (b"sep" in content)
    row = table.with_cells(table.rows[0], {"b": "z"})
    assert table.content([row, table.rows[1]], {"c": ["1", "2"]}) == b"sep=;\r\nA;b;c\r\n01;z;1\r\n1e3;2;2\r\n"


def test_spaces_around_names_do_not_count(tmp_path: Path) -> None:
    root = build_folder(tmp_path)
    save_json(root / "splits.json", {"train ": [f"case00{i} " for i in range(4)], "val": [" case004"], "test": ["case005"]})
    save_json(root / "dataset.json", {"patients": {"case000 ": "P01 ", "case001": "P01"}, "trusted": ["case002 "]})
    (tmp_path / "trusted.txt").write_text("case003 \n")
    cases = open_dataset(root, trusted=tmp_path / "trusted.txt").cases
    assert [case.patient for case in cases[:2]] == ["P01", "P01"]
    assert [case.trusted for case in cases] == [False, False, True, True, False, False]
    assert [case.split for case in cases] == ["train"] * 4 + ["val", "test"]


def test_names_of_two_unicode_forms_are_one(tmp_path: Path) -> None:
    root = build_folder(tmp_path)
    composed, decomposed = "é", unicodedata.normalize("NFD", "é")
    (root / "images" / "case000.png").rename(root / "images" / f"{decomposed}.png")
    (root / "masks" / "case000.png").rename(root / "masks" / f"{composed}.png")
    parts = {"train": [decomposed, "case001", "case002", "case003"], "val": ["case004"], "test": ["case005"]}
    save_json(root / "splits.json", parts)
    take_notes()
    assert open_dataset(root).cases[-1].id == composed
    assert any("Unicode" in said for said in take_notes())
    (root / "images" / f"{composed}.png").write_bytes((root / "images" / "case001.png").read_bytes())
    with pytest.raises(DataError, match="has the same name as"):
        open_dataset(root)


def test_a_manifest_may_name_a_file_in_another_unicode_form(tmp_path: Path) -> None:
    root = build_manifest(tmp_path, n=3, raters=1)
    (root / "images" / "scan0.png").rename(root / "images" / unicodedata.normalize("NFD", "é.png"))
    text = (root / "manifest.csv").read_text().replace("images/scan0.png", "images/é.png")
    (root / "manifest.csv").write_text(text)
    assert open_dataset(root).cases[0].image[0].is_file()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decisions_that_excel_saved_are_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    rows = ["Case,Number,Decision", "x,1,Accept", ",,", " =y ,2,reject"]
    path = tmp_path / "decisions.csv"
    path.write_bytes("\r\n".join([*rows, ""]).replace(",", delimiter).encode(encoding))
    told = read_decision_table(path, {("", "x", 1), ("", "=y", 2)})
    assert [(each.line, each.decision.key, each.decision.decision) for each in told] == [
        (2, ("", "x", 1), "accept"),
        (4, ("", "=y", 2), "reject"),
    ]


def test_a_table_with_a_null_character_is_damaged(root: Path) -> None:
    (root / "manifest.csv").write_text(ROWS.replace("patient", "pat\0ent"))
    with pytest.raises(DataError, match=r"manifest\.csv:1: holds a null character"):
        open_dataset(root)
