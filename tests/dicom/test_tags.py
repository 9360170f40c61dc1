"""Headers of single files: old, odd, damaged and crafted ones, and all files that pydicom brings."""

import importlib.util
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from tests.dicom_labels_made import make_seg
from tests.dicom_made import PLANTED, make_picture, make_series, save

from debride.data.dicom.label_facts import LabelFacts
from debride.data.dicom.tags import ImageFacts, is_dicom, read_facts
from debride.types import DataError

DEFLATED = "1.2.840.10008.1.2.1.99"
VOXELS = np.arange(3 * 36 * 40, dtype=np.uint16).reshape(3, 36, 40)


def facts_of(path: Path) -> ImageFacts:
    facts = read_facts(path, "here")
    assert isinstance(facts, ImageFacts)
    return facts


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_facts(path, "here")
    assert caught.value.where == "here" and not any(word in str(caught.value) for word in PLANTED)
    return caught.value.problem


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED, JPEG2000Lossless, RLELossless]
)
def test_the_syntax_of_a_file_changes_nothing_that_its_header_says(tmp_path, syntax):
    plain = make_series(tmp_path / "plain", VOXELS)
    other = make_series(tmp_path / "other", VOXELS, syntax=syntax)
    for one, two in zip(plain.files, other.files, strict=True):
        assert facts_of(one) == facts_of(two)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_without_its_preamble_is_read(tmp_path, syntax):
    series = make_series(tmp_path / "plain", VOXELS)
    save(series.datasets[0], tmp_path / "old", syntax, preamble=False)
    assert facts_of(tmp_path / "old") == facts_of(series.files[0])


def test_what_is_no_dicom_is_passed_over_unless_its_ending_promises_some(tmp_path):
    for name, content in (("a.txt", b"\x08\0 text"), ("empty", b""), ("b.bin", bytes(500)), ("c.json", b"{}")):
        (tmp_path / name).write_bytes(content)
        assert not is_dicom(tmp_path / name, "here") and read_facts(tmp_path / name, "here") is None
    (tmp_path / "empty.DCM").write_bytes(b"")
    assert refused(tmp_path / "empty.DCM") == "has the ending of a file of DICOM, and is none"
    assert refused(tmp_path) == "cannot be read (it is no file)"


def test_numbers_of_a_wrong_vr_are_read_and_others_count_as_absent(tmp_path):
    def odd(dataset, k):
        orientation, position = dataset.ImageOrientationPatient, dataset.ImagePositionPatient
        del dataset.ImageOrientationPatient, dataset.ImagePositionPatient
        dataset.add_new(0x00200037, "FD", [float(value) for value in orientation])
        dataset.add_new(0x00200032, "LT", "\\".join(map(str, position)))
        dataset.add_new(0x00181060, "LO", "no number")

    plain, other = make_series(tmp_path / "plain", VOXELS), make_series(tmp_path / "odd", VOXELS, change=odd)
    for one, two in zip(plain.files, other.files, strict=True):
        (expected,), (found,) = facts_of(one).planes, facts_of(two).planes
        assert found.position == pytest.approx(expected.position) and found.orientation == pytest.approx(expected.orientation)
    content = other.files[0].read_bytes()
    wrong = content.replace(plain.datasets[0].PixelSpacing[0].original_string.encode(), b"1.2x", 1)
    assert wrong != content
    other.files[0].write_bytes(wrong)
    assert facts_of(other.files[0]).planes[0].spacing is None


def test_files_that_are_cut_off_or_claim_too_much_are_refused(tmp_path):
    series = make_series(tmp_path / "s", VOXELS)
    whole = series.files[0].read_bytes()
    for length in (140, 600, 1000, 1500, 2000, len(whole) - 2500):
        series.files[0].write_bytes(whole[:length])
        assert "cut off" in refused(series.files[0])
    make_picture(tmp_path / "big", np.zeros((200, 200), np.uint16))
    content = (tmp_path / "big").read_bytes()
    (tmp_path / "big").write_bytes(content[: len(content) // 2])
    assert refused(tmp_path / "big").startswith("is cut off: its pixels take 80000 bytes")
    many = dcmread(series.files[1])
    many.NumberOfFrames = 2**31 - 1
    many.save_as(series.files[1])
    assert refused(series.files[1]).startswith("has 2147483647 frames, more than")


def test_a_small_file_that_deflates_to_much_takes_no_memory(tmp_path):
    series = make_series(tmp_path / "s", VOXELS, syntax=DEFLATED)
    head = series.files[0].read_bytes()
    start = head.index(DEFLATED.encode()) + len(DEFLATED)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    element = b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + b"\x09\0\x10\0OB\0\0" + (900_000_000).to_bytes(4, "little")
    body = bomb.compress(element) + b"".join(bomb.compress(bytes(1 << 20)) for _ in range(200)) + bomb.flush()
    end = head.index(b"\x02\0\x16\0AE") if b"\x02\0\x16\0AE" in head else start
    meta = head[:end] + head[end : end + 8 + int.from_bytes(head[end + 6 : end + 8], "little")]
    (tmp_path / "bomb").write_bytes(meta + body)
    tracemalloc.start()
    assert refused(tmp_path / "bomb") == "has a header of more than 64 MB, deflated"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "bomb").stat().st_size < 1 << 20 and peak < 200 << 20


def test_damaged_files_are_refused_by_name_or_read(tmp_path):
    """Bytes changed and cut anywhere: facts, nothing, or DataError, and no other exception."""
    series = make_series(tmp_path / "s", VOXELS, enhanced=True)
    label = tmp_path / "seg"
    make_seg(make_series(tmp_path / "t", VOXELS), {"Heart": VOXELS > 700}, label)
    rng, target = np.random.default_rng(0), tmp_path / "damaged"
    for source in (series.files[0], label):
        content = np.frombuffer(source.read_bytes(), np.uint8)
        for _ in range(150):
            changed = content[: rng.integers(140, len(content))].copy() if rng.random() < 0.3 else content.copy()
            places = rng.integers(132, len(changed), rng.integers(1, 6))
            changed[places] = rng.integers(0, 256, len(places))
            target.write_bytes(changed.tobytes())
            try:
                read_facts(target, "here")
            except DataError as error:
                assert error.where == "here" and not any(word in str(error) for word in PLANTED)


def _of_pydicom() -> list[Path]:
    folders = [Path(pydicom.data.__file__).parent]
    if found := importlib.util.find_spec("data_store"):
        folders.append(Path(str(found.origin)).parent)
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def test_all_of_pydicoms_own_files_are_described_passed_over_or_refused():
    kinds = {"image": 0, "label": 0, "other": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in _of_pydicom():
            try:
                facts = read_facts(path, "here")
            except DataError as error:
                assert error.where == "here" and error.remedy
                kinds["refused"] += 1
                continue
            name = "other" if facts is None else "label" if isinstance(facts, LabelFacts) else "image"
            kinds[name] += 1
    assert kinds["image"] >= 80 and kinds["label"] >= 3 and kinds["refused"] < 100  # most are headers alone
