"""Log-odds of an error by the evidence against a label: cross-fitted regressions that learn from given and planted labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.explanations import entries_for
from debride.rng import generator

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Entries = Mapping[str, float]

ANY, EVERY = "any", "every"
"""Beside the kinds that are planted: an error of whatever kind; and all entries, whatever they speak of."""

FOLDS = 5
"""Parts of the patients for cross-fitting."""


@dataclass(frozen=True)
class Sample:
    """Evidence against N given and M planted labels. ``kinds`` are the names of what was planted, ``kind`` (M,) their places
    there, ``row`` (M,) the given label under each; ``person`` (N,) and ``fold`` (N,) are numbers of patients and their parts.
    ``features`` are of the entries that speak of a kind, of ``ANY``, and ``EVERY``: of given (N, F) and planted labels (M, F).
    """

    kinds: tuple[str, ...]
    kind: Places
    row: Places
    person: Places
    fold: Places
    features: Mapping[str, tuple[Doubles, Doubles]]

    def folds(self) -> Iterator[tuple[Bools, Bools]]:
        """Which given (N,) and planted (M,) labels belong to each part of the patients."""
        for part in np.unique(self.fold):
            yield self.fold == part, self.fold[self.row] == part


def sample(given: Sequence[Entries], planted: Sequence[Mapping[str, Entries]], patients: Sequence[str], seed: int) -> Sample:
    """The evidence against N given labels, and against those with planted errors by kind (N, empty where none were planted)."""
    kinds = tuple(sorted({kind for errors in planted for kind in errors}))
    people, person = np.unique(patients, return_inverse=True)
    fold = generator(seed, "cross-fitting").permutation(len(people))[person] % FOLDS
    where = [(place, row) for place, kind in enumerate(kinds) for row, errors in enumerate(planted) if kind in errors]
    wrong = [planted[row][kinds[place]] for place, row in where]
    names = {kind: entries_for(kind, given) for kind in (*kinds, ANY)}
    names[EVERY] = [name for name in given[0] if all(name in entries for entries in (*given, *wrong))]
    known = {kind: (features(given, entries), features(wrong, entries)) for kind, entries in names.items()}
    kind, row = np.array(where, np.intp).reshape(-1, 2).T
    return Sample(kinds, kind, row, np.asarray(person, np.intp), np.asarray(fold, np.intp), known)


def log_odds(one: Sample, kind: str, right: Doubles) -> tuple[Doubles, Doubles]:
    """Log-odds (N,) of given and (M,) of all planted labels that there is an error of a kind, by the entries that speak of it.

    Each comes from a regression without its part of the patients. Given labels count by the probabilities ``right`` (N,), and
    so does what is planted into them; both sides weigh the same. A part outside of which nothing is given, or nothing is
    planted, is judged by a regression on all.
    """
    given, planted = one.features[kind]
    used = np.ones(len(one.kind), np.bool_) if kind == ANY else one.kind == one.kinds.index(kind)
    weight = right[one.row] * _even(one.kind, right[one.row])
    odds, simulated = np.zeros(len(given)), np.zeros(len(planted))
    for own, own_planted in one.folds():
        rest, rest_planted = ~own, used & ~own_planted
        if not rest.any() or not rest_planted.any():
            rest, rest_planted = np.ones_like(rest), used
        sides = right[rest] / right[rest].sum(), weight[rest_planted] / weight[rest_planted].sum()
        model = _regression(
            np.concatenate([given[rest], planted[rest_planted]]),
            np.repeat([0, 1], [rest.sum(), rest_planted.sum()]),
            np.concatenate(sides) * rest.sum(),
        )
        odds[own] = model.decision_function(given[own])
        if own_planted.any():
            simulated[own_planted] = model.decision_function(planted[own_planted])
    return odds, simulated


def likeliest_kinds(one: Sample, right: Doubles) -> tuple[Places, Places]:
    """The kind of error that each of N given and M planted labels has most probably if it has one, as places in ``kinds``.

    A multinomial regression tells planted errors apart, by all entries of the evidence and without the label's part of the
    patients; no given label takes part.
    """
    kinds, simulated = np.zeros(len(one.person), np.intp), np.zeros(len(one.kind), np.intp)
    if len(one.kinds) == 1:
        return kinds, simulated
    given, planted = one.features[EVERY]
    weight = right[one.row] * _even(one.kind, right[one.row])
    for own, own_planted in one.folds():
        rest = ~own_planted
        if len(np.unique(one.kind[rest])) < len(one.kinds):
            rest = np.ones_like(rest)
        model = _regression(planted[rest], one.kind[rest], weight[rest] / weight[rest].mean())
        kinds[own] = model.predict(given[own])
        if own_planted.any():
            simulated[own_planted] = model.predict(planted[own_planted])
    return kinds, simulated


def features(evidence: Sequence[Entries], names: Sequence[str]) -> Doubles:
    """The features (N, F) of entries: signed square roots, which keep the largest apart without letting them decide alone."""
    columns = []
    for name in names:
        entry, _, divided = name.partition("/")
        values = np.array([values_of[entry] for values_of in evidence], np.float64)
        if entry == "self-confidence":
            columns.append(-np.log(0.01 + values))
            continue
        if divided:
            values = values / np.sqrt([values_of["uncertainty"] + 50 for values_of in evidence])
        columns.append(np.sign(values) * np.sqrt(np.abs(values)))
    return np.stack(columns, axis=1) if columns else np.zeros((len(evidence), 1))


def _even(kinds: Places, weight: Doubles) -> Doubles:
    """Factors (M,) by which every kind of planted error counts the same, of labels with these weights."""
    total = np.bincount(kinds, weight)
    return np.asarray(1 / total[kinds], np.float64)


def _regression(values: Doubles, answers: Places, weight: Doubles) -> Any:
    """A logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(
        values, answers, logisticregression__sample_weight=weight
    )
