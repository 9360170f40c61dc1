"""The audits that a repair goes by: one of classes, or one for each region; and what they propose for a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from debride.audit.findings import (
    REGIONS,
    Finding,
    Label,
    Numbers,
    Record,
    finding_of,
    read_proposals,
    read_record,
    read_region_records,
    regions_of,
)
from debride.data.label_regions import region_table, region_view
from debride.data.masks.annotated import of_undrawn
from debride.types import Case, DataError, Dataset


@dataclass(frozen=True)
class Source:
    """An audit, of classes or of one ``region`` of the data set by its number."""

    record: Record
    region: int | None = None

    def view(self, dataset: Dataset) -> Dataset:
        """The data set as it was audited."""
        return dataset if self.region is None else region_view(dataset, dataset.regions[self.region])

    def plain(self) -> dict[str, Any]:
        """As plain JSON, for ``proposals_of``."""
        return {"folder": str(self.record.folder), "region": self.region}


class Proposals(NamedTuple):
    """What an audit proposes for a case: the label (*S) as it was ``seen``, and the maps (*S) of its findings' ``numbers`` and
    of the classes ``proposed``. Of a ``region`` by its number, these classes are outside and inside. ``chosen`` are the
    findings to apply."""

    seen: Label
    numbers: Numbers
    proposed: Label
    chosen: list[Finding]
    region: int | None


def read_sources(audit: Path, dataset: Dataset) -> dict[str, Source]:
    """The audits in a folder by the name of their region, in painting order, or of classes by "".

    A folder of one region, within that of an audit by regions, is that one alone. Raises DataError for what is no audit of the
    data set.
    """
    if (audit / REGIONS).is_file():
        records = read_region_records(audit, dataset)
        return {name: Source(record, number) for number, (name, record) in enumerate(records.items())}
    for name in regions_of(audit):
        records = read_region_records(audit.resolve().parent, dataset)
        return {name: Source(records[name], [*records].index(name))}
    return {"": Source(read_record(audit))}


def refuse_silent(audit: Path, sources: dict[str, Source]) -> None:
    """Raises DataError for audits without predictions."""
    if not any(source.record.proposes for source in sources.values()):
        problem = "is an audit without predictions: it proposes nothing that could be applied"
        raise DataError(audit, problem, "Correct the labels that it doubts by hand, or audit with predictions.")


def asked_of(findings: Sequence[Finding], chosen: Sequence[Finding]) -> dict[str, Any]:
    """All findings of a case and those to apply, as plain JSON for ``proposals_of``."""
    return {"findings": [asdict(finding) for finding in findings], "chosen": [finding.number for finding in chosen]}


def proposals_of(source: dict[str, Any], asked: dict[str, Any], case: Case, label: Label, dataset: Dataset) -> Proposals:
    """The maps of one audit for a case with this label (*S), of which nothing lies in classes that were not drawn."""
    seen, classes, own = label, len(dataset.classes), case
    if source["region"] is not None:
        region = dataset.regions[source["region"]]
        seen, classes = region_table(dataset.regions)[source["region"]][label], 2
        own = region_view(replace(dataset, cases=(case,)), region).cases[0]
    findings = [finding_of(row) for row in asked["findings"]]
    numbers, proposed = read_proposals(Path(source["folder"]), case.id, findings, label.shape, classes)
    if own.annotated is not None:  # an audit may be older than what is said of the case
        numbers = np.where(of_undrawn(own, seen, proposed), np.uint16(0), numbers)
    chosen = [finding for finding in findings if finding.number in asked["chosen"]]
    return Proposals(seen, numbers, proposed, chosen, source["region"])
