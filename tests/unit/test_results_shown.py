"""Results show themselves: in a line, in a notebook with all text escaped, and as a table of pandas."""

from __future__ import annotations

import base64
import io
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder, build_npz, save_json

import debride
from debride.api.audit_results import AuditResult
from debride.api.notebook import ROWS, html
from debride.api.result import Result, table
from debride.api.training_results import TrainResult
from debride.files import write_csv
from debride.types import DataError


def test_a_page_has_no_markup_of_others_and_loads_nothing() -> None:
    rows = [{"<b>": "<script>alert(1)</script>", "n": 1 / 3, "empty": None, "\x1b[31m": "a"}]
    page = html(["<i>", "two"], rows, [("<u>", b"png")])
    assert not any(mark in page for mark in ("<script", "<i>", "<b>", "<u>", "http", "\x1b"))
    assert "&lt;script&gt;" in page and "0.3333" in page and "empty" not in page
    assert f'src="data:image/png;base64,{base64.b64encode(b"png").decode()}"' in page


def test_a_long_table_is_cut_and_says_so() -> None:
    page = html([], [{"n": n} for n in range(ROWS + 3)])
    assert page.count("<tr>") == ROWS + 1 and "and 3 more rows" in page
    assert "<table" not in html(["x"], [])


def test_a_result_is_its_folder(tmp_path: Path) -> None:
    assert Path(Result(tmp_path)) == tmp_path and (Path(Result(tmp_path)) / "x").parent == tmp_path
    assert repr(Result(Path("a\nb"))) == r"Result('a\nb')"


def test_a_result_whose_folder_is_gone_has_a_line(tmp_path: Path) -> None:
    for cls in (AuditResult, TrainResult):
        assert repr(cls(tmp_path / "gone")) == f"{cls.__name__}('{tmp_path / 'gone'}')"
    with pytest.raises(DataError, match="holds no audit that is done"):
        AuditResult(tmp_path).summary  # noqa: B018


def test_a_table_is_read_as_text_and_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("case", "n", "x"), [("=1+1", 3, 0.5), ("007", "", "nan")])
    first, second = table(tmp_path / "t.csv", ("n", "x"))
    assert first == {"case": "=1+1", "n": 3, "x": 0.5}
    assert (second["case"], second["n"]) == ("007", None) and math.isnan(second["x"])


def test_pandas_has_the_rows_and_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = debride.check_dataset(build_folder(tmp_path / "data"))
    save_json(tmp_path / "data" / "splits.json", {"train": ["nobody"]})
    wrong = debride.check_dataset(tmp_path / "data")
    frame = wrong.to_pandas()
    assert list(frame.columns) == ["file", "problem", "remedy"] and len(frame) == len(wrong.problems) > 0
    assert len(checked.to_pandas()) == 0
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"^pandas: is not installed. Install it by `pip install debride\[tables\]`"):
        wrong.to_pandas()


@pytest.mark.parametrize("build", [build_folder, build_npz])
def test_a_data_set_shows_itself(build: Any, tmp_path: Path) -> None:
    dataset = debride.open_dataset(build(tmp_path / "da<ta"))
    page = dataset._repr_html_()
    assert page and "<th" in page and "da&lt;ta" in page and "da<ta" not in page
    assert f">{len(dataset.of('train'))}</td>" in page
    assert repr(dataset).startswith("Dataset('") and f"{len(dataset.of('train'))} train" in repr(dataset)


TINY = {"epochs": 1, "network": "unet-small", "width": 2, "device": "cpu", "log_to": (), "batch_size": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images, of which one has a label that lies elsewhere; masks without that error."""
    root = build_folder(tmp_path_factory.mktemp("shown") / "data", n=10, size=32)
    shutil.copytree(root / "masks", root.parent / "masks")
    mask = root / "masks" / "case001.png"
    Image.fromarray(np.roll(np.asarray(Image.open(mask)), 14, axis=0)).save(mask)
    return root


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        return picture.size


def test_an_audit_shows_its_ranking_and_its_first_findings(data: Path, tmp_path: Path) -> None:
    audit = debride.audit_dataset(data, tmp_path / "audit", predictions=data.parent / "masks", jobs=1)
    first = audit.ranking[0]
    assert (first["rank"], first["case"]) == (1, "case001") and 0 < first["wrong"] <= 1
    assert audit.flagged == [row["case"] for row in audit.ranking if row["flagged"] is True]
    assert audit.flagged_share == len(audit.flagged) / len(audit.ranking)
    assert len(audit.to_pandas()) == audit.summary["cases"] == len(audit.ranking)
    kinds = {type(row[name]) for row in audit.rows() for name in ("flagged", "trusted")}
    assert kinds == {bool} and {row["seen"] for row in audit.rows()} == {None}
    frame = audit.to_pandas()
    assert list(frame[frame["flagged"]]["case"]) == audit.flagged
    (rows, columns) = audit.findings[0].box
    assert 0 <= rows[0] < rows[1] <= 32 and 0 <= columns[0] < columns[1] <= 32
    assert {finding.case for finding in audit.findings} == {"case001"} and audit.report.is_file()
    shown = audit.pictures()
    assert 0 < len(shown) <= 4 and all(about.startswith("case001: ") and size_of(png)[0] > 100 for about, png in shown)
    assert audit._repr_html_().count("<img") == len(shown) and repr(audit).startswith(f"AuditResult('{audit.out}', ")
    assert audit.interval[0] <= audit.interval[1] and (math.isnan(audit.share) or 0 <= audit.share <= 1)
    repaired = debride.repair_dataset(data, audit, tmp_path / "new", accept="all", allow_removal=True, jobs=1)
    assert len(repaired.rows()) == len(audit.findings) == repaired.summary["applied"]
    with pytest.raises(DataError, match=r"^`reverse`: takes all repairs back"):
        debride.repair_dataset(data, audit, tmp_path / "x", reverse=True)
    with pytest.raises(DataError, match=r"^`audit`: is missing"):
        debride.repair_dataset(data, None, tmp_path / "x")


def test_a_training_and_its_masks_show_themselves(data: Path, tmp_path: Path) -> None:
    run = debride.train("ce", data, tmp_path / "run", image_size=(16, 16), **TINY)
    assert run.best_epoch == 1 and run.summary["method"] == "ce" and run.calibration is None
    [row] = run.rows()
    assert row["epoch"] == 1 and {"learning_rate", "val_dice"} <= set(row) and any(name.startswith("train_") for name in row)
    [(about, curve)] = run.pictures()
    assert "Validation" in about and size_of(curve)[0] > 300
    dataset = debride.open_dataset(data)
    for source, images in ((dataset, dataset.of("test")), (data / "images", dataset.cases)):
        masks = debride.predict(run, source, tmp_path / type(source).__name__, jobs=1)
        assert set(masks.masks) == {case.id for case in images} and len(masks.rows()) == masks.count == len(images)
        shown = masks.pictures()
        assert [about for about, _ in shown] == [case.id for case in images][:3]
        assert all(size_of(png)[0] > 100 for _, png in shown) and masks._repr_html_().count("<img") == len(shown)
    measured = debride.evaluate(tmp_path / "Dataset", dataset, tmp_path / "measured", jobs=1)
    assert 0 <= measured.rows()[0]["dice"] <= 1 and measured.rows()[0]["case"] in masks.masks
    assert "dice" in measured.said()[0] and measured.markdown.startswith("# Evaluation")
    with pytest.raises(DataError, match="is given beside a data set that is open"):
        debride.predict(run, dataset, tmp_path / "x", fold=1)


def test_an_open_data_set_of_another_kind_is_refused(data: Path, tmp_path: Path) -> None:
    run = debride.train("ce", data, tmp_path / "run", image_size=(16, 16), **TINY)
    classes = debride.open_dataset(build_npz(tmp_path / "classes", n=12))
    with pytest.raises(DataError, match="is for classification, and the run for segmentation"):
        debride.predict(run, classes, tmp_path / "x")


def test_classes_go_the_whole_way(tmp_path: Path) -> None:
    root = build_npz(tmp_path / "data", n=48)
    run = debride.train("ce", root, tmp_path / "run", **{**TINY, "network": "cnn"})
    assert "val_accuracy" in run.rows()[0]
    dataset = debride.open_dataset(root)
    classes = debride.predict(run, dataset, tmp_path / "p", splits=["train", "val"], jobs=1)
    assert classes.masks == {} and classes.pictures() == []
    row = classes.rows()[0]
    assert row["class"] in dataset.classes and 0 <= row[f"probability_{dataset.classes[0]}"] <= 1
    measured = debride.evaluate(classes, dataset, tmp_path / "m", splits=["train", "val"], jobs=1)
    assert measured.rows()[0]["predicted"] in dataset.classes and len(measured.pictures()) == 1
    audit = debride.audit_dataset(dataset, tmp_path / "audit", predictions=tmp_path / "p", jobs=1)
    assert audit.ranking[0]["given"] in dataset.classes and len(audit.ranking) == classes.count
    assert audit.summary["share_in_words"] in audit.said()[0]
    with pytest.raises(DataError, match=r"^`shard`: is for masks"):
        debride.audit_dataset(dataset, tmp_path / "x", predictions=tmp_path / "p", shard=(1, 2))
    noisy = debride.corrupt_dataset(dataset, tmp_path / "noisy", "symmetric", set={"rate": 0.5}, jobs=1)
    assert "classes changed by symmetric" in noisy.said()[0] and noisy.rows()[0]["case"]
    with pytest.raises(DataError, match=r"^`dice`: is for segmentation"):
        debride.corrupt_dataset(dataset, tmp_path / "x", "symmetric", dice=0.5)


def test_what_was_left_out_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = debride.train("ce", data, tmp_path / "run", image_size=(16, 16), **TINY)
    shutil.copytree(data / "images", tmp_path / "images")
    (tmp_path / "images" / "case003.png").write_bytes(b"\x89PNG broken")
    masks = debride.predict(run, tmp_path / "images", tmp_path / "masks", keep_going=True, jobs=1)
    assert (masks.count, len(masks.left_out)) == (9, 1) and masks.said() == ["9 masks", "1 left out, see left_out.csv"]
    dataset = debride.open_dataset(data, trusted=["case000", "case002"])
    capsys.readouterr()
    calibration = debride.calibrate(run, dataset)
    said = capsys.readouterr().err
    assert calibration.calibrated.warnings and all(
        f"debride: warning: {each}" in said for each in calibration.calibrated.warnings
    )
    assert calibration.said()[-1].startswith(f"{run.out / 'calibration.json'}: ") and calibration.count is None
