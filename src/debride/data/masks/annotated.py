"""Cases in which only some classes were drawn: what their labels say in training, and which classes a case may speak of.

A pixel of a class that was not drawn has no label in training. Neither has one that is labelled background: it may be such a
class, unless background is named among the annotated. Of an annotated class every pixel was drawn, so wherever classes are
looked at one by one (validation, evaluation, audit) it is known in the whole image, and the others are undefined.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from debride.types import IGNORE, Case, DataError, Dataset
from debride.words import some

if TYPE_CHECKING:
    from debride.data.cache import Prepared  # which loads torch

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[Any]


def certain_ids(case: Case) -> Label | None:
    """What every label value of a case counts as in training, (256,): itself or ``IGNORE``; None where all classes were
    drawn."""
    if case.annotated is None:
        return None
    table = np.full(256, IGNORE, np.uint8)
    table[list(case.annotated)] = case.annotated
    return table


def undrawn(case: Case, classes: int) -> list[int]:
    """The ids of the foreground classes that were not drawn in a case."""
    return [class_id for class_id in range(1, classes) if not case.drew(class_id)]


def of_undrawn(case: Case, *labels: Label) -> npt.NDArray[np.bool_]:
    """The pixels (*S) that have a foreground class which was not drawn in the case, in one of several labels of it (*S)."""
    table = np.full(256, case.annotated is not None)
    table[[0, IGNORE, *(case.annotated or ())]] = False
    found: npt.NDArray[np.bool_] = np.logical_or.reduce([table[label] for label in labels])
    return found


def as_drawn(case: Case, label: Label, probability: Floats) -> tuple[Label, Floats]:
    """A label (*S) and probabilities (K, *S) without the classes that were not drawn in the case: they count as background, and
    what is labelled so has no label."""
    ids = undrawn(case, len(probability))
    if not ids:
        return label, probability
    probability = probability.copy()
    for class_id in ids:
        probability[0] += probability[class_id]
        probability[class_id] = 0
    return without_undrawn(case, label), probability


def without_undrawn(case: Case, label: Label) -> Label:
    """A label (*S) in which what has a class that was not drawn in the case has no label; the same array where all were."""
    return label if case.annotated is None else np.where(of_undrawn(case, label), np.uint8(IGNORE), label)


def for_training(prepared: Prepared) -> Prepared:
    """The prepared cases with labels that are read as what is certain of them; of cases without a label that is nothing."""
    if None in prepared.label_files:
        prepared = replace(prepared, unlabelled=True)
    tables = tuple(certain_ids(case) for case in prepared.cases)
    return replace(prepared, certain=tables) if any(table is not None for table in tables) else prepared


def refuse_unlearnable(dataset: Dataset) -> None:
    """Raises DataError where no training case has a certain background, or one of the classes annotated."""
    cases = [case for case in dataset.of("train") if case.label is not None]
    if all(case.annotated is None for case in cases):
        return
    lacking = [dataset.classes[id] for id in range(1, len(dataset.classes)) if not any(case.drew(id) for case in cases)]
    if lacking:
        problem = f"has no training case in which {some(lacking)} is annotated"
        remedy = "Add a case with it, name it as annotated where it was drawn, or take it out of the classes."
        raise DataError(dataset.root, problem, remedy)
    if not any(case.drew(0) for case in cases):
        problem = "has no training case with a certain background: in each some class was not drawn"
        remedy = f"Name {dataset.classes[0]} as annotated where what is labelled so holds no other class."
        raise DataError(dataset.root, problem, remedy)
