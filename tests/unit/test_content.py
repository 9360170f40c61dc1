"""A file is what its first bytes say: read where that is certain, else refused with its true cause."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_nnunet_3d, save_nifti, save_png
from tests.pictures import disc

from debride.data.check import find_problems
from debride.data.pixels.images import read_header, read_image, read_label, read_values, write_label_like
from debride.notes import take_notes
from debride.types import DataError, Dataset

RNG = np.random.default_rng(0)
VOLUME = RNG.integers(0, 2, (3, 5, 7)).astype(np.int16)
TWO = Dataset(Path(), "folder", ("background", "lesion"), (), 2)
ENDINGS = [".png", ".tif", ".jpg", ".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha"]


def test_nifti_with_the_other_ending(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", VOLUME)
    plain = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain))
    take_notes()
    for name in ("plain.nii.gz", "packed.nii"):
        image, geometry = read_image([tmp_path / name])
        np.testing.assert_array_equal(image[0], VOLUME)
        assert geometry == read_header(tmp_path / "a.nii").geometry and image.dtype == np.int16
    assert [note.rpartition("/")[2] for note in take_notes()] == [
        "plain.nii.gz is not compressed, whatever its ending says.",
        "packed.nii is compressed, whatever its ending says.",
    ]
    ids, _ = read_label(tmp_path / "plain.nii.gz", TWO)
    write_label_like(tmp_path / "plain.nii.gz", 1 - ids, TWO, tmp_path / "copy" / "plain.nii.gz")
    np.testing.assert_array_equal(read_values(tmp_path / "copy" / "plain.nii.gz")[0], 1 - VOLUME)


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("content", [".png", ".tif", ".jpg"])
def test_pictures_are_read_by_content(tmp_path: Path, content: str, ending: str) -> None:
    """A PNG mask keeps its values whatever its name, and a JPEG mask loses them."""
    mask = disc(40, 20, 20, 9)
    save_png(tmp_path / f"a{content}", (mask * 255).astype(np.uint8))
    (tmp_path / "b").with_suffix(ending).write_bytes((tmp_path / f"a{content}").read_bytes())
    take_notes()
    raw = read_values((tmp_path / "b").with_suffix(ending))[0]
    np.testing.assert_array_equal(raw, mask * 255)
    assert bool(take_notes()) == (content != ending and ".jpg" in (content, ending))  # PNG and TIFF are one kind
    np.testing.assert_array_equal(
        read_image([(tmp_path / "b").with_suffix(ending)])[0], read_image([tmp_path / f"a{content}"])[0]
    )
    three = Dataset(Path(), "folder", ("a", "b", "c"), (), 2, None, {0: 0, 255: 1, 9: 2})
    if content == ".jpg":
        with pytest.raises(DataError, match="JPEG"):
            read_label((tmp_path / "b").with_suffix(ending), three)
    else:
        np.testing.assert_array_equal(read_label((tmp_path / "b").with_suffix(ending), three)[0], mask)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 1234\n"
FOREIGN = {
    "Git LFS": (POINTER, "pointer"),
    "git-annex": (b"/annex/objects/MD5E-s12--abc.nii.gz\n", "pointer"),
    "web page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>" * 20, "it is a web page"),
    "XML": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "it is an XML file"),
    "text": (b"404: Not Found", "it is text, beginning with '404: Not Found'"),
    "JSON": (json.dumps({"message": "rate limit"}).encode(), "it is text"),
    "zeros": (bytes(5000), "nothing but zero bytes"),
    "BMP": (b"BM" + bytes(range(250)), "it is a BMP picture"),
    "GIF": (b"GIF89a" + bytes(range(250)), "it is a GIF picture"),
    "ZIP": (b"PK\x03\x04" + bytes(range(250)), "it is a ZIP archive"),
    "NumPy": (b"\x93NUMPY\x01\x00" + bytes(range(250)), "it is a NumPy array"),
    "DICOM": (bytes(128) + b"DICM" + bytes(range(250)), "is a DICOM file"),
    "gzip of text": (gzip.compress(b"hello world, " * 90), "it is text"),
    "gzip of zeros": (gzip.compress(bytes(range(1, 200)) * 9), "a gzip file that holds no NIfTI volume"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, what: str, ending: str) -> None:
    content, says = FOREIGN[what]
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    for read in (read_header, read_values, lambda path: read_image([path])):
        with pytest.raises(DataError, match=says) as raised:
            read(path)
        assert raised.value.where == str(path) and "damaged" not in str(raised.value)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".png"])
def test_images_of_another_kind(tmp_path: Path, ending: str) -> None:
    """NIfTI is read under any name, NRRD only under its own."""
    save_nifti(tmp_path / "a.nii.gz", VOLUME)
    (tmp_path / f"b{ending}").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    take_notes()
    np.testing.assert_array_equal(read_image([tmp_path / f"b{ending}"])[0][0], VOLUME)
    assert "is a NIfTI volume in gzip by its content" in take_notes()[0]
    (tmp_path / "c.nii.gz").write_bytes(b"NRRD0004\n# " + bytes(range(250)))
    with pytest.raises(DataError, match=r"is an NRRD file, not what its ending says. Give it its own ending"):
        read_image([tmp_path / "c.nii.gz"])


def test_a_folder_and_a_link_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_image([tmp_path / "a.png"])
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"is a link to .*nowhere.png, which does not exist"):
        read_image([tmp_path / "b.png"])


def test_jpeg_of_12_bits_and_lossless_jpeg(tmp_path: Path) -> None:
    save_png(tmp_path / "a.jpg", RNG.integers(0, 256, (16, 16), dtype=np.uint8))
    content = (tmp_path / "a.jpg").read_bytes()
    at = content.index(b"\xff\xc0")
    (tmp_path / "b.jpg").write_bytes(content[: at + 1] + b"\xc1" + content[at + 2 : at + 4] + b"\x0c" + content[at + 5 :])
    with pytest.raises(DataError, match="JPEG of 12 bits"):
        read_image([tmp_path / "b.jpg"])
    (tmp_path / "c.jpg").write_bytes(content[: at + 1] + b"\xc3" + content[at + 2 :])
    with pytest.raises(DataError, match="lossless"):
        read_image([tmp_path / "c.jpg"])
    Image.new("CMYK", (8, 8)).save(tmp_path / "d.jpg")
    with pytest.raises(DataError, match="colour mode CMYK"):
        read_image([tmp_path / "d.jpg"])


def test_check_of_a_data_set_names_each_cause(tmp_path: Path) -> None:
    root = build_nnunet_3d(tmp_path / "set")
    files = sorted((root / "labelsTr").iterdir())
    plain = gzip.decompress(files[0].read_bytes())
    files[0].write_bytes(plain)
    files[1].write_bytes(files[1].read_bytes()[:-4])
    files[2].write_bytes(POINTER)
    found = {Path(problem.file).name: problem.problem for problem in find_problems(root)}
    assert set(found) == {files[1].name, files[2].name}
    assert "end-of-stream marker" in found[files[1].name] and "pointer" in found[files[2].name]
