"""What the rows of a grid say in sentences, and what the words of the page of results mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from debride.bench.tabulate import BASELINE

if TYPE_CHECKING:
    from benchmarks.evidence.paired import Difference
    from benchmarks.evidence.report import Evidence

    from debride.bench.grid_entries import Grid

CLEAN = "clean"
WORDS = {"S_R": "all too small", "S_E": "all too large", "S_DE": "each too small or too large", CLEAN: "right labels"}
"""What the outlines of a noise are."""

NOTHING = 0.005
"""A mean Dice below this is that of a network that predicts background alone."""

GLOSSARY = (
    "- S_R, S_E and S_DE: wrong labels as [GSD-Net's paper](papers/gsd-net.md) makes them. Outlines are all too small, all too "
    "large, or each too small or too large. `clean` are the labels as they came.\n"
    "- Verified, or trusted: cases whose labels are known to be right. `6 verified` is a data set with so many.\n"
    "- Cell: a training that is planned, of one method on one data set with one noise and one seed. Row: one that was done.\n"
    "- Calibrated: the bias that verified cases show is taken out of what is predicted ([calibration](calibration.md)).\n"
    "- Held out: verified cases are not trained on, and serve the calibration alone. Half held out: a half of them.\n"
    "- Trusted alone: verified cases are all that is trained on. Fine-tuned: the last part of the training has them alone.\n"
    "- Without something: the method without the idea that names it, its ablation. `rce` is `sce` with `alpha` 0.\n"
    "- Strictest, most generous reader: of each image the label with the least, or the most, foreground "
    "([several raters](data.md#several-raters)).\n"
    "- Grids: `core` is compared here. `second` and `untouched` are other data sets, `verified` fewer or more verified cases, "
    "`readers` labels of real readers, and `gpu` larger trainings."
)


def setup_of(grid: Grid) -> str:
    """On what, and by which network, a grid's methods are compared."""
    names = ("network", "width", "image_size", "epochs")
    if not all(name in grid.training for name in names):
        return ""
    network, width, size, epochs = (grid.training[name] for name in names)
    some = next(iter(grid.datasets.values()))
    limit = some.limit or {}
    verified = f", {round(some.trusted * limit['train'])} of them verified" if some.trusted and "train" in limit else ""
    images = f"{limit['train']} training images{verified}, of " if "train" in limit else "images of "
    strengths = {entry.dice for entry in grid.noises.values() if entry is not None and entry.dice}
    dice = f" Wrong labels have a mean Dice of {min(strengths):g} to the right ones." if len(strengths) == 1 else ""
    return (
        f"In the grid `{grid.name}` all have {images}{' x '.join(map(str, size))} pixels, the network `{network}` of width "
        f"{width}, and {epochs} epochs.{dice} Larger networks, images and data sets may differ."
    )


def answers(core: Evidence) -> Iterator[str]:
    """For each noise one sentence: which methods are above the baseline on all data sets, with two seeds or more."""
    for noise in dict.fromkeys(noise for _, noise in core.fields):
        words = f"outlines {WORDS[noise]}" if noise in WORDS and noise != CLEAN else WORDS.get(noise, noise)
        found = {method: known for method in core.methods if (known := _on_all(core, noise, method))}
        above = [method for method, known in found.items() if all(each.sign > 0 for each in known.values())]
        first = sorted(above, key=lambda method: -mean(found[method]))
        if first:
            others = ", then " + ", ".join(f"`{each}`" for each in first[1:]) if first[1:] else ""
            yield f"- **{words[0].upper()}{words[1:]}** ({noise}): use `{first[0]}` ({_points(found[first[0]])}){others}."
            continue
        partly = [
            f"`{method}` on {', '.join(dataset for dataset, each in known.items() if each.sign > 0)}"
            for method, known in found.items()
            if any(each.sign > 0 for each in known.values()) and not any(each.sign < 0 for each in known.values())
        ]
        some = f" On some, and nowhere below: {'; '.join(partly)}." if partly else ""
        yield f"- **{words[0].upper()}{words[1:]}** ({noise}): nothing is above `{BASELINE}` on all sets.{some}"


def mean(known: Mapping[str, Difference]) -> float:
    """Over data sets."""
    return float(np.mean([each.mean for each in known.values()]))


def _on_all(core: Evidence, noise: str, method: str) -> dict[str, Difference]:
    """The differences on all data sets that have the noise, or nothing where one is missing or has one seed."""
    datasets = [dataset for dataset, own in core.fields if own == noise]
    known = {dataset: core.differences.get(((dataset, noise), method)) for dataset in datasets}
    sure = {dataset: each for dataset, each in known.items() if each is not None and each.seeds > 1}
    return sure if len(sure) == len(datasets) else {}


def _points(known: Mapping[str, Difference]) -> str:
    return ", ".join(f"{100 * each.mean:+.1f} on {dataset}" for dataset, each in known.items())


def conclusions(core: Evidence) -> Iterator[str]:
    """What the page begins with."""
    if not any(found.seeds > 1 for found in core.differences.values()):
        return
    yield "## What the rows support"
    yield "\n".join(answers(core))
    yield (
        f"In points of {core.measure} above `{BASELINE}` (plain cross-entropy). "
        "The intervals of two or more seeds lie above zero on all sets.\n"
        "Of several the one with the highest mean is named first. These rows chose it, which flatters its figure.\n"
        "Whether the idea of a method is what helps is another question: see [its ablation](#the-claims). "
        "What a method does with verified images is said by [which method](which-method.md)."
        + ("\n" + core.setup if core.setup else "")
    )


def background(core: Evidence, score_of: Mapping[tuple[str, str, str], float]) -> str:
    """Which rows are of a network that predicts background alone."""
    alone: dict[str, list[str]] = {}
    for (dataset, noise, method), value in score_of.items():
        if value < NOTHING:
            alone.setdefault(method, []).append(f"{dataset} {noise}")
    if not alone:
        return ""
    listed = "; ".join(f"`{method}` on {', '.join(fields)}" for method, fields in alone.items())
    return (
        f"These networks predict hardly anything but background, with a {core.measure} below {100 * NOTHING:g} %: {listed}. "
        "Bounded losses learn slowly where objects are small, [as another grid shows](benchmarks/label-noise.md). "
        "Such rows say that the budget is too small for them, and hardly anything of wrong labels."
    )
