"""BraTS of 2020, 2021 and 2023 (Baid et al., arXiv:2107.02314): gliomas in four MRI, as volumes with regions.

An archive holds a folder for each scan with four images and, for training, ``seg``. In 2020 and 2021 the names are
``CASE_t1.nii.gz``, ``_t1ce``, ``_t2``, ``_flair`` and 4 is what enhances; in 2023 they are ``CASE-t1n.nii.gz``, ``-t1c``,
``-t2w``, ``-t2f``, and 3 is. Labels are written as nnU-Net's own converter does: 1 oedema, 2 the core, 3 what enhances.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.known.archive import Archive
from debride.known.as_nnunet import RawCase, RawSet, write_cases
from debride.known.members import Member, members_of, spoken_of
from debride.types import DataError

CHANNELS = ("T1", "T1ce", "T2", "FLAIR")

LABELS: dict[str, int | Sequence[int]] = {
    "background": 0,
    "whole_tumor": [1, 2, 3],
    "tumor_core": [2, 3],
    "enhancing_tumor": 3,
}

ORDER = (1, 2, 3)
"""The region that each value is the innermost of: oedema is in the whole tumour alone."""


@dataclass(frozen=True)
class Year:
    """What the files of a year are called, their channels in the order of ``CHANNELS``, and what the label values mean."""

    name: str
    case: re.Pattern[str]
    channels: tuple[str, ...]
    values: Mapping[int, int]


_OLD = {0: 0, 2: 1, 1: 2, 4: 3}
_NEW = {0: 0, 2: 1, 1: 2, 3: 3}

YEARS = (
    Year("2020", re.compile(r"BraTS20_(?:Training|Validation)_\d+"), ("_t1", "_t1ce", "_t2", "_flair"), _OLD),
    Year("2021", re.compile(r"BraTS2021_\d+"), ("_t1", "_t1ce", "_t2", "_flair"), _OLD),
    Year("2023", re.compile(r"BraTS-(?:GLI|SSA|MEN|MET|PED)-\d+-\d+"), ("-t1n", "-t1c", "-t2w", "-t2f"), _NEW),
)

_FILE = re.compile(r"(.+?)([_-][A-Za-z0-9]+)\.nii(?:\.gz)?")

_STRAY = re.compile(r".*Segm\.nii(?:\.gz)?")
"""What the label of case 355 of 2020 is called."""


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Any], *, jobs: int = 1) -> None:
    """Write the scans of one year; those of a validation archive, which have no labels, are test images.

    Raises DataError for an archive without scans, scans of several years, which may be of the same patients under other names,
    images or training labels that are missing, and unknown values.
    """
    found: dict[tuple[int, str], dict[str, Member]] = defaultdict(dict)
    strays: dict[tuple[int, str], Member] = {}
    for member in members_of(archives):
        folder = member.archive, str(member.path.parent)
        if (file := _FILE.fullmatch(member.path.name)) and file[1] == member.path.parent.name:
            found[folder][file[2]] = member
        if _STRAY.fullmatch(member.path.name):
            strays[folder] = member
    cases = []
    years = set()
    for folder, files in found.items():
        first = next(iter(files.values()))
        name = Path(folder[1]).name
        year = _year(name)
        if year is None:
            continue
        years.add(year.name)
        label = files.get(f"{year.channels[0][0]}seg", strays.get(folder))
        cases.append(_case(archives, year, name, files, label, first))
    if not cases:
        problem = "holds no scan of BraTS of 2020, 2021 or 2023"
        raise DataError(archives[0].called, problem, "Give an archive with folders such as BraTS2021_00000.")
    if len(years) > 1:
        problem = f"and the others hold scans of {' and '.join(sorted(years))}, in which patients may be the same"
        raise DataError(archives[0].called, problem, "Convert one year at a time.")
    about = RawSet(f"BraTS {years.pop()}", CHANNELS, LABELS, order=ORDER)
    write_cases(archives, out, about, sorted(cases, key=lambda case: case.id), jobs)


def _year(case: str) -> Year | None:
    return next((year for year in YEARS if year.case.fullmatch(case)), None)


def _case(
    archives: Sequence[Archive], year: Year, name: str, files: Mapping[str, Member], label: Member | None, first: Member
) -> RawCase:
    said = spoken_of(archives, first)
    missing = [ending for ending in year.channels if ending not in files]
    if missing:
        raise DataError(said, f"has no {name}{missing[0]}.nii.gz beside it", "Get the archive again: an image is missing.")
    where = " ".join((archives[first.archive].path.name, *first.path.parts)).lower()
    test = label is None
    if test and "valid" not in where and "test" not in where:
        remedy = "Get the archive again. Images without labels are taken from a validation archive alone."
        raise DataError(said, f"has no {name}{year.channels[0][0]}seg.nii.gz beside it", remedy)
    patient = name.rpartition("-")[0] if year.name == "2023" else name
    return RawCase(name, patient, tuple(files[ending] for ending in year.channels), label, year.values, test)
