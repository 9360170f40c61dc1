"""Several raters of one image: which of their labels are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from debride.data.pairs import image_grid, read_label_on
from debride.rng import derive
from debride.types import IGNORE, Case, DataError, Dataset


def image_id(case: Case) -> str:
    """The id that all cases of an image share: the case's own, without its rater."""
    return case.id.removesuffix(f"@{case.rater}") if case.rater else case.id


def choose_raters(dataset: Dataset, chosen: str, seed: int) -> Dataset:
    """The data set with the labels of the chosen raters in train and val; test cases and cases without a rater all stay.

    "all" leaves it as it is. "sample" keeps one rater of every image, drawn uniformly by the seed and the image's id only
    (GSD-Net, Table 6, "Sample"). "smallest" and "largest" keep the label with the least or the most foreground of every image,
    the first of equals by the raters' names. Anything else is the name of a rater, whose labels alone are kept: images that
    this rater did not label go. Raises DataError for a name that no rater of train and val has, and if they have no raters at
    all.
    """
    if chosen == "all":
        return dataset
    raters: dict[str, dict[str, Case]] = {}
    for case in dataset.of("train", "val"):
        if case.rater:
            raters.setdefault(image_id(case), {})[case.rater] = case
    known = sorted(set().union(*raters.values()))
    if not known:
        raise DataError(dataset.root, f"has no raters in train or val, {chosen!r} was asked for", "Choose all.")
    if chosen == "sample":
        kept = {image: sorted(names)[derive(seed, "rater", image) % len(names)] for image, names in raters.items()}
    elif chosen in ("smallest", "largest"):
        sizes = {image: {name: _size(own[name], dataset) for name in sorted(own)} for image, own in raters.items()}
        pick = min if chosen == "smallest" else max
        kept = {image: pick(own, key=own.__getitem__) for image, own in sizes.items()}
    elif chosen in known:
        kept = dict.fromkeys(raters, chosen)
    else:
        remedy = f"Choose all, sample, smallest, largest or one of {', '.join(known)}."
        raise DataError(dataset.root, f"has no rater {chosen!r} in train or val", remedy)
    cases = (case for case in dataset.cases if case.split == "test" or case.rater in (None, kept.get(image_id(case))))
    return replace(dataset, cases=tuple(cases))


def _size(case: Case, dataset: Dataset) -> int:
    """The foreground pixels of a case's label; none of one that has no label."""
    if case.label is None:
        return 0
    label = read_label_on(case, dataset, image_grid(case))
    return int(np.count_nonzero((label != 0) & (label != IGNORE)))
