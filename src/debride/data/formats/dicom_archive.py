"""An archive as cases: its series put in order as stacks, paired with their labels, and each given a handle and a pseudonym."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debride.data.dicom.extra import require_dicom
from debride.data.dicom.handles import (
    FOLDER,
    LABEL_ENDING,
    LABELS,
    SERIES,
    SERIES_ENDING,
    SeriesHandle,
    Slice,
    write_handle,
)
from debride.data.dicom.index import Index, opened_index
from debride.data.dicom.label_facts import LabelFacts
from debride.data.dicom.names_kept import Named, write_names
from debride.data.dicom.pairing import Imaged, LabelObject, Paired, pair
from debride.data.dicom.pseudonyms import key_of, pseudonym
from debride.data.dicom.segments_file import FILE, SegmentsFile, read_segments
from debride.data.dicom.stacks import Plane, Refused, Stack, stacks_of
from debride.data.dicom.tags import Identity, ImageFacts
from debride.data.formats.layout import Groups, Layout, Legend, Report
from debride.execute import cores
from debride.notes import note
from debride.types import Case, DataError, Split

DERIVED = frozenset({"RTDOSE", "SEG", "PR", "RTIMAGE"})
"""Modalities of what is no image of a patient's own (PS3.3 C.7.3.1.1.1)."""

_TAKE_OUT = f'Or name it in "left_out" of {FILE}.'


@dataclass(frozen=True)
class Found:
    """A stack of a series, or why it is none, as the case that it may be: its id, its series' UID and ``instances``, those of
    other stacks and localisers too, and whose it is."""

    case: str
    series: str
    instances: frozenset[str]
    stack: Stack | Refused
    identity: Identity
    study: str
    frame_of_reference: str
    modality: str


def read_archive(root: Path, report: Report) -> Layout:
    """The cases of an archive by its ``segments.json``, without their splits. Handles are written for them, and what the
    pseudonyms stand for.

    Raises DataError where the packages, ``segments.json`` or the key are missing."""
    require_dicom(root)
    segments = read_segments(root)
    key = key_of(root)
    if key is None:
        remedy = f"`debride check {root} --write-segments` makes one; {FILE} stays as it is."
        raise DataError(root / FOLDER, "has no key for the pseudonyms of cases", remedy)
    studies = root / segments.studies
    if not studies.is_dir():
        raise DataError(root / FILE, '"studies" names no folder', "Correct it: relative to this file, or absolute.")
    with opened_index(root / FOLDER, studies, key) as index:
        index.refresh(jobs=cores())
        for problem in index.damaged():
            if problem.where not in segments.left_out:
                report(DataError(problem.where, problem.problem, f"{problem.remedy} {_TAKE_OUT}"))
        return _layout(root, index, segments, key, report)


def label_objects(index: Index, key: bytes) -> Iterator[LabelObject]:
    """The label objects of an archive, each once: a copy of the same bytes is none of its own. Raises DataError for two
    different ones of one identity."""
    by_instance: dict[str, tuple[str, LabelFacts]] = {}
    for file, facts in index.labels():
        first, _ = by_instance.setdefault(facts.instance or file, (file, facts))
        if first != file and not index.same([first, file]):
            problem = f"has the identity of {index.name_of(first)}, and other content"
            raise DataError(index.name_of(file), problem, "Take the wrong one of the two files away.")
    for file, facts in by_instance.values():
        reader = pseudonym(key, "r", facts.reader) if facts.reader else ""
        yield LabelObject(file, index.name_of(file), reader, facts)


def stacks_found(index: Index, key: bytes) -> Iterator[list[Found]]:
    """The stacks of each series of an archive, one series after the other."""
    for images in index.series():
        yield found_in(images, index, key)


def found_in(images: Sequence[ImageFacts], index: Index, key: bytes) -> list[Found]:
    """The stacks of the images of one series."""
    first, everything = images[0], frozenset(image.instance for image in images)
    prefix = re.sub("[^a-z]", "", first.modality.lower())[:4] or "im"

    def found(stack: Stack | Refused, frame: str) -> Found:
        one = min((plane.instance, plane.frame) for plane in stack.planes)
        case = pseudonym(key, prefix, first.series, one[0], str(one[1]))  # whatever other stacks the series has
        return Found(case, first.series, everything, stack, first.identity, first.study, frame, first.modality)

    planes = [plane for image in images for plane in image.planes]
    if problem := _contradiction(images, index):
        refused = Refused(tuple(planes), *problem)
        return [found(refused, first.frame_of_reference)]
    by_frame: dict[str, dict[tuple[str, int], Plane]] = defaultdict(dict)
    for image in images:
        for plane in image.planes:
            by_frame[image.frame_of_reference].setdefault((plane.instance, plane.frame), plane)
    return [
        found(stack, frame)
        for frame, own in sorted(by_frame.items())
        for stack in stacks_of(list(own.values()), first.modality)
    ]


def _contradiction(images: Sequence[ImageFacts], index: Index) -> tuple[str, str] | None:
    """What keeps the images of a series from being read at all: the problem, and what to do."""
    if len({(image.identity.patient, image.identity.issuer) for image in images}) > 1:
        return "has images of several patients", "Restore the series from the archive: its files were mixed up."
    if len({image.modality for image in images}) > 1:
        return "has images of several modalities", "Restore the series from the archive: its files were mixed up."
    files: dict[str, list[str]] = defaultdict(list)
    for image in images:
        files[image.instance].append(image.planes[0].file)
    if any(len(own) > 1 and not index.same(own) for own in files.values()):
        return "has two different images of one identity", "Take the wrong one of the two files away."
    return None


def _layout(root: Path, index: Index, segments: SegmentsFile, key: bytes, report: Report) -> Layout:
    imaged: list[Imaged] = []
    refused: dict[str, tuple[str, str]] = {}
    names: list[Named] = []
    for found in stacks_found(index, key):
        for each in found:
            if isinstance(each.stack, Refused):
                refused[each.case] = each.stack.problem, each.stack.remedy
            names.append(_named(each, key))  # messages may name it, be it a case or not
            imaged.append(_imaged(each, len(found)))
    objects = list(label_objects(index, key))
    paired = pair(root, imaged, objects, segments, report)
    wanted = _wanted(imaged, paired, segments)
    for case in sorted(wanted & refused.keys()):
        problem, remedy = refused[case]
        report(DataError(f"series {case}", problem, f"{remedy} {_TAKE_OUT}"))
    used = {each.case: each for each in imaged if each.case in wanted - refused.keys()}
    labelled = paired.labelled.keys() | paired.refused | set(segments.left_out)
    if unused := sum(each.case not in labelled | wanted for each in imaged):
        note(root, f"has {unused} series without a label that are no cases")
    readers = {each.reader: ("reader", each.facts.reader) for each in objects if each.reader}
    layout = _cases(root, index, used, paired, segments, key, names, readers)
    if not used:
        remedy = f'Mend what is wrong with its series and labels, and see "series" and "left_out" in {FILE}.'
        raise DataError(root, "has no series that is a case", remedy)
    return layout


def _wanted(imaged: Sequence[Imaged], paired: Paired, segments: SegmentsFile) -> set[str]:
    """The ids of images that are cases: those with a label and, where none has one or ``segments`` asks for it, others."""
    wanted = set(paired.labelled)
    if (not wanted and not paired.refused) or segments.unlabelled == "test":
        may_be = {
            each.case for each in imaged if each.modality not in DERIVED and segments.is_case(each.modality, each.description)
        }
        wanted |= may_be - paired.refused
    return wanted - set(segments.left_out)


def _imaged(found: Found, stacks: int) -> Imaged:
    instances = frozenset(plane.instance for plane in found.stack.planes)
    return Imaged(
        case=found.case,
        handle=found.case + SERIES_ENDING,
        series=found.series,
        stacks=stacks,
        frame_of_reference=found.frame_of_reference,
        instances=instances,
        modality=found.modality,
        description=found.identity.description,
        others=found.instances if stacks > 1 else instances,
    )


def _cases(
    root: Path,
    index: Index,
    used: Mapping[str, Imaged],
    paired: Paired,
    segments: SegmentsFile,
    key: bytes,
    names: Sequence[Named],
    others: dict[str, tuple[str, str]],
) -> Layout:
    """The cases in use, with their handles written, and the tables of what all pseudonyms stand for: ``names`` and
    ``others``."""
    cases: list[Case] = []
    patients: dict[str, str] = {}
    groups: dict[str, Groups] = {}
    annotated: dict[str, tuple[str, tuple[str | int, ...]]] = {}
    splits: dict[str, Split] = {}
    sites: dict[str, tuple[str, str]] = {}
    for uid in sorted({each.series for each in used.values()}):
        for found in found_in(index.one_series(uid), index, key):
            if found.case not in used or isinstance(found.stack, Refused):
                continue
            image = root / FOLDER / SERIES / used[found.case].handle
            write_handle(image, _series_handle(found, segments.studies))
            _tell(found, image)
            if found.identity.institution:
                sites[_site(found.identity, key)] = "site", found.identity.institution
            patient = _named(found, key).patient
            for labelled in paired.labelled.get(found.case, (None,)):
                id = found.case if labelled is None or labelled.rater is None else f"{found.case}@{labelled.rater}"
                label = None
                if labelled:
                    label = root / FOLDER / LABELS / f"{id}{LABEL_ENDING}"
                    write_handle(label, labelled.handle)
                    if labelled.drawn is not None:
                        annotated[id] = (str(root / FILE), labelled.drawn)
                else:
                    splits[id] = "test"
                cases.append(Case(id, (image,), label, patient, rater=labelled.rater if labelled else None))
                patients[id] = patient
                groups[id] = _groups(found.identity, key)
    write_names(root / FOLDER, names, {**others, **sites})
    legend = Legend(classes=segments.names, regions=segments.regions)
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    trusted = frozenset(segments.trusted)
    return Layout(ordered, splits, False, patients, trusted, legend, annotated, groups)


def _series_handle(found: Found, studies: str) -> SeriesHandle:
    stack = found.stack
    assert isinstance(stack, Stack)
    slices = tuple(Slice(plane.file, plane.instance, plane.frame) for plane in stack.planes)
    channels = stack.planes[0].channels
    return SeriesHandle(studies, slices, stack.shape, channels, stack.spacing, stack.affine, found.modality)


def _tell(found: Found, image: Path) -> None:
    """Notes what is to be known of a case."""
    assert isinstance(found.stack, Stack)
    if found.stack.note:
        note(image, found.stack.note)
    if found.identity.burned_in:
        note(image, "says that its pixels show who it is of: so would pictures in reports")


def _named(found: Found, key: bytes) -> Named:
    """A case and its patient by their pseudonyms; a patient without a number is told by the study."""
    patient = pseudonym(key, "p", found.identity.issuer, found.identity.patient or found.study)
    return Named(found.case, patient, found.identity, found.series, found.stack.planes[0].file)


def _site(identity: Identity, key: bytes) -> str:
    return pseudonym(key, "s", identity.institution)


def _groups(identity: Identity, key: bytes) -> Groups:
    site = (("site", _site(identity, key)),) if identity.institution else ()
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in identity.scanner).split())
    return (*site, *((("scanner", words[:64]),) if words else ()))
