"""The audit that is reviewed, with its data set, and who reviews it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from debride.audit.findings import REGIONS, Finding, check_belongs, refuse_one_region
from debride.audit.repair.proposals import Source, read_sources
from debride.audit.wrong_classes.class_record import ClassRecord, check_belongs_to, read_class_record
from debride.files import read_json, read_text
from debride.records import not_a_name
from debride.types import Case, DataError, Dataset
from debride.words import some

LONGEST = 100
"""Letters that the name of a reader has at most."""

_NOT_THERE = "is not a folder of an audit: it has no audit.json"


@dataclass(frozen=True)
class Reader:
    """Who decides, in which round; ``blind`` to what others decided, or one who ``adjudicates``."""

    name: str
    round: int = 1
    blind: bool = False
    adjudicates: bool = False


@dataclass(frozen=True)
class Review:
    """An audit of a data set and its reader. ``sources`` are the audits of masks by region ("": of classes), ``classes`` the
    audit of images with one class each in their place; ``chosen`` are ids of cases that are a worklist of their own."""

    audit: Path
    dataset: Dataset
    reader: Reader
    sources: Mapping[str, Source]
    classes: ClassRecord | None = None
    chosen: tuple[str, ...] = ()

    @cached_property
    def cases(self) -> Mapping[str, Case]:
        """The data set's cases by id."""
        return {case.id: case for case in self.dataset.cases}

    @cached_property
    def findings(self) -> Mapping[tuple[str, str], Mapping[int, Finding]]:
        """The findings of masks by region and case, and then by number."""
        return {
            (region, case): {finding.number: finding for finding in findings}
            for region, source in self.sources.items()
            for case, findings in source.record.by_case().items()
        }

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The hashes of the labels that the audit saw, by case; none of images with one class."""
        source = next(iter(self.sources.values()), None)
        return source.record.labels if source else {}

    @cached_property
    def channels(self) -> int:
        """How many files an image has, one for each channel."""
        return len(self.dataset.cases[0].image)

    def folder(self, region: str) -> Path:
        """The folder of the audit of a region."""
        return self.sources[region].record.folder if region in self.sources else self.audit

    def view(self, region: str) -> Dataset:
        """The data set as a region's audit saw it, without its cases."""
        source = self.sources.get(region)
        return replace(source.view(replace(self.dataset, cases=())) if source else self.dataset, cases=())


def about_audit(audit: Path) -> dict[str, Any]:
    """What an audit says of itself: regions.json or audit.json. DataError for a folder that is none."""
    for name in (REGIONS, "audit.json"):
        if (audit / name).is_file():
            about = read_json(audit / name)
            if isinstance(about, dict) and isinstance(about.get("dataset"), dict):
                return about
            raise DataError(audit / name, "is no record of an audit", "Run `debride audit` again: this folder is damaged.")
    problem = _NOT_THERE if audit.exists() else "does not exist"
    raise DataError(audit, problem, "Give what `debride audit --out` wrote.")


def root_of(audit: Path) -> Path:
    """The folder of the data set that an audit is of, where it was then."""
    root = about_audit(audit)["dataset"].get("root")
    if not isinstance(root, str) or not Path(root).is_dir():
        problem = f"is of the data set {root}, which is not there any more"
        raise DataError(audit, problem, "Give the folder where it is now by `dataset`.")
    return Path(root)


def open_review(audit: Path, dataset: Dataset, reader: Reader, chosen: Path | Collection[str] | None = None) -> Review:
    """An audit with the data set that it is of. Raises DataError for an audit of another one, for a name that is none, and for
    chosen cases that the audit does not know."""
    check_reader(reader)
    task = str(about_audit(audit).get("task", "segmentation"))
    if task not in _OPENED:
        raise DataError(audit, f"is an audit of {task!r}, which is not known here", "Use the version that made it.")
    review, known = _OPENED[task](audit, dataset, reader)
    if not known & set(review.cases):
        problem = f"has none of the cases that {dataset.root} has"
        raise DataError(audit, problem, "Give the data set that was audited by `dataset`, with the same options.")
    return replace(review, chosen=chosen_cases(chosen, known) if chosen is not None else ())


def _of_masks(audit: Path, dataset: Dataset, reader: Reader) -> tuple[Review, set[str]]:
    """An audit of masks, and its cases."""
    refuse_one_region(audit)
    sources = read_sources(audit, dataset)
    for source in sources.values():
        check_belongs(source.record, source.view(dataset), ())
    review = Review(audit, dataset, reader, sources)
    return review, set(review.labels)


def _of_classes(audit: Path, dataset: Dataset, reader: Reader) -> tuple[Review, set[str]]:
    """An audit of images with one class each, and its cases."""
    record = read_class_record(audit)
    check_belongs_to(record, dataset, set())
    return Review(audit, dataset, reader, {}, record), set(record.labels)


_OPENED: dict[str, Callable[[Path, Dataset, Reader], tuple[Review, set[str]]]] = {
    "segmentation": _of_masks,
    "classification": _of_classes,
}
"""How an audit is opened, by task."""


def check_reader(reader: Reader) -> None:
    """DataError for a name that no table could hold, a round that is none, and for who is blind and adjudicates."""
    name = reader.name
    if not name.strip():
        raise DataError("`reader`", "is missing", "Give the name of who decides.")
    if name != name.strip() or len(name) > LONGEST or not name.isprintable() or "\ufffd" in name:
        problem = f"is {name!r}, which is no name of a reader"
        raise DataError("`reader`", problem, f"Give at most {LONGEST} letters, no control characters, no spaces at the ends.")
    if reader.round < 1:
        raise DataError("`round`", f"is {reader.round}", "Give a whole number of at least 1.")
    if reader.blind and reader.adjudicates:
        raise DataError("`blind`", "hides what one who adjudicates decides on", "Leave out `blind` or `adjudicate`.")


def chosen_cases(given: Path | Collection[str], known: Collection[str]) -> tuple[str, ...]:
    """The ids of cases in a file, one a line, or as they are given. DataError for one that is not ``known``."""
    where: object = given if isinstance(given, Path) else "`cases`"
    ids: Sequence[str] = [line.strip() for line in read_text(given).splitlines()] if isinstance(given, Path) else list(given)
    named = tuple(dict.fromkeys(id for id in ids if id))
    if not named:
        raise DataError(where, "names no case", "Write the ids of cases, one a line, as `debride choose` does.")
    if unknown := [id for id in named if id not in known or not_a_name(id)]:
        problem = f"names {some(unknown)}, which the audit does not have"
        raise DataError(where, problem, "Name cases as cases.csv of the audit does.")
    return named
