"""Images and masks that lie or are named otherwise than in images/ and masks/."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder, save_json, save_png

from debride.cli import main
from debride.data.check import find_problems
from debride.data.copy import copy_dataset
from debride.data.formats.patterns import files_by_pattern
from debride.data.open import dataset_or_images, open_dataset, stop
from debride.types import DataError, Dataset

PLACES = [
    ("imgs/{case}.png", "labels/{case}.png"),
    ("images/{case}.png", "masks/{case}_mask.png"),
    ("{case}.png", "{case}_mask.png"),
    ("{case}_image.png", "{case}_mask.png"),
    ("data/{case}/image.png", "data/{case}/{case}-seg.png"),
    ("*/img/{case}.png", "*/seg/{case}.png"),
]


def build(root: Path, image: str, mask: str) -> Path:
    source = build_folder(root.with_name("plain"))
    for i, path in enumerate(sorted((source / "images").iterdir())):
        for pattern, kind in ((image, "images"), (mask, "masks")):
            target = root / pattern.replace("{case}", path.stem).replace("*", f"site{i % 2}")
            save_png(target, np.asarray(Image.open(source / kind / path.name)))
    return root


@pytest.mark.parametrize(("image", "mask"), PLACES)
def test_patterns_find_files_and_a_copy_opens_without_them(tmp_path: Path, image: str, mask: str) -> None:
    root = build(tmp_path / "data", image, mask)
    (root / "README.md").write_text("read me")
    options: dict[str, Any] = {"image_pattern": image, "mask_pattern": mask}
    assert not find_problems(root, **options)
    dataset = open_dataset(root, **options)
    assert [case.id for case in dataset.cases] == [f"case00{i}" for i in range(6)]
    copy_dataset(dataset, tmp_path / "out", lambda case, ids, geometry: 1 - ids)
    copy = open_dataset(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (said["image_pattern"], said["mask_pattern"]) == (image, mask)
    assert [(case.id, case.split) for case in copy.cases] == [(case.id, case.split) for case in dataset.cases]
    places = [case.label.relative_to(copy.root) for case in copy.cases if case.label]
    assert places == [case.label.relative_to(dataset.root) for case in dataset.cases if case.label]
    assert (tmp_path / "out" / "README.md").exists()
    copy_dataset(copy, tmp_path / "again", lambda case, ids, geometry: ids)
    assert (tmp_path / "again" / "dataset.json").read_bytes() == (tmp_path / "out" / "dataset.json").read_bytes()


def test_one_pattern_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    root = build(tmp_path / "data", *PLACES[1])
    assert len(open_dataset(root, mask_pattern=PLACES[1][1]).cases) == 6
    save_json(root / "dataset.json", {"mask_pattern": PLACES[1][1]})
    assert len(open_dataset(root).cases) == 6
    assert isinstance(dataset_or_images(root, "segmentation", {}), Dataset)
    assert isinstance(dataset_or_images(root, "segmentation", {"mask_pattern": PLACES[1][1]}), Dataset)


def test_jpeg_masks_that_become_png_are_found_in_the_copy(tmp_path: Path) -> None:
    root = build(tmp_path / "data", "{case}.png", "{case}_mask.jpg")
    dataset = open_dataset(root, image_pattern="{case}.png", mask_pattern="{case}_mask.jpg")
    copy_dataset(dataset, tmp_path / "out", lambda case, ids, geometry: 1 - ids)
    assert len(open_dataset(tmp_path / "out").cases) == 6
    assert not list((tmp_path / "out").glob("*.jpg"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mask_pattern": "masks/*.png"}, "does not say where"),
        ({"mask_pattern": "../{case}.png"}, "does not say where"),
        ({"mask_pattern": "/tmp/{case}.png"}, "does not say where"),
        ({"mask_pattern": "labels/{case}.png"}, "matches no image"),
        ({"mask_pattern": "masks/{case}.png", "format": "nnunet"}, "are for the layout folder"),
        ({"image_pattern": "*/{case}.png", "mask_pattern": "masks/{case}_mask.png"}, "has no label"),
    ],
)
def test_patterns_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    root = build(tmp_path / "data", *PLACES[1])
    (root / "more").mkdir()
    (root / "more" / "overlay.png").write_bytes((root / "images" / "case000.png").read_bytes())
    with pytest.raises(DataError, match=problem):
        open_dataset(root, **options)


def test_the_command_line_takes_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = build(tmp_path / "data", *PLACES[2])
    flags = ["--image-pattern", PLACES[2][0], "--mask-pattern", PLACES[2][1]]
    assert main(["check", str(root), *flags]) == 0
    assert "no problems. folder, 2D" in capsys.readouterr().out
    assert main(["check", str(root)]) == 1
    assert "--image-pattern" in capsys.readouterr().out
    assert main(["corrupt", str(root), str(tmp_path / "out"), "--noise", "dilate-erode", *flags]) == 0
    assert main(["check", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "labels"), ("Images", "Masks"), ("img", "mask"), ("JPEGImages", "SegmentationClass")]
)
def test_images_and_masks_under_other_names_are_no_classes(tmp_path: Path, images: str, masks: str) -> None:
    pair(tmp_path, images, masks)
    with pytest.raises(DataError) as raised:
        open_dataset(tmp_path)
    given = re.findall("'([^']+)'", raised.value.remedy)
    assert given == [f"{images}/{{case}}.*", f"{masks}/{{case}}.*"]
    assert len(open_dataset(tmp_path, image_pattern=given[0], mask_pattern=given[1]).cases) == 3


def test_images_and_masks_one_folder_deeper(tmp_path: Path) -> None:
    pair(tmp_path / "archive", "images", "masks")
    with pytest.raises(DataError, match="one folder deeper") as raised:
        open_dataset(tmp_path)
    assert str(tmp_path / "archive") in raised.value.remedy


def test_masks_with_a_text_after_the_name(tmp_path: Path) -> None:
    pair(tmp_path, "images", "masks", "_mask")
    with pytest.raises(DataError, match="named otherwise than its image") as raised:
        open_dataset(tmp_path)
    (given,) = re.findall("'([^']+)'", raised.value.remedy)
    assert len(open_dataset(tmp_path, mask_pattern=given).cases) == 3


def pair(root: Path, images: str, masks: str, after: str = "") -> None:
    for folder, end, white in ((images, "", 200), (masks, after, 255)):
        (root / folder).mkdir(parents=True)
        for number in range(3):
            pixels = np.zeros((8, 8), np.uint8)
            pixels[2:5, number:5] = white
            Image.fromarray(pixels).save(root / folder / f"c{number}{end}.png")


def test_two_stars_and_a_slash_stand_for_no_folder_too(tmp_path: Path) -> None:
    for place in ("a.png", "x/b.png", "x/y/c.png"):
        save_png(tmp_path / "in" / place, np.zeros((4, 4), np.uint8))
    found = files_by_pattern(tmp_path, "in/**/{case}.png", "pattern", stop)
    assert sorted(found) == ["a", "b", "c"]
