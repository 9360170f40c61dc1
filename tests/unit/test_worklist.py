import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from debride.audit.findings.finding import Finding
from debride.audit.shown.worklist import COLUMNS, centre, write_table, write_worklist
from debride.data.pixels.images import read_values
from debride.types import Case, Geometry

CLASSES = ("background", 'left "atrium"\n& <rim>', "scar")
AFFINE = ((-1.5, 0.1, 0.0, 40.0), (0.0, 1.25, -0.2, -30.0), (0.05, 0.0, 4.0, 7.0), (0.0, 0.0, 0.0, 1.0))


def finding(number, box, kind="missing", given=0, proposed=1, case="p.1@r"):
    return Finding(
        case=case, number=number, kind=kind, given=given, proposed=proposed, box=box, voxels=1, severity=0.25, confidence=0.875
    )


def case(id="p.1@r"):
    return Case(id, (Path("images/p.1.nii.gz"),), Path("labels/p.1.nii.gz"), "p")


def volume():
    number = np.zeros((4, 9, 11), np.uint16)
    number[1, 2:5, 3:6] = 1
    number[2:4, 6:8, 9:11] = 300
    return number, [finding(1, ((1, 2), (2, 5), (3, 6))), finding(300, ((2, 4), (6, 8), (9, 11)), "extra", 2, 0)]


def test_points_are_lps_of_the_affine(tmp_path):
    number, findings = volume()
    lines = write_worklist(tmp_path, case(), findings, Geometry((4.0, 1.25, 1.5), AFFINE), number, CLASSES)
    written = json.loads((tmp_path / "worklist" / "p.1@r.mrk.json").read_text())
    assert "/markups-schema-v1." in written["@schema"] and len(written["markups"]) == 1
    points = written["markups"][0]
    assert (points["type"], points["coordinateSystem"]) == ("Fiducial", "LPS")
    assert [point["label"] for point in points["controlPoints"]] == [f"missing {CLASSES[1]} 0.88", "extra scar 0.88"]
    for line, point in zip(lines, points["controlPoints"], strict=True):
        voxel = (line["x"], line["y"], line["z"], 1)
        ras = [sum(AFFINE[row][column] * voxel[column] for column in range(4)) for row in range(3)]
        assert point["position"] == pytest.approx([-ras[0], -ras[1], ras[2]], abs=1e-3)
        assert [float(line[key]) for key in ("r_mm", "a_mm", "s_mm")] == pytest.approx(ras, abs=1e-3)
        assert point["positionStatus"] == "defined" and number[line["z"], line["y"], line["x"]] == line["number"]
    assert (lines[0]["x"], lines[0]["y"], lines[0]["z"]) == (4, 3, 1)


def test_the_map_is_on_the_grid_of_the_label(tmp_path):
    number, findings = volume()
    write_worklist(tmp_path, case(), findings, Geometry((4.0, 1.25, 1.5), AFFINE), number, CLASSES)
    path = tmp_path / "worklist" / "p.1@r.nii.gz"
    written = nib.load(path)
    assert written.shape == (11, 9, 4) and written.get_data_dtype() == np.uint16
    assert np.allclose(written.affine, AFFINE) and written.header.get_xyzt_units()[0] == "mm"
    assert np.array_equal(read_values(path)[0], number)
    data = np.asarray(written.dataobj)
    assert data[9, 6, 2] == 300 and data[3, 2, 1] == 1


def test_label_descriptions_are_what_itk_snap_reads(tmp_path):
    number, findings = volume()
    write_worklist(tmp_path, case(), findings[::-1], Geometry(None, AFFINE), number, CLASSES)
    lines = (tmp_path / "worklist" / "p.1@r.txt").read_text().splitlines()
    assert lines[0] == "# ITK-SnAP Label Description File"
    rows = [
        re.fullmatch(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"', line) for line in lines[2:]
    ]
    assert all(rows)
    assert [(int(row[1]), row[8]) for row in rows] == [
        (0, "Clear Label"),
        (1, "1: missing left 'atrium' & <rim> 0.88"),
        (300, "300: extra scar 0.88"),
    ]
    assert all(int(row[i]) <= 255 for row in rows for i in (2, 3, 4)) and float(rows[1][5]) == 1


def slow_centre(box, mask):
    """The voxel (z, y, x) nearest to the centre of mass, slice first, ties to the first."""
    voxels = [tuple(int(i) for i in index) for index in np.argwhere(mask)]
    mean = [sum(voxel[axis] for voxel in voxels) / len(voxels) for axis in range(mask.ndim)]
    if mask.ndim == 3:
        z = min({voxel[0] for voxel in voxels}, key=lambda each: (abs(each - mean[0]), each))
        voxels = [voxel for voxel in voxels if voxel[0] == z]
        mean = [sum(voxel[axis] for voxel in voxels) / len(voxels) for axis in range(3)]
    return min(voxels, key=lambda voxel: (round(sum((a - b) ** 2 for a, b in zip(voxel, mean, strict=True)), 9), voxel))


def test_the_centre_lies_in_the_finding():
    rng = np.random.default_rng(2)
    for shape in [(7, 9), (4, 6, 5)] * 20:
        number = rng.integers(0, 3, shape).astype(np.uint16)
        number.reshape(-1)[5] = 2
        mask = number == 2
        places = np.argwhere(mask)
        box = tuple((int(low), int(high) + 1) for low, high in zip(places.min(axis=0), places.max(axis=0), strict=True))
        found = centre(finding(2, box), number)[::-1]
        expected = slow_centre(box, mask)
        away = [
            sum((place - c) ** 2 for place, c in zip(each, mean_of(mask, expected), strict=True)) for each in (found, expected)
        ]
        assert mask[found] and away[0] == pytest.approx(away[1])
    ring = np.zeros((9, 9), np.uint16)
    ring[1:8, 1:8] = 1
    ring[2:7, 2:7] = 0
    assert ring[centre(finding(1, ((1, 8), (1, 8))), ring)[::-1]] == 1
    assert centre(finding(9, ((2, 5), (0, 3))), ring) == (1, 3)


def mean_of(mask, at):
    """The centre of mass of what the choice was made from: the slice of ``at`` in a volume."""
    if mask.ndim == 2:
        return np.argwhere(mask).mean(axis=0)
    return np.array([at[0], *np.argwhere(mask[at[0]]).mean(axis=0)])


def test_a_picture_has_lines_alone(tmp_path):
    number = np.zeros((6, 8), np.uint16)
    number[2:4, 5:8] = 1
    lines = write_worklist(tmp_path, case(), [finding(1, ((2, 4), (5, 8)))], Geometry(), number, CLASSES)
    assert not (tmp_path / "worklist").exists()
    assert (lines[0]["x"], lines[0]["y"], lines[0]["z"], lines[0]["r_mm"]) == (6, 2, "", "")


def test_a_nifti_of_one_slice_has_files(tmp_path):
    number = np.zeros((6, 8), np.uint16)
    number[2:4, 5:8] = 1
    lines = write_worklist(tmp_path, case(), [finding(1, ((2, 4), (5, 8)))], Geometry((1.25, 1.5), AFFINE), number, CLASSES)
    assert nib.load(tmp_path / "worklist" / "p.1@r.nii.gz").shape == (8, 6, 1)
    assert float(lines[0]["s_mm"]) == pytest.approx(0.05 * 6 + 7) and lines[0]["z"] == ""


def test_a_volume_without_an_affine_uses_its_spacing(tmp_path):
    number, findings = volume()
    lines = write_worklist(tmp_path, case(), findings, Geometry((4.0, 2.0, 0.5)), number, CLASSES)
    assert [float(lines[0][key]) for key in COLUMNS[-3:]] == [-4 * 0.5, -3 * 2.0, 1 * 4.0], "where ITK places it"


def test_nothing_is_written_for_a_case_without_findings(tmp_path):
    assert write_worklist(tmp_path, case(), [], Geometry(None, AFFINE), np.zeros((2, 3, 4), np.uint16), CLASSES) == []
    assert not (tmp_path / "worklist").exists()


def test_the_table_keeps_every_line_and_any_name(tmp_path):
    number, findings = volume()
    lines = write_worklist(tmp_path, case('a,"b'), findings, Geometry(None, AFFINE), number, CLASSES)
    path = write_table(tmp_path, lines)
    assert path == tmp_path / "worklist" / "worklist.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and [row["case"] for row in rows] == ['a,"b'] * 2
    assert rows[0]["class"] == CLASSES[1] and rows[0]["image"] == str(Path("images/p.1.nii.gz"))
    assert [(row["number"], row["kind"], row["confidence"]) for row in rows] == [
        ("1", "missing", "0.8750"),
        ("300", "extra", "0.8750"),
    ]
    assert write_table(tmp_path, []).read_text() == ",".join(COLUMNS) + "\n"
