"""What the files of a data set say of single cases beside their labels: the classes that were drawn, and groups.

In dataset.json these are ``"annotated": {"case1": ["liver"]}``, by name or id of the class, and ``"groups": {"site": {"case1":
"A"}}``, in a table the columns ``annotated`` (names separated by ``;`` or ``|``), ``site``, ``scanner`` and ``protocol``.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from debride.data.formats.dataset_json import ENTRIES, report_unknown
from debride.data.formats.layout import Groups, Named, Report
from debride.data.formats.names import note_misspelt, plain
from debride.types import GROUPS, Case, DataError, Dataset
from debride.words import some

_FORM = 'Write {"annotated": {"case1": ["liver"]}}, with the names of classes.'


@dataclass(frozen=True)
class AboutCases:
    """By case id: the ``annotated`` classes as they are named, and ``groups``."""

    annotated: dict[str, Named] = field(default_factory=dict)
    groups: dict[str, Groups] = field(default_factory=dict)

    def add(self, id: str, where: str, fields: Mapping[str, str]) -> None:
        """Take what a row of a table says of a case."""
        names = tuple(name.strip() for name in re.split("[;|]", fields.get("annotated", "")) if name.strip())
        if names:
            self.annotated[id] = (where, names)
        if groups := tuple((name, fields[name].strip()) for name in GROUPS if fields.get(name, "").strip()):
            self.groups[id] = groups

    def with_beside(self, beside: AboutCases, report: Report) -> AboutCases:
        """What a table says and the dataset.json beside it; classes that both name otherwise are reported."""
        for id in self.annotated.keys() & beside.annotated.keys():
            (there, names), (here, own) = beside.annotated[id], self.annotated[id]
            if set(names) != set(own) and all(isinstance(name, str) for name in names):
                report(DataError(there, f"says of {id} otherwise than {here} what is annotated", "Let one of them say it."))
        return AboutCases({**beside.annotated, **self.annotated}, {**beside.groups, **self.groups})


def read_about_cases(path: Path, description: dict[str, Any], known: Collection[str], report: Report) -> AboutCases:
    """What a dataset.json says of the cases whose ids are ``known``; its problems are reported."""
    note_misspelt(path, "entry", description, ENTRIES)
    annotated, groups = description.get("annotated", {}), description.get("groups", {})
    if not isinstance(annotated, dict) or not all(_is_names(names) for names in annotated.values()):
        report(DataError(path, '"annotated" does not map case ids to lists of classes', _FORM))
        annotated = {}
    shape = isinstance(groups, dict) and all(isinstance(of_case, dict) for of_case in groups.values())
    if not shape or not all(isinstance(value, str) for of_case in groups.values() for value in of_case.values()):
        problem = '"groups" does not map names of groups to case ids and values'
        report(DataError(path, problem, 'Write {"groups": {"site": {"case1": "A"}}}.'))
        groups = {}
    for name in groups.keys() - set(GROUPS):
        report(DataError(path, f'"groups" has the name {name!r}', f"Groups are {', '.join(GROUPS)}."))
    annotated = {plain(id, path): names for id, names in annotated.items()}
    groups = {name: {plain(id, path): value for id, value in of_case.items()} for name, of_case in groups.items()}
    report_unknown(path, [*annotated, *(id for of_case in groups.values() for id in of_case)], known, report)
    by_case: dict[str, Groups] = {}
    for name in GROUPS:
        for id, value in groups.get(name, {}).items():
            if value.strip():
                by_case[id] = (*by_case.get(id, ()), (name, value.strip()))
    named = {
        id: (str(path), tuple(name if type(name) is int else name.strip() for name in names)) for id, names in annotated.items()
    }
    return AboutCases(named, by_case)


def with_annotated(cases: Iterable[Case], annotated: Mapping[str, Named], classes: Sequence[str], report: Report) -> list[Case]:
    """The cases with the ids of their annotated classes; names and ids of classes that do not exist are reported."""
    ids: dict[str | int, int] = {name: class_id for class_id, name in enumerate(classes)}
    ids.update((class_id, class_id) for class_id in range(len(classes)))

    def drawn(id: str) -> tuple[int, ...] | None:
        where, names = annotated[id]
        unknown = [name for name in names if name not in ids]
        if unknown or not names:
            near = difflib.get_close_matches(str(unknown[0]), classes, n=3, cutoff=0.5) if unknown else []
            remedy = f"Did you mean {', '.join(near)}?" if near else f"Classes are {', '.join(classes[:10])}."
            problem = f"names {unknown[0]!r} as annotated in {id}, which is no class" if unknown else f"names no class of {id}"
            report(DataError(where, problem, remedy))
            return None
        known = {ids[name] for name in names}
        return None if known >= set(range(1, len(classes))) else tuple(sorted(known))

    return [replace(case, annotated=drawn(case.id)) if case.id in annotated else case for case in cases]


def is_said(case: Case, said: AboutCases, classes: Sequence[str]) -> bool:
    """Whether a case's annotated classes and groups are those that files say."""
    (read,) = with_annotated([replace(case, annotated=None)], said.annotated, classes, lambda problem: None)
    return read.annotated == case.annotated and dict(said.groups.get(case.id, ())) == dict(case.groups)


def about_entries(dataset: Dataset) -> dict[str, Any]:
    """What ``read_about_cases`` reads, for a dataset.json; without what no case has."""
    cases = (*dataset.cases, *(dataset.rest or ()))
    annotated = {case.id: [dataset.classes[id] for id in case.annotated] for case in cases if case.annotated is not None}
    groups: dict[str, dict[str, str]] = {}
    for case in cases:
        for name, value in case.groups:
            groups.setdefault(name, {})[case.id] = value
    return {**({"annotated": annotated} if annotated else {}), **({"groups": groups} if groups else {})}


def about_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns of a table that hold what is said of any case."""
    named = {name for case in dataset.cases for name, _ in case.groups}
    partly = any(case.annotated is not None for case in dataset.cases)
    return (*(("annotated",) if partly else ()), *(name for name in GROUPS if name in named))


def about_fields(case: Case, dataset: Dataset) -> dict[str, str]:
    """The fields of a case in these columns."""
    annotated = ";".join(dataset.classes[id] for id in case.annotated or ())
    return {"annotated": annotated, **dict.fromkeys(GROUPS, ""), **dict(case.groups)}


def about_words(dataset: Dataset) -> list[str]:
    """In words, in how many cases each class was drawn, where not in all, and how many cases each value of a group has."""
    cases, words = dataset.cases, []
    if any(case.annotated is not None for case in cases):
        drawn = (f"{name} in {sum(case.drew(id) for case in cases)}" for id, name in enumerate(dataset.classes))
        words.append(f"annotated, of {len(cases)} cases: {', '.join(drawn)}")
    for name in GROUPS:
        counts = Counter(value for case in cases for own, value in case.groups if own == name)
        if counts:
            lacking = len(cases) - counts.total()
            shown = [f"{value} {count}" for value, count in sorted(counts.items())] + ([f"none {lacking}"] if lacking else [])
            words.append(f"{name}: {some(shown, 10)}")
    return words


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) or type(name) is int for name in value)
