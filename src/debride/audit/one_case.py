"""What an audit finds out about one case, by arrays: the first look and the second one. Nothing here reads or writes a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from debride.audit.evidence import (
    CaseScore,
    Evidence,
    ThresholdSums,
    agreement,
    plant,
    predicted_classes,
    score_case,
    thin,
)
from debride.audit.findings import Finding, Label, Numbers
from debride.audit.gather import find
from debride.audit.peers import Measures, sight_of
from debride.data.masks.annotated import as_drawn, of_undrawn, without_undrawn
from debride.rng import generator
from debride.types import IGNORE, Case

Plain = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """A case as an audit sees it: ``label`` and ``predicted`` (*S), ``probability`` (K, *S), without what nobody drew in it. Of
    a case that is not ``foreseen`` there is no prediction, and both are 0."""

    case: Case
    label: Label
    probability: npt.NDArray[Any]
    predicted: Label
    spacing: tuple[float, ...] | None
    foreseen: bool


class Proposed(NamedTuple):
    """What the second look finds: ``findings``, the map (*S) of their ``numbers``, and the classes ``proposed`` (*S)."""

    findings: list[Finding]
    numbers: Numbers
    proposed: Label


def see(
    case: Case, label: Label, probability: npt.NDArray[Any] | None, spacing: tuple[float, ...] | None, classes: int
) -> Seen:
    """A case by its label (*S) and its prediction (K, *S), if there is one."""
    if probability is None:
        nothing = np.broadcast_to(np.float32(0), (classes, *label.shape))
        return Seen(case, without_undrawn(case, label), nothing, np.zeros_like(label), spacing, False)
    label, probability = as_drawn(case, label, probability)
    return Seen(case, label, probability, predicted_classes(probability), spacing, True)


def first_look(
    seen: Seen, image: npt.NDArray[Any], seed: int, donor: Label | None = None, *, look: bool = True, planting: bool = False
) -> Plain:
    """{"look", "plant"}: the ``Looked`` and, with ``planting``, the ``Planted`` of ``case_results`` as plain JSON, else None.

    ``image`` is (C, *S), ``donor`` (*S) the label of another case that is planted too (``donated``).
    """
    case, label, classes = seen.case, seen.label, len(seen.probability)
    thinned = thin(label, seen.probability, seen.predicted, seen.spacing)
    said = Evidence(thinned) if seen.foreseen else None
    measures = Measures(label, image, classes, thinned)
    told: Plain = {"look": None, "plant": None}
    if look:
        labelled = bool(((label > 0) & (label != IGNORE)).any())
        sums = ThresholdSums(classes)
        if said:
            sums.add(label, seen.probability)
        told["look"] = {
            "evidence": said.against(thinned.label) if said else {},
            "agreement": agreement(label, seen.probability, seen.predicted) if labelled and said else None,
            "sums": sums.sums.tolist(),
            "sight": asdict(sight_of(measures.of(thinned.label), image, seen.spacing)),
        }
    if planting:
        wrong = plant(thinned.label, classes, generator(seed, "plant", case.id))
        if donor is not None:
            wrong["other"] = thinned.of(donor)
        if case.annotated is not None:  # nobody draws by mistake what nobody draws
            wrong = {kind: np.where(of_undrawn(case, given), thinned.label, given) for kind, given in wrong.items()}
        differs = {kind: given for kind, given in wrong.items() if (given != thinned.label).any()}
        told["plant"] = {
            "evidence": {kind: said.against(given) if said else {} for kind, given in differs.items()},
            "measured": {
                kind: asdict(measures.of(given, donor if kind == "other" else None)) for kind, given in differs.items()
            },
        }
    return told


def donated(donor: Case, other: Label, seen: Seen) -> Label:
    """The label of another case, ``other``, in the shape of a case's own (*S), without a label where that has none."""
    label = seen.label
    other = without_undrawn(donor, other)
    places = np.ix_(*(np.arange(size) * have // size for size, have in zip(label.shape, other.shape, strict=True)))
    other = other[places]
    return np.where(label == IGNORE, label, np.where((other == IGNORE) | of_undrawn(seen.case, other), np.uint8(0), other))


def scored(seen: Seen, thresholds: npt.NDArray[np.float64]) -> CaseScore:
    """The scores of a case by thresholds (K,)."""
    return score_case(seen.label, seen.probability, thresholds, seen.spacing)


def second_look(seen: Seen, *, wrong: float, odds: Mapping[str, float], typical: float | None, least: float) -> Proposed:
    """The findings of a case and what they propose, as ``gather.find`` says."""
    arrays = seen.case.id, seen.label, seen.probability, seen.predicted, seen.spacing
    return Proposed(*find(*arrays, wrong=wrong, odds=odds, typical=typical, least=least))
