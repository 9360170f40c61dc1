"""Noise among classes: exact counts, the maps of the literature, and every simulator against a loop over cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import truncnorm

from debride.noise import CLASS_NOISES, make_class_noise
from debride.noise import class_noises as module
from debride.noise import parameters as class_parameters
from debride.noise.class_noises import Asymmetric, FromFile, Instance, Symmetric, Transition
from debride.rng import derive, generator, uniforms
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

MATRIX = ((0.7, 0.3, 0.0), (0.0, 1.0, 0.0), (0.25, 0.25, 0.5))
EACH = [Symmetric(0.5), Symmetric(0.5, own=False), Asymmetric(0.5, "next"), Transition(MATRIX), Instance(0.5, 0.2)]

ALPHABET = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""
FINE = ALPHABET.split()
GROUPS = """beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor"""


def cases(count=400, classes=3, seed=0, ignored=20, width=6):
    """Class ids of which some are ``IGNORE``, ids, and images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    labels[rng.permutation(count)[:ignored]] = IGNORE
    return labels, [f"case{number}" for number in range(count)], rng.random((count, width))


def run(noise, labels, classes, ids, seed=0, images=None):
    before = labels.copy()
    noisy = noise(labels, classes, ids, seed, images)
    np.testing.assert_array_equal(labels, before)
    assert noisy.dtype == np.int64 and noisy.shape == labels.shape and not np.shares_memory(noisy, labels)
    np.testing.assert_array_equal(noisy == IGNORE, labels == IGNORE)
    assert ((noisy < classes) | (noisy == IGNORE)).all() and (noisy >= 0).all()
    return noisy


def numbers(ids, seed):
    """The two numbers of every case."""
    return [tuple(uniforms(derive(seed, "noise"), [derive(seed, "noise", one)], 2)[0]) for one in ids]


def first_above(probabilities, number):
    """The column that a number in [0, 1) falls in."""
    total = 0.0
    for column, probability in enumerate(probabilities):
        total += probability
        if number < total:
            return column
    raise AssertionError(total)


def chosen(drawn, rows, rate):
    """The rows with the smallest first numbers."""
    return sorted(rows, key=lambda row: drawn[row][0])[: round(rate * len(rows))]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("rate", "seed"), [(0.2, 0), (0.55, 1), (1.0, 2)])
def test_symmetric_matches_loops(own, rate, seed):
    labels, ids, _ = cases(90, classes=5)
    drawn = numbers(ids, seed)
    expected = labels.copy()
    for row in chosen(drawn, [row for row in range(90) if labels[row] != IGNORE], rate):
        options = [one for one in range(5) if own or one != labels[row]]
        expected[row] = options[math.floor(drawn[row][1] * len(options))]
    np.testing.assert_array_equal(run(Symmetric(rate, own), labels, 5, ids, seed), expected)


@pytest.mark.parametrize("pairs", ["next", {0: 3, 3: 0, 2: 2}])
@pytest.mark.parametrize(("rate", "seed"), [(0.3, 0), (0.45, 1), (1.0, 2)])
def test_asymmetric_matches_loops(pairs, rate, seed):
    labels, ids, _ = cases(120, classes=4)
    drawn = numbers(ids, seed)
    expected = labels.copy()
    for one in range(4):
        other = (one + 1) % 4 if pairs == "next" else pairs.get(one, one)
        for row in chosen(drawn, [row for row in range(120) if labels[row] == one], rate):
            expected[row] = other
    np.testing.assert_array_equal(run(Asymmetric(rate, pairs), labels, 4, ids, seed), expected)


def test_transition_matches_loops():
    labels, ids, _ = cases(150)
    drawn = numbers(ids, 5)
    expected = [one if one == IGNORE else first_above(MATRIX[one], drawn[row][0]) for row, one in enumerate(labels)]
    np.testing.assert_array_equal(run(Transition(MATRIX), labels, 3, ids, 5), expected)


@pytest.mark.parametrize(("rate", "spread"), [(0.4, 0.1), (0.1, 0.3), (0.6, 0.0)])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8])
def test_instance_matches_loops(rate, spread, kind, monkeypatch):
    """The paper's Algorithm 2, case by case, whatever the pieces that images are read in."""
    labels, ids, images = cases(120, width=11)
    images = (images * (255 if kind == np.uint8 else 1)).astype(kind)
    drawn = numbers(ids, 3)
    weights = [generator(3, "noise", "projection", one).standard_normal((11, 3)) for one in range(3)]
    expected = labels.copy()
    for row, one in enumerate(labels):
        if one == IGNORE:
            continue
        low, high = ((bound - rate) / spread if spread else 0 for bound in (0, 1))
        flip = truncnorm.ppf(drawn[row][0], low, high, loc=rate, scale=spread) if spread else rate
        pixels = [float(value) / (255 if kind == np.uint8 else 1) for value in images[row]]
        scores = [sum(pixel * weights[one][at][other] for at, pixel in enumerate(pixels)) for other in range(3)]
        scores[one] = -math.inf
        total = sum(math.exp(score) for score in scores)
        probabilities = [flip * math.exp(score) / total for score in scores]
        probabilities[one] = 1 - flip
        expected[row] = first_above(probabilities, drawn[row][1])
    noise = Instance(rate, spread)
    assert (expected != labels).sum() > 5
    np.testing.assert_array_equal(run(noise, labels, 3, ids, 3, images), expected)
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr(module, "_COLUMNS", 4)
    np.testing.assert_array_equal(run(noise, labels, 3, ids, 3, images), expected)


def test_instance_takes_bytes_as_shares_of_255():
    labels, ids, images = cases(12000, ignored=0, width=15)
    images = (images * 256).astype(np.uint8)
    noisy = run(Instance(0.9), labels, 3, ids, 0, images)
    np.testing.assert_array_equal(noisy, run(Instance(0.9), labels, 3, ids, 0, images / 255.0))
    assert (noisy != run(Instance(0.9), labels, 3, ids, 0, images / 256.0)).any(), "the scale matters"


@pytest.mark.parametrize("noise", EACH, ids=str)
def test_the_order_of_the_cases_changes_nothing(noise):
    labels, ids, images = cases()
    noisy = run(noise, labels, 3, ids, 0, images)
    order = np.random.default_rng(9).permutation(len(labels))
    again = run(noise, labels[order], 3, [ids[row] for row in order], 0, images[order])
    np.testing.assert_array_equal(again, noisy[order])
    other = run(noise, labels, 3, ids, 1, images)
    assert (other != noisy).sum() > 30, "another seed, other noise"


@pytest.mark.parametrize("noise", [Transition(MATRIX), Instance(0.5, 0.2)], ids=str)
def test_a_case_needs_no_other_case(noise):
    labels, ids, images = cases()
    noisy = run(noise, labels, 3, ids, 0, images)
    np.testing.assert_array_equal(run(noise, labels[50:90], 3, ids[50:90], 0, images[50:90]), noisy[50:90])


@pytest.mark.parametrize("noise", EACH, ids=str)
def test_cases_without_a_label_are_not_counted(noise):
    labels, ids, images = cases(ignored=100)
    keep = np.flatnonzero(labels != IGNORE)
    noisy = run(noise, labels, 3, ids, 0, images)
    np.testing.assert_array_equal(run(noise, labels[keep], 3, [ids[row] for row in keep], 0, images[keep]), noisy[keep])


def test_rates_are_exact():
    labels, ids, _ = cases(1000, classes=10, ignored=100)
    for rate in (0.0, 0.2, 0.5, 0.9, 1.0):
        assert (run(Symmetric(rate, own=False), labels, 10, ids) != labels).sum() == round(rate * 900)
        noisy = run(Asymmetric(rate), labels, 10, ids)
        for one in range(10):
            count = round(rate * (labels == one).sum()) if one in (9, 2, 4, 3, 5) else 0
            assert (noisy != labels)[labels == one].sum() == count
    assert (run(Symmetric(0.5), labels, 10, ids) != labels).sum() == pytest.approx(405, abs=4 * (450 * 0.09) ** 0.5)


def test_symmetric_draws_every_class_alike():
    count = 30000
    labels, ids = np.zeros(count, np.int64), [str(number) for number in range(count)]
    for own, classes in ((True, 3), (False, 4)):
        shares = np.bincount(run(Symmetric(1.0, own), labels, classes, ids), minlength=classes) / count
        expected = [1 / 3] * 3 if own else [0, *[1 / 3] * 3]
        np.testing.assert_allclose(shares, expected, atol=5 * (2 / 9 / count) ** 0.5)


@pytest.mark.parametrize("own", [True, False])
def test_a_lower_rate_is_part_of_a_higher_one(own):
    labels, ids, _ = cases(classes=5)
    low, high = (run(Symmetric(rate, own), labels, 5, ids) for rate in (0.3, 0.7))
    assert (low != labels).sum() < (high != labels).sum()
    np.testing.assert_array_equal(low[low != labels], high[low != labels])


def test_transition_gives_the_shares_of_its_matrix():
    count = 30000
    labels, ids = np.repeat(np.arange(3), count // 3), [str(number) for number in range(count)]
    noisy = run(Transition(MATRIX), labels, 3, ids)
    for one, row in enumerate(MATRIX):
        shares = np.bincount(noisy[labels == one], minlength=3) / (count // 3)
        np.testing.assert_allclose(shares, row, atol=5 * 0.5 / (count // 3) ** 0.5)
        assert not shares[np.array(row) == 0].any()


def test_instance_has_its_rate_and_goes_by_the_image():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(4, 30))
    labels, kind = rng.integers(0, 5, 4000), rng.integers(0, 4, 4000)
    noisy = run(Instance(0.4, 0.1), labels, 5, [str(number) for number in range(4000)], 0, kinds[kind])
    assert (noisy != labels).mean() == pytest.approx(0.4, abs=5 * (0.24 / 4000) ** 0.5)
    favourites = set()
    for one in range(5):
        for which in range(4):
            wrong = noisy[(labels == one) & (kind == which) & (noisy != labels)]
            share = np.bincount(wrong, minlength=5) / len(wrong)
            assert share.max() > 0.5, "one wrong class is usual for images that are alike"
            favourites.add((one, int(share.argmax())))
    assert len(favourites) > 8, "and images of one class have several"


def test_the_flip_rates_are_those_of_the_truncated_normal_distribution():
    uniform = (np.arange(1000) + 0.5) / 1000
    for rate, spread in ((0.4, 0.1), (0.0, 0.2), (0.95, 0.1), (1.0, 1.0)):
        rates = Instance(rate, spread)._flip_rates(uniform)
        law = truncnorm((0 - rate) / spread, (1 - rate) / spread, loc=rate, scale=spread)
        assert rates.min() >= 0 and rates.max() <= 1
        np.testing.assert_allclose(law.cdf(rates), uniform, atol=1e-9)


def test_cifar10_is_confused_as_in_the_literature():
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    goes = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    noisy = run(Asymmetric(1.0), np.arange(10), 10, names)
    assert [names[one] for one in noisy] == [goes.get(name, name) for name in names]


def test_cifar100_goes_round_in_its_superclasses():
    assert len(FINE) == 100 and sorted(FINE) == FINE
    noisy = run(Asymmetric(1.0, "cifar100"), np.arange(100), 100, FINE)
    assert sorted(noisy) == list(range(100)), "a permutation"
    named = dict(zip(FINE, (FINE[one] for one in noisy), strict=True))
    groups = [line.split() for line in GROUPS.splitlines()]
    assert len(groups) == 20 and sorted(name for group in groups for name in group) == FINE
    for group in groups:
        assert group == sorted(group) and len(group) == 5
        for at, name in enumerate(group):
            assert named[name] == group[(at + 1) % 5]


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("pink", {}, "does not exist"),
        ("symmetric", {"rate": -0.1}, "rate: is -0.1"),
        ("symmetric", {"rate": 1.1}, "rate: is 1.1"),
        ("symmetric", {"rate": "half"}, "'half'"),
        ("symmetric", {"own": "perhaps"}, "'perhaps'"),
        ("symmetric", {"share": 0.5}, "no setting 'share'"),
        ("asymmetric", {"rate": 2}, "rate: is 2"),
        ("asymmetric", {"map": "cifar"}, "map: is 'cifar'"),
        ("asymmetric", {"map": 3}, "map: is 3"),
        ("asymmetric", {"map": {"cat": "dog"}}, "map: is 'cat'. Give a whole number"),
        ("asymmetric", {"map": {0: True}}, "map: 0: is True. Give a whole number"),
        ("asymmetric", {"map": {0: 0}}, "changes no class"),
        ("asymmetric", {"map": {}}, "changes no class"),
        ("transition", {}, "noise transition: matrix: has no rows"),
        ("transition", {"matrix": [[0.5, 0.5], [1]]}, "matrix: has 1 entries in row 1"),
        ("transition", {"matrix": [[0.5, 0.5], [0.9, 0.2]]}, "matrix: has the sum 1.1 in row 1"),
        ("transition", {"matrix": [[1.5, -0.5], [0, 1]]}, "matrix: is .* Give numbers from 0 to 1, each"),
        ("instance", {"rate": 1.5}, "rate: is 1.5"),
        ("instance", {"spread": -1}, "spread: is -1"),
        ("instance", {"spread": 1.5}, "spread: is 1.5"),
    ],
)
def test_a_bad_parameter_is_refused(name, values, says):
    with pytest.raises(DataError, match=says):
        make_class_noise(name, **values)


def test_own_must_be_true_or_false():
    with pytest.raises(DataError, match=r"Symmetric\.own: is 1. Give true or false"):
        check_bounds(Symmetric(0.5, own=1))


@pytest.mark.parametrize(
    ("noise", "classes", "says"),
    [
        (Symmetric(), 1, "has 1 class"),
        (Asymmetric(0.4, "next"), 1, "has 1 class"),
        (Asymmetric(), 9, "is for 10 classes, the data set has 9"),
        (Asymmetric(0.4, "cifar100"), 10, "is for 100 classes"),
        (Asymmetric(0.4, {0: 1, 1: 3}), 3, "map has the class 3"),
        (Asymmetric(0.4, {0: 1, -1: 0}), 3, "map has the class -1"),
        (Transition(MATRIX), 2, "is for 3 classes, the data set has 2"),
        (Instance(), 1, "has 1 class"),
    ],
)
def test_noise_that_does_not_fit_the_classes_is_refused(noise, classes, says):
    with pytest.raises(DataError, match=says):
        noise(np.zeros(4, np.int64), classes, list("abcd"), 0, np.ones((4, 2)))


def test_instance_needs_images_of_finite_numbers():
    labels = np.array([0, 1, 0])
    with pytest.raises(DataError, match="no images"):
        Instance()(labels, 2, list("abc"), 0, None)
    images = np.ones((3, 4))
    images[2, 1] = np.nan
    with pytest.raises(DataError, match="image of c holds"):
        Instance()(labels, 2, list("abc"), 0, images)


@pytest.mark.parametrize("noise", [*EACH, Asymmetric(0.3, {2: 0, 0: 1})], ids=str)
def test_parameters_make_the_noise_again(noise):
    name = next(name for name, kind in CLASS_NOISES.items() if kind is type(noise))
    plain = class_parameters(noise)
    assert json.loads(json.dumps(plain)) == plain
    assert make_class_noise(name, **plain) == noise


def test_no_case_at_all():
    for noise in EACH:
        assert run(noise, np.zeros(0, np.int64), 3, [], 0, np.zeros((0, 4))).size == 0


def test_labels_from_a_file_are_among_the_noises():
    assert make_class_noise("file", file="a.csv") == FromFile("a.csv") and CLASS_NOISES["file"] is FromFile
    noise = make_class_noise("file", file="human.npz", key="worse_label")
    assert class_parameters(noise) == {"file": "human.npz", "key": "worse_label"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "noise file: has no file. Give file, the .csv, .npy or .npz file"),
        ({"key": "worse_label"}, "noise file: has no file"),
        ({"file": ""}, "noise file: file: does not name the file of labels"),
        ({"file": "a.csv", "key": "worse_label"}, "key: is given, and a.csv is no .npz file"),
        ({"file": "a.csv", "rate": 0.5}, "has no setting 'rate'"),
    ],
)
def test_a_file_of_labels_that_is_not_named_well_is_refused(values, says):
    with pytest.raises(DataError, match=says):
        make_class_noise("file", **values)
