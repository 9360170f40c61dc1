"""Labels whose bytes were damaged: read, or refused in words that name nothing of the archive; nothing else, no warning."""

import warnings

import numpy as np
import pytest
from tests.dicom_handles import WHERE, label_handle, series_handle
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import PLANTED, make_series

from debride.data.dicom.label_arrays import paint
from debride.types import DataError

SHAPE = (3, 12, 10)


def damaged(raw, rng):
    """Bytes cut off, changed, taken out, or put in another place."""
    made, at = bytearray(raw), int(rng.integers(len(raw)))
    length = int(rng.integers(1, 60))
    match rng.integers(4):
        case 0:
            return bytes(made[:at])
        case 1:
            for place in rng.integers(len(raw), size=rng.integers(1, 6)):
                made[place] = rng.integers(256)
        case 2:
            del made[at : at + length]
        case _:
            other = int(rng.integers(len(raw)))
            made[at : at + length] = made[other : other + length]
    return bytes(made)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP", "RTSTRUCT"])
def test_damaged_bytes(kind, tmp_path):
    rng = np.random.default_rng(7)
    series = make_series(tmp_path / "series", np.zeros(SHAPE, np.uint16))
    heart = rng.random(SHAPE) > 0.5
    masks = {"Heart": heart, "Lesion": ~heart}
    if kind == "RTSTRUCT":
        make_rtstruct(series, {name: outlines(mask) for name, mask in masks.items()}, tmp_path / "sound")
    else:
        make_seg(series, {name: mask * 1.0 for name, mask in masks.items()}, tmp_path / "sound", kind=kind)
    handle, raw = series_handle(series, tmp_path), (tmp_path / "sound").read_bytes()
    refused, read = [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(40):
            file = tmp_path / f"damaged{number}"
            file.write_bytes(damaged(raw, rng))
            label = label_handle(file, tmp_path, *masks, combined=((1, 2),))
            try:
                values = paint(label, tmp_path, handle, WHERE)
            except DataError as problem:
                refused.append(problem)
            else:
                read += 1
                assert values.shape == SHAPE and values.max() <= 3
    assert refused and read
    for problem in refused:
        assert problem.where == str(WHERE)
        assert not any(secret.lower() in str(problem).lower() for secret in (*PLANTED, str(tmp_path)))
