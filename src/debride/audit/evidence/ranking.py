"""How probable it is that a label is wrong: evidence of several kinds, weighed by errors that are planted into the labels.

No label is known to be right. So errors of every kind (``planting``) are simulated on top of the given labels of some cases.
For each kind a logistic regression learns to tell the planted ones from the given ones, by the entries of the evidence that
speak of this kind (``explanations``). Odds of a case come from regressions that have not seen its patient (``odds``).

How many labels are wrong in each of these ways is told by where given and planted labels lie (``share``). Given labels that are
probably wrong then count less where regressions learn what right labels look like, and all is done once more: where a third of
the labels lack an object, the first regression takes that for usual. The score of a case is the log of the odds of all kinds
together, each weighed by how often it occurs: the ratio of two densities is a probability, if the share is known (Elkan and
Noto, "Learning classifiers from only positive and unlabeled data", KDD 2008).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.explanations import reported
from debride.audit.evidence.odds import ANY, Entries, Sample, likeliest_kinds, log_odds, sample
from debride.audit.evidence.share import Evident, Interval, allowance, mix

Doubles = npt.NDArray[np.float64]

ROUNDS = 3
"""How often regressions and shares are worked out."""

CERTAIN = 0.02
"""A label counts that much at least where regressions learn what right ones look like."""

LEAST_AUROC = 0.65
"""Below this the predictions hardly tell planted errors from given labels, and no label is called wrong by them."""

FLAGGED = 0.5
"""A case is flagged where it is more probably wrong than right."""


@dataclass(frozen=True)
class Ranking:
    """What the evidence makes of N cases.

    ``score`` (N,) orders them. ``wrong`` (N,) in [0, 1] is the probability that the label is wrong, 0 of a trusted one; it
    supposes a share of wrong labels halfway between its likeliest value and the lower end of its interval. ``odds`` (N,) are
    log-odds by kind. ``share`` is the estimated share of wrong labels among those that are not trusted, ``interval`` its 95 %
    interval, ``kinds`` both for each kind of error: NaN, and 0 to 1, where the predictions cannot tell. ``told_apart`` is the
    chance that a planted error scores above a given label, NaN without any.
    """

    score: Doubles
    wrong: Doubles
    odds: dict[str, Doubles]
    share: float
    interval: tuple[float, float]
    told_apart: float
    kinds: dict[str, Interval] = field(default_factory=dict)

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """The places of the cases (N,), the highest score first, and of equal ones the first case."""
        return np.lexsort((np.arange(len(self.score)), -self.score))

    @property
    def flagged(self) -> npt.NDArray[np.bool_]:
        """Which cases are flagged (N,): none where the interval of the share begins at 0."""
        return (self.wrong > FLAGGED) & (self.interval[0] > 0)

    @property
    def blind(self) -> bool:
        """Whether the predictions are too poor to call any label wrong."""
        return _hardly_told(self.told_apart, len(self.score))

    def untold(self) -> Ranking:
        """The same order, saying of no label that it is wrong or right."""
        return replace(self, wrong=np.zeros(len(self.score)), share=float("nan"), interval=(0.0, 1.0), kinds={})


def rank(
    given: Sequence[Entries],
    planted: Sequence[Mapping[str, Entries]],
    patients: Sequence[str],
    seed: int,
    trusted: Sequence[bool] | None = None,
    typical: float | None = None,
) -> Ranking:
    """Ranks N cases by the evidence against their given labels, and against those with planted errors (N, empty where none were
    planted). Where nothing was planted at all, no case is wrong, and nor is one of the ``trusted`` (N; none by default): what
    is learnt of right labels and of planted errors is learnt from these too. ``typical`` is the median ``agreement`` of
    predictions with labels, where there are predictions."""
    doubted = ~np.asarray([False] * len(given) if trusted is None else trusted, bool)
    one = sample(given, planted, patients, seed)
    none = np.zeros(len(given))
    if not one.kinds:
        return Ranking(none, none, {}, 0.0, (0.0, 0.0), float("nan"))
    names = list(dict.fromkeys(map(reported, one.kinds)))
    groups = [[at for at, kind in enumerate(one.kinds) if reported(kind) == name] for name in names]
    right = np.ones(len(given))
    for _ in range(ROUNDS):
        odds = {kind: log_odds(one, kind, right) for kind in (*one.kinds, ANY)}
        strength, simulated = (np.max([odds[kind][side] for kind in one.kinds], axis=0) for side in (0, 1))
        evident = Evident(strength, simulated, *likeliest_kinds(one, right))
        mixed = mix(evident, one.kind, right[one.row], right, doubted, one.person, allowance(typical))
        right = np.maximum(CERTAIN, mixed.right)
    own = {kind: values[0] for kind, values in odds.items()}
    told_apart = _auroc(strength, simulated, right[one.row] / np.bincount(one.kind)[one.kind])
    score = _score(one, odds, mixed.planted)
    if _hardly_told(told_apart, len(given)):
        unknown = {name: (float("nan"), 0.0, 1.0) for name in names}
        return Ranking(score, none, own, float("nan"), (0.0, 1.0), told_apart, unknown)
    if not doubted.any():
        return Ranking(score, none, own, 0.0, (0.0, 0.0), told_apart)
    share, low, high = mixed.interval()
    cautious = (low + share) / (2 * share) if share else 1.0
    wrong = np.where(doubted, cautious * _rising(score, mixed.wrong), 0.0)
    by_kind = {name: mixed.interval(group) for name, group in zip(names, groups, strict=True)}
    return Ranking(score, wrong, own, share, (low, high), told_apart, by_kind)


def _score(one: Sample, odds: Mapping[str, tuple[Doubles, Doubles]], planted: Doubles) -> Doubles:
    """The log (N,) of the sum of all odds, each times the share of its kind; no kind is rarer than one label."""
    rarest = 1 / len(one.person)
    logs = [odds[kind][0] + np.log(max(rarest, share)) for kind, share in zip(one.kinds, planted, strict=True)]
    return np.asarray(np.logaddexp.reduce([*logs, odds[ANY][0] + np.log(rarest)]), np.float64)


def _rising(score: Doubles, wrong: Doubles) -> Doubles:
    """Probabilities (N,) that rise with the score."""
    from sklearn.isotonic import IsotonicRegression

    rising: Doubles = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit_transform(score, wrong)
    return rising


def _hardly_told(told_apart: float, given: int) -> bool:
    """Whether an AUROC by so many given labels is too low, by more than two standard errors of chance; False for NaN."""
    return bool(told_apart + 2 / np.sqrt(12 * given) < LEAST_AUROC)


def _auroc(given: Doubles, planted: Doubles, weight: Doubles) -> float:
    """The chance that a planted error, drawn by its weight, scores above a given label, ties counting half."""
    order = np.sort(given)
    below = (np.searchsorted(order, planted, "left") + np.searchsorted(order, planted, "right")) / 2
    return float((weight * below).sum() / weight.sum() / len(given))
