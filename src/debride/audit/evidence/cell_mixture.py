"""Mixtures of known distributions over cells: their likeliest weights, and how likely the weight of a group of them is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STEPS = 300
"""Of expectation and maximisation."""

LEAST = 1e-100


class Counts(NamedTuple):
    """How many cases lie in each of C cells: ``doubted`` (C,), and ``right`` (C,), which are known to be of the right part."""

    doubted: Doubles
    right: Doubles


class Parts(NamedTuple):
    """The distributions over C cells that are mixed: of right labels (R, C) and of errors (E, C), each with a sum of 1."""

    right: Doubles
    errors: Doubles

    @property
    def all(self) -> Doubles:
        """Both (R + E, C)."""
        return np.concatenate(self)


def fit(counts: Counts, parts: Parts) -> Doubles:
    """The weights (R + E,) by which the counts are likeliest; their sum is 1."""
    everything = np.ones(len(parts.right) + len(parts.errors), np.bool_)
    weights: Doubles = _weights(counts, parts, everything, np.ones(1))[0]
    return weights


def likelihoods(counts: Counts, parts: Parts, group: Bools, totals: Doubles) -> Doubles:
    """The largest log likelihood (T,) of the counts with each of T total weights, between 0 and 1, of a ``group`` (E,) of the
    errors."""
    chosen = np.concatenate([np.zeros(len(parts.right), np.bool_), group])
    return likelihood(counts, parts, _weights(counts, parts, chosen, totals))


def likelihood(counts: Counts, parts: Parts, weights: Doubles) -> Doubles:
    """The log likelihood (T,) of the counts with weights (T, R + E)."""
    right = weights[:, : len(parts.right)]
    known = right / np.maximum(right.sum(axis=1, keepdims=True), LEAST) @ parts.right
    every = weights @ parts.all
    logs: Doubles = np.log(np.maximum(every, LEAST)) @ counts.doubted + np.log(np.maximum(known, LEAST)) @ counts.right
    return logs


def _weights(counts: Counts, parts: Parts, group: Bools, totals: Doubles) -> Doubles:
    """The likeliest weights (T, R + E) of which a group (R + E,) has a given total (T,)."""
    there = counts.doubted + counts.right > 0
    doubted, known = counts.doubted[there], counts.right[there]
    right, every = parts.right[:, there], parts.all[:, there]
    many, first = max(1.0, doubted.sum()), len(right)
    weights = _scaled(np.full((len(totals), len(every)), 1 / len(every)), group, totals)
    for _ in range(STEPS):
        claimed = weights * (doubted / np.maximum(weights @ every, LEAST) @ every.T) / many
        if known.any():
            own = weights[:, :first] / np.maximum(weights[:, :first].sum(axis=1, keepdims=True), LEAST)
            shown = claimed[:, :first] + own * (known / np.maximum(own @ right, LEAST) @ right.T) / many
            claimed[:, :first] = shown * (claimed[:, :first].sum(axis=1) / np.maximum(shown.sum(axis=1), LEAST))[:, None]
        weights = _scaled(claimed, group, totals)
    return weights


def _scaled(weights: Doubles, group: Bools, totals: Doubles) -> Doubles:
    """Weights (T, J) of which a group (J,) has the given total (T,), and the others the rest."""
    inside = weights[:, group].sum(axis=1)
    outside = weights[:, ~group].sum(axis=1)
    by = np.where(group, (totals / np.maximum(inside, LEAST))[:, None], ((1 - totals) / np.maximum(outside, LEAST))[:, None])
    scaled: Doubles = weights * by
    return scaled
