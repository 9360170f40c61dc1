"""One mistake of one label, as a person would count it: a ``Finding``; and an audit's folder, read back with suspicion.

What others accept, repair and show comes from here: ``read_record`` trusts nothing that it reads.
"""

from debride.audit.findings.finding import Finding, FindingKind
from debride.audit.findings.record import (
    KINDS,
    Label,
    Numbers,
    Record,
    check_belongs,
    finding_of,
    read_proposals,
    read_record,
)
from debride.audit.findings.region_record import (
    REGIONS,
    RegionEntry,
    read_region_records,
    read_regions,
    refuse_one_region,
    region_folders,
    regions_of,
)

__all__ = [
    "KINDS",
    "REGIONS",
    "Finding",
    "FindingKind",
    "Label",
    "Numbers",
    "Record",
    "RegionEntry",
    "check_belongs",
    "finding_of",
    "read_proposals",
    "read_record",
    "read_region_records",
    "read_regions",
    "refuse_one_region",
    "region_folders",
    "regions_of",
]
