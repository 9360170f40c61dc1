"""Audits of labels with regions: each region as a data set of two classes would be, and all together."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audited_regions import ERRORS, heart_set
from tests.audits import contents
from tests.datasets import save_json, save_png
from tests.region_sets import REGIONS

from debride.api.auditing import audit_dataset
from debride.api.region_results import RegionsAuditResult
from debride.audit.findings import read_regions, region_folders
from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_values
from debride.types import DataError, Dataset, Region

QUICK: dict[str, Any] = {"planted": 4, "pictures": 3, "jobs": 1}


class Audited:
    """Twelve hearts, four with errors, and an audit of them."""

    def __init__(self, root: Path) -> None:
        self.root, self.maps = root, root / "maps"
        self.errors = heart_set(root, 12, list(ERRORS), 3)
        self.dataset: Dataset = open_dataset(root / "data")
        self.result = audit_dataset(self.dataset, root / "audit", predictions=self.maps, **QUICK)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return Audited(tmp_path_factory.mktemp("regions"))


def written(audit: Path) -> dict[str, bytes]:
    """What an audit wrote of its cases, whatever the data set is."""
    names = ("cases.csv", "scores.csv", "findings.jsonl", "proposals/")
    return {name: data for name, data in contents(audit).items() if name.startswith(names)}


def test_a_region_is_audited_as_a_data_set_of_two_classes(audited: Audited, tmp_path: Path) -> None:
    """Masks of the region alone, and maps of outside and inside, written by this test as a data set of its own."""
    for number, region in enumerate(REGIONS):
        root = tmp_path / region.name
        shutil.copytree(audited.root / "data" / "imagesTr", root / "data" / "imagesTr")
        for case in audited.dataset.cases:
            inside = np.isin(read_values(Path(str(case.label)))[0], region.classes)
            save_png(root / "data" / "labelsTr" / f"{case.id}.png", inside.astype(np.uint8))
        for file in sorted(audited.maps.rglob("*.npz")):
            with np.load(file) as arrays:
                maps = arrays["probabilities"][number]
            copy = root / "maps" / file.relative_to(audited.maps)
            copy.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(copy, probabilities=np.stack([1 - maps, maps]))
        description = json.loads((audited.root / "data" / "dataset.json").read_text())
        del description["regions_class_order"]
        save_json(root / "data" / "dataset.json", {**description, "labels": {"background": 0, region.name: 1}})
        audit_dataset(open_dataset(root / "data"), root / "audit", predictions=root / "maps", **QUICK)
        own = written(audited.root / "audit" / region.name)
        assert own == written(root / "audit") and own["findings.jsonl"], region.name


def test_the_result_has_the_audits_of_the_regions(audited: Audited) -> None:
    result = audited.result
    assert isinstance(result, RegionsAuditResult)
    assert list(result.regions) == ["heart", "left", "cavity"]
    assert result.regions["left"].out == result.out / "left"
    every = [row for audit in result.regions.values() for row in audit.ranking]
    assert len(result.ranking) == len(every) == 36
    assert [row["wrong"] for row in result.ranking] == sorted((row["wrong"] for row in every), reverse=True)
    flagged = {id for audit in result.regions.values() for id in audit.flagged}
    assert set(result.flagged) == flagged and result.summary["flagged"] == len(flagged)
    assert result.flagged_share == len(flagged) / 12
    assert len(result.findings) == sum(len(audit.findings) for audit in result.regions.values()) > 0
    assert result.share == max(audit.share for audit in result.regions.values() if not math.isnan(audit.share))
    said = "\n".join(result.said())
    assert all(f"{name}: 12 labels" in said for name in result.regions)
    assert result.pictures() and "left" in repr(result.to_pandas()["region"].tolist())


def test_the_page_leads_to_the_regions_and_lists_who_is_flagged(audited: Audited) -> None:
    page = audited.result.report.read_text()
    for name, audit in audited.result.regions.items():
        assert f'<a href="{name}/report.html">{name}</a>' in page and (audited.result.out / name / "report.html").is_file()
        assert audit.summary["share_in_words"] in page
        assert f'"region": "{name}"' in audit.report.read_text()  # which its decisions name
    assert all(f"<td>{id}</td>" in page for id in audited.result.flagged)
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page


def test_names_in_a_page_are_text(tmp_path: Path) -> None:
    heart_set(tmp_path, 6)
    description = json.loads((tmp_path / "data" / "dataset.json").read_text())
    labels = {"background": 0, "<b>": [1, 2, 3], "Left & <i>": [2, 3], "cavity": 3}
    save_json(tmp_path / "data" / "dataset.json", {**description, "labels": labels})
    result = audit_dataset(tmp_path / "data", tmp_path / "audit", without_predictions=True, jobs=1)
    assert isinstance(result, RegionsAuditResult)
    assert [entry.folder for entry in read_regions(result.out)] == ["b", "left-i", "cavity"]
    page = result.report.read_text()
    assert "&lt;b&gt;" in page and "Left &amp; &lt;i&gt;" in page and "<i>" not in page


def test_folders_of_regions_are_told_apart() -> None:
    names = ("Whole Heart", "whole-heart", "work", "Predictions", "***", "whole heart")
    folders = region_folders([Region(name, (1,), 1) for name in names])
    assert list(folders.values()) == ["whole-heart", "whole-heart-2", "work-2", "predictions-2", "region", "whole-heart-3"]


def test_one_that_is_cut_off_goes_on(audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in the second region; it ends as if it had not been, to the last byte."""
    from debride.audit import region_audits

    real, count = region_audits.audit_dataset, [0]

    def cut(*arguments: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(region_audits, "audit_dataset", cut)
    with pytest.raises(KeyboardInterrupt):
        audit_dataset(audited.dataset, tmp_path / "audit", predictions=audited.maps, **QUICK)
    assert not (tmp_path / "audit" / "report.html").exists()
    monkeypatch.undo()
    audit_dataset(audited.dataset, tmp_path / "audit", predictions=audited.maps, **QUICK)
    assert contents(tmp_path / "audit") == contents(audited.result.out)
    with pytest.raises(DataError, match="holds an audit already"):
        audit_dataset(audited.dataset, tmp_path / "audit", predictions=audited.maps, **QUICK)


def test_parts_and_an_audit_since_come_to_the_same(audited: Audited, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for number, looked in ((1, 18), (2, 36)):
        done = audit_dataset(audited.dataset, parts, predictions=audited.maps, shard=(number, 2), **QUICK)
        assert done.progress and (done.progress.cases, done.progress.looked) == (36, looked)
    audit_dataset(audited.dataset, parts, predictions=audited.maps, merge=True, **QUICK)
    assert contents(parts) == contents(audited.result.out)

    since = tmp_path / "since"
    again = audit_dataset(audited.dataset, since, predictions=audited.maps, since=audited.result.out, **QUICK)
    assert isinstance(again, RegionsAuditResult)
    for name in again.regions:
        assert again.regions[name].summary["since"]["unchanged"] == 12
        same = (since / name / "findings.jsonl", audited.result.out / name / "findings.jsonl")
        assert same[0].read_bytes() == same[1].read_bytes()
    with pytest.raises(DataError, match="is no audit by regions"):
        audit_dataset(audited.dataset, tmp_path / "x", predictions=audited.maps, since=audited.result.out / "left", **QUICK)


def test_masks_are_taken_and_the_command_line_says_what_it_found(
    audited: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", str(audited.root / "data"), "--predictions", str(audited.root / "right"), "--out", str(tmp_path / "a")]
    code = main([*words, "--jobs", "1", "--planted", "4", "--pictures", "0", "--fail-on", "0"])
    said = capsys.readouterr().out
    assert all(f"{name}: 12 labels" in said for name in ("heart", "left", "cavity"))
    words[words.index("--predictions") :] = ["--without-predictions", "--out", str(tmp_path / "b"), "--jobs", "1"]
    assert main(words) == 0 and str(tmp_path / "b" / "REGION" / "cases.csv") in capsys.readouterr().out
    assert code == int(bool(RegionsAuditResult(tmp_path / "a").flagged)) and f"debride repair {audited.root / 'data'}" in said
