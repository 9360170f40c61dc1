"""SEG in every transfer syntax that one is written in: the same pixels, or a refusal that says what to do."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from tests.dicom_handles import WHERE, label_handle, series_handle
from tests.dicom_labels_made import make_seg
from tests.dicom_made import make_series, save

from debride.data.dicom.label_arrays import paint
from debride.data.dicom.segmentations import stored_segment
from debride.types import DataError

SHAPE = (3, 40, 36)
IMPLICIT, DEFLATED, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    series = make_series(root / "series", np.zeros(SHAPE, np.uint16))
    rng = np.random.default_rng(0)
    heart = rng.random(SHAPE) > 0.5
    return series, root, {"Heart": heart, "Lesion": ~heart & (rng.random(SHAPE) > 0.5)}


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        *(("BINARY", syntax) for syntax in (IMPLICIT, DEFLATED)),  # single bits are not compressed frame by frame
        *((kind, syntax) for kind in ("FRACTIONAL", "LABELMAP") for syntax in (IMPLICIT, DEFLATED, BIG, RLE, JPEG_2000)),
    ],
)
def test_the_same_pixels(made, tmp_path, kind, syntax):
    series, root, masks = made
    given = {name: mask * 1.0 for name, mask in masks.items()} if kind == "FRACTIONAL" else masks
    seg = make_seg(series, given, tmp_path / "plain", kind=kind)
    save(seg, tmp_path / "saved", syntax)
    values = paint(label_handle(tmp_path / "saved", tmp_path, *masks), tmp_path, series_handle(series, root), WHERE)
    assert (values == np.where(masks["Heart"], 1, np.where(masks["Lesion"], 2, 0))).all()


def test_a_frame_that_claims_another_size_is_refused_before_it_is_decoded(made, tmp_path):
    """A JPEG 2000 stream of 60,000 x 60,000 pixels would take 3.6 GB."""
    series, root, masks = made
    seg = make_seg(series, masks, tmp_path / "plain", kind="LABELMAP")

    def claim(stream):
        at = stream.index(b"\xff\x51") + 6  # the size of the image, of two times four bytes
        return stream[:at] + (60_000).to_bytes(4, "big") * 2 + stream[at + 8 :]

    save(seg, tmp_path / "packed", JPEG_2000)
    packed = dcmread(tmp_path / "packed")
    frames = list(generate_frames(packed.PixelData, number_of_frames=int(packed.NumberOfFrames)))
    packed.PixelData = encapsulate([claim(frame) for frame in frames])
    packed.save_as(tmp_path / "bomb")
    with pytest.raises(DataError, match="60000 x 60000"):
        stored_segment(tmp_path / "bomb", 1, series_handle(series, root), WHERE)


def test_an_unknown_compression_is_refused(made, tmp_path):
    series, root, masks = made
    seg = make_seg(series, masks, tmp_path / "plain", kind="LABELMAP")
    save(seg, tmp_path / "packed", RLE)
    raw = (tmp_path / "packed").read_bytes()
    (tmp_path / "other").write_bytes(raw.replace(RLE.encode() + b"\0", b"1.2.3.4.5.6.7.8.9.10", 1))
    with pytest.raises(DataError) as caught:
        stored_segment(tmp_path / "other", 1, series_handle(series, root), WHERE)
    assert caught.value.where == str(WHERE)
