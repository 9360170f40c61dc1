"""Labels of several raters, and their agreement and votes."""

import numpy as np

from debride.audit.raters.rater_agreement import agreement
from debride.types import IGNORE


def disc(shape, centre, radius):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - np.asarray(centre), axis=-1) <= radius


def random_labels(seed, raters, shape, classes, ignore=0.1):
    """Labels that agree in part, with some pixels without a label."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, classes, shape)
    labels = np.where(rng.random((raters, *shape)) < 0.4, rng.integers(0, classes, (raters, *shape)), base).astype(np.uint8)
    labels[rng.random(labels.shape) < ignore] = IGNORE
    return labels


def rows_of(labels, classes, spacing=None):
    names = [f"r{i}" for i in range(len(labels))]
    return agreement(labels, names, classes, image="scan", patient="P", split="train", spacing=spacing)


def slow_votes(labels, classes, at):
    votes = [0] * classes
    for label in labels:
        if label[at] != IGNORE:
            votes[label[at]] += 1
    return votes
