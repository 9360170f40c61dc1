import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from debride.data.open import subset
from debride.data.rater_choice import choose_raters, image_id
from debride.types import Case, DataError, Dataset

NAMES = ("rater1", "rater2", "rater3", "rater4")


def case(image, rater=None, split="train"):
    return Case(f"{image}@{rater}" if rater else image, (Path(f"{image}.png"),), Path("label.png"), image, split, rater)


def dataset(*cases):
    return Dataset(Path("data"), "manifest", ("background", "lesion"), tuple(cases), 2)


def rated(count, split="train", names=NAMES, prefix=""):
    return [case(f"{prefix}{split}{i}", name, split) for i in range(count) for name in names]


def ids(data, *splits):
    return [each.id for each in data.of(*splits)]


EVERYTHING = dataset(*rated(40), *rated(10, "val"), *rated(5, "test"), case("single"))


def test_an_image_has_its_name_without_the_rater():
    assert image_id(case("scan", "rater1")) == "scan"
    assert image_id(case("scan@rater1")) == "scan@rater1"
    assert image_id(case("scan@None")) == "scan@None"


def test_all_leaves_the_data_set_as_it_is():
    assert choose_raters(EVERYTHING, "all", 0) is EVERYTHING
    plain = dataset(case("a"), case("b"))
    assert choose_raters(plain, "all", 0) is plain


def test_sample_keeps_one_rater_of_every_image_to_train_on():
    chosen = choose_raters(EVERYTHING, "sample", 3)
    assert [image_id(each) for each in chosen.of("train", "val")] == [
        *(f"train{i}" for i in range(40)),
        *(f"val{i}" for i in range(10)),
        "single",
    ]
    assert chosen.of("test") == EVERYTHING.of("test")
    assert set(chosen.cases) < set(EVERYTHING.cases)


def test_the_sample_depends_on_seed_and_image_only():
    chosen = choose_raters(EVERYTHING, "sample", 3)
    assert choose_raters(EVERYTHING, "sample", 3) == chosen != choose_raters(EVERYTHING, "sample", 4)
    shuffled = replace(EVERYTHING, cases=tuple(random.Random(0).sample(EVERYTHING.cases, len(EVERYTHING.cases))))
    assert set(choose_raters(shuffled, "sample", 3).cases) == set(chosen.cases)
    fewer = subset(EVERYTHING, {"train": 7, "test": 2}, 1)
    assert set(choose_raters(fewer, "sample", 3).cases) == set(chosen.cases) & set(fewer.cases)


def test_the_sample_uses_raters_about_equally():
    counts = Counter(each.rater for each in choose_raters(dataset(*rated(4000)), "sample", 0).cases)
    assert set(counts) == set(NAMES)
    assert all(abs(count - 1000) < 5 * (4000 * 0.25 * 0.75) ** 0.5 for count in counts.values())


def test_the_sample_is_among_those_who_labelled_the_image():
    uneven = dataset(*rated(30, names=("a",), prefix="x"), *rated(30, names=("b", "c"), prefix="y"))
    for each in choose_raters(uneven, "sample", 0).cases:
        assert each in uneven.cases
    assert len(choose_raters(uneven, "sample", 0).cases) == 60


def test_a_name_keeps_that_raters_cases_and_drops_images_without_one():
    data = dataset(*rated(2), case("train9", "rater1"), *rated(1, "val"), *rated(1, "test"), case("single"))
    chosen = choose_raters(data, "rater2", 0)
    assert ids(chosen, "train", "val") == ["train0@rater2", "train1@rater2", "val0@rater2", "single"]
    assert chosen.of("test") == data.of("test")


@pytest.mark.parametrize(
    ("data", "chosen", "message"),
    [
        (EVERYTHING, "rater9", r"data: has no rater 'rater9'.*, smallest, largest or one of rater1, rater2, rater3, rater4"),
        (dataset(case("a", "one"), case("b", "two", "test")), "two", "has no rater 'two' in train or val.*one of one"),
        (dataset(case("a"), case("b")), "sample", "has no raters in train or val, 'sample' was asked for"),
        (dataset(case("a"), case("b")), "rater1", "has no raters in train or val, 'rater1' was asked for"),
    ],
)
def test_raters_who_are_not_there_are_refused(data, chosen, message):
    with pytest.raises(DataError, match=message):
        choose_raters(data, chosen, 0)


def test_the_smallest_and_the_largest_label_of_each_image(tmp_path):
    sizes = {"a": (3, 1, 2), "b": (0, 5, 5), "c": (2, 2, 9)}
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "image.png")
    cases = []
    for image, of_raters in sizes.items():
        for rater, size in zip(NAMES, of_raters, strict=False):
            label = np.zeros(16, np.uint8)
            label[:size] = 1
            Image.fromarray(label.reshape(4, 4)).save(tmp_path / f"{image}-{rater}.png")
            label_file = tmp_path / f"{image}-{rater}.png"
            cases.append(replace(case(image, rater), image=(tmp_path / "image.png",), label=label_file))
    data = dataset(*cases, *rated(1, "test"))
    smallest, largest = (choose_raters(data, chosen, 0) for chosen in ("smallest", "largest"))
    assert ids(smallest, "train") == ["a@rater2", "b@rater1", "c@rater1"]
    assert ids(largest, "train") == ["a@rater1", "b@rater2", "c@rater3"]
    assert smallest.of("test") == largest.of("test") == data.of("test")


def test_limits_count_images_with_all_their_raters():
    small = subset(EVERYTHING, {"train": 3, "test": 2}, 0)
    kept = Counter(image_id(each) for each in small.of("train") if each.rater)
    assert len({image_id(each) for each in small.of("train")}) == 3 and set(kept.values()) == {4}
    assert len(small.of("test")) == 2 * 4
    assert small.of("val") == EVERYTHING.of("val")


def test_without_raters_the_same_images_are_chosen_as_with_them():
    plain = dataset(*(case(f"train{i}") for i in range(40)))
    several = dataset(*rated(40))
    assert ids(subset(plain, {"train": 6}, 2), "train") == list(
        dict.fromkeys(map(image_id, subset(several, {"train": 6}, 2).cases))
    )


def test_the_subset_of_a_data_set_without_raters_is_what_it_was():
    """Published figures were made with the cases that this rule chose."""
    plain = dataset(*(case(f"case{i:03d}") for i in range(50)))
    expected = ["case000", "case002", "case017", "case025", "case027", "case029"]
    assert ids(subset(plain, {"train": 6}, 0), "train") == expected
