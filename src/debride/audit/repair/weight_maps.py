"""Maps of weights beside the labels of a data set: one for each case in which a label is doubted somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.repair.ignored import FULL, Counts, weighted
from debride.audit.repair.proposals import Source, proposals_of
from debride.data.formats import find_format
from debride.data.pixels import find_pixels, suffix
from debride.data.pixels.images import read_label, write_values
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import Dataset

Asked = Mapping[str, Sequence[Mapping[str, Any]]]
"""By case what each audit is asked (``proposals.asked_of``), in the order of the audits."""


def write_weights(
    dataset: Dataset, sources: Sequence[Source], folder: Path, asked: Asked, weight: float | None, jobs: int = 1
) -> Iterator[tuple[str, str, list[Counts]]]:
    """Writes maps of weights into a copy of a data set; the case and path of each, and by audit the pixels of its
    findings, in the order of the cases.

    A map lies on the grid of its label, in uint8: 255 is full weight. It is named by its case, in a folder that the layout
    names. A case without an accepted finding has none: its label counts in full. Where findings of several regions meet, the
    least weight counts.
    """
    place = find_format(dataset.format).weights
    items: list[dict[str, Any]] = [
        {
            "case": plain_case(case),
            "asked": asked[case.id],
            "target": str(folder / place / f"{case.id}{_ending(case.label)}"),
        }
        for case in dataset.cases
        if case.label and case.id in asked
    ]
    setup = {"dataset": plain_dataset(dataset), "sources": [source.plain() for source in sources], "weight": weight}
    with spread(Work(weighing, setup), items, jobs=jobs, name=lambda item: str(item["case"]["id"])) as outcomes:
        for item, outcome in zip(items, outcomes, strict=True):
            counts = [{int(number): count for number, count in own} for own in outcome.value()]
            path = Path(item["target"]).relative_to(folder).as_posix()
            yield item["case"]["id"], path, counts


def weighing(setup: Any) -> Do:
    """Writes the map of one case, unless all of it would be of full weight, and gives the pixels of each finding."""
    dataset, sources, weight = dataset_of(setup["dataset"]), setup["sources"], setup["weight"]

    def weigh(item: Any) -> list[list[tuple[int, int]]]:
        case = case_of(item["case"])
        assert case.label is not None, case.id
        label, geometry = read_label(case.label, dataset)
        weights, told = np.full(label.shape, FULL, np.uint8), []
        for source, asked in zip(sources, item["asked"], strict=True):
            counts: Counts = {}
            if asked["chosen"]:
                found = proposals_of(source, asked, case, label, dataset)
                own, counts = weighted(found.seen, found.numbers, found.proposed, found.chosen, weight)
                weights = np.minimum(weights, own)
            told.append(list(counts.items()))
        if any(count for counts in told for _, count in counts):
            write_values(Path(item["target"]), weights, geometry, case.label)
        return told

    return weigh


def _ending(label: Path) -> str:
    """That of a label, or of one in its place that keeps values."""
    kind = find_pixels(label)
    return kind.label_ending(suffix(label)) if kind.lossy else suffix(label)
