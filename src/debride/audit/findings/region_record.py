"""What an audit by regions wrote, read back with suspicion: regions.json, and the audit of each region."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debride.audit.findings.record import Record, read_record
from debride.files import read_json
from debride.records import read_as
from debride.types import DataError, Dataset, Region

REGIONS = "regions.json"
"""The file that makes a folder that of an audit by regions."""

_AGAIN = "Run `debride audit` again: this folder is damaged or incomplete."

_TAKEN = ("predictions", "cross-validation", "work", "raters", "proposals", "pictures", "worklist")
"""Names of folders that an audit has for other things."""


@dataclass(frozen=True)
class RegionEntry:
    """A region in regions.json: its ``name``, the names of its ``classes`` and of the one that it ``paints``, and the name of
    the ``folder`` with its audit."""

    name: str
    classes: tuple[str, ...]
    paints: str
    folder: str


def region_folders(regions: Sequence[Region]) -> dict[str, str]:
    """The name of each region's folder by the region's: small letters, digits and hyphens, and a number where two are alike."""
    folders: dict[str, str] = {}
    for region in regions:
        word = re.sub(r"[^a-z0-9]+", "-", region.name.lower()).strip("-") or "region"
        name, number = word, 1
        while name in _TAKEN or name in folders.values():
            number += 1
            name = f"{word}-{number}"
        folders[region.name] = name
    return folders


def read_regions(audit: Path) -> tuple[RegionEntry, ...]:
    """The regions of an audit, in painting order. DataError where regions.json is damaged, or names a folder outside."""
    path = audit / REGIONS
    about = read_json(path)
    rows = about.get("regions") if isinstance(about, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DataError(path, 'has no list of "regions"', _AGAIN)
    entries = tuple(read_as(RegionEntry, row, path, _AGAIN) for row in rows)
    for entry in entries:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", entry.folder) or entry.folder in _TAKEN:
            raise DataError(path, f"names the folder {entry.folder!r}", _AGAIN)
    if len({entry.folder for entry in entries}) < len(entries) or len({entry.name for entry in entries}) < len(entries):
        raise DataError(path, "names a region or a folder twice", _AGAIN)
    return entries


def regions_of(audit: Path) -> tuple[str, ...]:
    """The names of the regions that an audit is of; none of an audit of classes."""
    if (audit / REGIONS).is_file():
        return tuple(entry.name for entry in read_regions(audit))
    whole = audit.resolve().parent
    entries = read_regions(whole) if (whole / REGIONS).is_file() else ()
    return tuple(entry.name for entry in entries if entry.folder == audit.resolve().name)


def refuse_one_region(audit: Path) -> None:
    """DataError for the folder of one region, within that of an audit by regions."""
    if not (audit / REGIONS).is_file() and (regions := regions_of(audit)):
        remedy = "Give the folder above: all regions of a label are reviewed together."
        raise DataError(audit, f"is the audit of the region {regions[0]} alone", remedy)


def entries_of(dataset: Dataset) -> tuple[RegionEntry, ...]:
    """What regions.json says of the regions of a data set."""
    folders = region_folders(dataset.regions)
    return tuple(
        RegionEntry(
            region.name,
            tuple(dataset.classes[id] for id in region.classes),
            dataset.classes[region.paints],
            folders[region.name],
        )
        for region in dataset.regions
    )


def read_region_records(audit: Path, dataset: Dataset) -> dict[str, Record]:
    """The audits of all regions of a data set, by name. DataError for an audit of other regions."""
    found, own = read_regions(audit), entries_of(dataset)
    if found != own:
        problem = f"is of the regions {_shown(found)}, and the data set has {_shown(own) or 'none'}"
        raise DataError(audit / REGIONS, problem, "Give the audit of this data set.")
    return {entry.name: read_record(audit / entry.folder) for entry in found}


def _shown(entries: Sequence[RegionEntry]) -> str:
    return ", ".join(f"{entry.name} ({', '.join(entry.classes)})" for entry in entries)
