"""Labels of one rater that the others reject: errors that nobody planted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from benchmarks.audit.sets import SETS, whole_set

from debride.audit.raters import majority
from debride.data.pixels.images import read_label
from debride.data.rater_choice import image_id
from debride.evaluation.detection import average_precision
from debride.noise.strength import label_dice
from debride.types import Case

REJECTED = 0.5
"""A label is rejected if its Dice to the majority of the others is below this."""


def rejected(name: str, cases: Sequence[Case], ranks: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """How many labels the other raters reject, and the average precision with which each ranking finds them."""
    dataset = whole_set(name)
    of_image: dict[str, list[Case]] = defaultdict(list)
    own = {}
    for case in dataset.cases:
        if case.rater == SETS[name].rater:
            own[case.id] = case
        else:
            of_image[image_id(case)].append(case)
    wrong = []
    for case in cases:
        label, *others = (read_label(each.label, dataset)[0] for each in (own[case.id], *of_image[image_id(own[case.id])]))
        dice = label_dice(majority(np.stack(others), len(dataset.classes)), label, len(dataset.classes))
        wrong.append(dice is not None and dice < REJECTED)
    precision = {key: average_precision(np.array(score, float), np.array(wrong)) for key, score in ranks.items()}
    return {"labels": sum(wrong), "average_precision": precision if any(wrong) else {}}
