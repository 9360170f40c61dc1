"""Maps of weights beside the labels of a data set: one for each case in which a label is doubted somewhere.

Maps that the data set has already go along with it: where two are of one pixel the smaller weight counts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.decided.decision import Key
from debride.audit.repair.ignored import FULL, Counts, weighted
from debride.audit.repair.outcomes import Outcome
from debride.audit.repair.painted import Asked as Painted
from debride.audit.repair.painted import lighter, outcomes_of, plain_outcomes, read_painted
from debride.audit.repair.proposals import Source, proposals_of
from debride.data.formats import find_format
from debride.data.pixels.images import copy_image, is_image, map_ending, read_label, read_values, stem, write_values
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import DataError, Dataset

Asked = Mapping[str, Sequence[Mapping[str, Any]]]
"""By case what each audit is asked (``proposals.asked_of``), in the order of the audits."""


def write_weights(
    dataset: Dataset,
    sources: Sequence[Source],
    folder: Path,
    asked: Asked,
    painted: Mapping[str, Painted],
    audit: Path,
    weight: float | None,
    jobs: int = 1,
) -> Iterator[tuple[str, str, list[Counts], dict[Key, Outcome]]]:
    """Writes maps of weights into a copy of a data set; the case and path of each, by audit the pixels of its findings, and
    what became of what readers ``painted``, in the order of the cases.

    A map lies on the grid of its label, in uint8: 255 is full weight. It is named by its case, in a folder that the layout
    names. A case without an accepted finding has none: its label counts in full. Where findings of several regions meet, or
    the data set had a map, the least weight counts.
    """
    place, earlier = find_format(dataset.format).weights, maps_of(dataset)
    items: list[dict[str, Any]] = [
        {
            "case": plain_case(case),
            "asked": asked[case.id],
            "painted": painted.get(case.id, []),
            "earlier": str(earlier[case.id]) if case.id in earlier else None,
            "target": str(folder / place / f"{case.id}{map_ending(case.label)}"),
        }
        for case in dataset.cases
        if case.label and case.id in asked
    ]
    setup = {
        "dataset": plain_dataset(dataset),
        "sources": [source.plain() for source in sources],
        "audit": str(audit),
        "weight": weight,
    }
    with spread(Work(weighing, setup), items, jobs=jobs, name=lambda item: str(item["case"]["id"])) as outcomes:
        for item, outcome in zip(items, outcomes, strict=True):
            told = outcome.value()
            counts = [{int(number): count for number, count in own} for own in told["found"]]
            path = Path(item["target"]).relative_to(folder).as_posix()
            yield item["case"]["id"], path, counts, outcomes_of(told["painted"])


def weighing(setup: Any) -> Do:
    """Writes the map of one case, unless all of it would be of full weight, and gives the pixels of each finding."""
    dataset, sources, weight = dataset_of(setup["dataset"]), setup["sources"], setup["weight"]

    def weigh(item: Any) -> dict[str, Any]:
        case = case_of(item["case"])
        assert case.label is not None, case.id
        label, geometry = read_label(case.label, dataset)
        weights, told = np.full(label.shape, FULL, np.uint8), []
        if item["earlier"]:
            weights, _ = read_values(Path(item["earlier"]))
            if weights.shape != label.shape or weights.dtype != np.uint8:
                raise DataError(item["earlier"], f"is no map of weights of {case.label}", "Correct it, or take it away.")
        for source, asked in zip(sources, item["asked"], strict=True):
            counts: Counts = {}
            if asked["chosen"]:
                found = proposals_of(source, asked, case, label, dataset)
                own, counts = weighted(found.seen, found.numbers, found.proposed, found.chosen, weight)
                weights = np.minimum(weights, own)
            told.append(list(counts.items()))
        edits = read_painted(Path(setup["audit"]), case, item["painted"], label, dataset)
        own, edited = lighter(label, edits, weight)
        weights = np.minimum(weights, own)
        if any(count for counts in told for _, count in counts) or any(outcome.voxels for outcome in edited.values()):
            write_values(Path(item["target"]), weights, geometry, case.label)
        return {"found": told, "painted": plain_outcomes(edited)}

    return weigh


def maps_of(dataset: Dataset) -> dict[str, Path]:
    """The maps of weights that a data set has, by case."""
    place = dataset.root / find_format(dataset.format).weights
    cases = {case.id for case in (*dataset.cases, *(dataset.rest or ()))}
    found = sorted(place.iterdir()) if place.is_dir() else []
    return {stem(path): path for path in found if is_image(path) and stem(path) in cases}


def carry_maps(dataset: Dataset, folder: Path, before: Path) -> None:
    """Copies the maps of a data set into ``before``, and those of cases that have none there into a copy in ``folder``."""
    for path in maps_of(dataset).values():
        for target in (before / path.parent.name / path.name, folder / path.parent.name / path.name):
            if not target.exists():
                copy_image(path, target)


def bring_back_maps(dataset: Dataset, before: Path, folder: Path) -> None:
    """Copies the maps that lie in ``before`` into a copy of a data set."""
    place = find_format(dataset.format).weights
    if (before / place).is_dir():
        shutil.copytree(before / place, folder / place)
