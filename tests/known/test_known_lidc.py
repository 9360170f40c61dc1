"""LIDC-IDRI: series of DICOM and readings in XML, as volumes and as patches with a mask of each reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.dicom_made import Person, Series, make_picture, make_series
from tests.known_archives import converted, described, unpacked, zipped
from tests.lidc_made import message, nodule, outline

from debride.known.lidc import convert
from debride.notes import take_notes
from debride.types import DataError

SHAPE = (5, 140, 150)


def scan(folder: Path, number: int, **how: object) -> Series:
    voxels = np.random.default_rng(number).integers(0, 2000, SHAPE).astype(np.uint16)
    person = Person(f"Nobody^{number}", f"LIDC-IDRI-{number:04d}", "19570313", "20000101", "101112", f"ACC{number}")
    return make_series(folder, voxels, modality="CT", person=person, intercept=-1024.0, **how)


def square(x: int, y: int, side: int) -> list[tuple[int, int]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def instance(series: Series, plane: int) -> str:
    return str(series.datasets[plane].SOPInstanceUID)


def read_by_four(series: Series) -> bytes:
    """Each reader outlines one nodule on the planes 1 to 3, a little larger than the one before; the last one not on plane 3.
    The first one alone outlines another one, and marks a small one."""
    sessions = []
    for reader in range(4):
        planes = (1, 2) if reader == 3 else (1, 2, 3)
        sessions.append(
            nodule(*(outline(instance(series, plane), square(100 - reader, 60 - reader, 10 + 2 * reader)) for plane in planes))
        )
    sessions[0] += nodule(outline(instance(series, 4), square(20, 20, 6))) + nodule(outline(instance(series, 0), [(5, 5)]))
    return message(series.uid, *sessions)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def archives(tmp_path: Path) -> tuple[list[Path], dict[int, Series]]:
    """Series of two patients beside a radiograph, and all readings in an archive of their own."""
    made = tmp_path / "made"
    series = {number: scan(made / f"LIDC-IDRI-{number:04d}" / "study" / "series", number) for number in (1, 2)}
    make_picture(made / "LIDC-IDRI-0001" / "x-ray" / "1.dcm", np.full((8, 8), 9, np.uint16))
    (made / "LIDC-IDRI-0001" / "LICENSE").write_text("CC BY 3.0")
    readings = {f"tcia-lidc-xml/157/{number:03d}.xml": read_by_four(one) for number, one in series.items()}
    readings |= {"tcia-lidc-xml/157/900.xml": b"<IdriReadMessage/>", "tcia-lidc-xml/157/901.xml": message("1.2.3", "")}
    return [unpacked(tmp_path / "dicom", files_below(made)), zipped(tmp_path / "LIDC-XML-only.zip", readings)], series


def test_a_scan_has_a_mask_of_each_reader(tmp_path: Path, archives: tuple[list[Path], dict[int, Series]]) -> None:
    folders, series = archives
    cases = converted(convert, tmp_path / "out", *folders, jobs=2)
    assert sorted(cases) == [f"LIDC-IDRI-{number:04d}@rater{reader}" for number in (1, 2) for reader in (1, 2, 3, 4)]
    image, label, case = cases["LIDC-IDRI-0002@rater3"]
    assert (image[0] == series[2].voxels).all() and case.patient == "LIDC-IDRI-0002" and case.rater == "rater3"
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[1:4, 59:72, 99:112] = 1  # inside of the outline from 98 to 112 and 58 to 72
    assert (label == wanted).all()
    first = cases["LIDC-IDRI-0002@rater1"][1]
    assert first[4].sum() == 25 and not first[0].any(), "another reader's nodule is in his mask alone, a small one in none"
    assert not cases["LIDC-IDRI-0002@rater4"][1][3].any()
    assert described(tmp_path / "out") == {"classes": ["background", "nodule"]}


def test_patches_are_squares_where_all_readers_outlined_a_nodule(
    tmp_path: Path, archives: tuple[list[Path], dict[int, Series]]
) -> None:
    folders, series = archives
    cases = converted(convert, tmp_path / "out", *folders, patches=True)
    assert sorted(cases) == [
        f"LIDC-IDRI-{number:04d}_nodule-1_slice-{plane:03d}@rater{reader}"
        for number in (1, 2)
        for plane in (1, 2)
        for reader in (1, 2, 3, 4)
    ]
    image, label, case = cases["LIDC-IDRI-0001_nodule-1_slice-002@rater1"]
    # the middle of all outlines is x 105, y 65: from 41 and 1 on, and no further than 22 and 12
    assert (image[0] == series[1].voxels[2, 1:129, 22:150]).all() and case.patient == "LIDC-IDRI-0001"
    wanted = np.zeros((128, 128), np.uint8)
    wanted[60:69, 79:88] = 1
    assert (label == wanted).all()


def test_a_series_that_makes_no_volume_is_refused_or_left_out(
    tmp_path: Path, archives: tuple[list[Path], dict[int, Series]]
) -> None:
    folders, _ = archives
    bad = scan(tmp_path / "bad" / "series", 3, missing=(2,))
    (tmp_path / "bad" / "series" / "103.xml").write_bytes(message(bad.uid, nodule()))
    folders = [*folders, tmp_path / "bad"]
    with pytest.raises(DataError, match=r"lacks 1 slice.*keep_going"):
        converted(convert, tmp_path / "out", *folders)
    cases = converted(convert, tmp_path / "kept", *folders, keep_going=True)
    assert len(cases) == 8
    assert "LIDC-IDRI-0003" in (tmp_path / "kept" / "left_out.csv").read_text()
    assert any("LIDC-IDRI-0003" in said for said in take_notes())


def test_what_does_not_belong_together_is_refused(tmp_path: Path, archives: tuple[list[Path], dict[int, Series]]) -> None:
    (folder, readings), series = archives
    other = zipped(tmp_path / "other.zip", {"1.xml": message(series[1].uid, nodule())})
    elsewhere = zipped(tmp_path / "elsewhere.zip", {"1.xml": message(series[1].uid, nodule(outline("9.9", square(1, 1, 5))))})
    wrong = [
        ([folder], "holds no readings"),
        ([readings], "no CT series"),
        ([folder, readings, other], "other readings"),
        ([folder, elsewhere], "a slice that its series does not have"),
        ([folder, folder, readings], "another folder holds files"),
    ]
    for number, (given, said) in enumerate(wrong):
        with pytest.raises(DataError, match=said):
            converted(convert, tmp_path / f"out{number}", *given)
