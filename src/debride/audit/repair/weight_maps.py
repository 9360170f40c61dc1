"""Maps of weights beside the labels of a data set: one for each case in which a label is doubted somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.findings import Finding, Label, Numbers, finding_of, read_proposals
from debride.audit.repair.ignored import Counts, weighted
from debride.data.formats import find_format
from debride.data.masks.annotated import of_undrawn
from debride.data.pixels import find_pixels, suffix
from debride.data.pixels.images import read_label, write_values
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import Case, Dataset

Asked = Mapping[str, tuple[Sequence[Finding], Sequence[Finding]]]
"""By case all of its findings, and those that are accepted."""


def write_weights(
    dataset: Dataset, audit: Path, folder: Path, asked: Asked, weight: float | None, jobs: int = 1
) -> Iterator[tuple[str, str, Counts]]:
    """Writes maps of weights into a copy of a data set; the case, path and pixels of each, in the order of the cases.

    A map lies on the grid of its label, in uint8: 255 is full weight. It is named by its case, in a folder that the layout
    names. A case without an accepted finding has none: its label counts in full.
    """
    place = find_format(dataset.format).weights
    items: list[dict[str, Any]] = [
        {
            "case": plain_case(case),
            "findings": [asdict(finding) for finding in asked[case.id][0]],
            "chosen": [finding.number for finding in asked[case.id][1]],
            "target": str(folder / place / f"{case.id}{_ending(case.label)}"),
        }
        for case in dataset.cases
        if case.label and case.id in asked
    ]
    setup = {"dataset": plain_dataset(dataset), "audit": str(audit), "weight": weight}
    with spread(Work(weighing, setup), items, jobs=jobs, name=lambda item: str(item["case"]["id"])) as outcomes:
        for item, outcome in zip(items, outcomes, strict=True):
            counts = {int(number): count for number, count in outcome.value()}
            path = Path(item["target"]).relative_to(folder).as_posix()
            yield item["case"]["id"], path, counts


def weighing(setup: Any) -> Do:
    """Writes the map of one case, unless all of it would be of full weight, and gives the pixels of each finding."""
    dataset, audit, weight = dataset_of(setup["dataset"]), Path(setup["audit"]), setup["weight"]

    def weigh(item: Any) -> list[list[int]]:
        case, findings = case_of(item["case"]), [finding_of(row) for row in item["findings"]]
        assert case.label is not None, case.id
        label, geometry = read_label(case.label, dataset)
        numbers, proposed = proposals_of(audit, case, findings, label, len(dataset.classes))
        chosen = [finding for finding in findings if finding.number in item["chosen"]]
        weights, counts = weighted(label, numbers, proposed, chosen, weight)
        if any(counts.values()):
            write_values(Path(item["target"]), weights, geometry, case.label)
        return [[number, count] for number, count in counts.items()]

    return weigh


def _ending(label: Path) -> str:
    """That of a label, or of one in its place that keeps values."""
    kind = find_pixels(label)
    return kind.label_ending(suffix(label)) if kind.lossy else suffix(label)


def proposals_of(audit: Path, case: Case, findings: Sequence[Finding], label: Label, classes: int) -> tuple[Numbers, Label]:
    """The maps (*S) of numbers and of proposed classes of a case, of which nothing lies in classes that were not drawn."""
    numbers, proposed = read_proposals(audit, case.id, findings, label.shape, classes)
    if case.annotated is not None:  # an audit may be older than what is said of the case
        numbers = np.where(of_undrawn(case, label, proposed), np.uint16(0), numbers)
    return numbers, proposed
