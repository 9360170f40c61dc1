"""Archives as cases: which series are cases, what refused ones are called, and that a check reads headers alone."""

import csv
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.dicom_made import PEOPLE, PLANTED, localiser, make_series, save
from tests.dicom_studies import make_archive, make_study, save_segments
from tests.identity_grep import identity_said

from debride.data.check import check_dataset, find_problems
from debride.data.checksums import write_checksums
from debride.data.dicom.handles import read_series
from debride.data.dicom.pseudonyms import make_key
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image
from debride.notes import take_notes
from debride.types import DataError, Dataset


def opened(root: Path, **options: Any) -> Dataset:
    return open_dataset(root, val_fraction=0.0, **options)


def begun(root: Path) -> None:
    save_segments(root)
    make_key(root)


def problems_of(root: Path) -> list[str]:
    found = [f"{each.file}: {each.problem}. {each.remedy}" for each in find_problems(root, val_fraction=0.0)]
    assert not any(identity_said(line) for line in found)
    return found


def test_a_check_reads_headers_alone_unless_asked(tmp_path):
    studies = make_archive(tmp_path, 3)
    assert problems_of(tmp_path) == []
    dataset = studies[0].series.datasets[0]
    dataset.PixelData = bytes(len(dataset.PixelData))
    file = studies[0].series.files[0]
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"\xe0\x7f\x10\x00")] + bytes(len(content) - content.index(b"\xe0\x7f\x10\x00")))
    assert problems_of(tmp_path) == [] and check_dataset(tmp_path).whole is False
    whole = check_dataset(tmp_path, depth="all")
    assert whole.whole and len(whole.problems) >= 1 and "pseudonyms/series/mr-" in whole.problems[0].file


def test_voxels_are_those_of_the_series_in_the_order_of_the_handle(tmp_path):
    studies = make_archive(tmp_path, 3)
    with (tmp_path / "pseudonyms" / "series.csv").open("w"):
        pass
    dataset = opened(tmp_path)
    rows = list(csv.DictReader((tmp_path / "pseudonyms" / "series.csv").open(encoding="utf-8")))
    assert stat.S_IMODE((tmp_path / "pseudonyms" / "series.csv").stat().st_mode) == 0o600
    by_uid = {study.series.uid: study.series for study in studies}
    for case in dataset.cases:
        (row,) = [row for row in rows if row["case"] == case.id]
        series = by_uid[row["SeriesInstanceUID"]]
        image, geometry = read_image(case.image)
        assert (image[0] == series.voxels).all() and np.array(geometry.affine) == pytest.approx(series.ras, abs=1e-4)
        assert (
            row["PatientName"] == series.person.name
            and row["folder"] == series.files[0].parent.relative_to(tmp_path).as_posix()
        )


def test_ids_of_cases_do_not_depend_on_what_else_the_archive_holds(tmp_path):
    study = make_study(tmp_path, 0)
    begun(tmp_path)
    (alone,) = (case.id for case in opened(tmp_path).cases)
    localiser(study.file.parent, study.series)
    make_study(tmp_path, 1)
    assert alone in {case.id for case in opened(tmp_path).cases}


def test_refused_series_and_damaged_files_are_named_by_pseudonyms_and_may_be_left_out(tmp_path):
    make_study(tmp_path, 0)
    broken = make_study(tmp_path, 1, shape=(5, 32, 32), missing=(2,))
    begun(tmp_path)
    file = broken.file.parent / f"{broken.series.person.name}.dcm"
    file.write_bytes(b"nothing")
    found = problems_of(tmp_path)
    assert len(found) == 2 and found[0].startswith("file-") and "is none" in found[0]
    assert found[1].startswith("series mr-") and "lacks 1 slice, between the numbers" in found[1]
    with pytest.raises(DataError):
        opened(tmp_path)
    save_segments(tmp_path, left_out=[found[0].split(":")[0], found[1].split(":")[0].removeprefix("series ")])
    assert problems_of(tmp_path) == [] and len(opened(tmp_path).cases) == 1


def test_files_of_two_patients_in_one_series_or_of_one_identity_are_refused(tmp_path):
    made = make_study(tmp_path / "a", 0).series
    begun(tmp_path / "a")
    made.datasets[1].PatientID = PEOPLE[1].number
    save(made.datasets[1], made.files[1])
    assert "has images of several patients" in " ".join(problems_of(tmp_path / "a"))
    made = make_study(tmp_path / "b", 0).series
    begun(tmp_path / "b")
    (made.files[0].parent / "copy").write_bytes(made.files[0].read_bytes())
    assert problems_of(tmp_path / "b") == []
    made.datasets[0].ImageComments = "another"
    save(made.datasets[0], made.files[0].parent / "copy")
    assert "has two different images of one identity" in " ".join(problems_of(tmp_path / "b"))


def test_without_any_label_series_are_cases_to_predict_but_no_doses(tmp_path):
    make_series(tmp_path / "mr", np.ones((3, 8, 8), np.uint16))

    def dose(dataset, k):
        dataset.Modality, dataset.SeriesInstanceUID = "RTDOSE", dataset.SeriesInstanceUID + ".1"
        dataset.SOPInstanceUID += ".1"

    make_series(tmp_path / "dose", np.ones((3, 8, 8), np.uint16), change=dose)
    begun(tmp_path)
    (case,) = opened(tmp_path, labels=False).cases
    assert case.label is None and case.split == "test" and case.id.startswith("mr-")
    assert [each.file for each in read_series(case.image[0]).slices] == made_order(tmp_path)


def made_order(root: Path) -> list[str]:
    """Files of a series by the position that its headers say."""
    from pydicom import dcmread

    files = sorted((root / "mr").iterdir(), key=lambda path: float(dcmread(path).ImagePositionPatient[2]))
    return [path.relative_to(root).as_posix() for path in files]


def test_studies_may_lie_elsewhere_and_nothing_is_written_there(tmp_path):
    make_study(tmp_path / "archive", 0)
    before = sorted(tmp_path.joinpath("archive").rglob("*"))
    save_segments(tmp_path / "set", studies=str(tmp_path / "archive"))
    make_key(tmp_path / "set")
    (case,) = opened(tmp_path / "set").cases
    read_image(case.image)
    assert sorted(tmp_path.joinpath("archive").rglob("*")) == before


def test_no_list_of_checksums_names_files_of_an_archive(tmp_path):
    make_archive(tmp_path, 1)
    dataset = opened(tmp_path)
    with pytest.raises(DataError, match="names may be of persons"):
        write_checksums(dataset)
    (tmp_path / "B2SUMS").write_text(f"{'0' * 128}  {PLANTED[0]}/missing\n")
    assert problems_of(tmp_path) == [] and not any(identity_said(said) for said in take_notes())


def test_the_owner_finds_a_refused_series_by_its_name(tmp_path):
    study = make_study(tmp_path, 0, missing=(2,))
    begun(tmp_path)
    said, none = problems_of(tmp_path)
    assert "lacks 1 slice" in said and "has no series that is a case" in none and ".png" not in none
    rows = list(csv.DictReader((tmp_path / "pseudonyms" / "series.csv").open(encoding="utf-8")))
    (row,) = [row for row in rows if row["case"] in said]
    assert row["SeriesInstanceUID"] == study.series.uid


def test_the_owner_finds_each_series_that_a_label_may_be_of(tmp_path):
    study, voxels = make_study(tmp_path, 0), np.zeros((4, 32, 32), np.uint16)
    make_study(tmp_path, 1)  # a case with a label: series without one are then no cases
    others = [make_series(tmp_path / name, voxels, name=name, person=study.series.person) for name in ("T2", "PD")]
    begun(tmp_path)
    for file in study.series.files:
        file.unlink()
    (said,) = [line for line in problems_of(tmp_path) if "may be a label of several series" in line]
    rows = list(csv.DictReader((tmp_path / "pseudonyms" / "series.csv").open(encoding="utf-8")))
    assert {row["SeriesInstanceUID"] for row in rows if row["case"] in said} == {other.uid for other in others}
