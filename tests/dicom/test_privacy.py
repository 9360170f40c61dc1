"""Nothing that debride writes or prints of an archive names a person, but what lies in ``pseudonyms/``, and DICOM itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from tests.dicom_labels_made import make_seg
from tests.dicom_made import HILDEGARD, make_series
from tests.dicom_studies import fix_key, make_archive, make_study, phantom, save_segments
from tests.dicom_workflow import SMALL, Workflow, write_right_labels
from tests.identity_grep import identity_in, identity_said
from tests.review_client import PORT, TOKEN, Client

from debride.api.datasets import open_dataset
from debride.data.dicom.handles import FOLDER
from debride.data.dicom.pseudonyms import key_of
from debride.review.desk import Desk
from debride.review.opened import Reader, open_review
from debride.review.server import app

pytestmark = pytest.mark.slow

STUDIES = "studies"

WRONG = ("--noise", "shift", "--share", "0.6", "--set", "smallest=4", "largest=6")
"""Errors that an audit finds."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workflow]:
    """Every verb, one after the other: takes half a minute."""
    work = Workflow(tmp_path_factory.mktemp("private"))
    with pytest.MonkeyPatch.context() as patch:
        (work / "temporary").mkdir()
        patch.setenv("DEBRIDE_CACHE", str(work / "cache"))
        patch.setenv("TMPDIR", str(work / "temporary"))
        patch.setattr("tempfile.tempdir", str(work / "temporary"))
        make_archive(work / STUDIES, 6, shape=(4, 24, 24), segments=False)
        first_looks(work)
        train_and_predict(work)
        audit_and_repair(work)
        review(work)
        bench(work)
        yield work


def first_looks(work: Workflow) -> None:
    work.run("check", work / STUDIES, code=1)
    work.run("train", "ce", work / STUDIES, "--out", work / "none", code=2)
    fix_key(work / STUDIES)
    work.run("check", work / STUDIES, "--write-segments")
    save_segments(work / STUDIES)
    work.run("check", work / STUDIES, "--depth", "all", "--jobs", "2")
    work.run("check", work / STUDIES, "--write-checksums", code=2)
    work.run("choose", work / STUDIES, "--count", "2", "--out", work / "chosen.txt")
    work.run("corrupt", work / STUDIES, work / "noisy", *WRONG, "--jobs", "2")


def train_and_predict(work: Workflow) -> None:
    work.run("train", "ce", work / "noisy", "--out", work / "run", "--cache", work / "cache", *SMALL)
    work.run("train", "ce", work / STUDIES, "--out", work / "run2", *SMALL)
    work.run("predict", work / "run", work / STUDIES, "--out", work / "predicted", "--splits", "train", "val")
    work.run("evaluate", work / "predicted", work / STUDIES, "--out", work / "evaluated", "--splits", "train", "val")
    work.run("export", work / "run", "--to", "torchscript", "--out", work / "exported")
    work.run("runs", work / "run", work / "run2", "--out", work / "compared")
    chosen = ("--trusted", work / "chosen.txt")
    work.run("calibrate", work / "run", work / STUDIES, *chosen)


def audit_and_repair(work: Workflow) -> None:
    write_right_labels(work / STUDIES, work / "right")
    work.run("audit", work / "noisy", "--predictions", work / "right", "--out", work / "audit", "--jobs", "2")
    work.run("audit", work / "noisy", "--predictions", work / "predicted", "--out", work / "audit2")
    work.run("audit", work / "noisy", "--without-predictions", "--out", work / "look")
    rule = ("--accept", "all", "--allow-removal")
    work.run("repair", work / "noisy", work / "audit", "--out", work / "repaired", *rule)
    work.run("repair", work / "noisy", work / "audit", "--out", work / "ignored", "--to", "ignore", *rule, code=2)
    work.run("changes", work / "repaired", "--out", work / "changes")
    work.run("repair", work / "repaired", "--reverse", "--out", work / "reversed")
    assert (work / "repaired" / "repairs.jsonl").read_text().strip()


def review(work: Workflow) -> None:
    """Asks the pages of a review for everything they have, decides, and exports for every program."""
    audit, dataset = work / "audit", open_dataset(work / "noisy")
    client = Client(app(Desk(open_review(audit, dataset, Reader("ada"))), TOKEN, PORT))
    asked = ["", "api/about", "api/items", "api/counts", "api/agreement"]
    for place in (1, 2):
        asked += [f"api/items/{place}{each}" for each in ("", "/picture.png", "/part", "/part?part=whole", "/part?part=slice")]
        asked += [f"api/items/{place}/layer/{what}" for what in ("image", "label", "proposal", "numbers", "given")]
    asked += ["api/items/99999", "static/../../key", "api/items/1/layer/nothing"]
    answers = {path: client.get(path) for path in asked}
    assert answers["api/items/1/picture.png"].status == answers["api/items/1/layer/image"].status == 200
    for path, answer in answers.items():
        said = answer.body.decode("latin-1") + json.dumps(answer.headers)
        work.said.append((f"GET {path}", said))
    told = {"decision": "accept", "comment": "", "sent": "one"}
    assert client.post("api/items/1/decision", told).status == 200
    for program in ("slicer", "itk-snap", "csv"):
        work.run("review", audit, "--export", work / f"for-{program}", "--as", program)
    work.run("review", audit, "--export", work / "for-coco", "--as", "coco", code=2)
    work.run("review", audit, "--reader", "bob", "--import", work / "for-slicer")
    work.run("repair", work / "noisy", audit, "--out", work / "reviewed", "--decisions", audit / "review.db")


def bench(work: Workflow) -> None:
    grid = {
        "name": "small",
        "datasets": {"mr": {"path": str(work / STUDIES), "test_fraction": 0.3}},
        "noises": {"S_DE": {"noise": "dilate-erode", "dice": 0.6}},
        "methods": {"ce": None},
        "training": {"epochs": 1, "network": "unet-small", "width": 4, "batch_size": 2},
        "cells": [{"methods": ["ce"]}],
    }
    (work / "grid.yaml").write_text(yaml.safe_dump(grid))
    work.run("bench", work / "grid.yaml", "--out", work / "bench")


def beside_the_rule(work: Workflow, path: Path) -> bool:
    """What may hold identity: folders of pseudonyms, the archive, and DICOM in copies and among predictions."""
    if path.name == FOLDER and path.is_dir():
        return True
    if path.parent == work / STUDIES:
        return path.name not in ("segments.json", "splits.json", "B2SUMS")
    return path.suffix == ".dcm" and path.is_file() and "cache" not in path.parts and "temporary" not in path.parts


def test_no_file_names_anyone(done: Workflow) -> None:
    assert identity_in(done.root, but=lambda path: beside_the_rule(done, path)) == []


def test_no_message_and_no_answer_names_anyone(done: Workflow) -> None:
    assert len(done.said) > 30
    assert [(line, found) for line, text in done.said if (found := identity_said(text))] == []


def test_the_key_is_nowhere_else(done: Workflow) -> None:
    key = key_of(done / STUDIES)
    assert key is not None
    hidden = [key.hex(), key.decode("latin-1")]

    assert identity_in(done.root, but=lambda path: path.name == "key", planted=hidden) == []
    for file in done.root.rglob(f"{FOLDER}/key"):
        assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
        assert key_of(file.parents[1]) == key


def test_the_search_sees_what_was_written(done: Workflow) -> None:
    """It finds the identity that there is, so that finding none elsewhere says something."""
    for place in (f"noisy/{FOLDER}", "noisy/images", "noisy/labels", "predicted"):
        assert identity_in(done / place), place
    masks = list((done / "predicted").rglob("*.dcm"))
    assert len(masks) == 6
    assert {str(pydicom.dcmread(path).PatientName) for path in masks} >= {HILDEGARD.name}


def test_copies_have_the_same_pseudonyms(done: Workflow) -> None:
    ids = [case.id for case in open_dataset(done / STUDIES).cases]
    for copy in ("noisy", "repaired", "reviewed", "bench/data/mr/S_DE"):
        folder = done / copy
        folder = folder if (folder / "segments.json").is_file() else next(folder.iterdir())
        assert [case.id for case in open_dataset(folder).cases] == ids


def test_refusals_of_broken_files_name_nobody(done: Workflow, tmp_path: Path) -> None:
    """Each broken archive is refused, and what is said names neither person nor file of the archive."""
    work = Workflow(tmp_path)
    for name, change in BROKEN.items():
        root = tmp_path / name.replace(" ", "-")
        make_archive(root, 2, shape=(4, 16, 16))
        change(root)
        said = work.run("check", root, "--depth", "all", code=1)
        said += work.run("train", "ce", root, "--out", tmp_path / "run", *SMALL, code=2)
        assert said and not identity_said(said), said
    assert identity_in(tmp_path, but=lambda path: path.is_dir() and path.parent == tmp_path) == []
    root = tmp_path / "a-slice-that-is-cut-off"
    named = work.run("check", root, "--show-identity", code=1)
    assert slices_of(root)[0].relative_to(root).as_posix() in named


def slices_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob(f"*_{HILDEGARD.studied}") if path.is_file())


def labels_of(root: Path) -> list[Path]:
    return sorted(root.rglob("umrisse_*"))


def _cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _retag(path: Path, **changes: object) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def _overlap(root: Path) -> None:
    import numpy as np

    study = make_study(root, 0, shape=(4, 16, 16))
    whole = np.ones(study.label.shape, bool)
    make_seg(study.series, {"Heart": whole, "Lesion": whole}, study.file)


def _foreign(root: Path) -> None:
    study = make_study(root, 0, shape=(4, 16, 16))
    make_seg(study.series, {"Heart": study.label == 1, "Spleen": study.label == 2}, study.file)


def _lose_one(root: Path) -> None:
    for path in slices_of(root):
        if int(pydicom.dcmread(path).InstanceNumber) == 4:
            path.unlink()
            return
    raise AssertionError


BROKEN = {
    "a slice that is cut off": lambda root: _cut(slices_of(root)[0], 0.2),
    "a label that is cut off": lambda root: _cut(labels_of(root)[0]),
    "a slice missing": _lose_one,
    "two patients in a series": lambda root: _retag(slices_of(root)[0], PatientID="SOMEONE"),
    "another size": lambda root: _retag(slices_of(root)[0], Rows=12),
    "a position that is none": lambda root: _retag(slices_of(root)[0], ImagePositionPatient=["1", "nan", "3"]),
    "segments that overlap": _overlap,
    "a segment of no class": _foreign,
    "a label without its series": lambda root: shutil.rmtree(slices_of(root)[0].parent),
}
"""How an archive of two studies can be broken."""


def test_unlabelled_series_name_nobody(tmp_path: Path) -> None:
    """Descriptions of series hold names too."""
    work = Workflow(tmp_path)
    voxels, _ = phantom(np.random.default_rng(0), (3, 16, 16))
    make_series(tmp_path / STUDIES / "x", voxels, name="T1 Zwiebelkuchen 17.04.2019")
    work.run("check", tmp_path / STUDIES, code=1)
    work.run("check", tmp_path / STUDIES, "--write-segments", code=1)
    assert not identity_said(*(text for _, text in work.said))
