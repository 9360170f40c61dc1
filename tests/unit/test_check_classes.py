"""What ``check`` says of images for classification: each by itself, and all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_npz, save_nifti, save_png

from debride.data.check import find_problems
from debride.data.classes import check_classes
from debride.data.open import open_dataset
from debride.data.pixels import arrays


def noise(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape or (6, 6, 3), np.uint8)


def build(root: Path, kind: str) -> Path:
    """Ten images for the training, four for the validation and the test each, of two classes in turn, all different."""
    held: dict[str, Any] = {}
    for split, count in (("train", 10), ("val", 4), ("test", 4)):
        images = [noise(1000 * len(split) + 10 * ord(split[0]) + n) for n in range(count)]
        held |= {f"{split}_images": np.array(images), f"{split}_labels": np.arange(count) % 2}
        for n, image in enumerate(images):
            if kind == "classes":
                save_png(root / split / "ab"[n % 2] / f"{n}.png", image)
    if kind == "npz":
        root.mkdir()
        np.savez(root / "data.npz", **held)
    return root


def change(root: Path, kind: str, split: str, row: int, image: Any) -> str:
    """Puts another image in a place, and returns how the place is called."""
    if kind == "classes":
        path = root / split / "ab"[row % 2] / f"{row}.png"
        save_png(path, image)
        return str(path)
    held = dict(np.load(root / "data.npz"))
    held[f"{split}_images"][row] = image
    np.savez(root / "data.npz", **held)
    return f"{split}_{row:05d}"


def image_of(root: Path, kind: str, split: str, row: int) -> Any:
    if kind == "npz":
        return np.load(root / "data.npz")[f"{split}_images"][row]
    from PIL import Image

    return np.asarray(Image.open(root / split / "ab"[row % 2] / f"{row}.png"))


def said(root: Path) -> list[str]:
    return [f"{each.file}: {each.problem}. {each.remedy}" for each in find_problems(root)]


KINDS = pytest.mark.parametrize("kind", ["npz", "classes"])


@KINDS
def test_a_sound_data_set(tmp_path: Path, kind: str) -> None:
    seen: list[tuple[int, int]] = []
    assert find_problems(build(tmp_path / "data", kind), progress=lambda *now: seen.append(now)) == []
    assert seen == [(number, 18) for number in range(1, 19)]


@KINDS
def test_a_constant_image(tmp_path: Path, kind: str) -> None:
    root = build(tmp_path / "data", kind)
    name = change(root, kind, "train", 3, np.full((6, 6, 3), 17, np.uint8))
    assert said(root) == [f"{name}: has the same value 17 everywhere. Restore the image, or take it out."]


@KINDS
def test_an_image_that_is_almost_constant_is_none(tmp_path: Path, kind: str) -> None:
    root = build(tmp_path / "data", kind)
    image = np.full((6, 6, 3), 17, np.uint8)
    image[5, 5, 2] = 18
    change(root, kind, "train", 3, image)
    assert said(root) == []


@KINDS
@pytest.mark.parametrize(
    ("split", "row", "more"),
    [
        ("train", 4, ""),
        ("train", 5, ", and another class ({1} and {0})"),
        ("test", 2, ", which is in another split (test and train)"),
        ("test", 3, ", which is in another split (test and train), and another class ({1} and {0})"),
    ],
)
def test_duplicates(tmp_path: Path, kind: str, split: str, row: int, more: str) -> None:
    """A leak into the test, and a class that contradicts another, are said."""
    root = build(tmp_path / "data", kind)
    original = change(root, kind, "train", 2, image_of(root, kind, "train", 2))
    copy = change(root, kind, split, row, image_of(root, kind, "train", 2))
    classes = ("class_0", "class_1") if kind == "npz" else ("a", "b")
    (line,) = said(root)
    first, second = (original, copy) if line.startswith(copy) else (copy, original)
    assert line.startswith(f"{second}: has the same pixels as {first}")
    told = more.format(*classes)
    swapped = told.replace("(test and train)", "(train and test)").replace(
        f"({classes[1]} and {classes[0]})", f"({classes[0]} and {classes[1]})"
    )
    assert line.endswith(f"as {first}{told if second == copy else swapped}. Keep one of the two.")


def test_many_duplicates_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_classes, "SHOWN", 3)
    root = build(tmp_path / "data", "npz")
    for row in range(1, 8):
        change(root, "npz", "train", row, image_of(root, "npz", "train", 0))
    lines = said(root)
    assert len(lines) == 4 and lines[-1] == f"{root}: has 4 more images twice. Keep one of each."
    assert [line.split(":")[0] for line in lines[:3]] == ["train_00001", "train_00002", "train_00003"]


def test_turned_pixels_are_no_duplicate(tmp_path: Path) -> None:
    """Images of the same bytes in another shape differ."""
    root = build(tmp_path / "data", "classes")
    image = noise(1, 4, 9, 3)
    save_png(root / "train" / "a" / "x.png", image)
    channels_first = image.transpose(2, 0, 1).reshape(3, 9, 4).transpose(1, 2, 0)
    save_png(root / "train" / "a" / "y.png", np.ascontiguousarray(channels_first))
    assert said(root) == []


@KINDS
def test_a_class_without_a_training_image(tmp_path: Path, kind: str) -> None:
    root = build(tmp_path / "data", kind)
    if kind == "npz":
        held = dict(np.load(root / "data.npz"))
        held["test_labels"][0] = 2
        np.savez(root / "data.npz", **held)
        problem = f"{root / 'data.npz'}: has the class 2 in test_labels, row 0, but there is no training image of it. "
        assert said(root) == [problem + REMEDY]
    else:
        save_png(root / "test" / "class_2" / "x.png", noise(9))
        assert said(root) == [f"{root}: has no training image of the class 'class_2'. Remove the class, or add images."]


REMEDY = "Correct this id, or number the classes from 0 without a gap, each with training images."


def relabel(root: Path, **changes: dict[int, int]) -> Path:
    """Gives rows of the arrays of labels other ids."""
    held = dict(np.load(root / "data.npz"))
    for name, rows in changes.items():
        for row, id in rows.items():
            held[name][row] = id
    np.savez(root / "data.npz", **held)
    return root / "data.npz"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"test_labels": {2: 9}}, "9 in test_labels, row 2, but there is no image of the classes 2 to 8"),
        ({"train_labels": {7: 9}}, "9 in train_labels, row 7, but there is no image of the classes 2 to 8"),
        ({"train_labels": {7: 3}}, "3 in train_labels, row 7, but there is no image of the class 2"),
        ({"val_labels": {1: 4, 3: 4}}, "4 in val_labels, row 1, but there is no image of the classes 2 to 3; 2 images have it"),
        (
            {"train_labels": {0: 5, 1: 5}, "val_labels": {2: 8}},
            "8 in val_labels, row 2, but there is no image of the classes 2 to 4, 6 to 7",
        ),
        (
            {"train_labels": {0: 5}, "val_labels": {0: 8, 1: 8}},
            "5 in train_labels, row 0, but there is no image of the classes 2 to 4, 6 to 7",
        ),
        (
            {"train_labels": {0: 5}, "val_labels": {0: 8}},
            "8 in val_labels, row 0, but there is no image of the classes 2 to 4, 6 to 7",
        ),
        ({"test_labels": {0: 3, 1: 2, 2: 2}}, "3 in test_labels, row 0, but there is no training image of it"),
    ],
)
def test_a_class_id_out_of_range(tmp_path: Path, changes: dict[str, dict[int, int]], problem: str) -> None:
    """Its array, row and value are said once, and not a class for each number below it."""
    file = relabel(build(tmp_path / "data", "npz"), **changes)
    assert said(file) == [f"{file}: has the class {problem}. {REMEDY}"]


def test_ids_that_begin_at_one(tmp_path: Path) -> None:
    file = build(tmp_path / "data", "npz") / "data.npz"
    held = dict(np.load(file))
    np.savez(file, **{name: array + 1 if name.endswith("labels") else array for name, array in held.items()})
    (line,) = said(file)
    assert line.startswith(f"{file}: has the class 2 in train_labels, row 1, but there is no image of the class 0; 9 images")


def test_classes_with_names_and_no_images_are_said_together(tmp_path: Path) -> None:
    root = build(tmp_path / "data", "npz")
    (root / "dataset.json").write_text('{"classes": ["a", "b", "c", "d"]}')
    remedy = "Remove the classes, or add images."
    assert said(root) == [f"{root}: has no training image of the 2 classes 'c', 'd'. {remedy}"]
    relabel(root, test_labels={0: 3})
    assert said(root) == [f"{root}: has no training image of the 2 classes 'c', 'd'. {remedy}"]


@pytest.mark.parametrize(("split", "shape"), [("test", (6, 6)), ("val", (6, 6, 1)), ("train", (6, 6, 4))])
def test_arrays_of_different_numbers_of_channels(tmp_path: Path, split: str, shape: tuple[int, ...]) -> None:
    file = build(tmp_path / "data", "npz") / "data.npz"
    held = dict(np.load(file))
    count = len(held[f"{split}_images"])
    np.savez(file, **{**held, f"{split}_images": np.array([noise(900 + row, *shape) for row in range(count)])})
    channels = {"train": 3, "val": 3, "test": 3, split: 4 if split == "train" else 1}
    told = ", ".join(f"{channels[name]} in {name}_images" for name in ("train", "val", "test"))
    assert said(file) == [f"{file}: has images of different numbers of channels: {told}. Convert them to one."]


def test_grey_arrays_with_and_without_an_axis_of_channels(tmp_path: Path) -> None:
    file = build(tmp_path / "data", "npz") / "data.npz"
    held = {name: array[..., :1] if name.endswith("images") else array for name, array in np.load(file).items()}
    np.savez(file, **{**held, "test_images": held["test_images"][..., 0]})
    assert said(file) == []


def test_training_images_of_one_class_only(tmp_path: Path) -> None:
    root = build(tmp_path / "data", "npz")
    held = dict(np.load(root / "data.npz"))
    held["train_labels"][:] = 1
    np.savez(root / "data.npz", **held)
    assert said(root) == [f"{root}: has training images of one class only. Give images of at least two classes."]


def test_unreadable_files(tmp_path: Path) -> None:
    """Each is named, and the others are looked at all the same."""
    root = build(tmp_path / "data", "classes")
    (root / "train" / "a" / "0.png").write_bytes(b"")
    (root / "train" / "b" / "1.png").write_bytes(b"not a picture")
    save_nifti(root / "val" / "a" / "volume.nii.gz", noise(0, 3, 4, 5))
    (root / "test" / "a" / "0.png").unlink()
    (root / "test" / "a" / "0.png").symlink_to(root / "nowhere")
    constant = change(root, "classes", "test", 3, np.zeros((6, 6, 3), np.uint8))
    lines = said(root)
    for name, problem in (
        ("train/a/0.png", "is empty"),
        ("train/b/1.png", "cannot be decoded"),
        ("test/a/0.png", "is a link to"),
    ):
        assert any(line.startswith(f"{root / name}: {problem}") for line in lines), (name, lines)
    assert any(line.startswith(f"{root / 'val/a/volume.nii.gz'}: is 3D") for line in lines)
    assert any(line.startswith(f"{constant}: has the same value 0") for line in lines)
    assert len(lines) == 5


def test_channels_that_differ(tmp_path: Path) -> None:
    root = build(tmp_path / "data", "classes")
    save_png(root / "train" / "a" / "0.png", noise(0, 6, 6))
    assert said(root) == [f"{root}: has images of different numbers of channels. Convert them to one."]


def test_arrays_that_end_early(tmp_path: Path) -> None:
    """What is there is looked at; the damage is said for the array that has it (more than the few bytes behind a header)."""
    root = build_npz(tmp_path / "data", n=12, size=48)
    whole = np.load(root / "small.npz")
    held = {name: whole[name] for name in whole.files}
    held["val_images"][0] = 5
    held["test_images"][1] = 9
    np.savez(root / "small.npz", **held)
    content = bytearray((root / "small.npz").read_bytes())
    place = bytes(content).index(held["val_images"][2].tobytes())
    content[place] ^= 0xFF  # the checksum of the member no longer fits
    (root / "small.npz").write_bytes(content)
    lines = said(root)
    assert any("small.npz: is no .npz file that can be read (Bad CRC-32" in line for line in lines)
    assert any(line.startswith("test_00001: has the same value 9") for line in lines), lines


def test_arrays_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of one image: duplicates and constant images in other pieces are found all the same."""
    monkeypatch.setattr(arrays, "_CHUNK", 1)
    root = build(tmp_path / "data", "npz")
    change(root, "npz", "val", 1, image_of(root, "npz", "train", 1))
    change(root, "npz", "val", 3, np.zeros((6, 6, 3), np.uint8))
    assert [line.split(":")[0] for line in said(root)] == ["val_00001", "val_00003"]


def test_cases_that_splits_json_leaves_out_are_not_looked_at(tmp_path: Path) -> None:
    root = build(tmp_path / "data", "npz")
    change(root, "npz", "train", 9, np.zeros((6, 6, 3), np.uint8))
    lists = '{"train": ["train_00000", "train_00001"], "val": ["train_00002"]}'
    (root / "splits.json").write_text(lists)
    assert said(root) == []


@pytest.mark.parametrize(("largest", "found"), [(4095, True), (16383, True), (16384, False), (65535, False)])
def test_16_bit_images_whose_upper_bits_are_unused(tmp_path: Path, largest: int, found: bool) -> None:
    """By the largest value of all: one image that is dark is none of these."""
    root = tmp_path / "data"
    for number in range(12):
        image = np.random.default_rng(number).integers(0, 300, (6, 6), np.uint16)
        image[3, 4] = largest if number == 7 else 900
        save_png(root / "ab"[number % 2] / f"{number}.png", image)
    lines = [line for line in said(root) if "bits" in line]
    assert lines == found * [
        f"{root}: has 16-bit images with no value above {largest}: the upper 8 bits, which are kept, leave little to see. "
        "Convert them to 8 bits with the window that shows what matters."
    ]


def test_8_bit_images_use_their_bits(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(12):
        save_png(root / "ab"[number % 2] / f"{number}.png", noise(number, 6, 6) // 4)
    assert said(root) == []


def test_counts(tmp_path: Path) -> None:
    """Of each split, with what is trusted or has no class; of each class, unless there are many."""
    root = build(tmp_path / "data", "npz")
    held = {name: array for name, array in np.load(root / "data.npz").items() if name != "test_labels"}
    held["train_labels"][:3] = 1
    np.savez(root / "data.npz", **held)
    (root / "dataset.json").write_text('{"trusted": ["train_00000", "train_00004", "val_00001"]}')
    text = check_classes.class_counts(open_dataset(root))
    cases = "cases: 10 train (2 trusted), 4 val (1 trusted), 4 test (4 without a class)"
    assert text == f"{cases}; training cases of a class: class_0 3, class_1 7"
    for count in (20, 21):
        held["train_labels"][1] = count - 1
        np.savez(root / "data.npz", **held)
        text = check_classes.class_counts(open_dataset(root))
        assert text.startswith(cases) and ("class_5 0" in text) == (count == 20)
