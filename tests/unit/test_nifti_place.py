"""Where NIfTI files lie, against SimpleITK, and that what is written lies at the same place for both libraries."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from tests.turned_files import oblique, save_volume

from debride.data.pixels.images import read_header, read_label, read_values, write_label, write_label_like, write_values
from debride.data.same_grid import Turn, compare
from debride.notes import take_notes
from debride.types import DataError, Dataset, Geometry

DATASET = Dataset(Path(), "folder", ("background", "a"), (), 3)
AFFINE = oblique((0.5, 0.8, 3.0), (10, -20, 35), (12, -33, 7))
IDS = (np.arange(4 * 5 * 6).reshape(4, 5, 6) % 7 == 0).astype(np.uint8)


def itk(path: Path) -> tuple[Any, ...]:
    image = SimpleITK.ReadImage(str(path))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def same_in_itk(a: Path, b: Path) -> None:
    for here, there in zip(itk(a), itk(b), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-5)


def in_ras(path: Path) -> Any:
    """The affine that SimpleITK reads, in NIfTI's coordinates."""
    _, spacing, origin, direction = itk(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * spacing
    affine[:3, 3] = origin
    return np.diag([-1, -1, 1, 1]) @ affine


def edit(path: Path, at: int, content: bytes) -> None:
    stored = bytearray(path.read_bytes())
    stored[at : at + len(content)] = content
    path.write_bytes(stored)


@pytest.mark.parametrize(("unit", "mm"), [("micron", 0.001), ("mm", 1.0), ("meter", 1000.0), ("unknown", 1.0)])
def test_every_unit_is_read_in_mm_as_simpleitk_does(tmp_path: Path, unit: str, mm: float) -> None:
    save_volume(tmp_path / "a.nii.gz", IDS, AFFINE, unit)
    geometry = read_header(tmp_path / "a.nii.gz").geometry
    assert geometry.spacing == pytest.approx(tuple(length * mm for length in (3.0, 0.8, 0.5)))
    np.testing.assert_allclose(geometry.affine, in_ras(tmp_path / "a.nii.gz"), rtol=1e-5, atol=1e-5 * mm)  # type: ignore[arg-type]
    write_label(tmp_path / "b.nii.gz", IDS, DATASET, geometry, tmp_path / "a.nii.gz")
    same_in_itk(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    write_label(tmp_path / "c.nii.gz", IDS, DATASET, geometry)
    assert compare(read_header(tmp_path / "c.nii.gz").grid, read_header(tmp_path / "a.nii.gz").grid) == Turn((0, 1, 2))


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (0, 2), (0, 0)])
@pytest.mark.parametrize("left", [False, True])
def test_a_mask_lies_where_its_image_does_for_simpleitk(tmp_path: Path, codes: tuple[int, int], left: bool) -> None:
    save_volume(tmp_path / "a.nii", IDS, AFFINE * ([-1, 1, 1, 1] if left else [1, 1, 1, 1]))
    edit(tmp_path / "a.nii", 252, np.array(codes, "<i2").tobytes())
    header = read_header(tmp_path / "a.nii")
    assert header.contradictions == () and (header.geometry.affine is None) == (codes == (0, 0))
    assert header.geometry.spacing == pytest.approx((3.0, 0.8, 0.5))
    write_label(tmp_path / "b.nii.gz", IDS, DATASET, header.geometry, tmp_path / "a.nii")
    write_label_like(tmp_path / "b.nii.gz", 1 - IDS, DATASET, tmp_path / "c.nii.gz")
    for name in ("b.nii.gz", "c.nii.gz"):
        same_in_itk(tmp_path / "a.nii", tmp_path / name)
        written: Any = nib.load(tmp_path / name)
        assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == codes
        assert written.header.get_xyzt_units()[0] == "mm" and written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_label(tmp_path / "c.nii.gz", DATASET)[0], 1 - IDS)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 6)])
def test_a_mask_for_a_geometry_says_it_by_qform_and_sform(tmp_path: Path, left: bool, shape: tuple[int, ...]) -> None:
    affine = AFFINE * ([-1, 1, 1, 1] if left else [1, 1, 1, 1])
    geometry = Geometry((3.0, 0.8, 0.5)[-len(shape) :], tuple(map(tuple, affine.tolist())))
    write_values(tmp_path / "a.nii.gz", np.ones(shape, np.uint8), geometry)
    written: Any = nib.load(tmp_path / "a.nii.gz")
    assert int(written.header["qform_code"]) > 0 < int(written.header["sform_code"])
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-5)
    np.testing.assert_allclose(written.get_sform(), affine, atol=1e-5)
    np.testing.assert_allclose(in_ras(tmp_path / "a.nii.gz"), affine, atol=1e-5)
    read = read_header(tmp_path / "a.nii.gz")
    assert read.geometry.spacing == pytest.approx(geometry.spacing) and read.contradictions == ()


def test_a_sheared_place_is_kept_though_no_qform_can_say_it(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 2] += 0.6
    write_values(tmp_path / "a.nii.gz", IDS, Geometry(None, tuple(map(tuple, sheared.tolist()))))
    header = read_header(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(header.geometry.affine, sheared, atol=1e-5)  # type: ignore[arg-type]
    assert header.contradictions == () and header.geometry.spacing is not None
    np.testing.assert_allclose(header.geometry.spacing[::-1], np.linalg.norm(sheared[:3, :3], axis=0), rtol=1e-5)


def test_a_mask_can_be_read_by_simpleitk_where_the_sform_is_not_quite_orthonormal(tmp_path: Path) -> None:
    """SimpleITK then goes by the qform, and refuses a file that has none."""
    near = AFFINE.copy()
    near[:3, 2] += 4e-3, -2e-3, 3e-3
    save_volume(tmp_path / "a.nii.gz", IDS, AFFINE)
    volume: Any = nib.load(tmp_path / "a.nii.gz")
    volume.set_sform(near, 1)
    nib.save(volume, tmp_path / "a.nii.gz")
    header = read_header(tmp_path / "a.nii.gz")
    assert header.contradictions == ()
    write_label(tmp_path / "b.nii.gz", IDS, DATASET, header.geometry, tmp_path / "a.nii.gz")
    same_in_itk(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    write_values(tmp_path / "c.nii.gz", IDS, header.geometry)
    np.testing.assert_allclose(in_ras(tmp_path / "c.nii.gz"), AFFINE, atol=0.01)


def contradicting(path: Path, what: str) -> None:
    save_volume(path, IDS, np.diag([0.5, 0.5, 3.0, 1.0]))
    if what == "pixdim":
        edit(path, 80, np.array([1, 1, 1], "<f4").tobytes())
        edit(path, 252, np.array([0], "<i2").tobytes())
    else:
        edit(path, 268, np.array([0, 0, 12], "<f4").tobytes())  # qoffset


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("pixdim", r"has the voxel spacing \(1, 1, 1\) by its pixdim, and \(0.5, 0.5, 3\) by its sform"),
        ("qform", "lies at 0.5 0 0 0; 0 0.5 0 0; 0 0 3 0 by its sform, and at 0.5 0 0 0; 0 0.5 0 0; 0 0 3 12 by its qform"),
    ],
)
def test_a_header_that_contradicts_itself_is_read_by_its_sform_and_named(tmp_path: Path, what: str, said: str) -> None:
    path = tmp_path / "a.nii"
    contradicting(path, what)
    take_notes()
    header = read_header(path)
    assert header.geometry.spacing == (3.0, 0.5, 0.5)
    (problem,) = header.contradictions
    assert problem.where == str(path)
    with pytest.raises(DataError, match=said):
        raise problem
    assert take_notes() == [f"{path} has a header that contradicts itself, and is read by its sform."]
    image: Any = nib.load(path)  # the remedy
    make: Any = nib.Nifti1Image
    nib.save(make(np.asarray(image.dataobj), image.affine), path)
    again = read_header(path)
    assert again.contradictions == () and again.geometry.spacing == (3.0, 0.5, 0.5) and take_notes() == []


@pytest.mark.parametrize(
    "sform",
    [np.zeros((3, 4)), np.full((3, 4), np.nan), np.array([[1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 1, 0]])],
    ids=["zeros", "nan", "two axes alike"],
)
def test_an_affine_that_places_no_voxels_is_refused(tmp_path: Path, sform: Any) -> None:
    path = tmp_path / "a.nii"
    save_volume(path, IDS, AFFINE)
    edit(path, 280, np.asarray(sform, "<f4").tobytes())
    for read in (read_header, read_values):
        with pytest.raises(DataError, match="places no voxels"):
            read(path)
    edit(path, 252, np.array([0, 0], "<i2").tobytes())  # the remedy
    assert read_header(path).geometry == Geometry(pytest.approx((3.0, 0.8, 0.5)))


def test_a_surface_file_is_no_volume(tmp_path: Path) -> None:
    axes: Any = nib.cifti2.SeriesAxis(0, 1, 4), nib.cifti2.ScalarAxis(["a", "b", "c"])
    nib.save(nib.cifti2.Cifti2Image(np.zeros((4, 3), np.float32), header=axes), tmp_path / "a.nii")
    with pytest.raises(DataError, match="is no volume but a Cifti2Image"):
        read_header(tmp_path / "a.nii")


def nrrd(path: Path, *lines: str) -> None:
    fields = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 6 5 4", "encoding: gzip", *lines]
    path.write_bytes(("\n".join(fields) + "\n\n").encode() + gzip.compress(IDS.tobytes()))


def test_an_nrrd_of_a_spacing_alone_says_nothing_of_its_place(tmp_path: Path) -> None:
    nrrd(tmp_path / "a.nrrd", "spacings: 0.5 0.8 3")
    assert read_header(tmp_path / "a.nrrd").geometry == Geometry((3.0, 0.8, 0.5))


def test_an_nrrd_in_micrometres_is_read_in_mm_and_its_mask_lies_there(tmp_path: Path) -> None:
    place = "space: right-anterior-superior", "space directions: (500,0,0) (0,800,0) (0,0,3000)", "space origin: (1000,2000,0)"
    nrrd(tmp_path / "a.nrrd", *place, 'space units: "um" "um" "um"')
    header = read_header(tmp_path / "a.nrrd")
    expected = np.diag([0.5, 0.8, 3.0, 1.0])
    expected[:2, 3] = 1, 2
    np.testing.assert_allclose(header.geometry.affine, expected)  # type: ignore[arg-type]
    assert header.geometry.spacing == pytest.approx((3.0, 0.8, 0.5))
    write_label(tmp_path / "b.nrrd", IDS, DATASET, header.geometry, tmp_path / "a.nrrd")
    assert compare(read_header(tmp_path / "b.nrrd").grid, header.grid) == Turn((0, 1, 2))
    nrrd(tmp_path / "c.nrrd", *place, 'space units: "furlong" "furlong" "furlong"')
    with pytest.raises(DataError, match="in the unit 'furlong'"):
        read_header(tmp_path / "c.nrrd")


def test_a_metaimage_in_micrometres_is_read_in_mm(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(IDS)
    image.SetSpacing((500, 800, 3000))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    text = (tmp_path / "a.mha").read_bytes().replace(b"ElementSpacing", b"DistanceUnits = um\nElementSpacing")
    (tmp_path / "a.mha").write_bytes(text)
    assert read_header(tmp_path / "a.mha").geometry.spacing == pytest.approx((3.0, 0.8, 0.5))


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_kinds_on_one_grid_agree(tmp_path: Path, ending: str) -> None:
    save_volume(tmp_path / "a.nii.gz", IDS, AFFINE)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    reference = read_header(tmp_path / "a.nii.gz").grid
    SimpleITK.WriteImage(image, str(tmp_path / f"b{ending}"))
    assert compare(read_header(tmp_path / f"b{ending}").grid, reference) == Turn((0, 1, 2))
    SimpleITK.WriteImage(SimpleITK.Flip(image, (True, False, False)), str(tmp_path / f"c{ending}"))
    assert compare(read_header(tmp_path / f"c{ending}").grid, reference) == Turn((0, 1, 2), (2,))
    SimpleITK.WriteImage(SimpleITK.PermuteAxes(image, (2, 0, 1)), str(tmp_path / f"d{ending}"))
    assert isinstance(compare(read_header(tmp_path / f"d{ending}").grid, reference), Turn)
