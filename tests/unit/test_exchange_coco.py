"""COCO files of pictures: masks as pycocotools reads them, and back from what it and other programs write."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as cocomask
from pycocotools.coco import COCO
from tests.datasets import build_manifest
from tests.exchanged import pictures, volumes
from tests.written_audits import box, given_label, write_audit

from debride.data.open import open_dataset
from debride.files import read_json
from debride.review.exchange import export_review
from debride.review.exchange.coco import read_labels
from debride.review.exchange.run_lengths import mask_of, run_lengths, unpacked
from debride.types import DataError


def masks() -> list[Any]:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 7), (9, 1), (13, 8), (40, 31)]
    drawn = [rng.random(shape) < share for shape in shapes for share in (0.02, 0.5, 0.98)]
    return [*drawn, *(np.full(shape, value) for shape in shapes for value in (False, True))]


@pytest.mark.parametrize("mask", masks())
def test_runs_are_those_of_pycocotools(mask: Any) -> None:
    lengths = run_lengths(mask)
    height, width = mask.shape
    theirs = cocomask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    assert np.array_equal(cocomask.decode(theirs), mask)
    assert theirs["counts"] == cocomask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert unpacked(theirs["counts"].decode()) == lengths
    assert np.array_equal(mask_of(lengths, height, width), mask)
    slow: list[int] = []
    last = False  # by columns, pixel by pixel
    count = 0
    for column in range(width):
        for row in range(height):
            if bool(mask[row, column]) != last:
                slow.append(count)
                last, count = not last, 0
            count += 1
    assert lengths == [*slow, count]


@pytest.mark.parametrize("text", ["o", "0 0", "0\x7f", "ooooooooooooooooooooo"])
def test_what_is_no_string_of_runs_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unpacked(text)


def test_the_given_labels_are_masks_bit_for_bit(tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path, classes=4)
    export_review(dataset, audit, tmp_path / "out", "coco")
    read = COCO(str(tmp_path / "out" / "labels.json"))
    assert [category["name"] for category in read.dataset["categories"]] == list(dataset.classes[1:])
    assert [image["file_name"] for image in read.dataset["images"]] == ["images/case000.png", "images/case003.png"]
    for image in read.dataset["images"]:
        label = given_label(dataset, Path(image["file_name"]).stem)
        assert (image["height"], image["width"]) == label.shape
        seen = np.zeros_like(label)
        for annotation in read.loadAnns(read.getAnnIds(imgIds=image["id"])):
            mask = read.annToMask(annotation).astype(bool)
            assert annotation["iscrowd"] == 1 and annotation["area"] == mask.sum()
            assert annotation["bbox"] == cocomask.toBbox(read.annToRLE(annotation)).tolist()
            seen[mask] = dataset.classes.index(read.cats[annotation["category_id"]]["name"])
        assert np.array_equal(seen, label)


def test_findings_say_what_they_are(tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    export_review(dataset, audit, tmp_path / "out", "coco", ["case000"])
    read = COCO(str(tmp_path / "out" / "findings" / "findings.json"))
    first, second = read.dataset["annotations"]
    assert np.array_equal(read.annToMask(first).astype(bool), box((32, 32), (0, 3), (0, 4)))
    assert np.array_equal(read.annToMask(second).astype(bool), box((32, 32), (28, 32), (0, 9)))
    assert first["attributes"] | {"number": 1, "kind": "missing", "confidence": 0.9} == first["attributes"]
    assert first["attributes"]["proposed"] == dataset.classes[1] and first["score"] == 0.9
    assert read.cats[second["category_id"]] == {"id": 1, "name": f"extra {dataset.classes[1]}", "supercategory": "finding"}


def test_volumes_are_refused_by_name(tmp_path: Path) -> None:
    dataset, audit = volumes(tmp_path)
    with pytest.raises(DataError, match="has volumes") as refused:
        export_review(dataset, audit, tmp_path / "out", "coco")
    assert "slicer" in refused.value.remedy and not (tmp_path / "out").exists()


def test_labels_of_several_raters_are_refused_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "source"))
    audit = write_audit(
        tmp_path / "audit", dataset, {"scan0@rater1": [(box((32, 32), (0, 3), (0, 4)), 1, {"kind": "missing"})]}
    )
    with pytest.raises(DataError, match="several raters"):
        export_review(dataset, audit, tmp_path / "out", "coco")
    assert export_review(dataset, audit, tmp_path / "out", "slicer").cases == 1
    assert (tmp_path / "out" / "scan0@rater1.seg.nrrd").is_file()


class Exported:
    """An export for COCO, to be read with some change."""

    def __init__(self, root: Path) -> None:
        self.dataset, audit = pictures(root)
        export_review(self.dataset, audit, root / "out", "coco")
        self.path = root / "out" / "labels.json"
        self.value = json.loads(self.path.read_text())
        self.shapes = {case.id: (32, 32) for case in self.dataset.cases}

    def read(self) -> dict[str, Any]:
        self.path.write_text(json.dumps(self.value))
        return dict(read_labels(self.path, read_json(self.path), self.dataset, self.shapes))


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return Exported(tmp_path)


def test_labels_come_back_as_they_were(exported: Exported) -> None:
    found = exported.read()
    assert list(found) == ["case000", "case003"]
    for name, label in found.items():
        assert np.array_equal(label, given_label(exported.dataset, name))


def test_strings_of_runs_and_other_ids_come_back_too(exported: Exported) -> None:
    """As programs save that number pictures and categories anew, drop paths and pack masks."""
    value = exported.value
    for annotation in value["annotations"]:
        packed = cocomask.frPyObjects(annotation["segmentation"], 32, 32)
        annotation["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
        annotation["image_id"] += 70
        annotation["category_id"] = 40 - annotation["category_id"]
        del annotation["iscrowd"], annotation["attributes"], annotation["score"]
    for image in value["images"]:
        image["id"] += 70
        image["file_name"] = Path(image["file_name"]).name.replace(".png", ".jpg")
    for category in value["categories"]:
        category["id"] = 40 - category["id"]
    value["categories"].append({"id": 90, "name": "background"})
    value["images"].reverse()
    for name, label in exported.read().items():
        assert np.array_equal(label, given_label(exported.dataset, name))


def test_pictures_of_one_name_are_told_apart_by_their_folders(exported: Exported) -> None:
    case = exported.dataset.cases[0]
    twin = replace(case, id="twin", image=(exported.dataset.root / "more" / "case000.png",))
    exported.dataset = replace(exported.dataset, cases=(*exported.dataset.cases, twin))
    exported.shapes["twin"] = (32, 32)
    assert list(exported.read()) == ["case000", "case003"]
    exported.value["images"][0]["file_name"] = "case000.png"
    with pytest.raises(DataError, match="which several pictures"):
        exported.read()


def test_a_picture_that_was_not_audited_is_refused(exported: Exported) -> None:
    exported.value["images"][0]["file_name"] = exported.value["images"][0]["file_name"].replace("case000", "case001")
    del exported.shapes["case001"]
    with pytest.raises(DataError, match="which the audit does not have"):
        exported.read()


def outline(value: dict[str, Any]) -> None:
    value["annotations"][0]["segmentation"] = [[0, 0, 4, 0, 4, 4]]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda value: value.pop("categories"), 'no list of "categories"'),
        (lambda value: value["categories"][0].update(name="liver"), "category 'liver'"),
        (lambda value: value["categories"][0].update(name=value["categories"][1]["name"]), "two categories named"),
        (lambda value: value["images"][0].update(file_name="../../etc/passwd"), "'../../etc/passwd', which the data set"),
        (lambda value: value["images"][0].update(file_name=value["images"][1]["file_name"]), "two pictures of case003"),
        (lambda value: value["images"][0].update(id=2), "pictures without an id, or two"),
        (lambda value: value["images"][0].update(height=31), "31 rows"),
        (lambda value: value["annotations"][0].update(image_id=9), "picture 9, which it lacks"),
        (lambda value: value["annotations"][0].update(image_id=[1]), "by a number"),
        (lambda value: value["annotations"][0].update(category_id=None), "by a number"),
        (lambda value: value["annotations"][0].update(category_id=9), "no category that it names"),
        (lambda value: value["annotations"][0]["segmentation"].update(size=[16, 64]), "without a mask of its size"),
        (lambda value: value["annotations"][0]["segmentation"].update(counts=[1023]), "runs are not its 1024 pixels"),
        (lambda value: value["annotations"][0]["segmentation"].update(counts=[-1, 1025]), "runs are not its 1024 pixels"),
        (lambda value: value["annotations"][0]["segmentation"].update(counts=[0, True, 1023]), "runs are not its 1024"),
        (lambda value: value["annotations"][0]["segmentation"].update(counts="o"), "ends within a length"),
        (lambda value: value["annotations"][0]["segmentation"].update(counts=[0, 1024]), "masks of two classes"),
        (outline, "has outlines in case000"),
    ],
)
def test_what_cannot_be_understood_is_refused(exported: Exported, harm: Callable[[Any], Any], said: str) -> None:
    harm(exported.value)
    with pytest.raises(DataError, match=said) as refused:
        exported.read()
    assert refused.value.where == str(exported.path) and refused.value.remedy
