"""Figures of trainings on classes: what is seen after an epoch for each, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from debride.bench.papers.watching import Seen
from debride.data.cache import cache_folder
from debride.data.classes.class_cache import prepare_classes
from debride.evaluation.class_metrics import measures
from debride.networks import Network
from debride.rng import generator
from debride.training.class_sweep import sweep_classes
from debride.types import IGNORE, DataError

POINTS = 1000
"""Images that are drawn; correlations are of all."""


def see_hardness(seen: Seen) -> dict[str, Any]:
    """The loss and the distance from the centre of its class (DCD, Eq. 2; Fig. 5a) of each labelled image that is not trusted,
    after the last epoch, with their correlation: Pearson's of the numbers, Spearman's of the ranks.

    The loss is the cross-entropy of the first network with the given label, un-augmented and in evaluation mode. The distance
    is the one that the network's last step on the image had.
    """
    if not seen.last:
        return {}
    run = seen.run
    rows = np.arange(run.cases)
    if "distance" not in {field.name for field in run.method.fields()}:
        raise DataError("hardness", "is a distance that this method does not keep", "Name dcd in the grid.")
    loss, distance = np.full(run.cases, np.nan), run.store.read("distance", rows)[:, 0].double().numpy()
    first = next(module for module in run.method.children() if isinstance(module, Network))
    for swept in run.sweep(rows, first):
        label = swept.label.where(swept.label != IGNORE, 0)
        chance = swept.probability.gather(1, label[:, None])[:, 0].clamp(min=1e-12)
        loss[swept.rows] = np.where((swept.label != IGNORE).cpu(), -chance.log().double().cpu(), np.nan)
    known = ~run.is_trusted & np.isfinite(loss) & (distance > 0)
    loss, distance = loss[known], distance[known]
    drawn = np.sort(generator(run.config.seed, "points").permutation(len(loss))[:POINTS])
    defined = len(loss) > 2 and np.ptp(loss) > 0 and np.ptp(distance) > 0
    return {
        "images": len(loss),
        "pearson": float(stats.pearsonr(loss, distance).statistic) if defined else None,
        "spearman": float(stats.spearmanr(loss, distance).statistic) if defined else None,
        "loss": [round(float(value), 4) for value in loss[drawn]],
        "distance": [round(float(value), 4) for value in distance[drawn]],
    }


def see_accuracy(seen: Seen) -> dict[str, Any]:
    """Accuracy and AUROC on the test images (DCD, Fig. 3)."""
    run, clean = seen.run, seen.clean
    cases = [case for case in clean.of("test") if case.target is not None]
    test = prepare_classes(cases, run.prepared.size, cache_folder(clean.root))
    swept = sweep_classes(run.method, test, np.arange(len(test)), run.fabric.device)
    probability = np.concatenate([batch.probability.float().cpu().numpy() for batch in swept])
    values = measures(probability, test.targets).values
    return {name: None if np.isnan(values[name]) else float(values[name]) for name in ("accuracy", "auroc")}
