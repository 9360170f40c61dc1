"""What a training says of its labels: the lines of ``label_scores.csv``, and a given label with what was changed of it."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.meta_stubs import small_network

from debride.methods import METHODS
from debride.methods.base import Method, Swept
from debride.state import LabelState
from debride.training.label_scores import merged, write_scores
from debride.types import IGNORE, Case

Ids = npt.NDArray[np.uint8]


def cases(*names: str, trusted: str = "") -> tuple[Case, ...]:
    return tuple(Case(id=name, image=(), label=Path(name), patient=name, trusted=name == trusted) for name in names)


def written(folder: Path) -> list[dict[str, str]]:
    with (folder / "label_scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_most_doubtful_come_first(tmp_path: Path) -> None:
    """By the probability of the larger group, which trusted cases are not asked for, then by doubt, then as in the data set."""
    doubt = torch.tensor([0.1, 5.0, 0.1, 5.01, 0.12, 0.11, 5.01, 0.1])
    write_scores(tmp_path, cases("a", "b", 'c, "d"', "e", "f", "g", "h", "i", trusted="h"), doubt)
    lines = written(tmp_path)
    assert list(lines[0]) == ["case", "noisy", "doubt", "trusted"]
    assert [line["case"] for line in lines] == ["e", "b", "h", "f", "g", "a", 'c, "d"', "i"]
    assert [float(line["noisy"]) for line in lines] == pytest.approx([1, 1, 0, 0, 0, 0, 0, 0], abs=1e-3)
    assert [line["doubt"] for line in lines] == ["5.01", "5", "5.01", "0.12", "0.11", "0.1", "0.1", "0.1"]
    assert [line["trusted"] for line in lines] == ["0", "0", "1", "0", "0", "0", "0", "0"]


def test_numbers_that_do_not_fall_apart_are_still_in_order(tmp_path: Path) -> None:
    write_scores(tmp_path, cases("a", "b", "c"), torch.tensor([-3.0, -1.0, -2.0]))
    assert [(line["case"], float(line["noisy"])) for line in written(tmp_path)] == [("b", 0), ("c", 0), ("a", 0)]


def test_a_method_that_does_not_say_leaves_no_file(tmp_path: Path) -> None:
    write_scores(tmp_path, cases("a"), None)
    assert not list(tmp_path.iterdir())


def made(name: str, **config: Any) -> Method:
    return METHODS[name](METHODS[name].Config(**config), lambda: small_network(2, 2), 2)


def test_methods_with_labels_of_their_own() -> None:
    able = made("self-cleansing"), made("cl"), made("adele"), made("sp-guide"), made("meta-dcseg")
    without = made("ce"), made("co-teaching"), made("meta-dcseg", meta=False), made("self-cleansing", warm_up=1.0, settled=1.0)
    assert all(method.relabels(method.config) for method in able)
    assert not any(method.relabels(method.config) for method in without)
    with pytest.raises(TypeError, match="CrossEntropy has no labels of its own"):
        without[0].cleansed(Swept(np.array([0]), *[torch.zeros(0)] * 3), LabelState((), [(1, 1)], None))


# A given label with what was changed of its working copy


def slow_share(block: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """A mask at twice its size along each axis, linear between the centres of its pixels."""
    share = np.zeros([2 * n for n in block.shape])
    for where in np.ndindex(*share.shape):
        near = [((p // 2, 0.75), (min(max(p // 2 + 2 * (p % 2) - 1, 0), n - 1), 0.25)) for p, n in zip(where, block.shape)]  # noqa: B905
        for corner in itertools.product(*near):
            share[where] += block[tuple(at for at, _ in corner)] * np.prod([weight for _, weight in corner])
    return share


def fine(shape: tuple[int, ...], classes: int = 3) -> Ids:
    """A label with detail that no smaller copy keeps."""
    return np.random.default_rng(0).integers(0, classes, shape, dtype=np.uint8)


def test_what_is_not_changed_keeps_its_full_resolution() -> None:
    given, working = fine((12, 10)), fine((6, 5))
    assert np.array_equal(merged(given, working, working.copy()), given)


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6)], ids=["2D", "3D"])
def test_the_changed_part_alone_is_resized(shape: tuple[int, ...]) -> None:
    """Where more than half of a pixel's neighbourhood was changed it gets the new class; detail elsewhere stays."""
    given = fine(tuple(2 * n for n in shape))
    working = np.zeros(shape, np.uint8)
    right = working.copy()
    right[(slice(1, 4), *[slice(0, 3)] * (len(shape) - 1))] = 2
    changed = slow_share(right == 2) > 0.5
    assert 0.1 < changed.mean() < 0.9
    np.testing.assert_array_equal(merged(given, working, right), np.where(changed, 2, given))


def test_where_no_label_was_given_none_is_made_up() -> None:
    given = fine((8, 8))
    given[2:4], given[5, 5] = IGNORE, IGNORE
    right = np.ones((4, 4), np.uint8)
    expected = np.where(given == IGNORE, IGNORE, 1)
    np.testing.assert_array_equal(merged(given, np.zeros((4, 4), np.uint8), right), expected)


def test_no_labelled_pixel_loses_its_label() -> None:
    """Beside pixels without a label, which are the same ones in ``right`` as in the working copy; at three times its size, the
    parts of several classes may each be smaller than that of no label."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        working, right = rng.integers(0, 3, (2, 5, 5), dtype=np.uint8)
        unlabelled = rng.random((5, 5)) < 0.4
        working[unlabelled] = right[unlabelled] = IGNORE
        given = rng.integers(0, 3, (15, 15), dtype=np.uint8)
        given[rng.random((15, 15)) < 0.2] = IGNORE
        assert np.array_equal(merged(given, working, right) == IGNORE, given == IGNORE)


def test_a_file_smaller_than_its_working_copy() -> None:
    given = np.zeros((4, 6), np.uint8)
    right = np.zeros((8, 12), np.uint8)
    right[2:6, 4:10] = 1
    expected = np.zeros((4, 6), np.uint8)
    expected[1:3, 2:5] = 1
    np.testing.assert_array_equal(merged(given, np.zeros((8, 12), np.uint8), right), expected)


def test_what_is_outside_a_cropped_image_becomes_background() -> None:
    """A label that was cropped and halved: inside the box as ever, outside it background where there was a label."""
    given = fine((16, 18))
    given[0, :4] = IGNORE
    box = ((2, 14), (6, 16))
    working = np.zeros((6, 5), np.uint8)
    right = working.copy()
    right[1:4, 0:3] = 2
    expected = np.where(given == IGNORE, IGNORE, 0).astype(np.uint8)
    expected[2:14, 6:16] = merged(given[2:14, 6:16], working, right)
    found = merged(given, working, right, box)
    np.testing.assert_array_equal(found, expected)
    assert (found != given).any() and (found[2:14, 6:16] == 2).any()
