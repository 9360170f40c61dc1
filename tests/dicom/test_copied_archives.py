"""Copies of archives with other labels: the same cases, the voxels that were wanted, and no name of the archive's files."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import PEOPLE, PLANTED, Series, make_picture, make_series
from tests.dicom_studies import make_archive, phantom, save_segments

from debride.audit.raters import write_consensus
from debride.audit.repair.destination import with_ignore
from debride.data.copy import copy_dataset
from debride.data.dicom.pseudonyms import make_key
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.masks.predicted import read_predicted
from debride.data.open import open_dataset
from debride.data.pixels.images import files_of, label_path, read_image, read_label, write_label
from debride.noise import make_noise
from debride.notes import take_notes
from debride.types import Case, DataError, Dataset, Geometry

Label = npt.NDArray[np.uint8]
Change = Callable[[Case, Label, Geometry], Label]


def series(folder: Path, at: int, **how: Any) -> tuple[Series, Label]:
    """A series of one person, and its label."""
    voxels, label = phantom(np.random.default_rng(at), (4, 16, 16))
    return make_series(folder, voxels, person=PEOPLE[at], stored=12, **how), label


def masks(label: Label, **more: Label) -> dict[str, Any]:
    """The segments of a label."""
    return {"Heart": label == 1, "Lesion": label == 2, **more}


def archive(root: Path, **entries: Any) -> Path:
    """An empty archive with a key."""
    save_segments(root, **entries)
    make_key(root)
    return root


def scrambled(wanted: dict[str, Label], spared: int = 1) -> Change:
    """Changes all labels at random, but for so many, and keeps what it made of each."""
    rng = np.random.default_rng(0)

    def change(case: Case, label: Label, geometry: Geometry) -> Label:
        if len(wanted) < spared:
            wanted[case.id] = label
            return label
        values = np.unique(label)
        wanted[case.id] = np.where(rng.random(label.shape) < 0.2, rng.choice(values, label.shape), label).astype(np.uint8)
        return wanted[case.id]

    return change


def copied(root: Path, out: Path, spared: int = 1) -> tuple[Dataset, Dataset]:
    """An archive and a copy with other labels, which was compared with it."""
    dataset, wanted = open_dataset(root), dict[str, Label]()
    copy_dataset(dataset, out, scrambled(wanted, spared))
    take_notes()
    copy = open_dataset(out)
    assert (copy.classes, copy.regions, copy.ndim) == (dataset.classes, dataset.regions, dataset.ndim)
    for old, new in zip(dataset.cases, copy.cases, strict=True):
        assert (old.id, old.split, old.patient, old.rater) == (new.id, new.split, new.patient, new.rater)
        assert (old.trusted, old.annotated, old.groups) == (new.trusted, new.annotated, new.groups)
        (one, place), (other, same) = read_image(old.image), read_image(new.image)
        assert (one == other).all() and place == same
        if new.label:
            assert (read_label(new.label, copy)[0] == wanted[new.id]).all(), new.id
    return dataset, copy


def test_a_copy_of_all_kinds_of_labels(tmp_path: Path) -> None:
    """Binary and fractional SEG and an RT-STRUCT; the archive stays as it is, and what does not change byte for byte."""
    made = make_archive(tmp_path / "archive", 5, shape=(4, 16, 16))
    (tmp_path / "archive" / "Zwiebelkuchen.xlsx").write_bytes(b"x")
    (tmp_path / "archive" / "trusted.txt").write_text("")
    before = {path: path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file()}
    take_notes()
    dataset, copy = copied(tmp_path / "archive", tmp_path / "copy")
    kept = {path: path.read_bytes() for path in before if "pseudonyms" not in path.parts}
    assert all(before[path] == content for path, content in kept.items())
    assert dataset.cases[0].label and copy.cases[0].label
    (_, one), (_, other) = files_of([dataset.cases[0].label]), files_of([copy.cases[0].label])
    assert one.read_bytes() == other.read_bytes() and other.parent == tmp_path / "copy" / "labels"
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        *("images", "labels", "pseudonyms", "segments.json", "splits.json", "trusted.txt")
    }
    key = tmp_path / "copy" / "pseudonyms" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    names = " ".join(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*"))
    assert not [word for word in PLANTED if word.lower() in names.lower()] and len(made) == len(copy.cases)
    again = open_dataset(tmp_path / "copy")
    copy_dataset(again, tmp_path / "copy of the copy", lambda case, label, geometry: label)
    for case, same in zip(again.cases, open_dataset(tmp_path / "copy of the copy").cases, strict=True):
        assert case.label and same.label
        assert [path.read_bytes() for path in files_of([case.label])[1:]] == [
            path.read_bytes() for path in files_of([same.label])[1:]
        ]


def test_nothing_of_an_archive_is_named(tmp_path: Path) -> None:
    make_archive(tmp_path / "archive", 2, shape=(4, 16, 16))
    (tmp_path / "archive" / "Zwiebelkuchen.xlsx").write_bytes(b"x")
    dataset = open_dataset(tmp_path / "archive")
    copy_dataset(dataset, tmp_path / "copy", lambda case, label, geometry: label)
    said = " ".join(take_notes()).lower()
    assert not [word for word in PLANTED if word.lower() in said]


def test_several_objects_of_one_series(tmp_path: Path) -> None:
    """Unchanged they are copied beside each other, changed they become one."""
    root = archive(tmp_path / "archive", ignored=[{"label": "Couch"}])
    for at in range(2):
        made, label = series(root / f"{at}" / "mr", at)
        make_seg(made, {"Heart": label == 1, "Couch": label == 0}, root / f"{at}" / "seg")
        make_rtstruct(made, {"Lesion": outlines(label == 2)}, root / f"{at}" / "rt")
    _, copy = copied(root, tmp_path / "copy")
    counts = [len(files_of([case.label])) - 1 for case in copy.cases if case.label]
    assert counts == [2, 1]
    assert sorted(path.name for path in (tmp_path / "copy" / "labels").iterdir()) == sorted(
        [f"{copy.cases[0].id}.dcm", f"{copy.cases[0].id}~2.dcm", f"{copy.cases[1].id}.dcm"]
    )


def test_classes_that_overlap(tmp_path: Path) -> None:
    root = archive(tmp_path / "archive", combined=[["heart", "lesion"]])
    for at in range(2):
        made, label = series(root / f"{at}" / "mr", at)
        make_seg(made, {"Heart": label > 0, "Lesion": label == 2}, root / f"{at}" / "seg")
    dataset, copy = copied(root, tmp_path / "copy")
    assert dataset.classes == ("background", "heart", "lesion", "heart & lesion") and dataset.regions
    case = copy.cases[0]
    path = label_path(tmp_path, case.id, case.image[0])
    ids = np.random.default_rng(0).integers(0, 4, (4, 16, 16)).astype(np.uint8)
    write_label(path, ids, copy, Geometry(), case.image[0])
    written = pydicom.dcmread(path)
    assert [item.SegmentLabel for item in written.SegmentSequence] == ["Heart", "Lesion"] and written.SegmentsOverlap == "YES"
    assert (read_predicted(path, copy, case.image[0])[0] == ids).all()


def test_several_readers_and_their_consensus(tmp_path: Path) -> None:
    root = archive(tmp_path / "archive", objects="readers")
    for at in range(2):
        made, label = series(root / f"{at}" / "mr", at)
        for reader, moved in (("One^Reader", 0), ("Two^Reader", 1), ("Three^Reader", 1)):
            make_seg(made, masks(np.roll(label, moved, 1)), root / f"{at}" / reader, reader=reader)
    dataset, _ = copied(root, tmp_path / "copy", 2)
    assert len(dataset.cases) == 6
    for method in ("majority", "staple"):
        write_consensus(dataset, tmp_path / method, method)  # type: ignore[arg-type]
        merged = open_dataset(tmp_path / method)
        assert [case.id for case in merged.cases] == sorted({case.id.split("@")[0] for case in dataset.cases})
    for at, case in enumerate(open_dataset(tmp_path / "majority").cases):
        own = [read_label(each.label, dataset)[0] for each in dataset.cases if each.label and each.id.startswith(case.id)]
        votes = np.stack([np.sum([one == value for one in own], 0) for value in range(3)])
        assert case.label and (read_label(case.label, dataset)[0] == votes.argmax(0)).all(), at


def test_of_a_series_with_several_stacks_one_is_a_case(tmp_path: Path) -> None:
    """Two echoes, the second of which has a label: the copy has that alone, and it is the same case."""
    root = archive(tmp_path / "archive")
    for at in range(2):
        voxels, label = phantom(np.random.default_rng(at), (8, 16, 16))
        how: dict[str, Any] = {"person": PEOPLE[at], "stored": 12}

        def echo(dataset: Any, k: int, number: str = "") -> None:
            dataset.EchoTime = number

        first = make_series(root / f"{at}" / "one", voxels[:4], salt="1", change=lambda d, k: echo(d, k, "10"), **how)
        second = make_series(root / f"{at}" / "two", voxels[4:], salt="2", change=lambda d, k: echo(d, k, "20"), **how)
        for dataset, file in zip(second.datasets, second.files, strict=True):
            dataset.SeriesInstanceUID = first.uid
            dataset.save_as(file, implicit_vr=False, little_endian=True)
        make_seg(second, masks(label[4:]), root / f"{at}" / "seg")
    dataset, copy = copied(root, tmp_path / "copy")
    assert len(copy.cases) == 2 and all(len(files_of(case.image)) == 5 for case in copy.cases)


def test_pictures(tmp_path: Path) -> None:
    root = archive(tmp_path / "archive")
    rng = np.random.default_rng(0)
    for at in range(2):
        path = root / f"{at}" / "us"
        make_picture(path, rng.integers(0, 255, (16, 12)).astype(np.uint8), modality="US")
        image = pydicom.dcmread(path)
        image.PatientID, image.StudyInstanceUID = f"P{at}", f"2.25.{at + 1}0"
        image.SeriesInstanceUID, image.SOPInstanceUID = f"2.25.{at + 1}1", f"2.25.{at + 1}2"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(path)
    dataset = open_dataset(root)
    assert dataset.ndim == 2 and all(case.label is None for case in dataset.cases)
    named = Dataset(root, "dicom", ("background", "heart", "lesion"), dataset.cases, 2)
    for at, case in enumerate(dataset.cases):
        ids = rng.integers(0, 3, (16, 12)).astype(np.uint8)
        write_label(root / f"{at}" / "seg.dcm", ids, named, Geometry(), case.image[0])
        assert (read_predicted(root / f"{at}" / "seg.dcm", named, case.image[0])[0] == ids).all()
    dataset, copy = copied(root, tmp_path / "copy")
    assert all(case.label for case in copy.cases)


def test_an_archive_that_lies_elsewhere(tmp_path: Path) -> None:
    made = make_archive(tmp_path / "archive", 2, shape=(4, 16, 16))
    root = archive(tmp_path / "set", studies=str(tmp_path / "archive"), trusted=[])
    dataset, copy = copied(root, tmp_path / "copy")
    assert len(copy.cases) == len(made)
    assert "studies" not in json.loads((tmp_path / "copy" / "segments.json").read_text())
    assert dataset.root == root


def test_several_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    make_archive(tmp_path / "archive", 3, shape=(4, 16, 16))
    dataset = open_dataset(tmp_path / "archive")
    noise = make_noise("shift", smallest=1, largest=2)
    for jobs in (1, 2):
        corrupt_dataset(dataset, tmp_path / str(jobs), noise, seed=0, jobs=jobs)
    one, two = (sorted((tmp_path / name).glob("[il]*/**/*.dcm")) for name in "12")
    assert len(one) == len(two) == 15
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    with pytest.raises(DataError, match="no value for pixels without a label can be added"):
        with_ignore(dataset)
