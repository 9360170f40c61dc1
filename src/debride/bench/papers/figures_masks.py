"""Figures of trainings on masks: what is seen after an epoch for each. Distances are in pixels of the working image.

Each look returns plain values; a value that is not defined is None.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.bench.papers.watching import Seen
from debride.data.loader import Regions, Selection, read
from debride.geometry.distance import BoundaryDistance
from debride.losses.region import hard_dice
from debride.losses.search import search_loss
from debride.methods.alc import ALC
from debride.methods.base import Method
from debride.methods.self_cleansing import CLEANSED, GIVEN, NONE
from debride.networks import Network
from debride.refine.fusion import disagreement, fused, surest, variance
from debride.types import IGNORE, DataError

FARTHEST = 20
"""Pixels from the true outline up to which gamma is shown."""

PATCHES = 24
"""Cases whose refined labels are judged."""

GROUPS, KINDS = ("surest half", "other half"), ("given", "one pass", "mean of passes", "refined")
"""Of ``see_refined``: the cases by the teacher's agreement, and the labels."""


def see_search(seen: Seen) -> dict[str, Any]:
    """L_search (GSD-Net, Eq. 20; Fig. 10) of a method of two networks at its own tau, over the training cases un-augmented and
    in evaluation mode; Eq. 5 selects within batches, as in training. DataError where tau is not given.

    The authors' code has the loss of each training step instead, whose images are augmented.
    """
    run, method = seen.run, seen.run.method
    first_network, second_network = networks_of(method)
    tau = getattr(method.config, "noise_rate", None)
    if tau is None:
        raise DataError("L_search", "is the loss at a tau, which is to be found here", "Give `noise_rate` in the grid.")
    agreement = getattr(method.config, "agreement", 0.0)
    total = pixels = 0.0
    for start in range(0, run.cases, run.config.batch_size):
        rows = np.arange(start, min(start + run.config.batch_size, run.cases))
        for one, other in zip([*run.sweep(rows, first_network)], [*run.sweep(rows, second_network)], strict=True):
            first, second = (swept.probability.clamp(min=1e-12).log() for swept in (one, other))  # its softmax is itself
            count = float((one.label != IGNORE).sum())
            total += count * float(search_loss(first, second, one.label, tau, agreement))
            pixels += count
    return {"tau": tau, "l_search": total / max(pixels, 1), "wrong": seen.wrong}


def networks_of(method: Method) -> tuple[Network, Network]:
    """The two networks of a method that has two; DataError for another."""
    found = [module for module in method.children() if isinstance(module, Network)]
    if len(found) != 2:
        raise DataError("L_search", "is that of two networks", "Name gsd-net, jocor or co-teaching in the grid.")
    return found[0], found[1]


def see_gamma(seen: Seen) -> dict[str, Any]:
    """The mean of gamma (MetaDCSeg, Eq. 9; Fig. 3) by whole pixels from the true outline, negative within the object, after the
    last epoch; 0 is the outline's own pixels on both sides."""
    if not seen.last:
        return {}
    sums, counts = np.zeros(2 * FARTHEST + 1), np.zeros(2 * FARTHEST + 1)
    for row in range(seen.run.cases):
        maps = seen.run.method.pictured(seen.run.store, np.array([row]))
        if "gamma" not in maps:
            raise DataError("gamma", "is the sum of weights that this method does not learn", "Name meta-dcseg in the grid.")
        place, known = signed_distance(np.asarray(seen.truth.label(row)))
        np.add.at(sums, place[known] + FARTHEST, maps["gamma"][0].double().numpy()[known])
        np.add.at(counts, place[known] + FARTHEST, 1)
    mean = [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]
    return {"distance": [*range(-FARTHEST, FARTHEST + 1)], "gamma": mean, "pixels": counts.astype(int).tolist()}


def signed_distance(label: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Whole pixels (*S) from the outline of a label (*S), negative in the foreground, and which have one that is shown."""
    distance = BoundaryDistance()(label, None)
    known = (label != IGNORE) & (distance <= FARTHEST)
    whole = np.where(known, distance, 0).round().astype(np.int64)
    return np.where(label > 0, -whole, whole), known


def see_filter(seen: Seen) -> dict[str, Any]:
    """What Self-cleansing's filter finds of the cases whose label is wrong somewhere: precision and recall, and Dice with the
    clean labels of the given ones and of those trained on; None before the first cleansing."""
    run = seen.run
    rows = np.arange(run.cases)
    source = run.store.read("source", rows)
    noisy, wrong = (source != GIVEN).numpy(), np.zeros(run.cases, bool)
    given_dice, trained_dice = [], []
    for row in rows:
        given, clean = (torch.from_numpy(np.array(part.label(row))).long()[None] for part in (run.prepared, seen.truth))
        wrong[row] = bool((given != clean).any())
        pseudo = run.store.read("pseudo", [int(row)]).long()
        given_dice.append(_dice(given, clean))
        trained_dice.append(_dice(pseudo if source[row] == CLEANSED else given, clean))
    if bool((source == NONE).all()):
        return {"noisy": None, "precision": None, "recall": None, "given": _mean(given_dice), "trained on": _mean(trained_dice)}
    found = float((noisy & wrong).sum())
    return {
        "noisy": float(noisy.mean()),
        "precision": found / noisy.sum() if noisy.any() else None,
        "recall": found / wrong.sum() if wrong.any() else None,
        "given": _mean(given_dice),
        "trained on": _mean(trained_dice),
    }


def see_refined(seen: Seen) -> dict[str, Any]:
    """Dice with the clean labels of ALC's labels (Fig. 3), means over cases that are not trusted, always the same region of
    each: the given ones, one pass of the teacher, the mean of its passes, and refined ones (Eq. 6). Cases are divided as in a
    step, into those whose passes agree most and the others."""
    run, method = seen.run, seen.run.method
    if not isinstance(method, ALC):
        raise DataError("refined labels", "are those of ALC", "Name alc in the grid.")
    rows = np.flatnonzero(~run.is_trusted)[:PATCHES]
    selection, regions = Selection(rows, rows, rows), Regions(run.config.patch_size)
    raw, clean = (read(prepared, selection, regions, seed=0) for prepared in (run.prepared, seen.truth))
    given, truth = raw.label.long(), clean.label.long()
    method.train()
    images = raw.image.to(run.fabric.device)
    parts = [images[start : start + 4] for start in range(0, len(images), 4)]
    config = method.config
    passes = torch.cat([method.teacher.passes(part, config.passes, config.noise, 1).cpu() for part in parts], dim=1)
    labels = (given, passes[0].argmax(dim=1), passes.mean(dim=0).argmax(dim=1), fused(passes).argmax(dim=1))
    sure = surest(disagreement(passes) if config.ranking == "agreement" else variance(passes), 0.5)
    return {
        group: {kind: _dice(label[where], truth[where]) for kind, label in zip(KINDS, labels, strict=True)}
        for group, where in zip(GROUPS, (sure, ~sure), strict=True)
    }


def _dice(labels: Tensor, reference: Tensor) -> float | None:
    return float((1 - hard_dice(labels, reference)).mean()) if len(labels) else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None
