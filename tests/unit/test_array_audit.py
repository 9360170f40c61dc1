"""``audit_labels`` on arrays: the same as the audit of a folder with the same arrays, from whatever holds them."""

from __future__ import annotations

import csv
import errno
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.audits import picture_set, probability_of, right_label, with_error
from tests.datasets import build_nnunet_3d, save_nifti

from debride.audit import AuditConfig, audit_labels
from debride.audit.findings import Finding
from debride.audit.from_arrays.array_case import probabilities
from debride.audit.from_arrays.label_audit import MaskAudit
from debride.audit.from_arrays.series import opened, place_of, scratch_folder, series_of
from debride.audit.passes import audit_dataset
from debride.audit.predictions import open_predictions
from debride.audit.predictions.nnunet_maps import soften
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label
from debride.types import Case, DataError, Dataset

CONFIG = AuditConfig(planted=10, pictures=2, least=0.01)


@dataclass(frozen=True)
class Both:
    """A folder's audit, and what it was of as arrays."""

    dataset: Dataset
    out: Path
    labels: list[Any]
    probabilities: list[Any]
    images: list[Any]
    spacing: list[Any]

    def arrays(self, **other: Any) -> MaskAudit:
        cases = self.dataset.cases
        about = {
            "images": self.images,
            "spacing": None if self.spacing[0] is None else self.spacing,
            "groups": [case.patient for case in cases],
            "annotated": [case.annotated for case in cases],
            "trusted": [case.trusted for case in cases],
            "ids": [case.id for case in cases],
            "classes": self.dataset.classes,
            "planted": CONFIG.planted,
            "pictures": CONFIG.pictures,
            "least": CONFIG.least,
            "jobs": 1,
        }
        given = {"labels": self.labels, "probabilities": self.probabilities, **about, **other}
        found = audit_labels(given.pop("labels"), given.pop("probabilities"), **given)
        assert isinstance(found, MaskAudit)
        return found


def audited(dataset: Dataset, root: Path, folder: Path | None) -> Both:
    """The audit of a data set by a folder of predictions, .npy, and its arrays."""
    labels, images, spacing = [], [], []
    for case in dataset.cases:
        assert case.label is not None
        label, geometry = read_label(case.label, dataset)
        labels.append(label)
        images.append(read_image(case.image)[0])
        spacing.append(geometry.spacing)
    probabilities = [np.load(folder / f"{case.id}.npy") for case in dataset.cases] if folder else []
    predictions = open_predictions(folder or root / "none", dataset, dataset.cases)
    audit_dataset(dataset, dataset.cases, predictions, root / "audit", CONFIG)
    return Both(dataset, root / "audit", labels, probabilities, images, spacing)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Pictures of two classes, a fourth of which have errors, two to a patient."""
    root = tmp_path_factory.mktemp("pictures")
    picture_set(root, n=16, size=32, every=4)
    dataset = open_dataset(root / "data")
    cases = tuple(replace(case, patient=f"p{at // 2}") for at, case in enumerate(dataset.cases))
    return audited(replace(dataset, cases=cases), root, root / "probability")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Volumes of three classes with a spacing; some labels are verified, and in some one class was drawn alone."""
    root, rng = tmp_path_factory.mktemp("volumes"), np.random.default_rng(0)
    dataset = open_dataset(build_nnunet_3d(root / "data", n=12, shape=(8, 24, 20), channels=1), val_fraction=0.0)
    folder = root / "probability"
    folder.mkdir()
    cases: list[Case] = []
    for at, case in enumerate(dataset.cases):
        if case.label is None:
            continue
        clean = read_label(case.label, dataset)[0]
        np.save(folder / f"{case.id}.npy", probability_of(clean, rng))
        if at % 3 == 2:
            wrong = np.where(clean == 1, 0, clean).astype(np.uint8) if at % 2 else np.roll(clean, 6, axis=2)
            save_nifti(case.label, wrong)
        cases.append(replace(case, trusted=at in (0, 1, 3), annotated=(2,) if at == 4 else None))
    return audited(replace(dataset, cases=tuple(cases)), root, folder)


def same_as_the_folder(found: MaskAudit, both: Both) -> None:
    """Compares what was found with the files of the folder's audit, to the digits that they have."""
    with (both.out / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [found.ids[at] for at in found.order] == [row["case"] for row in rows]
    for at, row in zip(found.order, rows, strict=True):
        shown = {
            "wrong": f"{found.wrong[at]:.6g}",
            "flagged": str(int(found.flagged[at])),
            "kind": found.kind[at],
            "findings": str(len(found.findings[at])),
            "doubts": "; ".join(found.doubts[at]),
            "score": f"{found.score[at]:.6g}",
            "dice": f"{found.dice[at]:.6g}" if not math.isnan(found.dice[at]) else "",
        }
        assert shown == {name: row[name] for name in shown}
    lines = (both.out / "findings.jsonl").read_text().splitlines()
    findings = [finding for at in found.order for finding in found.findings[at]]
    assert [json.loads(line) for line in lines] == json.loads(json.dumps([vars(finding) for finding in findings]))
    summary = json.loads((both.out / "audit.json").read_text())["summary"]
    own = json.loads(json.dumps(found.summary))
    about_networks = [line for line in summary["warnings"] if "whether the network was trained" in line]
    assert own.pop("warnings") == [line for line in summary.pop("warnings") if line not in about_networks]
    assert own == summary
    for at, id in enumerate(found.ids):
        if found.findings[at]:
            maps = np.load(both.out / "proposals" / f"{id}.npz")
            assert (found.numbers(at) == maps["number"]).all()
            label = both.labels[at]
            assert (found.proposed_label(at) == np.where(maps["number"] > 0, maps["proposed"], label)).all()
        else:
            assert not found.error_mask(at).any() and (found.proposed_label(at) == both.labels[at]).all()


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_arrays_are_audited_as_their_files(kind: str, request: pytest.FixtureRequest) -> None:
    both: Both = request.getfixturevalue(kind)
    found: MaskAudit = request.getfixturevalue("found") if kind == "pictures" else both.arrays()
    same_as_the_folder(found, both)
    assert any(found.findings)
    if kind == "volumes":
        assert "verified_bias" in found.summary and found.findings[2][0].volume is not None


def test_without_predictions(pictures: Both, tmp_path: Path) -> None:
    from debride.audit.predictions import NoPredictions

    audit_dataset(pictures.dataset, pictures.dataset.cases, NoPredictions(), tmp_path / "audit", CONFIG)
    found = pictures.arrays(probabilities=None)
    same_as_the_folder(found, replace(pictures, out=tmp_path / "audit"))


def test_images_that_show_nothing_are_as_none(pictures: Both) -> None:
    blank = pictures.arrays(images=[np.full(label.shape, 7.0) for label in pictures.labels], pictures=0)
    none = pictures.arrays(images=None)
    assert (blank.score == none.score).all() and blank.findings == none.findings and not none.pictures


def same(one: MaskAudit, other: MaskAudit) -> None:
    assert (one.score == other.score).all() and (one.wrong == other.wrong).all() and one.summary == other.summary
    assert one.findings == other.findings and one.pictures == other.pictures and one.doubts == other.doubts
    for at in range(len(one)):
        assert (one.numbers(at) == other.numbers(at)).all()


@pytest.fixture(scope="module")
def found(pictures: Both) -> MaskAudit:
    return pictures.arrays()


def yielded(arrays: Any) -> Iterator[Any]:
    yield from arrays


def test_whatever_holds_the_arrays(pictures: Both, found: MaskAudit, tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", np.stack(pictures.probabilities))
    maps = np.load(tmp_path / "maps.npy", mmap_mode="r")
    wide = (torch.tensor(np.where(label == 255, -100, label.astype(np.int64))) for label in pictures.labels)
    again = pictures.arrays(labels=wide, probabilities=maps, images=tuple(pictures.images), ignore_index=-100)
    same(again, found)
    worst = int(found.order[0])
    with pytest.raises(DataError, match=rf"labels\[{worst}\]: is not there any more. Give it again, as `label`"):
        again.proposed_label(worst)
    assert (again.proposed_label(worst, pictures.labels[worst]) == found.proposed_label(worst)).all()


def test_several_processes_find_the_same(
    pictures: Both, found: MaskAudit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some arrays lie in files, and some in memory."""
    monkeypatch.setattr("debride.execute.local.ALONE", 0.0)
    monkeypatch.setattr("debride.execute.local.QUICK", 10**6)
    np.save(tmp_path / "labels.npy", np.stack(pictures.labels))
    (tmp_path / "scratch").mkdir()
    labels = np.load(tmp_path / "labels.npy", mmap_mode="r")
    same(pictures.arrays(labels=labels, jobs=2, scratch=tmp_path / "scratch"), found)
    assert not list((tmp_path / "scratch").iterdir())


class Items:
    """What reads an array when it is asked for, as data sets of other libraries do."""

    def __init__(self, arrays: Any) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, at: int) -> Any:
        return self._arrays[at]


HOLDERS: dict[str, Any] = {
    "items": Items,
    "list": list,
    "tuple": tuple,
    "array": np.stack,
    "tensor": lambda arrays: torch.tensor(np.stack(arrays)),
    "tensors": lambda arrays: [torch.tensor(array) for array in arrays],
    "generator": yielded,
    "half precision": lambda arrays: torch.tensor(np.stack(arrays)).bfloat16(),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_series_reads_one_array_at_a_time(holder: str) -> None:
    arrays = [np.full((2, 3), float(at)) for at in range(4)]
    with scratch_folder() as scratch:
        series = series_of("maps", HOLDERS[holder](arrays), scratch)
        assert len(series) == 4
        for at, array in enumerate(arrays):
            assert (series.read(at) == array).all()
            place, file = series.place(at, scratch)
            assert (file is None) == (holder == "generator")
            assert (opened(json.loads(json.dumps(place))) == array).all()
        assert (series.together() == np.stack(arrays)).all()
    with pytest.raises(DataError, match="cannot be read"):
        opened(place)


def test_where_a_part_of_a_memory_map_lies(tmp_path: Path) -> None:
    whole = np.arange(4000, dtype=np.int16).reshape(10, 20, 20)
    np.save(tmp_path / "whole.npy", whole)
    whole.tofile(tmp_path / "raw")
    for mapped, expected in (
        (np.load(tmp_path / "whole.npy", mmap_mode="r"), whole),
        (np.load(tmp_path / "whole.npy", mmap_mode="r")[3:][::2], whole[3:][::2]),
        (np.memmap(tmp_path / "raw", np.int16, "r", 4000, (5, 20, 20)), whole[5:]),
        (np.memmap(tmp_path / "raw", np.int16, "r+", 800, (9, 20, 20))[2:], whole[3:]),
    ):
        for array, right in zip(mapped, expected, strict=True):
            place = place_of(np.asarray(array))
            assert place is not None and (opened(place) == right).all()
    changed = np.load(tmp_path / "whole.npy", mmap_mode="c")
    changed[0] = 7
    assert place_of(changed[0]) is None and place_of(whole[0]) is None
    assert place_of(np.load(tmp_path / "whole.npy", mmap_mode="r")[:, :, 0]) is None


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="cannot be written"):
        audit_labels((MASK for _ in range(2)), [GOOD, GOOD])


def test_predictions_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    foreground = rng.random((9, 8)).astype(np.float32)
    maps = np.stack([1 - foreground, foreground])
    ids = maps.argmax(0)
    for given in (maps, maps.astype(np.float64), foreground, foreground[None]):
        np.testing.assert_allclose(probabilities("p", given, (9, 8), 2, 255), maps, atol=1e-6)
    soft = soften(ids.astype(np.uint8), 2)
    one_hot = np.stack([ids == 0, ids == 1])
    for mask in (ids, ids.astype(np.uint8), ids == 1, one_hot, one_hot.astype(np.float32)):
        np.testing.assert_array_equal(probabilities("p", mask, (9, 8), 2, 255), soft)
    unknown = np.where(foreground < 0.1, -1, ids)
    assert (probabilities("p", unknown, (9, 8), 2, -1)[:, foreground < 0.1] == 0.5).all()


def test_sizes_may_differ_and_the_foreground_of_two_classes_is_enough() -> None:
    rng = np.random.default_rng(0)
    labels, maps = [], []
    for at in range(16):
        clean = right_label(rng, (32, 30 + at))
        background = probability_of(clean, rng)[0]
        maps.append(np.stack([background, 1 - background]))
        labels.append((with_error(clean, "shift") if at == 3 else clean) > 0)
    found, alone = (audit_labels(labels, given, planted=8, jobs=1) for given in (maps, [each[1] for each in maps]))
    assert isinstance(found, MaskAudit) and isinstance(alone, MaskAudit)
    assert found.order[0] == 3 and found.error_mask(3).shape == (32, 33)
    assert found.classes == ("0", "1") and found.ids[3] == "3"
    np.testing.assert_allclose(alone.score, found.score, rtol=1e-3)


def test_it_shows_itself(pictures: Both) -> None:
    found = pictures.arrays(ids=[f"<{at}>" for at in range(16)])
    assert repr(found).startswith("MaskAudit of 16 labels: ") and found.suggestion in repr(found)
    page = found._repr_html_()
    assert "&lt;" in page and "<0>" not in page and "data:image/png;base64," in page and page.count("<tr>") == 17
    table = found.to_pandas()
    assert list(table["place"]) == found.order.tolist() and (table["flagged"] == found.flagged[found.order]).all()
    worst = int(found.order[0])
    finding: Finding = found.findings[worst][0]
    assert found.error_mask(worst).sum() >= finding.voxels == (found.numbers(worst) == 1).sum()
    assert not found.error_mask(worst, least=1.1).any()
    assert (found.proposed_label(worst, accept=lambda finding: False) == pictures.labels[worst]).all()


GOOD = np.stack([np.full((6, 6), 0.75), np.full((6, 6), 0.25)])
MASK = np.eye(6, dtype=np.uint8)


@pytest.mark.parametrize(
    ("labels", "maps", "options", "message"),
    [
        ([], [], {}, "`labels`: are none"),
        ([MASK, MASK], [GOOD], {}, "`probabilities`: are 1 for 2 labels"),
        ([MASK, MASK + 9], [GOOD, GOOD], {}, r"labels\[1\]: has class ids from 0 to 10. Use 0 to 1, and 255"),
        ([MASK, MASK * 0.5], [GOOD, GOOD], {}, r"labels\[1\]: holds float64. Give class ids"),
        ([MASK[0], MASK[0]], [GOOD, GOOD], {}, r"labels\[0\]: has shape \(6,\). Give masks"),
        ([MASK, MASK[None]], [GOOD, GOOD], {}, r"labels\[1\]: has shape \(1, 6, 6\). Give masks \(H, W\), like the first"),
        ([MASK], [np.moveaxis(GOOD, 0, -1)], {}, r"its classes come last. Give numpy.moveaxis\(array, -1, 0\)"),
        ([MASK, MASK], [GOOD, np.moveaxis(GOOD, 0, -1)], {}, r"probabilities\[1\]: .* classes come last. Give numpy.moveaxis"),
        ([MASK, MASK], [GOOD, GOOD[:, :5]], {}, r"probabilities\[1\]: has shape \(5, 6\), its label \(6, 6\)"),
        ([MASK, MASK], [GOOD, GOOD * 4], {}, r"probabilities\[1\]: holds numbers from 1 to 3, which are logits"),
        ([MASK, MASK], [GOOD, GOOD * np.nan], {}, r"probabilities\[1\]: holds numbers that are NaN"),
        ([MASK, MASK], [GOOD, GOOD / 2], {}, r"probabilities\[1\]: has pixels whose probabilities sum to 0.5"),
        ([MASK, MASK], [MASK, MASK], {}, r"probabilities\[0\]: has class ids, which do not say how many"),
        ([MASK, MASK], [MASK, MASK * 2], {"classes": 2}, r"probabilities\[1\]: has class ids from 0 to 2"),
        ([MASK], [GOOD], {"classes": ["a"]}, "`classes`: are"),
        ([MASK], [GOOD], {"ids": ["a", "b"]}, "`ids`: are 2 for 1 labels"),
        ([MASK, MASK], [GOOD, GOOD], {"ids": ["a", "a"]}, "`ids`: have 'a' for two cases"),
        ([MASK], [GOOD], {"groups": [None]}, r"groups\[0\]: is None. Give a case whose patient is not known a group"),
        ([MASK], [GOOD], {"groups": [np.nan]}, r"groups\[0\]: is nan"),
        ([MASK], [GOOD], {"groups": "a"}, "`groups`: is 'a'"),
        ([MASK], [GOOD], {"classes": "ab"}, "`classes`: is 'ab'. Give the number of classes"),
        ([MASK, MASK], [GOOD, GOOD], {"trusted": [1, 1]}, "`trusted`: names a case twice"),
        ([MASK], [GOOD], {"annotated": [1]}, r"annotated\[0\]: is 1. Give a list"),
        ([MASK], [GOOD], {"spacing": 1.0}, "`spacing`: is .* for 2 axes"),
        ([MASK * 255, MASK * 0], [GOOD, GOOD], {}, "labels: have no class .*, and 255, .* divide masks of 0 and 255 by 255"),
        ([MASK], [GOOD], {"groups": []}, "`groups`: are 0 for 1 labels"),
        ([MASK], [GOOD], {"annotated": [[2]]}, r"annotated\[0\]: is \[2\]. Give class ids from 0 to 1"),
        ([MASK], [GOOD], {"trusted": [3]}, "`trusted`: names cases that there are not"),
        ([MASK], [GOOD], {"spacing": (1, 2, 3)}, "`spacing`: is .* for 2 axes"),
        ([MASK, MASK], [GOOD, GOOD], {"spacing": [(1, 2)]}, "`spacing`: are 1 for 2 labels"),
        ([MASK], [GOOD], {"images": [np.zeros((3, 3))]}, r"images\[0\]: has shape \(3, 3\), its label \(6, 6\)"),
        ([MASK], [GOOD], {"jobs": 0}, "`jobs`: is 0"),
        ([MASK], [GOOD], {"least": 2}, "audit_labels: least: is 2"),
        ([MASK], [GOOD], {"scratch": "/nowhere/at/all"}, "`scratch`: is /nowhere/at/all, which is no folder"),
        ("mask", [GOOD], {}, "`labels`: are no arrays"),
        (5, [GOOD], {}, "`labels`: are int"),
    ],
)
def test_what_cannot_be_used_is_refused(labels: Any, maps: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        audit_labels(labels, maps, **{"jobs": 1, **options})
