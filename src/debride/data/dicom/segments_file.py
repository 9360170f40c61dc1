"""``segments.json``: which segments of label objects are which classes, and which series are cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from debride.data.dicom.label_facts import Code
from debride.files import read_json
from debride.records import not_a_name, not_different, read_as
from debride.settings import Bounds
from debride.types import DataError, Region
from debride.words import short

FILE = "segments.json"
"""Its name, in the data set's folder."""

MOST = 254
"""Classes and combinations, with the background: their ids fit in ``uint8`` beside the mark of pixels without a label."""

_FORM = '{"format": "dicom", "classes": [{"name": "liver", "segments": [{"label": "Liver", "code": ["10200004", "SCT"]}]}]}'
_REMEDY = f"Write it as the documentation, page dicom, says, as in {_FORM}."


def _not_shown(text: str) -> str:
    return "which is empty, or has a control character" if not text.strip() or not text.isprintable() else ""


Shown = Annotated[str, _not_shown]


def _no_path(text: str) -> str:
    return "which is no path of a folder" if not text or "\0" in text else ""


@dataclass(frozen=True)
class Entry:
    """What a segment must say to be meant: its ``label``, in which case and spaces do not count, and the value and scheme of
    the ``code`` of its property type. What is None is not asked for."""

    label: str | None = None
    code: tuple[Shown, Shown] | None = None

    def fits(self, label: str, code: Code | None) -> bool:
        """Whether a segment with this label and code is meant."""
        named = self.label is None or folded(self.label) == folded(label)
        return named and (self.code is None or (code is not None and self.code == code[:2]))


@dataclass(frozen=True)
class NamedClass:
    """A class, and the segments that are of it: those that any entry fits."""

    name: Shown
    segments: tuple[Entry, ...]


@dataclass(frozen=True)
class SeriesEntry:
    """What a series must say to be a case: its ``modality``, and its ``description``, in which * stands for any text, and case
    does not count. What is None is not asked for."""

    modality: str | None = None
    description: str | None = None

    def fits(self, modality: str, description: str) -> bool:
        """Whether a series with this modality and description is meant."""
        same = self.modality is None or self.modality.strip().upper() == modality.strip().upper()
        wanted = None if self.description is None else " ".join(self.description.casefold().split())
        return same and (wanted is None or fnmatchcase(" ".join(description.casefold().split()), wanted))


@dataclass(frozen=True)
class SegmentsFile:
    """What ``segments.json`` says; docs/dicom.md tells what each entry is."""

    format: Literal["dicom"]
    classes: tuple[NamedClass, ...]
    ignored: tuple[Entry, ...] = ()
    studies: Annotated[str, _no_path] = "."
    series: tuple[SeriesEntry, ...] = ()
    objects: Literal["merge", "latest", "readers"] = "merge"
    combined: Annotated[tuple[tuple[str, ...], ...], not_different] = ()
    absent: Literal["background", "undrawn"] = "background"
    threshold: Annotated[float, Bounds(above=0, most=1)] = 0.5
    unlabelled: Literal["leave-out", "test"] = "leave-out"
    trusted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def drawn(self) -> tuple[str, ...]:
        """The names of the classes that segments are of, background first."""
        return ("background", *(each.name for each in self.classes))

    @property
    def sets(self) -> tuple[tuple[int, ...], ...]:
        """The ids of the classes of each of ``combined``, whose own ids follow those of the classes."""
        ids = {name: id for id, name in enumerate(self.drawn)}
        return tuple(tuple(sorted(ids[name] for name in names)) for names in self.combined)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all label values: background, classes, and combinations ("liver & lesion")."""
        return (*self.drawn, *(combined_name(names) for names in self.combined))

    @property
    def regions(self) -> tuple[Region, ...]:
        """What is learnt in place of the classes where some overlap: each class with its combinations, and after smaller ones
        each combination with those that hold it, which paints over them (``label_regions.not_painted``)."""
        if not self.combined:
            return ()
        held = [(frozenset([id]), id) for id in range(1, len(self.drawn))]
        held += [(frozenset(own), len(self.drawn) + at) for at, own in enumerate(self.sets)]
        held.sort(key=lambda each: (len(each[0]), each[1]))
        return tuple(
            Region(self.names[id], tuple(sorted(other for more, other in held if own <= more)), id) for own, id in held
        )

    def is_case(self, modality: str, description: str) -> bool:
        """Whether a series may be a case."""
        return not self.series or any(entry.fits(modality, description) for entry in self.series)

    def match(self, label: str, code: Code | None) -> int | None:
        """The id of a segment's class, 0 for one that is ignored, None for one that the file does not know.

        Raises DataError, without a place, for a segment that is of two classes.
        """
        found = [id for id, named in enumerate(self.classes, 1) if any(entry.fits(label, code) for entry in named.segments)]
        if len(found) > 1:
            names = " and ".join(repr(self.drawn[id]) for id in found[:2])
            raise DataError(
                FILE, f"says that the segment {said(label, code)} is of {names}", "Let entries of one class fit it."
            )
        if found:
            return found[0]
        return 0 if any(entry.fits(label, code) for entry in self.ignored) else None

    def entry_of(self, class_id: int) -> Entry:
        """What a segment that is written says, so that it is of this class again: its first entry that this is true of, with
        the class's name as label where that asks for none."""
        named = self.classes[class_id - 1]
        for entry in named.segments:
            label = named.name if entry.label is None else entry.label
            if self.match(label, None if entry.code is None else (*entry.code, "")) == class_id:
                return Entry(label, entry.code)
        return Entry(named.name, None)

    def code_of(self, class_id: int) -> Code | None:
        """The code of ``entry_of``, with a meaning; None where it has none."""
        entry = self.entry_of(class_id)
        return None if entry.code is None else (*entry.code, (entry.label or self.drawn[class_id])[:64])


def read_segments(root: Path) -> SegmentsFile:
    """What the ``segments.json`` of a data set says. Raises DataError for a missing one, and for all that it may not say."""
    path = root / FILE
    if not path.exists():
        remedy = f"`debride check {root} --write-segments` writes one, to correct and to keep."
        raise DataError(root, f"holds files of DICOM, and has no {FILE}", remedy)
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(path, "is not a JSON object", _REMEDY)
    _refuse_unknown(path, value)
    read = read_as(SegmentsFile, value, path, _REMEDY)
    _refuse_classes(path, read)
    _refuse_combined(path, read)
    return read


@lru_cache(maxsize=4096)
def folded(label: str) -> str:
    """A label without what does not count in it."""
    return "".join(label.casefold().split())


def combined_name(names: Sequence[str]) -> str:
    """What a combination of classes is called."""
    return " & ".join(names)


def said(label: str, code: Code | None) -> str:
    """What a segment says of itself, for messages."""
    named = repr(short(label))
    return f"{named} ({short(code[0], 20)}, {short(code[1], 20)})" if code else named


def _refuse_unknown(path: Path, value: Mapping[str, Any]) -> None:
    """Refuses entries that nothing reads: a misspelt one would have no effect."""
    named = value.get("classes")
    places: list[tuple[str, type, Any]] = [("", SegmentsFile, [value])]
    places += [
        ("classes", NamedClass, named),
        ("ignored", Entry, value.get("ignored")),
        ("series", SeriesEntry, value.get("series")),
    ]
    for each in named if isinstance(named, list) else ():
        if isinstance(each, dict):
            places.append(("segments", Entry, each.get("segments")))
    for place, kind, listed in places:
        known = [each.name for each in fields(kind)]
        for item in listed if isinstance(listed, list) else ():
            for name in item if isinstance(item, dict) else ():
                if name not in known:
                    inside = f' in "{place}"' if place else ""
                    raise DataError(path, f"has the entry {short(name)!r}{inside}", f"Entries are {', '.join(known)}.")
            if kind in (Entry, SeriesEntry) and isinstance(item, dict) and not item:
                raise DataError(path, f'has an entry in "{place}" that says nothing', f"Say {' or '.join(known)}.")


def _refuse_classes(path: Path, read: SegmentsFile) -> None:
    seen: dict[str, str] = {"background": "background", "ignore": "ignore"}
    for each in read.classes:
        first = seen.setdefault(folded(each.name), each.name)
        if first is not each.name:
            problem = f"has a class {each.name!r}, and {first!r} is the name of something else"
            raise DataError(path, problem, "Give every class a name of its own.")
        if problem := not_a_name(each.name.replace("/", "").replace("\\", "")):
            raise DataError(path, f"has a class {short(each.name)!r}, {problem}", "Give it another name.")
        if not each.segments:
            raise DataError(path, f"names no segment of the class {each.name!r}", f"Write it as in {_FORM}.")
    owners: dict[object, str] = {}
    for each in read.classes:
        for entry in each.segments:
            owner = owners.setdefault((entry.label if entry.label is None else folded(entry.label), entry.code), each.name)
            if owner != each.name:
                problem = f"has the same segment in the classes {owner!r} and {each.name!r}"
                raise DataError(path, problem, "Take it out of one of them.")
    if len(read.names) > MOST:
        raise DataError(path, f"has {len(read.names)} classes and combinations, with the background", f"Use at most {MOST}.")


def _refuse_combined(path: Path, read: SegmentsFile) -> None:
    classes = set(read.drawn[1:])
    for names in read.combined:
        if unknown := [name for name in names if name not in classes]:
            raise DataError(path, f'has {short(unknown[0])!r} in "combined", which is no class', "Use the names of classes.")
        if len(set(names)) < max(2, len(names)):
            problem = f'has {list(names)} in "combined", which are not several classes'
            raise DataError(path, problem, "Name two or more that overlap.")
        if combined_name(names) in classes:
            raise DataError(
                path, f"has a class of the name {combined_name(names)!r}, and this combination", "Rename the class."
            )
    if problem := not_different(read.sets):
        raise DataError(path, f'has in "combined" the same classes twice ({problem})', "Name every combination once.")
