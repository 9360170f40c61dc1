"""``check --write-segments``: from a folder of studies to cases whose labels are those of the archive."""

import json

import numpy as np
import pytest
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import PEOPLE, make_series
from tests.dicom_studies import make_archive

from debride.api.datasets import check_dataset
from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label, read_label_part
from debride.types import DataError


def test_a_folder_of_studies_becomes_cases(tmp_path, capsys):
    """Its proposal opens it; labels are right voxel by voxel, in boxes too; a second time the file stays as it is."""
    studies = make_archive(tmp_path, 4, segments=False)
    assert main(["check", str(tmp_path)]) == 1
    assert "--write-segments" in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--write-segments", "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert "segments.json: written; correct it before you go on. Classes: Heart, Lesion." in said.out
    assert not any(person.number in said.out + said.err for person in PEOPLE)
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("background", "Heart", "Lesion") and len(dataset.cases) == 4
    found = [read_label(case.label, dataset)[0] for case in dataset.cases]
    for study in studies:
        (number,) = [at for at, label in enumerate(found) if np.array_equal(label, study.label)]
        box = ((1, 3), (5, 20), (4, 30))
        part = read_label_part(dataset.cases[number].label, dataset, box)
        assert (part == study.label[1:3, 5:20, 4:30]).all()
    before = (tmp_path / "segments.json").read_bytes()
    assert main(["check", str(tmp_path), "--write-segments", "--jobs", "1"]) == 0
    assert "segments.json: stays as it is." in capsys.readouterr().out
    assert (tmp_path / "segments.json").read_bytes() == before


def test_an_archive_elsewhere_is_not_written_into(tmp_path):
    """A segments.json that names studies, and no class, is filled in."""
    archive, root = tmp_path / "archive", tmp_path / "data"
    make_archive(archive, 2, segments=False)
    root.mkdir()
    before = sorted(path.relative_to(archive) for path in archive.rglob("*"))
    entries = {"format": "dicom", "classes": [], "studies": str(archive), "threshold": 0.4}
    (root / "segments.json").write_text(json.dumps(entries))
    checked = check_dataset(root, write_segments=True, jobs=1)
    assert not checked.problems and checked.segments.proposed == ("Heart", "Lesion") and not checked.segments.kept
    said = json.loads((root / "segments.json").read_text())
    assert (said["studies"], said["threshold"], len(said["classes"])) == (str(archive), 0.4, 2)
    assert sorted(path.relative_to(archive) for path in archive.rglob("*")) == before


@pytest.mark.parametrize("where", ["empty", "none", "file", "words"])
def test_what_holds_no_dicom_is_refused_and_left_as_it_is(tmp_path, where):
    folder = tmp_path / where
    if where == "file":
        folder.write_text("no folder")
    elif where != "none":
        folder.mkdir()
    if where == "words":
        (folder / "a.txt").write_text("words" * 99)
    with pytest.raises(DataError, match=r"no files of DICOM|is not a folder"):
        check_dataset(folder, write_segments=True, jobs=1)
    assert not folder.is_dir() or not any(path.is_dir() for path in folder.iterdir())


def test_overlaps_are_refused_by_case_and_listed_ones_are_regions(tmp_path):
    """The number of pixels, the classes and what to write; then classes are regions with the right masks."""
    rng = np.random.default_rng(0)
    drawn = {}
    for at, person in enumerate(PEOPLE[:3]):
        series = make_series(tmp_path / f"s{at}", rng.integers(0, 99, (4, 16, 16)).astype(np.uint16), person=person)
        masks = dict(zip(("Liver", "Lesion"), rng.random((2, 4, 16, 16)) > 0.7, strict=True))
        if at:
            make_seg(series, masks, tmp_path / f"l{at}")
        else:
            make_rtstruct(series, {name: outlines(mask) for name, mask in masks.items()}, tmp_path / f"l{at}")
        drawn[int((masks["Liver"] & masks["Lesion"]).sum())] = masks
    checked = check_dataset(tmp_path, write_segments=True, depth="all", jobs=1)
    problems = [each for each in checked.problems if "overlap" in each.problem]
    assert len(problems) == 3 and all('{"combined": [["Lesion", "Liver"]]}' in each.remedy for each in problems)
    assert {int(each.problem.split(" on ")[1].split()[0]) for each in problems} == set(drawn)
    assert all(".dicom-label" in each.file for each in problems)
    said = json.loads((tmp_path / "segments.json").read_text())
    (tmp_path / "segments.json").write_text(json.dumps({**said, "combined": [["Lesion", "Liver"]]}))
    assert not check_dataset(tmp_path, depth="all", jobs=1).problems
    dataset = open_dataset(tmp_path)
    assert [region.name for region in dataset.regions] == ["Lesion", "Liver", "Lesion & Liver"]
    for case in dataset.cases:
        label, _ = read_label(case.label, dataset)
        masks = drawn[int((label == 3).sum())]
        for region in dataset.regions[:2]:
            assert (np.isin(label, region.classes) == masks[region.name]).all()
