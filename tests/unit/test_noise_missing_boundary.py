"""Lost labels beside moved outlines: how often, how far, and what the generator says."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.datasets import build_folder

from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.noise import make_noise, parameters
from debride.noise.morphology import MissingOrBoundary
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

Label = npt.NDArray[np.uint8]


def squares() -> Label:
    """Squares of 31 pixels of the classes 1 and 2, far from each other and from the border, and an ignored corner."""
    label = np.zeros((61, 121), np.uint8)
    label[15:46, 15:46], label[15:46, 75:106] = 1, 2
    label[:5, :5] = IGNORE
    return label


def moved(noise: MissingOrBoundary, seed: int) -> float | None:
    """How many pixels the outlines of both squares go outwards; None where both are lost."""
    noisy = noise(squares(), 3, np.random.default_rng(seed))
    np.testing.assert_array_equal(noisy == IGNORE, squares() == IGNORE)
    assert noisy.dtype == np.uint8
    first, second = (np.count_nonzero(noisy[30] == value) for value in (1, 2))
    assert first == second, "one draw for the whole case"
    if not first:
        assert set(np.unique(noisy)) == {0, IGNORE}
        return None
    return (first - 31) / 2


def near(count: int, share: float, of: int) -> bool:
    return abs(count - share * of) <= 4 * math.sqrt(share * (1 - share) * of)


def test_half_the_cases_lose_their_label_a_quarter_grows_and_a_quarter_shrinks() -> None:
    cases = 400
    found = [moved(MissingOrBoundary(5.0, 3.0), seed) for seed in range(cases)]
    distances = [distance for distance in found if distance is not None]
    assert near(found.count(None), 0.5, cases)
    assert near(sum(distance > 0 for distance in distances), 0.25, cases)
    assert near(sum(distance < 0 for distance in distances), 0.25, cases)
    # A distance of 2 to below 8 pixels moves straight outlines by 2 to 7, each as often.
    assert {abs(distance) for distance in distances} == {2, 3, 4, 5, 6, 7}
    assert all(near(count, 1 / 6, len(distances)) for count in Counter(map(abs, distances)).values())


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.8, 1.0])
def test_the_share_of_lost_labels_is_a_parameter(missing: float) -> None:
    found = [moved(MissingOrBoundary(4.0, 0.0, missing), seed) for seed in range(200)]
    assert near(found.count(None), missing, 200)
    assert set(found) - {None} == ({-4.0, 4.0} if missing < 1 else set())


def test_the_largest_spread_reaches_from_nothing_to_twice_beta() -> None:
    found = {moved(MissingOrBoundary(2.0, 2.0, 0.0), seed) for seed in range(80)}
    assert found == {-3, -2, -1, 0, 1, 2, 3}


def test_a_label_without_objects_stays_as_it_is() -> None:
    label = np.zeros((7, 9), np.uint8)
    label[0] = IGNORE
    for seed in range(10):
        np.testing.assert_array_equal(MissingOrBoundary()(label, 3, np.random.default_rng(seed)), label)


def test_volumes_are_moved_along_all_axes_and_the_given_label_stays() -> None:
    label = np.zeros((15, 15, 15), np.uint8)
    label[5:10, 5:10, 5:10] = 1
    before = label.copy()
    widths = set()
    for seed in range(12):
        noisy = MissingOrBoundary(2.0, 0.0)(label, 2, np.random.default_rng(seed))
        widths.add(tuple(int(line.sum()) for line in (noisy[:, 7, 7], noisy[7, :, 7], noisy[7, 7])))
    assert widths == {(0, 0, 0), (1, 1, 1), (9, 9, 9)}
    np.testing.assert_array_equal(label, before)


def test_a_seed_and_the_parameters_replay_it() -> None:
    noise = make_noise("missing-boundary", beta=5, spread=2.5, missing=0.25)
    assert noise == MissingOrBoundary(5.0, 2.5, 0.25)
    assert parameters(noise) == {"beta": 5.0, "spread": 2.5, "missing": 0.25}
    again = make_noise("missing-boundary", **json.loads(json.dumps(parameters(noise))))
    noisy = [[each(squares(), 3, np.random.default_rng(seed)).tobytes() for seed in range(20)] for each in (noise, again)]
    assert noisy[0] == noisy[1] and len(set(noisy[0])) > 5
    assert make_noise("missing-boundary") == MissingOrBoundary(10.0, 3.0, 0.5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"beta": 2.0}, "spread: is 3.0, above `beta`, which is 2.0"),
        ({"spread": -1.0}, "spread: is -1.0. Give a number of at least 0"),
        ({"beta": math.inf}, "beta: is inf"),
        ({"beta": math.nan}, "beta: is nan"),
        ({"spread": math.nan}, "spread: is nan"),
        ({"missing": 1.5}, "missing: is 1.5"),
        ({"missing": -0.1}, "missing: is -0.1"),
        ({"missing": math.nan}, "missing: is nan"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=f"MissingOrBoundary.{says}"):
        check_bounds(MissingOrBoundary(**given))


@pytest.mark.parametrize("given", [{"alpha": 0.3}, {"beta": "far"}, {"missing": True}])
def test_parameters_of_another_name_or_kind_are_named(given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"noise missing-boundary: .*{next(iter(given))}"):
        make_noise("missing-boundary", **given)


def test_a_share_of_a_data_set_is_corrupted(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", n=24))
    noise = MissingOrBoundary(2.0, 0.5)
    report = corrupt_dataset(dataset, tmp_path / "noisy", noise, seed=1, share=0.5)
    found = open_dataset(tmp_path / "noisy")
    labels = {case.id: read_label(case.label, found)[0] for case in found.cases if case.label}
    cases = dataset.of("train", "val")
    assert report["noise"] == "missing-boundary" and len(report["cases"]) == len(cases) // 2
    lost = []
    for case in cases:
        assert case.label is not None
        clean, noisy = read_label(case.label, dataset)[0], labels[case.id]
        assert np.array_equal(clean, noisy) == (case.id not in report["cases"])
        if case.id in report["cases"]:
            lost.append(not noisy.any())
            assert report["cases"][case.id]["emptied"] == lost[-1]
            assert (noisy >= clean).all() or (noisy <= clean).all(), "it has lost its label, grown or shrunk"
    assert report["emptied"] == sum(lost) and 0 < sum(lost) < len(lost)
    again = corrupt_dataset(dataset, tmp_path / "again", make_noise(report["noise"], **report["parameters"]), seed=1, share=0.5)
    assert again == report
    with pytest.raises(DataError, match="does not apply to missing-boundary"):
        corrupt_dataset(dataset, tmp_path / "no", noise, seed=1, target_dice=0.8)
