"""How probable it is that a label is wrong: evidence of several kinds, weighed by errors that are planted into the labels.

No label is known to be right. So errors of every kind (``plant``) are simulated on top of the given labels of some cases, and
for each kind a logistic regression learns to tell the planted ones from the given ones, by the entries of the evidence that
speak of this kind (``explanations``). A case's score is the largest of these log-odds: one good explanation is enough. Scores
of a case come from regressions that have not seen its patient, but for a kind of which no other part of the patients has
planted errors, or where there is one part alone: those have seen all.

The share of wrong labels is bounded by what the planted ones show (``wrong_share``): if half of the planted errors score above
a limit, and 5 % of the given labels do, then hardly more than 10 % are wrong in such ways. With it the ratio of the two
densities is a probability (Elkan and Noto, "Learning classifiers from only positive and unlabeled data", KDD 2008).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.explanations import entries_for
from debride.noise import Noise
from debride.noise.errors import Extra, Flip, Gaps, Missing, Shift, Stray, Swap
from debride.noise.markov import Markov
from debride.noise.morphology import DilateErode
from debride.rng import generator
from debride.types import IGNORE

Doubles = npt.NDArray[np.float64]
Evidence = Mapping[str, float]
Planted = Mapping[str, Evidence]

RECALLS = (0.4, 0.5, 0.6, 0.7)
"""Shares of the planted errors above the limits by which the share of wrong labels is bounded."""

RADII = {"boundary": (0.08, 0.3), "shift": (0.3, 1.2), "ragged": (1.0, 4.0)}
"""How far planted errors move outlines and objects, and how many steps an outline wanders, in radii of a disc (ball) as large
as what is labelled."""

SURE, BEYOND = 0.5, 0.1
"""Log-odds beyond the median of the planted errors of a kind count a tenth: such a prediction may have failed as a whole."""

FOLDS, RESAMPLES = 5, 200
"""Parts of the patients for cross-fitting; bootstrap resamples behind an interval."""

LEAST_AUROC = 0.65
"""Below this the predictions hardly tell planted errors from given labels, and no label is called wrong by them."""

FLAGGED = 0.5
"""A case is flagged where it is more probably wrong than right."""


@dataclass(frozen=True)
class Ranking:
    """What the evidence makes of N cases. ``score`` (N,) orders them; ``wrong`` (N,) in [0, 1] is the probability that the
    label is wrong, 0 of a trusted one; ``odds`` (N,) log-odds by kind; ``share`` the estimated share of wrong labels among
    those that are not trusted, ``interval`` its 95 % interval over patients; ``told_apart`` the chance that a planted error
    scores above a given label, NaN without any."""

    score: Doubles
    wrong: Doubles
    odds: dict[str, Doubles]
    share: float
    interval: tuple[float, float]
    told_apart: float

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """The places of the cases (N,), the highest score first, and of equal ones the first case."""
        return np.lexsort((np.arange(len(self.score)), -self.score))

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """Which cases are flagged (N,)."""
        return self.wrong > FLAGGED

    @property
    def blind(self) -> bool:
        """Whether the predictions are too poor to call any label wrong."""
        return _hardly_told(self.told_apart, len(self.score))


def plant(label: npt.NDArray[np.uint8], classes: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.uint8]]:
    """Copies of a label (*S) with one simulated error each, by kind; only such as differ from it. Beside the kinds of findings
    there is "ragged", in 2D: a boundary that wanders at random."""
    size = np.count_nonzero((label > 0) & (label != IGNORE))
    radius = max(2.0, float((size / np.pi) ** 0.5 if label.ndim == 2 else (0.75 * size / np.pi) ** (1 / 3)))
    distance = max(1.0, radius * rng.uniform(*RADII["boundary"]))
    near, far = (round(radius * times) for times in RADII["shift"])
    noises: dict[str, Noise] = {
        "missing": Missing(),
        "extra": Extra(),
        "boundary": DilateErode(distance, distance),
        "flip": Flip(),
        "shift": Shift(near, far),
    }
    if label.ndim == 2:
        steps = round(radius * rng.uniform(*RADII["ragged"]))
        noises["ragged"] = Markov(steps, preference=rng.uniform(0.2, 0.8))
    if classes > 2:
        noises["swap"] = Swap()
    if label.ndim == 3:
        noises |= {"gap": Gaps(), "stray": Stray(2)}
    wrong = {kind: noise(label, classes, rng) for kind, noise in noises.items()}
    return {kind: given for kind, given in wrong.items() if (given != label).any()}


def rank(
    given: Sequence[Evidence],
    planted: Sequence[Planted],
    patients: Sequence[str],
    seed: int,
    trusted: Sequence[bool] | None = None,
) -> Ranking:
    """Ranks N cases by the evidence against their given labels, and against those with planted errors (N, empty where none were
    planted). Where nothing was planted at all, no case is wrong, and nor is one of the ``trusted`` (N; none by default): what
    is learnt of right labels and of planted errors is learnt from these too."""
    kinds = sorted({kind for errors in planted for kind in errors})
    people, person = np.unique(patients, return_inverse=True)
    doubted = ~np.asarray([False] * len(given) if trusted is None else trusted, bool)
    if not kinds:
        none = np.zeros(len(given))
        return Ranking(none, none, {}, 0.0, (0.0, 0.0), float("nan"))
    fold = generator(seed, "cross-fitting").permutation(len(people))[person] % FOLDS
    where = [(kind, row) for kind in kinds for row, errors in enumerate(planted) if kind in errors]
    planted_row = np.array([row for _, row in where])
    planted_kind = np.array([kind for kind, _ in where])
    odds: dict[str, Doubles] = {}
    simulated: list[Doubles] = []
    for kind in (*kinds, "any"):
        own = _features(given, kind)
        planted_features = _features([planted[row][name] for name, row in where], kind)
        used = np.ones(len(where), bool) if kind == "any" else planted_kind == kind
        fitted = _cross_fitted(own, planted_features, used, fold, fold[planted_row])
        most = np.quantile(fitted[1][used], SURE)
        odds[kind], in_planted = (np.minimum(fit, most + BEYOND * (fit - most)) for fit in fitted)
        simulated.append(in_planted)
    score, limit = np.max(list(odds.values()), axis=0), np.max(simulated, axis=0)
    weight = _weights(planted_kind)
    told_apart, wrong = _auroc(score, limit, weight), np.zeros(len(score))
    if _hardly_told(told_apart, len(score)):
        return Ranking(score, wrong, odds, 0.0, (0.0, 1.0), told_apart)
    if not doubted.any():
        return Ranking(score, wrong, odds, 0.0, (0.0, 0.0), told_apart)
    doubtful = score[doubted]
    # An error planted into a label that is wrong already stands out for two reasons: such labels count less.
    wrong[doubted] = np.minimum(1.0, wrong_share(doubtful, limit, weight) * _ratio(doubtful, limit, weight))
    weight = weight * np.maximum(1e-3, 1 - wrong[planted_row])
    share = wrong_share(doubtful, limit, weight)
    wrong[doubted] = np.minimum(1.0, share * _ratio(doubtful, limit, weight))
    interval = _interval(doubtful, limit, weight, person[doubted], person[planted_row], seed)
    return Ranking(score, wrong, odds, share, interval, told_apart)


def wrong_share(given: Doubles, planted: Doubles, weight: Doubles | None = None) -> float:
    """The share of wrong labels by the scores of given labels (N,) and planted errors (M,), with weights (M,): the smallest,
    over the limits that ``RECALLS`` of the planted errors exceed, of the share of given labels above it through that recall.
    Half a label is added, so that none above a limit among few is not taken for certain."""
    order = np.argsort(-planted, kind="stable")
    weight = np.ones(len(planted)) if weight is None else weight
    above = np.cumsum(weight[order])
    bounds = []
    for recall in RECALLS:
        limit = planted[order[min(np.searchsorted(above, recall * above[-1]), len(order) - 1)]]
        reached = float(weight[planted >= limit].sum() / above[-1])
        bounds.append((np.count_nonzero(given >= limit) + 0.5) / (len(given) + 1) / reached)
    return min(1.0, *bounds)


def _features(evidence: Sequence[Evidence], kind: str) -> Doubles:
    """The features (N, F) of a kind: signed square roots, which keep the largest apart without letting them decide alone."""
    columns = []
    for name in entries_for(kind, evidence):
        entry, _, divided = name.partition("/")
        values = np.array([values_of[entry] for values_of in evidence])
        if entry == "self-confidence":
            columns.append(-np.log(0.01 + values))
            continue
        if divided:
            values = values / np.sqrt([values_of["uncertainty"] + 50 for values_of in evidence])
        columns.append(np.sign(values) * np.sqrt(np.abs(values)))
    return np.stack(columns, axis=1)


def _cross_fitted(
    given: Doubles,
    planted: Doubles,
    used: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    planted_fold: npt.NDArray[np.intp],
) -> tuple[Doubles, Doubles]:
    """Log-odds (N,) of given and (M,) of all planted labels, each from a regression without its fold that learnt from the
    planted labels ``used``; given and planted ones weigh the same there. A fold outside of which nothing is given, or nothing
    is planted, is judged by a regression on all."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    odds, simulated = np.zeros(len(given)), np.zeros(len(planted))
    for part in np.unique(fold):
        rest, rest_planted = fold != part, used & (planted_fold != part)
        if not rest.any() or not rest_planted.any():
            rest, rest_planted = np.ones_like(rest), used
        features = np.concatenate([given[rest], planted[rest_planted]])
        is_planted = np.repeat([0, 1], [rest.sum(), rest_planted.sum()])
        weight = np.repeat([1.0, rest.sum() / rest_planted.sum()], [rest.sum(), rest_planted.sum()])
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(features, is_planted, logisticregression__sample_weight=weight)
        odds[fold == part] = model.decision_function(given[fold == part])
        if (planted_fold == part).any():
            simulated[planted_fold == part] = model.decision_function(planted[planted_fold == part])
    return odds, simulated


def _hardly_told(told_apart: float, given: int) -> bool:
    """Whether an AUROC by so many given labels is too low, by more than two standard errors of chance; False for NaN."""
    return bool(told_apart + 2 / np.sqrt(12 * given) < LEAST_AUROC)


def _auroc(given: Doubles, planted: Doubles, weight: Doubles) -> float:
    """The chance that a planted error, drawn by its weight, scores above a given label, ties counting half."""
    order = np.sort(given)
    below = (np.searchsorted(order, planted, "left") + np.searchsorted(order, planted, "right")) / 2
    return float((weight * below).sum() / weight.sum() / len(given))


def _weights(kinds: npt.NDArray[np.str_]) -> Doubles:
    """Weights (M,) by which every kind of planted error counts the same."""
    _, kind, count = np.unique(kinds, return_inverse=True, return_counts=True)
    return 1 / count[kind]


def _ratio(given: Doubles, planted: Doubles, weight: Doubles) -> Doubles:
    """How much denser planted errors are than given labels at each given score (N,), by isotonic regression."""
    from sklearn.isotonic import IsotonicRegression

    mass = np.concatenate([np.full(len(given), 1 / len(given)), weight / weight.sum()])
    is_planted = np.repeat([0.0, 1.0], [len(given), len(planted)])
    model = IsotonicRegression(out_of_bounds="clip").fit(np.concatenate([given, planted]), is_planted, sample_weight=mass)
    chance = model.predict(given)
    ratio: Doubles = chance / np.maximum(1 - chance, 1e-9)
    return ratio


def _interval(
    given: Doubles,
    planted: Doubles,
    weight: Doubles,
    person: npt.NDArray[np.intp],
    planted_person: npt.NDArray[np.intp],
    seed: int,
) -> tuple[float, float]:
    """The 95 % percentile interval of the share over bootstrap resamples of the patients."""
    rng, people = generator(seed, "share"), int(max(person.max(), planted_person.max())) + 1
    rows, planted_rows = (_grouped(people_of, people) for people_of in (person, planted_person))
    shares = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(people, size=people)
        own, own_planted = (np.concatenate([part[people_of] for people_of in drawn]) for part in (rows, planted_rows))
        if len(own) and len(own_planted):
            shares.append(wrong_share(given[own], planted[own_planted], weight[own_planted]))
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def _grouped(group: npt.NDArray[np.intp], groups: int) -> list[npt.NDArray[np.intp]]:
    """The places of each group's members, in their order, by the group (0 to ``groups`` - 1) of each."""
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=groups))[:-1])
