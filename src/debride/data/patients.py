"""Which patient a case is of, and ids that look as if several cases were of one where nothing says so."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from debride.data.formats.layout import Layout, Report
from debride.data.rater_choice import image_id
from debride.notes import note
from debride.types import Case, DataError

_NUMBERED = re.compile(r"(\D*\d+)[-_. ]\D*\d")
_TWICE = re.compile(r"(\D*\d+\D+\d+)[-_. ]\D*\d")
"""An id that begins with a number and has another one after it: ``patient000_slice00``, ``P01-03``, ``case_12_slice_7``."""


def hint_at_patients(root: Path, cases: Iterable[Case]) -> None:
    """Note that ids look as if cases of one patient were in several splits."""
    if pattern := patient_pattern_of(cases):
        note(root, f"may have cases of one patient in several splits: `patient_pattern` '{pattern}' would keep them together")


def patient_of(case: Case, layout: Layout, pattern: str | None, report: Report) -> str:
    """What the data set says, else what the regular expression finds in the image's id, else that."""
    if case.id in layout.patients:
        return layout.patients[case.id]
    if pattern is None:
        return case.patient
    try:
        match = re.search(pattern, case.patient)
        if match is not None and match[1]:
            return match[1]
    except (re.error, IndexError) as error:
        raise DataError(
            "patient pattern", f"{pattern!r} cannot be used ({error})", "Give one group: '^(patient[0-9]+)'."
        ) from None
    report(
        DataError("patient pattern", f"{pattern!r} finds no patient in {case.patient!r}", "Give one that fits every case id.")
    )
    return case.patient


def patient_pattern_of(cases: Iterable[Case]) -> str | None:
    """A regular expression whose group 1 may be the patient in every id, where cases of one such group are in several splits.

    None where ids do not look so: each has two numbers, the first of which several of them share.
    """
    splits = {image_id(case): case.split for case in cases}
    for form in (_NUMBERED, _TWICE):
        matched = {id: form.match(id) for id in splits}
        groups: dict[str, set[str]] = defaultdict(set)
        for id, match in matched.items():
            if match is None:
                return None
            groups[match[1]].add(splits[id])
        if len(groups) > 1:
            apart = any(len(of_group) > 1 for of_group in groups.values())
            return _written(list(groups)) if apart and len(splits) >= 1.5 * len(groups) else None
    return None


def _written(groups: list[str]) -> str:
    """The expression for groups that are words and numbers by turns: with their words, where these are the same."""
    shapes = {tuple(re.split(r"\d+", group)) for group in groups}
    if len(shapes) == 1:
        return "^(" + "[0-9]+".join(re.escape(word).replace(r"\-", "-") for word in shapes.pop()) + ")"
    return r"^(\D*[0-9]+)" if len(next(iter(shapes))) == 2 else r"^(\D*[0-9]+\D+[0-9]+)"
