"""Every file of pydicom's own, and of pydicom-data where that is installed: read as SimpleITK reads it, or refused by name."""

from __future__ import annotations

import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from debride.data.pixels.images import read_header, read_image
from debride.types import DataError

OWN = Path(pydicom.__file__).parent / "data" / "test_files"
FOLDERS = [OWN]
if (data := find_spec("data_store")) is not None and data.origin:
    FOLDERS.append(Path(data.origin).parent / "data")
FILES = sorted((file for folder in FOLDERS for file in folder.rglob("*") if file.is_file()), key=lambda file: file.name)
IMAGES = [file for file in FILES if "TINY_ALPHA" not in file.parts]

PLACELESS = "frames that do not say where they lie"
NO_SERIES = "has no SeriesInstanceUID"
REFUSED = {
    **dict.fromkeys(("JPEGLSNearLossless_08", "JPEGLSNearLossless_16"), NO_SERIES),
    **dict.fromkeys(("SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample"), NO_SERIES),
    "JPEG2000-embedded-sequence-delimiter": "and holds 1024 x 3722445056 x 1 numbers",
    "MR_truncated": "claims 0.00819 MB of pixels",
    "badVR": "cannot be decoded",
    **{f"OBXXXX1A{kind}_2frame": PLACELESS for kind in ("", "_rle", "_expb")},
    **{f"SC_rgb{kind}{bits}_2frame": PLACELESS for kind in ("", "_rle", "_expb") for bits in ("", "_16bit", "_32bit")},
    **{
        f"emri_small{kind}": PLACELESS
        for kind in ("", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless", "_jpeg_2k_lossless_too_short")
    },
    **dict.fromkeys(("color3d_jpeg_baseline", "examples_ybr_color", "rtdose", "rtdose_expb", "rtdose_rle"), PLACELESS),
    **{f"liver{kind}": "is a label of DICOM" for kind in ("", "_1frame", "_expb", "_expb_1frame")},
    "rtstruct": "is no DICOM SEG",
}
"""Files with pixels that are refused, and others that are no reports, plans or directories: what is said."""

ITK_DIFFERS = {
    "SC_rgb_rle_16bit": "SC_rgb_16bit",  # SimpleITK reads RLE of colours in 16 and 32 bits in a wrong order
    "SC_rgb_rle_32bit": "SC_rgb_32bit",
}
"""Files that another one holds without compression, by which they are compared."""

BY_PYDICOM = {"mlut_18", "rtdose_1frame", "rtdose_expb_1frame", "rtdose_rle_1frame", "SC_rgb_jpeg"}
"""SimpleITK applies no modality LUT, reads no doses of one frame, and takes ten seconds for the last one: pydicom judges."""


def _copied(file: Path, folder: Path) -> Path:
    return Path(shutil.copyfile(file, folder / f"{file.stem if file.suffix == '.dcm' else file.name}.dcm"))


def _by_itk(file: Path) -> np.ndarray:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = SimpleITK.ReadImage(str(file))
    array = SimpleITK.GetArrayFromImage(image)
    return np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array


@pytest.mark.parametrize("file", IMAGES, ids=lambda file: file.name)
def test_a_file_is_read_right_or_refused(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = _copied(file, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of pydicom may quote what a file holds
        try:
            header = read_header(own)
            image, geometry = read_image([own])
        except DataError as error:
            said = REFUSED.get(own.stem, "")
            assert error.remedy and said in error.problem, error
            assert said or not _has_pixels(file), error
            assert (capfd.readouterr().err == "") or "truncated" in file.name
            return
    assert own.stem not in REFUSED
    assert image.shape == (header.channels, *header.shape) and geometry == header.geometry
    assert image.dtype == image.dtype.newbyteorder("=") and image.dtype in _TYPES
    if own.stem in BY_PYDICOM:
        dataset = pydicom.dcmread(file)
        wanted = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
        wanted = np.moveaxis(wanted, -1, 0) if dataset.SamplesPerPixel == 3 else wanted
    elif own.stem in ITK_DIFFERS:
        twin = ITK_DIFFERS[own.stem]
        plain = next((other for other in IMAGES if other.stem == twin), None)
        if plain is None:
            pytest.skip("pydicom-data is not installed")
        wanted = _by_itk(plain)
    else:
        wanted = _by_itk(file)
    if own.stem == "eCT_Supplemental":  # SimpleITK leaves frames in their order in the file, which is that of falling positions
        wanted = wanted[::-1]
    np.testing.assert_allclose(image, wanted.reshape(image.shape), rtol=1e-6)


_TYPES = [np.dtype(kind) for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32)]


def _has_pixels(file: Path) -> bool:
    try:
        dataset = pydicom.dcmread(file, force=True)
        return "PixelData" in dataset and "Rows" in dataset
    except Exception:
        return False
