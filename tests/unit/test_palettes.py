"""An index of a palette mask means what its colour means in the data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.pictures import disc, save_palette

from debride.cli import main
from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.data.pixels.images import read_header, read_label, readings
from debride.notes import take_notes
from debride.types import DataError, Dataset

BLACK, RED, GREEN, WHITE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)


def build(root: Path, *orders: list[tuple[int, int, int]], kind: str = "png") -> Path:
    """Images and masks that look the same whatever the order of colours: black, a red disc, in it a green one."""
    for number, order in enumerate(orders):
        disc_at = 12 + number
        look = disc(32, disc_at, 16, 8).astype(int) + (disc(32, disc_at, 16, 3) if GREEN in order else 0)
        colours = [BLACK, WHITE if WHITE in order else RED, GREEN]
        indices = np.array([order.index(colour) if colour in order else 0 for colour in colours])[look]
        save_palette(root / "masks" / f"c{number}.{kind}", indices, order)
        (root / "images").mkdir(exist_ok=True)
        Image.fromarray((look * 60 + number + np.eye(32)).astype(np.uint8)).save(root / "images" / f"c{number}.png")
    return root


def labels(dataset: Dataset) -> list[int]:
    return [int((read_label(case.label, dataset)[0] == 1).sum()) for case in dataset.cases if case.label]


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("reversed_files", [2, 3, 4])
def test_another_order_is_read_by_colour(tmp_path: Path, kind: str, reversed_files: int) -> None:
    """Whichever order most files have: black is the background."""
    orders = [[RED, BLACK]] * reversed_files + [[BLACK, RED]] * (6 - reversed_files)
    dataset = open_dataset(build(tmp_path / "d", *orders, kind=kind))
    assert labels(dataset) == [int(disc(32, 12, 16, 8).sum())] * 6
    assert dataset.classes == ("background", "foreground")
    assert f"(and {reversed_files - 1} more like it)" in take_notes()[-1]
    assert [bool(readings([read_header(case.label)], dataset.palette)) for case in dataset.cases if case.label] == [
        number < reversed_files for number in range(6)
    ]


def test_three_colours_in_any_order(tmp_path: Path) -> None:
    orders = [[BLACK, RED, GREEN], [GREEN, BLACK, RED], [RED, GREEN, BLACK], [BLACK, RED, GREEN]]
    dataset = open_dataset(build(tmp_path / "d", *orders))
    small, large = int(disc(32, 12, 16, 3).sum()), int(disc(32, 12, 16, 8).sum())
    for case in dataset.cases:
        assert case.label
        assert np.bincount(read_label(case.label, dataset)[0].ravel()).tolist() == [1024 - large, large - small, small]


def test_unused_colours_do_not_count(tmp_path: Path) -> None:
    """Palettes that are filled up with black, or have other colours where no pixel is."""
    orders = [[BLACK, RED, BLACK, BLACK], [BLACK, RED, GREEN], [BLACK, RED, WHITE]]
    build(tmp_path / "d", [BLACK, RED], [BLACK, RED], [BLACK, RED])
    for number, order in enumerate(orders):
        save_palette(tmp_path / "d" / "masks" / f"c{number}.png", disc(32, 12 + number, 16, 8), order)
    take_notes()
    assert labels(open_dataset(tmp_path / "d")) == [int(disc(32, 12, 16, 8).sum())] * 3 and not take_notes()


def test_grey_palettes_are_their_own_values(tmp_path: Path) -> None:
    build(tmp_path / "d", [BLACK, RED], [BLACK, RED])
    save_palette(tmp_path / "d" / "masks" / "c1.png", disc(32, 13, 16, 8), [(grey, grey, grey) for grey in range(256)])
    assert labels(open_dataset(tmp_path / "d")) == [int(disc(32, 12, 16, 8).sum())] * 2


def test_a_colour_that_no_other_file_has_is_refused_with_both_files(tmp_path: Path) -> None:
    root = build(tmp_path / "d", [BLACK, RED], [BLACK, RED], [BLACK, RED])
    save_palette(root / "masks" / "c2.png", disc(32, 14, 16, 8), [BLACK, (9, 9, 200)])
    problems = [problem for problem in find_problems(root) if "palette" in problem.problem]
    assert problems and problems[0].file.endswith("c2.png") and "c0.png has (255, 0, 0) there" in problems[0].problem
    with pytest.raises(DataError, match="palette"):
        open_dataset(root)


@pytest.mark.parametrize("others", [0, 1])
def test_black_that_is_not_the_background_is_refused(tmp_path: Path, others: int) -> None:
    """Alone, or beside grey masks, in which 0 is black."""
    root = build(tmp_path / "d", *[[WHITE, BLACK]] * 3)
    if others:
        Image.fromarray(disc(32, 12, 16, 8)).save(root / "masks" / "c0.png")
    with pytest.raises(DataError, match=r"and black as another|black as index 1"):
        open_dataset(root)


def test_a_copy_keeps_the_palette_of_each_file(tmp_path: Path) -> None:
    root = build(tmp_path / "d", [BLACK, RED], [BLACK, RED], [RED, BLACK], [BLACK, RED])
    assert main(["corrupt", str(root), str(tmp_path / "n"), "--noise", "dilate-erode", "--set", "nearest=1", "farthest=2"]) == 0
    before, after = open_dataset(root), open_dataset(tmp_path / "n")
    changed = 0
    for old, new in zip(before.cases, after.cases, strict=True):
        assert old.label and new.label
        a, b = Image.open(old.label), Image.open(new.label)
        assert a.mode == b.mode == "P" and a.getpalette() == b.getpalette()
        clean, noisy = read_label(old.label, before)[0], read_label(new.label, after)[0]
        overlap = 2 * ((clean == 1) & (noisy == 1)).sum() / ((clean == 1).sum() + (noisy == 1).sum())
        assert overlap > 0.5
        changed += overlap < 1
    assert changed == 4


def test_a_class_that_a_file_has_no_colour_for_is_added_to_its_palette(tmp_path: Path) -> None:
    from debride.data.pixels.images import write_label_like

    root = build(tmp_path / "d", [BLACK, RED, GREEN], [BLACK, RED, GREEN])
    save_palette(root / "masks" / "c1.png", 1 - disc(32, 13, 16, 8).astype(int), [RED, BLACK])
    dataset = open_dataset(root)
    label = dataset.cases[1].label
    assert label
    ids, _ = read_label(label, dataset)
    ids[:2] = 2
    write_label_like(label, ids, dataset, tmp_path / "out.png")
    np.testing.assert_array_equal(read_label(tmp_path / "out.png", dataset)[0], ids)
    shown = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    assert tuple(shown[0, 0]) == GREEN and tuple(shown[13, 16]) == RED and tuple(shown[31, 0]) == BLACK
