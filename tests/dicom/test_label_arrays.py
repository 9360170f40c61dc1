"""Labels painted from their parts: classes, overlaps, parts of volumes, several objects; crafted handles."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from tests.dicom_handles import WHERE, label_handle, series_handle
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import make_series

from debride.data.dicom.handles import LABEL_ENDING, SERIES_ENDING, LabelHandle, Part, write_handle
from debride.data.dicom.label_arrays import label_part, label_values, paint
from debride.types import DataError

SHAPE = (5, 10, 9)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    return make_series(root / "series", np.zeros(SHAPE, np.uint16)), root


def masks(count, seed=0):
    return {f"S{at}": mask for at, mask in enumerate(np.random.default_rng(seed).random((count, *SHAPE)) > 0.6)}


def slow(drawn, combined=()):
    """Class ids pixel by pixel, by the list of the masks that hold each."""
    result = np.zeros(SHAPE, int)
    for at in np.ndindex(SHAPE):
        own = tuple(number for number, mask in enumerate(drawn.values(), 1) if mask[at])
        result[at] = own[0] if len(own) == 1 else (len(drawn) + 1 + combined.index(own) if own else 0)
    return result


EVERY = ((1, 2, 3), (2, 3), (1, 2), (1, 3))


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "RTSTRUCT"])
def test_overlaps_have_values_of_their_own(made, tmp_path, kind):
    """In any order of the parts: also those that only meet on the way to a listed combination."""
    series, root = made
    drawn, file = masks(3), root / f"overlap {kind}"
    if kind == "RTSTRUCT":
        make_rtstruct(series, {name: outlines(mask) for name, mask in drawn.items()}, file)
    else:
        make_seg(series, {name: mask * 1.0 for name, mask in drawn.items()}, file, kind=kind)
    label = label_handle(file, root, *drawn, combined=EVERY)
    values = paint(label, root, series_handle(series, root), WHERE)
    assert values.dtype == np.uint8 and (values == slow(drawn, EVERY)).all()
    turned = label_handle(file, root, *drawn, combined=EVERY, parts=label.parts[::-1])
    assert (paint(turned, root, series_handle(series, root), WHERE) == values).all()
    assert (paint(label, root, series_handle(series, root), WHERE, planes=slice(1, 3)) == values[1:3]).all()


def test_overlaps_that_are_not_listed_are_refused_with_their_number(made):
    series, root = made
    drawn, file = masks(3), root / "refused"
    make_seg(series, drawn, file)
    a, b, c = drawn.values()
    with pytest.raises(DataError) as caught:
        paint(label_handle(file, root, "heart", "lesion", "rib", combined=((1, 3),)), root, series_handle(series, root), WHERE)
    words = str(caught.value)
    assert f"heart and lesion on {(a & b & ~c).sum()} pixels" in words
    assert f"lesion and rib on {(b & c & ~a).sum()} pixels" in words
    assert f"heart, lesion and rib on {(a & b & c).sum()} pixels" in words
    assert '{"combined": [["heart", "lesion"' in words and caught.value.where == str(WHERE)


def test_two_segments_of_one_class_are_one(made):
    series, root = made
    drawn, file = masks(2), root / "union"
    make_seg(series, drawn, file)
    label = label_handle(file, root, "heart", parts=(Part("union", 1, 1), Part("union", 2, 1)))
    assert (paint(label, root, series_handle(series, root), WHERE) == (drawn["S0"] | drawn["S1"])).all()


def test_several_objects_and_kinds_are_one_label(made):
    series, root = made
    first, second = masks(1), masks(1, seed=5)
    second["S0"] &= ~first["S0"]
    make_seg(series, first, root / "one")
    make_rtstruct(series, {"S1": outlines(second["S0"])}, root / "two")
    label = label_handle(root / "one", root, "heart", "lesion", parts=(Part("two", 1, 2), Part("one", 1, 1)))
    values = paint(label, root, series_handle(series, root), WHERE)
    assert (values == np.where(first["S0"], 1, np.where(second["S0"], 2, 0))).all()


@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
def test_fractions_from_the_threshold_on_are_inside(made, threshold):
    """Half of 255 lies between two stored values: 127 is outside, and 128 inside."""
    series, root = made
    stored = np.resize(np.arange(256), SHAPE)
    make_seg(series, {"S": stored / 255}, root / f"fraction{threshold}", kind="FRACTIONAL")
    label = label_handle(root / f"fraction{threshold}", root, "heart", threshold=threshold)
    values = paint(label, root, series_handle(series, root), WHERE)
    assert (values == (stored >= threshold * 255)).all() and 0 < values.sum() < values.size


def test_handles_on_the_disk(made, tmp_path):
    """A label by its file, whole and in boxes; the studies lie elsewhere."""
    series, root = made
    drawn, file = masks(2), root / "disk"
    drawn["S1"] &= ~drawn["S0"]
    make_seg(series, drawn, file)
    label = LabelHandle(**{**label_handle(file, root, *drawn).__dict__, "studies": str(root)})
    path = tmp_path / "pseudonyms" / "labels" / f"mr-0123{LABEL_ENDING}"
    write_handle(path, label)
    write_handle(tmp_path / "pseudonyms" / "series" / f"mr-0123{SERIES_ENDING}", series_handle(series, root))
    values = label_values(path)
    assert (values == slow(drawn)).all()
    assert (label_part(path, ((1, 4), (2, 9), (0, 5))) == values[1:4, 2:9, :5]).all()
    assert (label_part(path, ((0, 5), (0, 10), (3, 4))) == values[:, :, 3:4]).all()


def test_a_label_without_parts_is_empty(made):
    series, root = made
    assert not paint(label_handle(root, root), root, series_handle(series, root), WHERE).any()


CRAFTED = {
    "series outside": {"series": "../../x.dicom-series"},
    "part outside": {"parts": [{"file": "../x", "number": 1, "class_id": 1}]},
    "absolute part": {"parts": [{"file": "/etc/passwd", "number": 1, "class_id": 1}]},
    "class 0": {"parts": [{"file": "x", "number": 1, "class_id": 0}]},
    "class beyond": {"parts": [{"file": "crafted", "number": 1, "class_id": 200}]},
    "too many classes": {"classes": 300},
    "no classes": {"classes": 0},
    "threshold": {"threshold": "x"},
    "missing file": {"parts": [{"file": "none", "number": 1, "class_id": 1}]},
    "a folder": {"parts": [{"file": "series", "number": 1, "class_id": 1}]},
    "no label": {"parts": [{"file": "words", "number": 1, "class_id": 1}]},
}
CRAFTED_SERIES = {
    "shape": {"shape": [5, 10]},
    "large": {"shape": [5, 70000, 70000]},
    "huge": {"shape": [5, 65000, 65000]},
    "negative": {"shape": [5, -1, 9]},
    "four axes": {"shape": [1, 5, 10, 9]},
    "no axes": {"shape": []},
    "affine": {"affine": [[1.0, 0.0], [0.0, 1.0]]},
    "flat affine": {"affine": [[0.0] * 4] * 4},
    "ragged affine": {"affine": [[1.0], [1.0, 2.0]]},
}


@pytest.mark.parametrize("name", [*CRAFTED, *CRAFTED_SERIES])
def test_crafted_handles_are_refused(made, tmp_path, name):
    series, root = made
    if not (root / "crafted").exists():
        make_seg(series, masks(1), root / "crafted")
        (root / "words").write_text("no label" * 99)
    path = tmp_path / "pseudonyms" / "labels" / f"mr-0123{LABEL_ENDING}"
    image = tmp_path / "pseudonyms" / "series" / f"mr-0123{SERIES_ENDING}"
    label = {**asdict(label_handle(root / "crafted", root, "heart")), "studies": str(root), **CRAFTED.get(name, {})}
    for file, said in ((path, label), (image, {**asdict(series_handle(series, root)), **CRAFTED_SERIES.get(name, {})})):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(said))
    with pytest.raises(DataError) as caught:
        label_values(path)
    assert str(root) not in str(caught.value)
