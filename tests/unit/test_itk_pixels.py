"""NRRD and MetaImage against SimpleITK itself: read bit for bit, written with the source's header and place, refused if cut."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK

from debride.data.pixels.images import (
    copy_image,
    files_of,
    hash_of,
    read_header,
    read_image,
    read_label,
    read_layers,
    read_values,
    stem,
    suffix,
    write_label,
    write_label_like,
    write_values,
)
from debride.types import DataError, Dataset, Geometry

RNG = np.random.default_rng(0)
DATASET = Dataset(Path(), "folder", ("background", "a", "b"), (), 3)
NAMES = ["a.nrrd", "a.seg.nrrd", "a.mha", "a.mhd"]
ORIGIN = (12.5, -33.1, 7.0 / 3)
SPACING = (0.7, 1.1, 2.3)


def oblique(turn: float = 0.4, tilt: float = -0.3) -> tuple[float, ...]:
    around = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    over = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    return tuple((around @ over).ravel())


def save(path: Path, array: npt.NDArray[Any], compressed: bool = False, vector: bool = False, **notes: str) -> Any:
    image = SimpleITK.GetImageFromArray(array, isVector=vector)
    ndim = image.GetDimension()
    image.SetOrigin(ORIGIN[:ndim])
    image.SetSpacing(SPACING[:ndim])
    image.SetDirection(oblique() if ndim == 3 else (0.8, -0.6, 0.6, 0.8))
    for name, value in notes.items():
        image.SetMetaData(name, value)
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return image


def same_header(written: Path, source: Path, notes: bool = True) -> None:
    a, b = SimpleITK.ReadImage(str(written)), SimpleITK.ReadImage(str(source))
    assert a.GetOrigin() == b.GetOrigin() and a.GetSpacing() == b.GetSpacing() and a.GetDirection() == b.GetDirection()
    assert a.GetSize() == b.GetSize()
    if notes:
        assert sorted(a.GetMetaDataKeys()) == sorted(b.GetMetaDataKeys())
        assert all(a.GetMetaData(key) == b.GetMetaData(key) for key in a.GetMetaDataKeys())


def label(shape: tuple[int, ...] = (4, 5, 6), dtype: Any = np.int16) -> npt.NDArray[Any]:
    return RNG.integers(0, 3, shape).astype(dtype)


def test_a_segmentation_is_named_by_what_comes_before_both_dots() -> None:
    assert suffix(Path("x.1.seg.nrrd")) == ".seg.nrrd" and stem(Path("x.1.SEG.NRRD")) == "x.1"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", NAMES)
def test_images_are_what_simpleitk_reads(tmp_path: Path, name: str, dtype: str, compressed: bool) -> None:
    array = RNG.integers(0, 200, (4, 5, 6)).astype(np.dtype(dtype).newbyteorder("="))
    save(tmp_path / name, array, compressed)
    image, geometry = read_image([tmp_path / name])
    np.testing.assert_array_equal(image, array[None])
    assert image.dtype == (np.float32 if array.dtype.kind == "f" else array.dtype)
    assert geometry.spacing == pytest.approx(SPACING[::-1])
    header = read_header(tmp_path / name)
    assert (header.shape, header.channels, header.geometry) == ((4, 5, 6), 1, geometry)


@pytest.mark.parametrize("name", NAMES)
def test_the_affine_is_that_of_the_same_image_as_nifti(tmp_path: Path, name: str) -> None:
    image = save(tmp_path / name, label())
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii.gz"))
    geometry = read_header(tmp_path / name).geometry
    np.testing.assert_allclose(geometry.affine, nib.load(tmp_path / "a.nii.gz").affine, atol=1e-5)  # type: ignore[attr-defined]
    write_values(tmp_path / "b.nii.gz", label(dtype=np.uint8), geometry)
    same = SimpleITK.ReadImage(str(tmp_path / "b.nii.gz"))
    np.testing.assert_allclose(same.GetDirection(), oblique(), atol=1e-6)
    np.testing.assert_allclose(same.GetOrigin(), ORIGIN, atol=1e-5)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (5, 6)])
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_label_keeps_its_header(tmp_path: Path, name: str, shape: tuple[int, ...], compressed: bool) -> None:
    array = label(shape)
    save(tmp_path / name, array, compressed, Segment0_Name="lesion", Segment0_LabelValue="1")
    ids, _ = read_label(tmp_path / name, DATASET)
    assert ids.shape == (shape[1:] if shape[0] == 1 else shape)
    changed = np.where(ids == 1, 2, ids).astype(np.uint8)
    (tmp_path / "out").mkdir()
    target = write_label_like(tmp_path / name, changed, DATASET, tmp_path / "out" / f"b{name[1:]}")
    same_header(target, tmp_path / name)
    written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(target)))
    assert written.dtype == np.int16
    np.testing.assert_array_equal(written.reshape(changed.shape), changed)
    np.testing.assert_array_equal(read_label(target, DATASET)[0], changed)
    sizes = [sum(file.stat().st_size for file in files_of([path])) for path in (target, tmp_path / name)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.3)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
def test_a_value_that_does_not_fit_widens_the_type(tmp_path: Path, name: str) -> None:
    wide = Dataset(Path(), "folder", ("background", "a"), (), 3, ignore=1000)
    save(tmp_path / name, label(dtype=np.uint8) % 2)
    ids, _ = read_label(tmp_path / name, wide)
    ids[0] = 255
    target = write_label_like(tmp_path / name, ids, wide, tmp_path / f"b{name[1:]}")
    same_header(target, tmp_path / name)
    written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(target)))
    assert written.dtype == np.uint16 and (written[0] == 1000).all()
    np.testing.assert_array_equal(read_label(target, wide)[0], ids)


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (5, 6)])
@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_lies_exactly_where_its_image_does(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    save(tmp_path / name, RNG.normal(size=shape).astype(np.float32))
    image, geometry = read_image([tmp_path / name])
    ids = label(image.shape[1:], np.uint8)
    target = write_label(tmp_path / f"b{name[1:]}", ids, DATASET, geometry, like=tmp_path / name)
    same_header(target, tmp_path / name, notes=False)
    np.testing.assert_array_equal(read_label(target, DATASET)[0], ids)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
def test_a_label_for_a_geometry_alone_lies_there_too(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, label())
    geometry = read_header(tmp_path / name).geometry
    write_values(tmp_path / f"b{name[1:]}", label(dtype=np.uint8), geometry)
    again = read_header(tmp_path / f"b{name[1:]}").geometry
    np.testing.assert_allclose(again.affine, geometry.affine, atol=1e-9)  # type: ignore[arg-type]


def test_a_file_without_spacing_says_nothing_of_its_place(tmp_path: Path) -> None:
    header = b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 3 2\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + bytes(range(6)))
    image, geometry = read_image([tmp_path / "a.nrrd"])
    assert geometry.spacing is None and geometry.affine is None
    np.testing.assert_array_equal(image, [[[0, 1, 2], [3, 4, 5]]])


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_colours_are_channels_and_no_label(tmp_path: Path, name: str) -> None:
    colours = RNG.integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
    save(tmp_path / name, colours, vector=True)
    np.testing.assert_array_equal(read_image([tmp_path / name])[0], np.moveaxis(colours, -1, 0))
    assert read_header(tmp_path / name).channels == 3
    layers = read_layers(tmp_path / name)
    assert layers is not None and layers[0].shape == (3, 4, 5, 6)


def test_segments_that_overlap_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "a.seg.nrrd", np.zeros((4, 5, 6, 2), np.uint8), vector=True)
    with pytest.raises(DataError, match=r"holds 2 layers of labels.*3D Slicer") as refused:
        read_values(tmp_path / "a.seg.nrrd")
    assert refused.value.where == str(tmp_path / "a.seg.nrrd")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str, compressed: bool, capfd: Any) -> None:
    save(tmp_path / name, RNG.integers(0, 250, (8, 9, 10)).astype(np.uint8), compressed)
    data = files_of([tmp_path / name])[-1]
    whole = data.read_bytes()
    for lost in (1, 40, 400):
        data.write_bytes(whole[:-lost] if not compressed else whole[: len(whole) - lost - 12])
        with pytest.raises(DataError, match=r"cut off|damaged"):
            read_image([tmp_path / name])
    data.write_bytes(whole)
    read_image([tmp_path / name])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_is_cut_off_or_is_none(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, label())
    whole = (tmp_path / name).read_bytes()
    for content in (whole[:60], b"", b"x" * 500):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as refused:
            read_header(tmp_path / name)
        assert refused.value.where == str(tmp_path / name)


def test_the_data_file_of_an_mhd(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    save(path, label())
    assert [file.name for file in files_of([path])] == ["a.mhd", "a.raw"]
    before = hash_of([path])
    (tmp_path / "a.raw").write_bytes((tmp_path / "a.raw").read_bytes()[::-1])
    assert hash_of([path]) != before
    (tmp_path / "copy").mkdir()
    copy_image(path, tmp_path / "copy" / "a.mhd")
    assert (tmp_path / "copy" / "a.mhd").read_bytes() == path.read_bytes()
    copy_image(path, tmp_path / "copy" / "other.mhd")
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == ["a.mhd", "a.raw", "other.mhd", "other.raw"]
    np.testing.assert_array_equal(read_values(tmp_path / "copy" / "other.mhd")[0], read_values(path)[0])
    same_header(tmp_path / "copy" / "other.mhd", path)
    (tmp_path / "a.raw").unlink()
    for read in (read_header, read_values):
        with pytest.raises(DataError, match=r"names the file a\.raw, which does not exist"):
            read(path)


@pytest.mark.parametrize("name", ["../a.raw", "/etc/passwd", "LIST", "a%03d.raw 1 4 1"])
def test_an_mhd_reads_no_file_elsewhere(tmp_path: Path, name: str) -> None:
    save(tmp_path / "in.mhd", label())
    text = (tmp_path / "in.mhd").read_text().replace("in.raw", name)
    (tmp_path / "in.mhd").write_text(text)
    with pytest.raises(DataError, match=r"Save it as \.mha"):
        read_image([tmp_path / "in.mhd"])


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("encoding: raw", "encoding: hex", "encoding 'hex'"),
        ("encoding: raw", "encoding: raw\ndata file: /etc/passwd", "in another file"),
        ("encoding: raw", "encoding: raw\nbyte skip: 4", "skips"),
        ("type: short", "type: block", "numbers of type"),
        ("sizes: 6 5 4", "sizes: 6 5", "header"),
    ],
)
def test_nrrd_headers_that_are_not_read(tmp_path: Path, before: str, after: str, problem: str) -> None:
    save(tmp_path / "a.nrrd", label())
    content = (tmp_path / "a.nrrd").read_bytes()
    assert before.encode() in content
    (tmp_path / "a.nrrd").write_bytes(content.replace(before.encode(), after.encode()))
    with pytest.raises(DataError, match=problem):
        read_image([tmp_path / "a.nrrd"])


def test_gzip_in_several_members(tmp_path: Path) -> None:
    data = bytes(range(60))
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_bytes(header + gzip.compress(data[:20]) + gzip.compress(data[20:45]) + gzip.compress(data[45:]))
    np.testing.assert_array_equal(read_values(tmp_path / "a.nrrd")[0].ravel(), np.arange(60))


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd"])
@pytest.mark.parametrize("room", [0, 300])
def test_a_file_that_the_disk_does_not_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, room: int
) -> None:
    write = SimpleITK.WriteImage

    def full(image: Any, path: str, **options: Any) -> None:
        write(image, path, **options)
        data = Path(path).with_name("a.zraw") if name.endswith(".mhd") else Path(path)
        data.write_bytes(data.read_bytes()[:room])  # as ITK leaves it, without an error, where a buffer cannot be flushed

    monkeypatch.setattr(SimpleITK, "WriteImage", full)
    values = np.random.default_rng(0).integers(0, 250, (4, 20, 20), dtype=np.uint8)
    with pytest.raises(DataError, match="cannot be written"):
        write_values(tmp_path / name, values, Geometry(spacing=(1.0, 1.0, 1.0)))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_itk_while_it_writes_is_no_mistake_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(SimpleITK, "WriteImage", refuse)
    with pytest.raises(DataError, match="cannot be written"):
        write_values(tmp_path / "a.mha", np.zeros((2, 3, 4), np.uint8), Geometry(spacing=(1.0, 1.0, 1.0)))
