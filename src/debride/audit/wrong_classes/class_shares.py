"""How many classes are wrong, by pair of the class given and the true one, with intervals; and which cases are.

Nothing in predictions alone tells a network's mistake on a right label from a right prediction on a wrong one. Two things bound
the share. Where a network is surest its own mistakes are rarest: labels that disagree there are an upper bound. And of all that
disagrees, a part ``OWN`` is left to the network: what the model calls wrong beyond that is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import beta

from debride.audit.wrong_classes.class_noise import Doubles, Ids, NoiseModel, fit_noise, logs_of
from debride.rng import generator

FOLDS, RESAMPLES, STEPS = 5, 40, 25
"""Parts of the patients for cross-fitting; bootstrap resamples of the patients, and steps from the model of all to theirs."""

OWN = 0.5
"""So large a part of the disagreements between labels and network may seem errors of labels and be the network's own."""

SUREST, LEAST_SUREST = 0.1, 20
"""The share of the images that are predicted as a class, and the least number, of which the network is surest."""

NOISE = 0.25
"""So much of what labels of the surest images say of pairs of classes counts in the ranking: the network confuses pairs too."""

FLAGGED = 0.5
"""A case is flagged where even the least probability that it is wrong is above this."""


@dataclass(frozen=True)
class ClassShares:
    """What N labels of K classes came to.

    ``pairs``, ``low`` and ``high`` (K, K) are shares of all cases that are not trusted by the class given (row) and the true
    one (column), 0 on the diagonal, with their 95 % intervals; ``share`` and ``interval`` are those of all wrong labels.
    ``wrong`` (N,) is the probability that a label is wrong by the estimated share, ``least`` (N,) by the lower end of its
    interval, ``proposed`` (N,) the likeliest other class. ``score`` (N,) orders the cases: from 0 to 1, and below 0 for trusted
    ones. It is what the network gives to other classes than the one given, and how often the one given is given for these.
    """

    pairs: Doubles
    low: Doubles
    high: Doubles
    share: float
    interval: tuple[float, float]
    wrong: Doubles
    least: Doubles
    proposed: Ids
    score: Doubles

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """The places of the cases (N,), the highest score first, and of equal ones the first case."""
        return np.lexsort((np.arange(len(self.score)), -self.score))

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """Which cases are flagged (N,)."""
        return self.least > FLAGGED

    def untold(self) -> ClassShares:
        """The same order, saying of no label that it is wrong or right."""
        none, pairs = np.zeros(len(self.wrong)), np.zeros_like(self.pairs)
        high = 1 - np.eye(len(pairs))
        return replace(self, pairs=pairs, low=pairs, high=high, share=math.nan, interval=(0.0, 1.0), wrong=none, least=none)


def class_shares(
    probability: npt.NDArray[np.floating], given: Ids, patients: Sequence[str], trusted: npt.NDArray[np.bool_], seed: int
) -> ClassShares:
    """The shares of wrong labels by probabilities (N, K) of networks that have not seen them, and the classes given (N,)."""
    logs, doubted = logs_of(probability), ~trusted
    classes = logs.shape[1]
    _, person = np.unique(patients, return_inverse=True)
    model = fit_noise(logs, given, np.ones(len(given)), trusted)
    drawn = _resampled(logs, given, trusted, person, model, seed)
    true = _cross_fitted(logs, given, trusted, person, model, seed)
    pairs = _pairs(true[doubted], given[doubted], np.ones(int(doubted.sum())), classes)
    predicted = np.asarray(probability).argmax(axis=1)
    differs = _pairs(np.eye(classes)[predicted[doubted]], given[doubted], np.ones(int(doubted.sum())), classes)
    surest = _surest(np.asarray(probability), predicted, doubted)
    ceilings, ceiling = _ceilings(surest, predicted[doubted], given, doubted)
    ends, sums = np.quantile(drawn, [0.025, 0.975], axis=0), np.quantile(drawn.sum(axis=(1, 2)), [0.025, 0.975])
    share, half = float(pairs.sum()), 0.5 / max(1, int(doubted.sum()))
    lowest = min(share, float(_without_own(sums[:1], differs.sum(), half)[0]))
    low = np.minimum(pairs, _without_own(ends[0], differs, half))
    high = np.maximum(np.maximum(pairs, ends[1]), ceilings)
    np.fill_diagonal(high, 0.0)
    rows = np.arange(len(given))
    wrong, others = np.where(trusted, 0.0, 1 - true[rows, given]), true.copy()
    others[rows, given] = -1.0
    return ClassShares(
        pairs=pairs,
        low=low,
        high=high,
        share=share,
        interval=(lowest, min(1.0, max(share, float(sums[1]), ceiling))),
        wrong=wrong,
        least=wrong * (lowest / max(share, 1e-12)),  # what else seems wrong is spread evenly among all that does
        proposed=others.argmax(axis=1),
        score=_score(np.exp(logs), model.right(logs), _seen_flips(surest, given, classes), given) - trusted,
    )


def _without_own(low: Doubles, differs: Doubles, half: float) -> Doubles:
    """The least shares that are wrong, by the lower ends of their estimates and the shares of labels that are not the likeliest
    class: the network may have ``OWN`` of the disagreements to itself. Less than ``half`` a case is none."""
    least = (low - OWN * differs) / (1 - OWN)
    return np.where(least < half, 0.0, least)


def _score(probability: Doubles, right: Doubles, flips: Doubles, given: Ids) -> Doubles:
    """Orders the cases (N,) from 0 to 1, by probabilities, calibrated ones (N, K), and the chances (K, K) of ``flips``.

    The logarithm of the odds is that of another class by the network. To it comes the part ``NOISE`` of how often the given
    class is given where the other classes are right, against where it is right itself.
    """
    rows, others = np.arange(len(given)), right.copy()
    own = np.clip(probability[rows, given], 1e-12, 1 - 1e-7)
    others[rows, given] = 0.0
    often = (others * flips.T[given]).sum(axis=1) / np.maximum(others.sum(axis=1), 1e-12)
    noise = np.log(np.maximum(often, 1e-12)) - np.log(flips[given, given])
    return np.asarray(expit(np.log(1 - own) - np.log(own) + NOISE * noise))


def _pairs(true: Doubles, given: Ids, weight: Doubles, classes: int) -> Doubles:
    """The shares (K, K) of weighted cases by the class given and the true one, whose chances are given (N, K); none on the
    diagonal."""
    shares = np.zeros((classes, classes))
    for id in range(classes):
        own = given == id
        shares[id] = weight[own] @ true[own]
    shares /= max(1e-12, weight.sum())
    np.fill_diagonal(shares, 0.0)
    return shares


def _cross_fitted(
    logs: Doubles, given: Ids, trusted: npt.NDArray[np.bool_], person: npt.NDArray[np.intp], model: NoiseModel, seed: int
) -> Doubles:
    """The chances (N, K) of the true classes, each by a model of the other parts of the patients."""
    people = int(person.max()) + 1
    fold = generator(seed, "cross-fitting").permutation(people)[person] % FOLDS
    true = model.true(logs, given, trusted)
    for part in np.unique(fold):
        own = fold == part
        if own.all():
            break
        without = fit_noise(logs[~own], given[~own], np.ones(int((~own).sum())), trusted[~own], model, 2 * STEPS)
        true[own] = without.true(logs[own], given[own], trusted[own])
    return true


def _resampled(
    logs: Doubles, given: Ids, trusted: npt.NDArray[np.bool_], person: npt.NDArray[np.intp], model: NoiseModel, seed: int
) -> Doubles:
    """Shares by pair (R, K, K) of bootstrap resamples of the patients."""
    people, rng, drawn = int(person.max()) + 1, generator(seed, "share"), []
    for _ in range(RESAMPLES):
        times = rng.multinomial(people, np.full(people, 1 / people))[person].astype(float)
        used = times > 0
        fitted = fit_noise(logs[used], given[used], times[used], trusted[used], model, STEPS)
        counted = used & ~trusted
        drawn.append(_pairs(fitted.true(logs[counted], given[counted]), given[counted], times[counted], logs.shape[1]))
    return np.stack(drawn)


def _surest(
    probability: npt.NDArray[np.floating], predicted: npt.NDArray[np.intp], doubted: npt.NDArray[np.bool_]
) -> list[npt.NDArray[np.intp]]:
    """The places of the images that are predicted as each class, of those the network is surest of."""
    surest = []
    for id in range(probability.shape[1]):
        rows = np.flatnonzero((predicted == id) & doubted)
        number = max(LEAST_SUREST, round(SUREST * len(rows)))
        surest.append(rows[np.argsort(-probability[rows, id], kind="stable")][:number])
    return surest


def _seen_flips(surest: Sequence[npt.NDArray[np.intp]], given: Ids, classes: int) -> Doubles:
    """The chances (K, K) that a class (row) is given as another (column), by the labels of the surest images. The mean over all
    classes, with all flips alike, counts as ``LEAST_SUREST`` more images of each."""
    counts = np.stack([np.bincount(given[rows], minlength=classes) for rows in surest]) + np.eye(classes)
    differing = 1 - np.trace(counts) / counts.sum()
    alike = np.where(np.eye(classes, dtype=bool), 1 - differing, max(differing, 1e-3) / (classes - 1))
    added = counts + LEAST_SUREST * alike
    flips: Doubles = added / added.sum(axis=1, keepdims=True)
    return flips


def _ceilings(
    surest: Sequence[npt.NDArray[np.intp]], predicted: npt.NDArray[np.intp], given: Ids, doubted: npt.NDArray[np.bool_]
) -> tuple[Doubles, float]:
    """Upper bounds of the shares by pair (K, K), and of their sum, by the labels of images that the network is surest of.
    ``predicted`` are the likeliest classes of the doubted cases."""
    classes = len(surest)
    bounds, total, variance = np.zeros((classes, classes)), 0.0, 0.0
    for id, rows in enumerate(surest):
        counts, number = np.bincount(given[rows], minlength=classes), len(rows)
        likeliest = float(np.mean(predicted == id))
        part = max(likeliest, np.mean(given[doubted] == id))
        bounds[:, id] = part * (beta.ppf(0.975, counts + 1, np.maximum(number - counts, 1e-9)) if number else 1.0)
        if number:
            differing = 1 - counts[id] / number
            total += likeliest * differing
            variance += likeliest**2 * max(differing * (1 - differing), 1 / number) / number
    return bounds, total + 1.96 * variance**0.5
