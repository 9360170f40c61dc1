"""White of one, eight and sixteen bits, in copies and predictions too, and labels that lie in their transparency."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label, read_values, write_label, write_label_like
from debride.notes import take_notes
from debride.types import DataError, Dataset, Geometry

IDS = np.pad(np.ones((6, 8), np.uint8), ((4, 6), (5, 3)))
GROWN = np.pad(np.ones((8, 10), np.uint8), ((3, 5), (4, 2)))
WHITE = Dataset(Path(), "folder", ("background", "x"), (), 2, values={0: 0, 1: 1, 255: 1})
SMALL = ["--epochs", "1", "--batch-size", "2", "--network", "unet-small", "--width", "4", "--device", "cpu"]
KINDS = ("8 bits", "1 bit", "palette")


def save(path: Path, kind: str, ids: npt.NDArray[np.uint8] = IDS) -> None:
    picture = Image.fromarray({"8 bits": ids * np.uint8(255), "1 bit": ids.astype(bool)}.get(kind, ids))
    if kind == "palette":
        picture.putpalette([0, 0, 0, 255, 255, 255])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def folder(root: Path, kinds: tuple[str, ...]) -> Path:
    for number, kind in enumerate(kinds):
        save(root / f"masks/{number}.png", kind)
        (root / "images").mkdir(exist_ok=True)
        Image.fromarray((IDS * 90 + np.arange(16, dtype=np.uint8) + number * 3).astype(np.uint8)).save(
            root / f"images/{number}.png"
        )
    return root


def test_white_of_any_kind_is_one_class(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, KINDS))
    assert dataset.classes == ("background", "foreground")
    for case in dataset.cases:
        assert case.label and np.array_equal(read_label(case.label, dataset)[0], IDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [IDS, IDS * 0], ids=["an object", "empty"])
def test_a_changed_mask_keeps_its_own_white(tmp_path: Path, kind: str, before: npt.NDArray[np.uint8]) -> None:
    save(tmp_path / "a.png", kind, before)
    write_label_like(tmp_path / "a.png", GROWN, WHITE, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as new, Image.open(tmp_path / "a.png") as old:
        assert new.mode == old.mode
        assert np.array_equal(np.asarray(new.convert("L")) > 127, GROWN > 0)


def test_a_new_mask_of_eight_bits_has_their_white(tmp_path: Path) -> None:
    write_label(tmp_path / "a.png", IDS, WHITE, Geometry())
    assert np.unique(read_values(tmp_path / "a.png")[0]).tolist() == [0, 255]


def test_white_of_sixteen_bits(tmp_path: Path) -> None:
    folder(tmp_path, KINDS[:1] * 2)
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(IDS.astype(np.uint16) * 65535).save(path)
    dataset = open_dataset(tmp_path)
    path = dataset.cases[0].label
    assert path and dataset.values == {0: 0, 65535: 1} and np.array_equal(read_label(path, dataset)[0], IDS)
    write_label_like(path, GROWN, dataset, tmp_path / "b.png")
    assert np.array_equal(read_values(tmp_path / "b.png")[0], GROWN.astype(np.uint16) * 65535)


@pytest.mark.parametrize(("kinds", "mode"), [(("1 bit",) * 4, "1"), (("1 bit", "8 bits") * 2, "L")])
def test_predictions_are_stored_as_the_labels_are(tmp_path: Path, kinds: tuple[str, ...], mode: str) -> None:
    folder(tmp_path / "set", kinds)
    (tmp_path / "set/splits.json").write_text(json.dumps({"train": ["0", "1"], "val": ["2", "3"]}))
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    assert main(["train", "ce", str(tmp_path / "set"), "--out", run, *SMALL]) == 0
    assert json.loads((tmp_path / "run/run.json").read_text()).get("one_bit", False) == (mode == "1")
    assert main(["predict", run, str(tmp_path / "set"), "--out", out]) == 0
    for number in range(4):
        with Image.open(tmp_path / f"out/{number}.png") as mask:
            assert mask.mode == mode and 1 not in np.unique(np.asarray(mask.convert("L")))


@pytest.mark.parametrize("colour", [0, 255])
def test_a_label_in_its_transparency_is_refused(tmp_path: Path, colour: int) -> None:
    pixels = np.full((*IDS.shape, 4), colour, np.uint8)
    pixels[..., 3] = IDS * 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="transparency"):
        read_values(tmp_path / "a.png")


def test_colours_beneath_full_transparency_are_said(tmp_path: Path) -> None:
    pixels = np.repeat(GROWN[..., None] * np.uint8(255), 4, axis=-1)
    pixels[..., 3] = IDS * 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_values(tmp_path / "a.png")[0] > 0, GROWN > 0)
    assert any("fully transparent" in said for said in take_notes())


def test_white_that_may_be_two_things_is_refused_with_a_remedy_that_reads_it(tmp_path: Path) -> None:
    folder(tmp_path, ("8 bits", "8 bits"))
    Image.fromarray(IDS).save(tmp_path / "masks/1.png")
    with pytest.raises(DataError, match="does not tell the classes") as raised:
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(raised.value.remedy.split("dataset.json ")[1].rstrip("."))
    dataset = open_dataset(tmp_path)
    assert all(case.label and np.array_equal(read_label(case.label, dataset)[0], IDS) for case in dataset.cases)


def test_an_image_with_a_palette_of_greys_has_those(tmp_path: Path) -> None:
    picture = Image.fromarray(IDS)
    picture.putpalette([90, 90, 90, 20, 20, 20])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_image([tmp_path / "a.png"])[0][0], np.where(IDS, 20, 90))
