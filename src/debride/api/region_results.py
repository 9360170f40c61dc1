"""What an audit by regions gives back: the audit of each region, and what they come to together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from debride.api.audit_results import PICTURES, AuditResult
from debride.types import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from debride.audit.findings import Finding


@dataclass(frozen=True, repr=False)
class RegionsAuditResult(AuditResult):
    """Which labels are wrong, region by region: ``regions`` has the audit of each by its name.

    The rest is of all regions together: ``ranking`` has a row for each case and region, a case is ``flagged`` where it is in
    one of them, and ``findings`` are those of all.
    """

    @cached_property
    def regions(self) -> Mapping[str, AuditResult]:
        """The audits of the regions by name, in the order of the data set."""
        from debride.audit.findings import REGIONS, read_regions

        if not (self.out / REGIONS).is_file():
            raise DataError(self.out, "holds no audit that is done", "Let all parts end, then audit with `merge`.")
        return MappingProxyType({entry.name: AuditResult(self.out / entry.folder) for entry in read_regions(self.out)})

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The "regions" with the summary of each, and how many "cases" there are, how many "trusted" and how many "flagged" in
        a region."""
        regions = {name: audit.summary for name, audit in self.regions.items()}
        first = next(iter(regions.values()))
        common = {"cases": first["cases"], "trusted": first["trusted"], "flagged": len(self.flagged)}
        return {**common, "suggestion": "", "regions": regions}

    @cached_property
    def ranking(self) -> list[dict[str, Any]]:
        """A row for each label and ``region``, as the region's audit has it; the most probably wrong first."""
        rows = [{"region": name, **row} for name, audit in self.regions.items() for row in audit.ranking]
        return sorted(rows, key=lambda row: -row["wrong"])

    @property
    def flagged(self) -> list[str]:
        """The ids of the cases that are flagged in a region."""
        return list(dict.fromkeys(row["case"] for row in self.ranking if row["flagged"]))

    @property
    def share(self) -> float:
        """The largest of the regions' estimated shares of wrong labels; NaN where none can be told."""
        known = [audit.share for audit in self.regions.values() if not math.isnan(audit.share)]
        return max(known, default=math.nan)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the region with that share."""
        known = [audit for audit in self.regions.values() if not math.isnan(audit.share)]
        return max(known, key=lambda audit: audit.share).interval if known else (math.nan, math.nan)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that can be repaired, region by region; ``regions`` says which are whose."""
        from debride.audit.findings import Finding

        return tuple(one for audit in self.regions.values() for one in audit.findings if isinstance(one, Finding))

    @property
    def ranking_file(self) -> Path:
        """The files with the rankings, one for each region: REGION stands for its folder."""
        return self.out / "REGION" / "cases.csv"

    def said(self) -> Sequence[str]:
        """What was found in each region."""
        if self.progress:
            return super().said()
        return [line for name, audit in self.regions.items() for line in _headed(name, audit.said())]

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """The first findings of each region."""
        each = max(1, PICTURES // len(self.regions))
        shown = ((name, picture) for name, audit in self.regions.items() for picture in audit.pictures()[:each])
        return [(f"{name}, {about}", png) for name, (about, png) in shown][:PICTURES]


def _headed(name: str, said: Sequence[str]) -> list[str]:
    return [f"{name}: {said[0]}", *(f"  {line}" for line in said[1:])]
