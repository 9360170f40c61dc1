"""Numbers of frames: bits, signs, units, tables, colours and compression, against plain loops; and claims that are refused."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from tests.dicom_made import make_series

from debride.data.dicom import gdcm_worker
from debride.data.dicom.codestreams import is_sound_jpeg, stream_size
from debride.data.dicom.decoding import frame_values
from debride.data.dicom.dicom_files import opened, read_dicom
from debride.data.dicom.quiet import quiet
from debride.data.pixels.images import read_image, read_image_part
from debride.notes import take_notes
from debride.types import DataError

RNG = np.random.default_rng(30)
WHERE = Path("mr-0123456789ab.dicom-series")
DEFLATED = "1.2.840.10008.1.2.1.99"


def made(words: list[int], rows: int, columns: int, **entries: Any) -> Dataset:
    """A dataset of numbers in 16 bits, as ``opened`` gives one."""
    dataset = Dataset()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = b"".join(word.to_bytes(2, "little") for word in words)
    with quiet():
        for name, value in entries.items():
            setattr(dataset, name, value)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = entries.get("syntax", ExplicitVRLittleEndian)
    dataset.set_original_encoding(False, True)
    return dataset


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("stored", "high"), [(12, 11), (12, 15), (12, 13), (10, 9), (16, 15), (1, 0)])
def test_bits_that_are_not_a_numbers_own_do_not_count(stored: int, high: int, signed: int) -> None:
    """PS3.5 8.1.1: the number lies in the bits up to the high bit, whatever stands in the others."""
    words = [int(word) for word in RNG.integers(0, 2**16, 12)]
    dataset = made(words, 3, 4, BitsStored=stored, HighBit=high, PixelRepresentation=signed)
    expected = []
    for word in words:
        number = 0
        for bit in range(stored):
            number += ((word >> (high + 1 - stored + bit)) & 1) << bit
        expected.append(number - (1 << stored) if signed and number >= 1 << (stored - 1) else number)
    assert frame_values(dataset, 0, WHERE)[0].ravel().tolist() == expected


def test_units_and_types() -> None:
    """Whole numbers stay such, in the smallest type for what the header allows; others are float32."""
    words = [0, 1, 100, 4095]
    found = frame_values(made(words, 2, 2, BitsStored=12, HighBit=11, RescaleSlope="1", RescaleIntercept="-1024"), 0, WHERE)
    assert found.dtype == np.int16 and found.ravel().tolist() == [-1024, -1023, -924, 3071]
    found = frame_values(made(words, 2, 2, RescaleSlope="2", RescaleIntercept="-1024"), 0, WHERE)
    assert found.dtype == np.int32 and found.ravel().tolist() == [2 * word - 1024 for word in words]
    found = frame_values(made(words, 2, 2, RescaleSlope="0.5", RescaleIntercept="3"), 0, WHERE)
    assert found.dtype == np.float32 and found.ravel().tolist() == [word * 0.5 + 3 for word in words]
    found = frame_values(made(words, 2, 2, WindowCenter="10", WindowWidth="5"), 0, WHERE)
    assert found.dtype == np.uint16 and found.ravel().tolist() == words
    for slope in ("0", "inf"):
        with pytest.raises(DataError, match="has a slice with the slope"):
            frame_values(made(words, 2, 2, RescaleSlope=slope), 0, WHERE)


def test_units_of_frames() -> None:
    """PS3.3 C.7.6.16.2.9: a frame's own units, and not the header's."""
    groups = []
    for slope in (1, 3):
        item, inner = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = str(slope), "-5"
        item.PixelValueTransformationSequence = [inner]
        groups.append(item)
    dataset = made([1, 2, 3, 4], 1, 2, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=groups, RescaleSlope="7")
    assert frame_values(dataset, 1, WHERE).tolist() == [[[-4, -3]]]
    assert frame_values(dataset, 2, WHERE).tolist() == [[[4, 7]]]
    with pytest.raises(DataError, match="names frame 3 of a file that has 2"):
        frame_values(dataset, 3, WHERE)


def test_low_values_that_are_bright() -> None:
    take_notes()
    found = frame_values(
        made([0, 5, 1023, 7], 2, 2, BitsStored=10, HighBit=9, PhotometricInterpretation="MONOCHROME1"), 0, WHERE
    )
    assert found.ravel().tolist() == [1023, 1018, 0, 1016]
    assert "MONOCHROME1" in take_notes()[0]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_modality_lut(bits: int) -> None:
    """PS3.3 C.11.1.1.1: below the first number stands the first entry, above the last the last one."""
    table = [7, 250, 13, 99]
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4, 10, bits], table
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    found = frame_values(made([0, 10, 11, 12, 13, 60000], 2, 3, ModalityLUTSequence=[item]), 0, WHERE)
    assert found.ravel().tolist() == [7, 7, 250, 13, 99, 99]


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(bits: int, little: bool) -> None:
    """PS3.3 C.7.6.3.1.5: entries of 8 bits lie two in a word, whatever its byte order."""
    red, green, blue = ([int(entry) for entry in RNG.integers(0, 2**bits, 6)] for _ in range(3))
    dataset = made([0, 3, 8, 9], 2, 2, PhotometricInterpretation="PALETTE COLOR")
    for name, entries in (("Red", red), ("Green", green), ("Blue", blue)):
        words = entries if bits == 16 else [low + (high << 8) for low, high in zip(entries[::2], entries[1::2], strict=True)]
        data = b"".join(word.to_bytes(2, "little" if little else "big") for word in words)
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [6, 3, bits])
        setattr(dataset, f"{name}PaletteColorLookupTableData", data)
    dataset.set_original_encoding(False, little)
    found = frame_values(dataset, 0, WHERE)
    assert found.shape == (3, 2, 2)
    assert [channel.ravel().tolist() for channel in found] == [
        [table[at] for at in (0, 0, 5, 5)] for table in (red, green, blue)
    ]


def test_a_palette_of_segments() -> None:
    """PS3.3 C.7.9.2: two discrete entries, four on a line to 50, and the first segment again."""
    segments = [0, 2, 10, 20, 1, 3, 50, 2, 1, 0, 0]
    dataset = made(list(range(7)), 1, 7, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [7, 0, 16])
        data = b"".join(word.to_bytes(2, "little") for word in segments)
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", data)
    assert frame_values(dataset, 0, WHERE)[0, 0].tolist() == [10, 20, 30, 40, 50, 10, 20]
    endless = b"".join(word.to_bytes(2, "little") for word in [2, 0, 0, 0] * 9)
    dataset.SegmentedRedPaletteColorLookupTableData = endless
    with pytest.raises(DataError, match="segments that contradict"):
        frame_values(dataset, 0, WHERE)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"PhotometricInterpretation": "HSV"}, "of the kind HSV"),
    ({"PhotometricInterpretation": "Zwiebelkuchen"}, "of the kind unknown"),
    ({"PhotometricInterpretation": "RGB"}, "1 numbers for each pixel, which RGB has not"),
    ({"Rows": 0}, "0 x 2 pixels"),
    ({"Rows": 60000, "Columns": 60000}, "claims 7.2 GB of pixels"),
    ({"NumberOfFrames": 2**31 - 1}, "claims"),
    ({"BitsAllocated": 12}, "numbers in 12 bits"),
    ({"PixelData": b""}, "a file without pixels"),
    ({"FloatPixelData": bytes(16)}, "pixels in two ways"),
    ({"syntax": "1.2.840.10008.1.2.4.100"}, "MPEG2 Main Profile / Main Level, which is not read"),
    ({"syntax": "1.2.3.4.5.6"}, "cannot be decoded"),
]


@pytest.mark.parametrize(("entries", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_not_read_is_refused_by_name(entries: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as raised:
        frame_values(made([1, 2, 3, 4], 2, 2, **entries), 0, WHERE)
    assert raised.value.where == str(WHERE) and raised.value.remedy and "Zwiebel" not in str(raised.value)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED, RLELossless])
@pytest.mark.parametrize("signed", [False, True])
def test_a_series_in_every_syntax(tmp_path: Path, syntax: str, signed: bool) -> None:
    voxels = RNG.integers(-900 if signed else 0, 900, (3, 5, 6)).astype(np.int16)
    series = make_series(tmp_path, voxels, syntax=syntax, signed=signed, stored=12, modality="CT", slope=2, intercept=-7)
    for plane, file in zip(series.voxels, series.files, strict=True):
        found = frame_values(opened(file, WHERE), 0, WHERE)
        assert found.dtype == np.int16 and (found[0] == plane).all()


def test_part_of_an_enhanced_volume(tmp_path: Path) -> None:
    voxels = RNG.integers(0, 900, (4, 5, 6)).astype(np.uint16)
    series = make_series(tmp_path, voxels, enhanced=True)
    path = series.files[0].rename(tmp_path / "volume.dcm")
    whole, _ = read_image([path])
    assert (read_image_part(path, ((1, 3), (2, 5), (0, 4))) == whole[:, 1:3, 2:5, :4]).all()


def test_a_deflated_file_that_inflates_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debride.data.dicom.dicom_files._INFLATED", 1 << 20)
    series = make_series(tmp_path, np.zeros((1, 4, 4), np.uint16), syntax=DEFLATED)
    data = series.files[0].read_bytes()
    at = data.index(b"1.2.840.10008.1.2.1.99")
    head = next(end for end in range(at, len(data)) if _inflates(data[end:]))
    packed = zlib.compressobj(wbits=-15)
    (tmp_path / "bomb.dcm").write_bytes(data[:head] + packed.compress(bytes(1 << 22)) + packed.flush())
    with pytest.raises(DataError, match="inflates to more than"):
        read_dicom(tmp_path / "bomb.dcm", WHERE)


def _inflates(data: bytes) -> bool:
    try:
        return b"Zwiebelkuchen" in zlib.decompressobj(-15).decompress(data)
    except zlib.error:
        return False


def test_a_stream_that_claims_another_size_is_not_decoded(tmp_path: Path) -> None:
    """A codec would take memory by what the stream says, not by the header."""
    series = make_series(tmp_path, RNG.integers(0, 900, (1, 32, 32)).astype(np.uint16), syntax=JPEG2000Lossless)
    dataset = opened(series.files[0], WHERE)
    assert (frame_values(dataset, 0, WHERE)[0] == series.voxels[0]).all()
    stream = dataset.PixelData[dataset.PixelData.index(b"\xff\x4f\xff\x51") :]
    assert stream_size(stream) is not None
    huge = stream[:8] + (60000).to_bytes(4, "big") * 2 + stream[16:]
    dataset.PixelData = encapsulate([huge])
    with pytest.raises(DataError, match="holds 60000 x 60000 x 1 numbers"):
        frame_values(dataset, 0, WHERE)


def test_jpeg_whose_segments_contradict_themselves() -> None:
    frame = b"\x08\x00\x02\x00\x03\x01\x01\x11\x00"
    codes = bytes([0, 1, *[0] * 15, 7])
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"12\xff\xd9"
    whole = b"\xff\xd8\xff\xc0\x00\x0b" + frame + b"\xff\xc4\x00\x14" + codes + scan
    size = stream_size(whole)
    assert is_sound_jpeg(whole) and size is not None and (size.rows, size.columns, size.samples, size.bits) == (2, 3, 1, 8)
    assert not is_sound_jpeg(whole[:-2])
    assert not is_sound_jpeg(whole.replace(codes, bytes([0, 3, *[0] * 15, 7])))
    assert not is_sound_jpeg(whole.replace(b"\xff\xc4\x00\x14", b"\xff\xc4\x00\x15"))


def test_a_codec_that_ends_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """GDCM may end its process over a damaged stream: that frame is refused, and the next one read."""
    file = Path(pydicom.__file__).parent / "data" / "test_files" / "JPEG-lossy.dcm"
    dataset = opened(file, WHERE)
    first = frame_values(dataset, 0, WHERE)
    assert first.max() == 264
    worker = gdcm_worker._workers[os.getpid()]
    ended = worker._process
    assert ended is not None
    with monkeypatch.context() as patched:
        patched.setattr(gdcm_worker, "_send", lambda pipe, told: ended.kill())
        with pytest.raises(DataError, match="cannot be decoded"):
            frame_values(dataset, 0, WHERE)
    assert (frame_values(dataset, 0, WHERE) == first).all() and worker._process is not ended


@pytest.mark.parametrize("told", [lambda: warnings.warn("Hildegard", stacklevel=1)])
def test_no_block_ends_the_silence_of_another(told: Callable[[], None]) -> None:
    """Review reads in several threads: the first that ends must not let the others' warnings out."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        first, second = quiet(), quiet()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        told()
        assert not heard
        second.__exit__(None, None, None)
        told()
        assert len(heard) == 1
