"""Self-cleansing: which labels are replaced (section 2.2), and by what (2.3)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.self_cleansing_stubs import OTHER, PREDICTED, UNLIKE, method, predicting, stripes
from tests.sweep_stubs import Sweeping, certain, slow_hard_dice
from tests.two_networks import random_labels
from torch import Tensor

from debride.methods.self_cleansing import CLEANSED, GIVEN, MUS, NONE, REFERENCES, SIGMAS, SelfCleansing
from debride.refine.regions import tidy
from debride.types import IGNORE

NEW = 9
"""Stands for a pseudo-label that is made anew, in the tables of these tests."""


def everything(run: Any, name: str) -> Tensor:
    found: Tensor = run.store.read(name, range(run.cases))
    return found


# The three rules of section 2.2


def outcome(source: int, given_noisy: bool, pseudo_noisy: bool, trusted: bool, filtered: bool) -> int:
    """What becomes of a pseudo-label: section 2.2, and section 3.6 where all samples are corrected."""
    if trusted:
        return GIVEN
    if not filtered:
        return NEW
    if not given_noisy:
        return GIVEN  # y' is kept the same as y
    if pseudo_noisy or source == NONE:
        return NEW
    return source  # y' remains unchanged


@pytest.mark.parametrize("filtered", [True, False])
def test_the_three_rules(filtered: bool) -> None:
    """Every state that a case can be in, trusted and not: losses fall into two groups that are far apart."""
    states = [
        (source, given_noisy, pseudo_noisy, trusted)
        for source in (NONE, GIVEN, CLEANSED)
        for given_noisy, pseudo_noisy, trusted in itertools.product((False, True), repeat=3)
        if source == CLEANSED or given_noisy == pseudo_noisy
    ]
    cleansing = method(classes=2, cleanse="predictions", warm_up=0.0, filter=filtered)
    label = stripes(*(UNLIKE if given_noisy else PREDICTED for _, given_noisy, _, _ in states))
    # What is stored does not matter where the pseudo-label is the given one: there it is the opposite.
    pseudo = stripes(*((5, 7) if noisy != (source == GIVEN) else PREDICTED for source, _, noisy, _ in states)).float()
    pseudo[:, 0, 3] = 1  # not what a new one would be
    trusted = [row for row, state in enumerate(states) if state[3]]
    run = predicting(cleansing, label, stripes(*[PREDICTED] * len(states)), trusted=trusted)
    rows = range(len(states))
    run.store.write("source", rows, torch.tensor([source for source, *_ in states]).float())
    run.store.write("pseudo", rows, pseudo)
    cleansing.start_epoch(run)
    expected = [outcome(*state, filtered) for state in states]
    assert set(expected) == ({GIVEN, CLEANSED, NEW} if filtered else {GIVEN, NEW})
    assert everything(run, "source").tolist() == [CLEANSED if each == NEW else each for each in expected]
    for row, each in enumerate(expected):
        kept = stripes(PREDICTED)[0].float() if each == NEW else pseudo[row]
        assert torch.equal(everything(run, "pseudo")[row], kept), states[row]


def test_a_clean_copy_of_a_noisy_given_label_stays_that_copy() -> None:
    """GMM-1 finds one noisy label; to GMM-2 all losses are equal. The second rule leaves the copy of the given label."""
    cleansing = method(classes=2, cleanse="predictions", warm_up=0.0)
    run = predicting(cleansing, stripes(UNLIKE, *[PREDICTED] * 7), stripes(*[PREDICTED] * 8))
    run.store.write("source", range(8), torch.tensor([GIVEN, *[CLEANSED] * 7]).float())
    run.store.write("pseudo", range(8), stripes(*[UNLIKE] * 8).float())
    cleansing.start_epoch(run)
    assert run.logged == {"noisy": 1 / 8, "cleansed": 0}
    assert everything(run, "source").tolist() == [GIVEN] * 8


def test_cleansing_after_cleansing() -> None:
    """At first noisy labels alone are replaced; later the replacements too that the network has come to disagree with."""
    cleansing = method(classes=2, cleanse="predictions", warm_up=0.0, every=1)
    label = stripes(UNLIKE, UNLIKE, *[PREDICTED] * 6)
    run = predicting(cleansing, label, stripes(*[PREDICTED] * 8))
    cleansing.start_epoch(run)
    assert run.logged == {"noisy": 2 / 8, "cleansed": 2 / 8}
    assert everything(run, "source").tolist() == [CLEANSED] * 2 + [GIVEN] * 6
    run.epoch, run.probability = 1, certain(stripes((7, 7), *[PREDICTED] * 7), 2)
    cleansing.start_epoch(run)
    assert run.logged == {"noisy": 2 / 8, "cleansed": 1 / 8}
    assert everything(run, "source").tolist() == [CLEANSED] * 2 + [GIVEN] * 6
    assert torch.equal(everything(run, "pseudo")[:2], stripes((7, 7), PREDICTED).float())
    given = cleansing.cleansed(run.swept(run.own), run.store)
    assert torch.equal(given, stripes((7, 7), *[PREDICTED] * 7))


@pytest.mark.parametrize("columns", [[PREDICTED] * 6, [UNLIKE] * 6, [(1, 0)] * 6], ids=["alike", "unlike", "empty"])
def test_equal_losses_separate_nothing(columns: list[tuple[int, int]]) -> None:
    """All labels equally good or bad, and masks that are empty like the prediction: all are taken for clean."""
    cleansing = method(classes=2, cleanse="predictions", warm_up=0.0)
    empty = columns[0] == (1, 0)
    run = predicting(cleansing, stripes(*columns), stripes(*([(1, 0)] if empty else [PREDICTED]) * 6))
    cleansing.start_epoch(run)
    assert run.logged == {"noisy": 0, "cleansed": 0}
    assert everything(run, "source").tolist() == [GIVEN] * 6
    assert cleansing.doubt(run).tolist() == [1.0 if columns[0] == UNLIKE else 0.0] * 6


def test_doubt_is_the_loss_of_the_predicted_classes() -> None:
    """Of three classes together, without the pixels that have no label; none before the first cleansing."""
    cleansing = method(warm_up=0.0)
    label, predicted = random_labels(6, 5, 6), random_labels(6, 5, 6, seed=1)
    predicted[predicted == IGNORE] = 0
    label[4], predicted[4:] = 0, 0
    features = torch.randn(6, 5, 5, 6, dtype=torch.float64)
    run: Any = Sweeping(cleansing, label, certain(predicted, 3), features)
    assert cleansing.doubt(run) is None
    cleansing.start_epoch(run)
    expected = [slow_hard_dice(predicted[row], label[row]) for row in range(6)]
    assert expected[4:] == [0, 1]
    assert cleansing.doubt(run).tolist() == pytest.approx(expected, abs=1e-6)


def test_what_is_taken_for_right() -> None:
    """Given labels before the first cleansing; then the stored ones for cleansed cases, and never a label where there was
    none."""
    cleansing = method(classes=2, cleanse="predictions", warm_up=0.0, filter=False)
    label = stripes(UNLIKE, UNLIKE, UNLIKE)
    label[:, 0] = IGNORE
    run = predicting(cleansing, label, stripes(PREDICTED, OTHER, PREDICTED), trusted=[2])
    assert torch.equal(cleansing.cleansed(run.swept(run.own), run.store), label)
    cleansing.start_epoch(run)
    right = torch.cat((stripes(PREDICTED, OTHER), label[2:]))
    right[:, 0] = IGNORE
    found = cleansing.cleansed(run.swept(run.own), run.store)
    assert found.dtype == torch.int64 and torch.equal(found, right)


# Labels by likeness (section 2.3)


def slow_direction(vectors: list[Tensor]) -> Tensor:
    """The mean of directions; with it Eq. 6's mean cosine is one product."""
    return torch.stack([vector / vector.norm() for vector in vectors]).mean(dim=0)


def slow_prototypes(features: Tensor, region: Tensor, grids: int, sigma: float) -> list[Tensor]:
    """Features of the cells with D > sigma (Eq. 4 and 5) of one image, features (F, *S) and region (*S)."""
    side = [math.ceil(n / grids) for n in region.shape]
    cells: dict[tuple[int, ...], list[Tensor]] = {}
    for where in np.ndindex(*region.shape):
        if region[where]:
            cell = tuple(place // n for place, n in zip(where, side, strict=True))
            cells.setdefault(cell, []).append(features[(slice(None), *where)])
    means = [torch.stack(vectors).mean(dim=0) for vectors in cells.values()]
    degrees = [sum(float(a @ b / (a.norm() * b.norm())) for b in means) for a in means]
    return [mean for mean, degree in zip(means, degrees, strict=True) if degree / max(degrees) > sigma]


def slow_alike(features: Tensor, predicted: Tensor, config: SelfCleansing.Config, classes: int) -> tuple[Tensor, int]:
    """Class ids (*S) of one image before they are tidied, and how many pixels several classes claim."""
    directions: dict[int, Tensor] = {}
    for value in range(1, classes):
        region = predicted == value
        if region.any() and config.cleanse == "average":
            directions[value] = slow_direction([features[:, region].mean(dim=1)])
        elif region.any():
            directions[value] = slow_direction(slow_prototypes(features, region, config.grids, config.sigma))
    label, contested = torch.zeros_like(predicted), 0
    for where in np.ndindex(*predicted.shape):
        pixel = features[(slice(None), *where)]
        claims = {value: float(pixel @ direction / pixel.norm()) for value, direction in directions.items()}
        claims = {value: score for value, score in claims.items() if score > config.mu}
        contested += len(claims) > 1
        label[where] = max(claims, key=lambda value: claims[value]) if claims else 0
    return label, contested


def plausible(size: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Features (B, 4, *S) that lean towards a direction of their class, of which those of foreground are near to each other,
    and predictions that are right most of the time."""
    generator = torch.Generator().manual_seed(len(size))
    truth = torch.randint(classes, size, generator=generator)
    truth[:, : size[1] // 2] = truth[:, :1, :1].clamp(min=1) if len(size) == 3 else 1
    directions = torch.eye(4, dtype=torch.float64)[:classes]
    directions[1:] += 0.8
    noise = torch.randn(4, *size, generator=generator, dtype=torch.float64).movedim(0, 1)
    features = directions[truth].movedim(-1, 1) + 0.4 * noise
    predicted = truth.where(torch.rand(size, generator=generator) < 0.8, 0)
    return features, predicted


@pytest.mark.parametrize("cleanse", ["prototypes", "average"])
@pytest.mark.parametrize("size", [(3, 9, 7), (2, 5, 6, 4)], ids=["2D", "3D"])
def test_labels_by_likeness(size: tuple[int, ...], cleanse: Any) -> None:
    """Cells that do not fill the image, classes that claim the same pixels, an image without any prediction."""
    cleansing = method(
        len(size) - 1, 3, cleanse=cleanse, grids=4, sigma=0.85, mu=0.75, smallest=0.05, filter=False, warm_up=0.0
    )
    features, predicted = plausible(size, 3)
    predicted[-1] = 0
    run: Any = Sweeping(cleansing, torch.zeros(size, dtype=torch.int64), certain(predicted, 3), features)
    cleansing.start_epoch(run)
    assert run.asked == [(0, None), (0, cleansing.network)]
    slow = [slow_alike(features[row], predicted[row], cleansing.config, 3) for row in range(len(predicted))]
    contested = sum(number for _, number in slow)
    assert contested > 5, "the example has pixels that both classes claim"
    expected = [tidy(label.byte().numpy(), 3, 0.05) for label, _ in slow]
    assert {0, 1, 2} == set(np.unique(expected)) and not expected[-1].any()
    np.testing.assert_array_equal(everything(run, "pseudo"), np.stack(expected))


def test_only_representative_cells_become_prototypes() -> None:
    """A few mispredicted pixels with features of their own: LCM leaves them out, LCM (avg) does not."""
    features = torch.zeros(1, 2, 4, 8, dtype=torch.float64)
    features[:, 0, :, :5], features[:, 1, :, 5:] = 1.0, 1.0
    predicted = stripes((2, 6))
    found = {}
    for cleanse in ("prototypes", "average"):
        cleansing = method(classes=2, cleanse=cleanse, filter=False, warm_up=0.0, sigma=0.7, mu=0.5)
        run: Any = Sweeping(cleansing, predicted, certain(predicted, 2), features)
        cleansing.start_epoch(run)
        found[cleanse] = everything(run, "pseudo").long()
    assert torch.equal(found["prototypes"], stripes((0, 4)))
    assert torch.equal(found["average"], stripes((0, 7)))


def test_features_without_a_direction_give_no_label() -> None:
    """No cell has a representation degree above zero."""
    cleansing = method(classes=2, filter=False, warm_up=0.0)
    predicted = stripes(PREDICTED, OTHER)
    run: Any = Sweeping(cleansing, predicted, certain(predicted, 2), torch.zeros(2, 3, 4, 8))
    cleansing.start_epoch(run)
    assert everything(run, "source").tolist() == [CLEANSED] * 2
    assert not everything(run, "pseudo").any()


def doubtful(size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Given labels, predictions and features of ten cases, of which the first three have labels that are not predicted."""
    features, predicted = plausible((10, *size), 3)
    features += torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label = predicted.clone()
    label[:, 0] = (label[:, 0] + 1) % 3  # no case is predicted wholly
    label[:3] = torch.where(predicted[:3] > 0, 0, 1)
    return label, predicted, features


def slow_reproduction(label: Tensor, predicted: Tensor, features: Tensor, rows: list[int], **settings: Any) -> float:
    """The mean Dice of the labels by likeness with given ones, before they are tidied."""
    config = SelfCleansing.Config(**settings)
    made = [slow_alike(features[row], predicted[row], config, 3)[0] for row in rows]
    return sum(1 - slow_hard_dice(each, label[row]) for each, row in zip(made, rows, strict=True)) / len(rows)


@pytest.mark.parametrize(
    "fixed", [{}, {"sigma": 0.85}, {"mu": 0.5}, {"cleanse": "average"}], ids=["both", "mu", "sigma", "mu of the average"]
)
@pytest.mark.parametrize("filtered", [True, False])
def test_thresholds_reproduce_the_clean_given_labels(fixed: dict[str, Any], filtered: bool) -> None:
    """No other value does better, of the one that was not set, on the cases that GMM-1 calls clean or that are trusted."""
    cleansing = method(classes=3, warm_up=0.0, filter=filtered, grids=4, **fixed)
    label, predicted, features = doubtful((5, 6))
    run: Any = Sweeping(cleansing, label, certain(predicted, 3), features, trusted=[1])
    cleansing.start_epoch(run)
    rows = [1, *range(3, 10)]
    assert run.logged["noisy"] == (0.2 if filtered else 0.9)
    assert [rows for _, network, rows in run.seen if network] == [rows, [0, 2] if filtered else [0, *range(2, 10)]]
    found = {"sigma": run.logged["sigma"], "mu": run.logged["mu"]}
    assert found == {**found, **{name: value for name, value in fixed.items() if name in found}}
    sigmas = SIGMAS if "sigma" not in fixed and "cleanse" not in fixed else (found["sigma"],)
    mus = MUS.tolist() if "mu" not in fixed else [found["mu"]]
    tried = {
        (sigma, mu): slow_reproduction(label, predicted, features, rows, **{**fixed, "grids": 4, "sigma": sigma, "mu": mu})
        for sigma in sigmas
        for mu in (mus if sigma == found["sigma"] else mus[::10])
    }
    assert len({round(dice, 6) for dice in tried.values()}) > 1
    assert tried[found["sigma"], found["mu"]] == pytest.approx(max(tried.values()), abs=1e-9)


def test_thresholds_are_sought_on_few_cases_however_many_are_clean() -> None:
    cleansing = method(classes=2, warm_up=0.0)
    label = stripes(*[UNLIKE] * 5, *[PREDICTED] * (3 * REFERENCES))
    predicted = stripes(*[PREDICTED] * len(label))
    run: Any = Sweeping(cleansing, label, certain(predicted, 2), torch.rand(len(label), 3, 4, 8) + 0.1)
    cleansing.start_epoch(run)
    looked, made = [rows for _, network, rows in run.seen if network]
    assert looked == list(range(5, len(label), 3)) and len(looked) == REFERENCES and made == list(range(5))
    for row, process in ((0, [0, 1]), (1, [20, 21])):
        run.own, run.seen = np.array(process), []
        cleansing._thresholds(run, torch.arange(len(label)) >= 5)
        assert run.seen == [(0, cleansing.network, [[], [20]][row])], "its own of them"


def test_predictions_are_tidied_image_by_image() -> None:
    """LCM (pred): a pixel alone goes, a hole of one pixel is filled, each a part of its own image's class."""
    cleansing = method(classes=2, cleanse="predictions", filter=False, warm_up=0.0, smallest=0.1)
    predicted = stripes((0, 4), (5, 5))
    predicted[0, 1, 2], predicted[0, 0, 7] = 0, 1
    predicted[1, 2:, 5], predicted[1, 3, 0] = 0, 1
    run = predicting(cleansing, torch.zeros_like(predicted), predicted)
    cleansing.start_epoch(run)
    assert run.asked == [(0, None), (0, None)], "no features are asked for"
    expected = torch.stack((stripes((0, 4))[0], predicted[1]))
    assert torch.equal(everything(run, "pseudo").long(), expected)
