"""Segmentations for 3D Slicer: what their header says by a plain parser, where they lie by SimpleITK, and back."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from tests.audited_regions import heart_set, write_region_audit
from tests.exchanged import OBLIQUE, SHAPE, header_of, pictures, volumes
from tests.written_audits import box, given_label

from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.review.exchange import export_review
from debride.review.exchange.slicer import Segment, read_segments, segments_of, unlabelled, write_segments
from debride.types import IGNORE, DataError, Geometry

PLACE = Geometry((2.0, 1.5, 1.0), tuple(tuple(row) for row in OBLIQUE.tolist()))
CLASSES = ("background", "left ventricle", "scar: old|new", "wall")


def label_of(seed: int = 0, classes: int = 4) -> Any:
    return np.random.default_rng(seed).integers(0, classes, SHAPE).astype(np.uint8)


def test_a_label_lies_where_it_lay_with_a_segment_for_each_class(tmp_path: Path) -> None:
    dataset, audit = volumes(tmp_path)
    result = export_review(dataset, audit, tmp_path / "out", "slicer")
    assert (result.cases, result.findings) == (2, 3)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nrrd")) == ["vol00.seg.nrrd", "vol02.seg.nrrd"]
    for name in ("vol00", "vol02"):
        case = next(case for case in dataset.cases if case.id == name)
        source, written = SimpleITK.ReadImage(str(case.label)), SimpleITK.ReadImage(str(tmp_path / "out" / f"{name}.seg.nrrd"))
        assert np.array_equal(SimpleITK.GetArrayFromImage(source), SimpleITK.GetArrayFromImage(written))
        for what in ("GetSpacing", "GetOrigin", "GetDirection", "GetSize"):
            assert np.allclose(getattr(source, what)(), getattr(written, what)(), rtol=0, atol=1e-6), what
        assert written.GetMetaData("Segment1_Name") == "part_2"
    assert len((tmp_path / "out" / "README.txt").read_text().splitlines()) == 3


def test_the_header_says_names_colours_and_extents(tmp_path: Path) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3, 4:9, 5:6], label[5, 15, 19] = 1, 3
    write_segments(tmp_path / "a.seg.nrrd", label, PLACE, segments_of(CLASSES, ignored=False))
    fields, notes, numbers = header_of(tmp_path / "a.seg.nrrd")
    assert np.array_equal(np.frombuffer(numbers, np.uint8).reshape(SHAPE), label)
    assert fields["sizes"] == "20 16 6" and fields["space"] == "left-posterior-superior" and fields["encoding"] == "gzip"
    assert fields["kinds"] == "domain domain domain" and fields["type"] == "unsigned char"
    directions = [[float(number) for number in part.strip("()").split(",")] for part in fields["space directions"].split()]
    assert directions == (np.diag([-1, -1, 1]) @ OBLIQUE[:3, :3]).T.tolist()  # to the last bit
    origin = [float(number) for number in fields["space origin"].strip("()").split(",")]
    assert origin == (OBLIQUE[:3, 3] * (-1, -1, 1)).tolist()
    assert [notes[f"Segment{i}_Name"] for i in range(3)] == list(CLASSES[1:])
    assert [notes[f"Segment{i}_LabelValue"] for i in range(3)] == ["1", "2", "3"]
    assert [notes[f"Segment{i}_Layer"] for i in range(3)] == ["0"] * 3
    assert [notes[f"Segment{i}_Extent"] for i in range(3)] == ["5 5 4 8 1 2", "0 -1 0 -1 0 -1", "19 19 15 15 5 5"]
    assert len({notes[f"Segment{i}_ID"] for i in range(3)}) == 3
    assert all(0 <= float(part) <= 1 for i in range(3) for part in notes[f"Segment{i}_Color"].split())
    assert notes["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"


def test_names_with_line_ends_and_backslashes_come_back(tmp_path: Path) -> None:
    classes = ("background", "a\\nb", "c\nd", "Ä:=b")
    write_segments(tmp_path / "a.seg.nrrd", label_of(), PLACE, segments_of(classes, ignored=False))
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", classes, SHAPE, PLACE), label_of())


def test_findings_are_segments_of_a_file_of_their_own(tmp_path: Path) -> None:
    dataset, audit = volumes(tmp_path)
    (audit / "worklist").mkdir()
    (audit / "worklist" / "vol00.mrk.json").write_text("{}")
    export_review(dataset, audit, tmp_path / "out", "slicer", ["vol00", "vol01"])
    assert not (tmp_path / "out" / "findings" / "vol01.findings.seg.nrrd").exists()
    assert (tmp_path / "out" / "findings" / "vol00.mrk.json").read_text() == "{}"
    _, notes, numbers = header_of(tmp_path / "out" / "findings" / "vol00.findings.seg.nrrd")
    expected = np.zeros(SHAPE, np.uint8)
    expected[box(SHAPE, (0, 2), (0, 3), (0, 4))] = 1
    expected[box(SHAPE, (4, 6), (13, 16), (2, 9))] = 2
    assert np.array_equal(np.frombuffer(numbers, np.uint8).reshape(SHAPE), expected)
    assert notes["Segment0_Name"] == "1: missing part_2 0.90" and notes["Segment1_Name"] == "2: missing part_1 0.25"
    assert "debride.proposed:part_2|" in notes["Segment0_Tags"]


def test_regions_overlap_so_each_has_a_file_of_its_findings(tmp_path: Path) -> None:
    heart_set(tmp_path, n=4)
    dataset = open_dataset(tmp_path / "data")
    where = box((40, 40), (0, 5), (0, 5))
    change = {"heart00": [(where, 1, {"kind": "missing"})]}
    names = [region.name for region in dataset.regions]
    audit = write_region_audit(tmp_path / "audit", dataset, {names[0]: change, names[1]: change})
    export_review(dataset, audit, tmp_path / "out", "slicer")
    assert len(list((tmp_path / "out" / "findings").glob("heart00.*.findings.seg.nrrd"))) == 2
    label = given_label(dataset, "heart00")
    back = read_segments(tmp_path / "out" / "heart00.seg.nrrd", dataset.classes, label.shape, Geometry())
    assert np.array_equal(back, label)  # the label itself is of classes


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0)])
def test_segments_are_found_by_name_whatever_their_order_and_numbers(tmp_path: Path, order: tuple[int, ...]) -> None:
    label = label_of()
    numbers = np.array([0, 7, 3, 200], np.uint8)
    segments = [Segment(CLASSES[id + 1], int(numbers[id + 1]), "#000000") for id in order]
    write_segments(tmp_path / "a.seg.nrrd", numbers[label], PLACE, segments)
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), label)


@pytest.mark.parametrize("crop", [((1, 4), (3, 12), (2, 19)), ((2, 3), (0, 16), (0, 20)), ((5, 6), (15, 16), (19, 20))])
def test_what_slicer_crops_comes_back_to_its_place(tmp_path: Path, crop: tuple[tuple[int, int], ...]) -> None:
    label = np.zeros(SHAPE, np.uint8)
    inside = tuple(slice(*ends) for ends in crop)
    label[inside] = np.maximum(label_of()[inside], 1)
    whole = SimpleITK.GetImageFromArray(label)
    place(whole)
    size = [stop - start for start, stop in crop[::-1]]
    part = SimpleITK.RegionOfInterest(whole, size, [start for start, _ in crop[::-1]])
    save(part, tmp_path / "a.seg.nrrd")
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), label)


@pytest.mark.parametrize(("order", "flips"), [((1, 2, 0), (True, False, False)), ((0, 1, 2), (False, True, True))])
def test_what_is_saved_along_other_axes_comes_back(tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    label = label_of(3)
    label[:2] = 0
    whole = SimpleITK.GetImageFromArray(label)
    place(whole)
    part = SimpleITK.RegionOfInterest(whole, [20, 16, 4], [0, 0, 2])
    save(SimpleITK.Flip(SimpleITK.PermuteAxes(part, order), flips), tmp_path / "a.seg.nrrd")
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), label)


def test_several_layers_come_back(tmp_path: Path) -> None:
    label = label_of(4)
    layers = np.stack([np.where(label == 2, 0, label), np.where(label == 2, 1, 0)], axis=-1).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(layers, isVector=True)
    place(image)
    for number, (name, value, layer) in enumerate((("left ventricle", 1, 0), ("wall", 3, 0), ("scar: old|new", 1, 1))):
        for key, text in (("Name", name), ("LabelValue", value), ("Layer", layer)):
            image.SetMetaData(f"Segment{number}_{key}", str(text))
    SimpleITK.WriteImage(image, str(tmp_path / "a.seg.nrrd"), useCompression=True)
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), label)
    layers[0, 0, 0] = 1
    overlapping = SimpleITK.GetImageFromArray(layers, isVector=True)
    overlapping.CopyInformation(image)
    for key in image.GetMetaDataKeys():
        overlapping.SetMetaData(key, image.GetMetaData(key))
    SimpleITK.WriteImage(overlapping, str(tmp_path / "b.seg.nrrd"), useCompression=True)
    with pytest.raises(DataError, match="overlap"):
        read_segments(tmp_path / "b.seg.nrrd", CLASSES, SHAPE, PLACE)


def test_layers_as_slicer_writes_them_come_back(tmp_path: Path) -> None:
    """As slicerio and the documentation show a header of several layers: they are a list, which runs fastest."""
    label = label_of(4)[1:5, 3:9, 2:12]
    layers = np.stack([np.where(label == 2, 0, label), np.where(label == 2, 5, 0)], axis=-1).astype(np.uint8)
    affine = np.diag([-1, -1, 1, 1]) @ OBLIQUE
    columns = [f"({','.join(f'{value:.17g}' for value in column)})" for column in affine[:3, :3].T]
    origin = f"({','.join(f'{value:.17g}' for value in affine[:3] @ [2, 3, 1, 1])})"
    head = f"""NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: unsigned char
dimension: 4
space: left-posterior-superior
sizes: 2 10 6 4
space directions: none {" ".join(columns)}
kinds: list domain domain domain
encoding: gzip
space origin: {origin}
Segment0_Color:=0.5 0.7 0.5
Segment0_Extent:=2 11 3 8 1 4
Segment0_ID:=Segment_1
Segment0_LabelValue:=1
Segment0_Layer:=0
Segment0_Name:=left ventricle
Segment0_Tags:=Segmentation.Status:inprogress|
Segment1_LabelValue:=5
Segment1_Layer:=1
Segment1_Name:=scar: old|new
Segment2_LabelValue:=3
Segment2_Layer:=0
Segment2_Name:=wall
Segmentation_MasterRepresentation:=Binary labelmap
Segmentation_ReferenceImageExtentOffset:=2 3 1

"""
    (tmp_path / "a.seg.nrrd").write_bytes(head.encode() + gzip.compress(layers.tobytes()))
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:5, 3:9, 2:12] = label
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), expected)


def test_an_empty_segmentation_is_one_voxel_anywhere(tmp_path: Path) -> None:
    write_segments(
        tmp_path / "a.seg.nrrd", np.zeros((1, 1, 1), np.uint8), Geometry((1.0,) * 3), segments_of(CLASSES, ignored=False)
    )
    assert not read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE).any()


def test_voxels_without_a_label_have_a_segment_too(tmp_path: Path) -> None:
    label = label_of()
    label[0] = IGNORE
    assert unlabelled(("background", "no label")) == "no label_"
    write_segments(tmp_path / "a.seg.nrrd", label, PLACE, segments_of(CLASSES, ignored=True))
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), label)


def test_pictures_are_volumes_of_one_slice(tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    export_review(dataset, audit, tmp_path / "out", "slicer")
    case = dataset.cases[0]
    assert case.label is not None
    label, geometry = read_label(case.label, dataset)
    written = tmp_path / "out" / f"{case.id}.seg.nrrd"
    assert SimpleITK.ReadImage(str(written)).GetSize() == (32, 32, 1)
    assert np.array_equal(read_segments(written, dataset.classes, label.shape, geometry), label)


def place(image: Any) -> None:
    affine = np.diag([-1, -1, 1, 1]) @ OBLIQUE
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(lengths.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / lengths).ravel().tolist())


def save(image: Any, path: Path, names: tuple[str, ...] = CLASSES[1:]) -> None:
    for number, name in enumerate(names):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        image.SetMetaData(f"Segment{number}_Layer", "0")
    SimpleITK.WriteImage(image, str(path), useCompression=True)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda image: image.SetOrigin([value + 0.4 for value in image.GetOrigin()]), "does not lie on the grid"),
        (lambda image: image.SetSpacing([value * 1.1 for value in image.GetSpacing()]), "does not lie on the grid"),
        (lambda image: image.SetDirection(np.eye(3).ravel().tolist()), "does not lie on the grid"),
        (lambda image: image.SetOrigin(image.TransformIndexToPhysicalPoint((1, 0, 0))), "outside of its label"),
        (lambda image: image.SetMetaData("Segment1_Name", "liver"), "'liver', which is no class"),
        (lambda image: image.SetMetaData("Segment1_Name", "wall"), "two segments named 'wall'"),
        (lambda image: image.SetMetaData("Segment1_LabelValue", "3"), "two segments of the value 3"),
        (lambda image: image.SetMetaData("Segment1_LabelValue", "9"), "holds the value 2, which none"),
        (lambda image: image.SetMetaData("Segment1_Layer", "1"), "in layer 1"),
        (lambda image: image.SetMetaData("Segment1_LabelValue", "two"), "'two' as Segment1_LabelValue"),
        (lambda image: [image.EraseMetaData(key) for key in image.GetMetaDataKeys() if key[:3] == "Seg"], "names no segments"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, harm: Any, said: str) -> None:
    image = SimpleITK.GetImageFromArray(label_of())
    place(image)
    save(image, tmp_path / "a.seg.nrrd")
    assert np.array_equal(read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE), label_of())
    harm(image)
    SimpleITK.WriteImage(image, str(tmp_path / "a.seg.nrrd"), useCompression=True)
    with pytest.raises(DataError, match=said) as refused:
        read_segments(tmp_path / "a.seg.nrrd", CLASSES, SHAPE, PLACE)
    assert refused.value.where == str(tmp_path / "a.seg.nrrd") and refused.value.remedy


def test_what_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segments(path, label_of(), PLACE, segments_of(CLASSES, ignored=False))
    whole = path.read_bytes()
    for length in (10, 300, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_segments(path, CLASSES, SHAPE, PLACE)


def test_a_name_that_is_said_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segments(path, label_of(), PLACE, segments_of(CLASSES, ignored=False))
    path.write_bytes(path.read_bytes().replace(b"Segment0_Name:=", b"Segment1_Name:=", 1))
    with pytest.raises(DataError, match="Segment1_Name twice"):
        read_segments(path, CLASSES, SHAPE, PLACE)
