"""Label objects and the series that they belong to: by the series that they refer to, else by their frame of reference."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from debride.data.dicom.handles import Inside, LabelHandle, Part
from debride.data.dicom.label_facts import Code, LabelFacts
from debride.data.dicom.segments_file import FILE, SegmentsFile, said
from debride.notes import note
from debride.types import DataError
from debride.words import some

Report = Callable[[DataError], None]

_WHICH = 'Say by "series" in segments.json which series are cases.'


@dataclass(frozen=True)
class Imaged:
    """A stack of slices that may be a case: its id, the file name of its ``handle``, what its headers say, how many ``stacks``
    its series has, and the UIDs of its ``instances``; ``others`` are all instances of the series, where that is known."""

    case: str
    handle: str
    series: str
    stacks: int
    frame_of_reference: str
    instances: frozenset[str]
    modality: str
    description: str
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LabelObject:
    """A label object: its ``file``, the pseudonyms of it (``name``) and of who drew it (``reader``; empty: unknown), and what
    its header says."""

    file: Inside
    name: str
    reader: str
    facts: LabelFacts


@dataclass(frozen=True)
class Labelled:
    """The label of a case: who drew it, where several did, its handle, and the names of the classes that were drawn (None: all
    were)."""

    rater: str | None
    handle: LabelHandle
    drawn: tuple[str, ...] | None


@dataclass(frozen=True)
class Paired:
    """The labels by case id, and the cases whose label is refused; others have none."""

    labelled: dict[str, tuple[Labelled, ...]]
    refused: frozenset[str]


def pair(
    root: Path, images: Sequence[Imaged], objects: Sequence[LabelObject], segments: SegmentsFile, report: Report
) -> Paired:
    """The labels of the stacks in ``images`` that may be cases.

    What cannot be told is reported, by the pseudonyms of the label and its case, and the case refused. A label of no series
    that is here is noted. An object without a segment of a class is no label: it belongs to that of its case, if there is one.
    """
    work = _Pairing(root, images, segments, report)
    for each in sorted(objects, key=lambda each: (each.facts.created, each.name)):
        work.add(each)
    return work.paired()


@dataclass
class _Parts:
    """An object and its segments of classes, by class id."""

    label: LabelObject
    by_class: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))


class _Pairing:
    def __init__(self, root: Path, images: Sequence[Imaged], segments: SegmentsFile, report: Report) -> None:
        self._root, self._segments, self._report = root, segments, report
        self._images = {
            each.case: each
            for each in images
            if segments.is_case(each.modality, each.description) and each.case not in segments.left_out
        }
        self._stacks: dict[str, list[Imaged]] = defaultdict(list)
        for each in self._images.values():
            self._stacks[each.series].append(each)
        self._present = {each.series for each in images}
        self._of: dict[str, list[_Parts]] = defaultdict(list)
        self._beside: dict[str, list[_Parts]] = defaultdict(list)
        self._refused: set[str] = set()
        self._unknown: dict[tuple[str, Code | None], list[str]] = defaultdict(list)

    def add(self, label: LabelObject) -> None:
        """Pairs one object."""
        try:
            cases = self._cases_of(label)
        except DataError as problem:
            self._report(problem)
            return
        if not cases:
            return
        parts = self._parts(label)
        wrong = parts is None or self._lies_elsewhere(label, parts, cases)
        for case in cases:
            if wrong:
                self._refused.add(case)
            elif parts is not None:
                (self._of if parts.by_class else self._beside)[case].append(parts)

    def paired(self) -> Paired:
        """What came of it."""
        for (label, code), names in sorted(self._unknown.items(), key=lambda each: (each[0][0], each[0][1] or ())):
            entry = json.dumps({"label": label}, ensure_ascii=False)
            problem = f"does not say what the segment {said(label, code)} is, of {some(sorted(set(names)), 3)}"
            self._report(DataError(self._root / FILE, problem, f'Add {entry} to a class, or to "ignored".'))
        labelled: dict[str, tuple[Labelled, ...]] = {}
        for case, found in sorted(self._of.items()):
            if case in self._refused:
                continue
            try:
                labelled[case] = self._labels(self._images[case], found)
            except DataError as problem:
                self._refused.add(case)
                self._report(problem)
        return Paired(labelled, frozenset(self._refused))

    def _cases_of(self, label: LabelObject) -> list[str]:
        """The cases that an object belongs to. Raises DataError where it may belong to several series."""
        named = dict(label.facts.series)
        found = [each for series in named for each in self._stacks.get(series, ())]
        if not found:
            if self._present & named.keys():
                return []  # a label of a series that is no case
            frame = label.facts.frame_of_reference
            found = [each for each in self._images.values() if frame and each.frame_of_reference == frame]
            if not found:
                note(label.name, "is a label of no series that is here, and is not read: fetch the series to have a case")
                return []
            self._refuse_several(label, found)
            if len(found) > 1:
                problem = f"refers to no slices, and may be a label of several stacks of one series, {some(_cases(found))}"
                raise DataError(label.name, problem, f'Name those that it is not of in "left_out" of {FILE}.')
            note(label.name, "refers to no series that is here, and belongs to the one with its frame of reference")
            return [each.case for each in found]
        self._refuse_several(label, found)
        (series,) = {each.series for each in found}
        instances = set(named[series])
        drawn = [each for each in found if not instances or instances & each.instances]
        if not drawn:
            problem = f"is a label of slices that are not here, of the series of {some(_cases(found))}"
            raise DataError(label.name, problem, "Restore the slices from the archive, or take the label away.")
        known = frozenset().union(*(each.others for each in found))
        if found[0].stacks > 1 and known and (missing := len(instances - known)):
            problem = f"refers to {missing} slices that are not here, of the series of {some(_cases(found))}"
            raise DataError(label.name, problem, "Restore the slices from the archive, or take the label away.")
        return [each.case for each in drawn]

    def _refuse_several(self, label: LabelObject, found: Sequence[Imaged]) -> None:
        if len({each.series for each in found}) > 1:
            problem = f"may be a label of several series, of the cases {some(_cases(found))}"
            raise DataError(label.name, problem, _WHICH)

    def _parts(self, label: LabelObject) -> _Parts | None:
        """The segments of an object that are of classes; None where the file does not know one."""
        parts, known = _Parts(label), True
        for segment in label.facts.segments:
            try:
                class_id = self._segments.match(segment.label, segment.code)
            except DataError as problem:
                self._report(DataError(self._root / FILE, problem.problem, problem.remedy))
                known = False
                continue
            if class_id is None:
                self._unknown[segment.label, segment.code].append(label.name)
                known = False
            elif class_id:
                parts.by_class[class_id].append(segment.number)
        return parts if known else None

    def _lies_elsewhere(self, label: LabelObject, parts: _Parts, cases: Sequence[str]) -> bool:
        """Whether an object, or a region of it, has another frame of reference than its series: points are then not of the same
        coordinates (PS3.3 C.7.4.1.1.1). It is reported."""
        drawn = {number for numbers in parts.by_class.values() for number in numbers}
        own = {
            each.frame_of_reference or label.facts.frame_of_reference for each in label.facts.segments if each.number in drawn
        }
        for case in cases:
            frame = self._images[case].frame_of_reference
            if frame and own - {"", frame}:
                problem = f"has another frame of reference than its series, of the case {case}"
                self._report(DataError(label.name, problem, "Register the two and write the label anew, or take it away."))
                return True
        return False

    def _may_lie_elsewhere(self, label: LabelObject, image: Imaged) -> bool:
        """Whether parts of an object may belong to other stacks of the series: unless it names instances of this one alone. An
        object that refers to no series lies here as a whole."""
        named = dict(label.facts.series)
        if image.stacks < 2 or image.series not in named:
            return False
        instances = set(named[image.series])
        others = [each for each in self._stacks[image.series] if each is not image]
        return not instances or not instances <= image.instances or any(instances & each.instances for each in others)

    def _labels(self, image: Imaged, found: list[_Parts]) -> tuple[Labelled, ...]:
        if self._segments.objects == "readers":
            readers: dict[str, list[_Parts]] = defaultdict(list)
            for parts in found:
                readers[parts.label.reader].append(parts)
            if "" in readers and len(found) > 1:
                problem = f"does not say who drew it, and is one of {len(found)} labels of {image.case}"
                raise DataError(readers[""][0].label.name, problem, 'Take it away, or write {"objects": "merge"} or "latest".')
            return tuple(self._label(image, own, reader or None) for reader, own in sorted(readers.items()))
        if self._segments.objects == "latest" and len(found) > 1:
            last = found[-1].label
            if found[-2].label.facts.created == last.facts.created or not found[0].label.facts.created:
                problem = f"is one of {len(found)} labels of {image.case}, and dates do not say which is the latest"
                raise DataError(last.name, problem, "Take the others away.")
            found = found[-1:]
        return (self._label(image, found, None),)

    def _label(self, image: Imaged, found: Sequence[_Parts], rater: str | None) -> Labelled:
        segments, first = self._segments, dict[int, str]()
        parts: list[Part] = []
        for each in found:
            for class_id, numbers in sorted(each.by_class.items()):
                if before := first.get(class_id):
                    problem = f"has the class {segments.drawn[class_id]!r} of {image.case}, as {before} has"
                    remedy = 'Take one of the two away, or write {"objects": "latest"} or "readers" in segments.json.'
                    raise DataError(each.label.name, problem, remedy)
                parts += [Part(each.label.file, number, class_id) for number in numbers]
            first.update(dict.fromkeys(each.by_class, each.label.name))
        drawn = tuple(name for class_id, name in enumerate(segments.drawn) if class_id in first)
        if segments.absent == "undrawn" and len(drawn) < len(segments.classes):
            names = set(drawn)
            drawn += tuple(
                segments.names[len(segments.drawn) + at] for at, own in enumerate(segments.combined) if names.issuperset(own)
            )
        else:
            drawn = ()
        beside = self._beside[image.case] if segments.objects == "merge" else []
        handle = LabelHandle(
            segments.studies,
            image.handle,
            tuple(parts),
            len(segments.drawn),
            segments.sets,
            segments.threshold,
            segments.drawn,
            any(self._may_lie_elsewhere(each.label, image) for each in found),
            tuple(dict.fromkeys(each.label.file for each in (*found, *beside))),
        )
        return Labelled(rater, handle, drawn or None)


def _cases(found: Sequence[Imaged]) -> list[str]:
    return [each.case for each in found]
