"""A folder for another program: the labels of cases to edit, and what an audit found in them to look at.

What is to be edited lies in the folder itself and comes back from there, by the names of cases. What is to be looked at lies
in ``findings``, and is never read again. Each region of an audit has a file of its own there: regions may overlap.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.findings import Finding, Label, Numbers, check_belongs, refuse_one_region, region_folders
from debride.audit.repair.proposals import Source, asked_of, proposals_of, read_sources
from debride.audit.shown.charts import COLOURS
from debride.audit.shown.worklist import FOLDER, label
from debride.audit.tasks import refuse_task
from debride.data.pairs import image_grid, label_turn
from debride.data.pixels.images import read_label
from debride.data.same_grid import turned
from debride.files import write_csv, write_text
from debride.folders import atomic_folder, new_folder
from debride.review.decision_files import export_decisions
from debride.review.exchange import coco, itk_snap, label_studio, slicer
from debride.types import IGNORE, Case, DataError, Dataset, Geometry
from debride.words import some

PROGRAMS: tuple[str, ...] = ("slicer", "itk-snap", "coco", "csv")
"""What an export may be for; "csv" is the table of decisions alone."""

DECISIONS = "decisions.csv"
"""The table of decisions in a folder that is exported for "csv"."""

TABLES = (".csv", ".jsonl", ".json")
"""Endings of a table of decisions that is named as a file."""

TO_LOOK_AT = "findings"
"""The folder of what does not come back."""

BACK = "Then: debride review AUDIT --reader NAME --import THIS_FOLDER. Files that you do not change decide nothing."

README = {
    "slicer": (
        "Open CASE.seg.nrrd over the image of the case in 3D Slicer, edit its segments, and save it under its name.",
        "What was found lies in findings/: CASE.findings.seg.nrrd has a segment for each finding, CASE.mrk.json its point.",
        BACK,
    ),
    "itk-snap": (
        "Open the image of a case in ITK-SNAP, CASE.nii.gz as its segmentation, and labels.txt as label descriptions.",
        "What was found lies in findings/: CASE.findings.nii.gz has a number for each finding, CASE.findings.txt names them.",
        BACK,
    ),
    "coco": (
        "labels.json has the given labels as masks. Open it with the pictures, which stay where they are, and edit the masks.",
        "findings/findings.json has masks of the findings, to look at. Label Studio takes label-studio/ and gives back JSON.",
        BACK,
    ),
}


@dataclass(frozen=True)
class ExportResult:
    """What was written: the folder, for which ``program``, of how many ``cases``, and how many ``findings``, or of a table
    decisions."""

    out: Path
    program: str
    cases: int
    findings: int


@dataclass(frozen=True)
class _Found:
    """The findings of one case in one audit, of a ``region`` or of classes (""), and their map (*S) of ``numbers``."""

    region: str
    classes: Sequence[str]
    findings: Sequence[Finding]
    numbers: Numbers

    def name(self, finding: Finding) -> str:
        """What a program shows beside a finding."""
        return label(finding, self.classes)


def export_review(
    dataset: Dataset,
    audit: Path,
    out: Path,
    program: str,
    cases: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExportResult:
    """Writes the labels of cases and the findings of an audit in them to the new folder ``out``, for another program.

    ``program`` is one of ``PROGRAMS``; ``cases`` are ids (None: all that have a finding). ``progress`` receives the number of
    cases done and their total. Raises DataError for another program, for cases that the audit does not have, for labels that
    changed since, for volumes as COCO, for images with one class each but as a table, and for ``out`` where it has content.
    """
    if program not in PROGRAMS:
        raise DataError("`as`", f"is {program!r}", f"Give one of {', '.join(PROGRAMS)}.")
    if program == "csv":
        return export_table(audit, out, cases)
    refuse_task(dataset.task, dataset.root, remedy="Export as csv: of images with one class each there is a table alone.")
    out = new_folder(out, apart_from={"the data set": dataset.root, "the folder of the audit": audit})
    if program == "coco":
        _refuse_for_coco(dataset)
    refuse_one_region(audit)
    sources = read_sources(audit, dataset)
    wanted = _wanted(dataset, audit, sources, cases)
    for source in sources.values():
        check_belongs(source.record, source.view(dataset), [case.id for case in wanted])
    by_case = {region: source.record.by_case() for region, source in sources.items()}
    many = 0
    with atomic_folder(out) as folder:
        write_text(folder / "README.txt", "".join(f"{line}\n" for line in README[program]))
        writer = _WRITERS[program](folder, dataset, audit, sources)
        rows = []
        for number, case in enumerate(wanted, start=1):
            assert case.label is not None
            ids, geometry = read_label(case.label, dataset)
            found = [
                _found(dataset, source, region, case, ids, by_case[region].get(case.id, []))
                for region, source in sources.items()
            ]
            name = writer.write(case, ids, geometry, [each for each in found if each.findings])
            many += sum(len(each.findings) for each in found)
            rows.append((case.id, case.image[0], name, sum(len(each.findings) for each in found)))
            if progress:
                progress(number, len(wanted))
        writer.end()
        write_csv(folder / TO_LOOK_AT / "cases.csv", ("case", "image", "label", "findings"), rows)
    return ExportResult(out, program, len(wanted), many)


def export_table(audit: Path, out: Path, cases: Collection[str] | None = None) -> ExportResult:
    """Writes the table of decisions into the new folder ``out``, or as the new file ``out`` with one of the ``TABLES``.

    Raises DataError for ``cases``, for a file that exists, for a folder with content, and where nobody has reviewed.
    """
    if cases is not None:
        raise DataError("`cases`", "is for labels, and a table has all decisions", "Leave it out.")
    if out.suffix in TABLES:
        if out.exists():
            raise DataError(out, "exists", "Choose a new name, or remove this file.")
        return ExportResult(out, "csv", 0, export_decisions(audit, out))
    with atomic_folder(new_folder(out, apart_from={"the folder of the audit": audit})) as folder:
        many = export_decisions(audit, folder / DECISIONS)
    return ExportResult(out, "csv", 0, many)


def _refuse_for_coco(dataset: Dataset) -> None:
    """DataError for volumes, and for pictures with a label of each of several raters."""
    remedy = "Export for slicer or itk-snap."
    if dataset.ndim == 3:
        raise DataError(dataset.root, "has volumes, and COCO describes pictures", remedy)
    if any(case.rater is not None for case in dataset.cases):
        raise DataError(dataset.root, "has labels of several raters, which COCO cannot tell apart", remedy)


def _wanted(dataset: Dataset, audit: Path, sources: Mapping[str, Source], cases: Collection[str] | None) -> list[Case]:
    """The cases to export, in the order of the data set."""
    known = {case.id: case for case in dataset.cases if case.label is not None}
    if cases is None:
        cases = {finding.case for source in sources.values() for finding in source.record.findings}
        if not cases:
            raise DataError(audit, "has no findings", "Name the cases to export by `cases`.")
    wanted, audited = set(cases), set.intersection(*(set(source.record.labels) for source in sources.values()))
    if unknown := sorted(wanted - (audited & known.keys())):
        raise DataError(audit, f"has no case {some(unknown)}", "Name cases of the audit, whose labels the data set has.")
    return [case for id, case in known.items() if id in wanted]


def _found(dataset: Dataset, source: Source, region: str, case: Case, ids: Label, findings: Sequence[Finding]) -> _Found:
    numbers = np.zeros(ids.shape, np.uint16)
    if findings:
        numbers = proposals_of(source.plain(), asked_of(findings, ()), case, ids, dataset).numbers
    return _Found(region, source.record.classes, findings, numbers)


class _Writer(ABC):
    """What one program is given, case by case; ``folder`` is the whole."""

    def __init__(self, folder: Path, dataset: Dataset, audit: Path, sources: Mapping[str, Source]) -> None:
        self.folder, self.dataset, self.audit, self.sources = folder, dataset, audit, sources
        self.folders = region_folders(dataset.regions)
        (folder / TO_LOOK_AT).mkdir()

    @abstractmethod
    def write(self, case: Case, ids: Label, geometry: Geometry, found: Sequence[_Found]) -> str:
        """Writes one case and returns the name of the file with its label."""

    @abstractmethod
    def end(self) -> None:
        """Writes what is of all cases together."""

    def beside(self, case: Case, region: str, ending: str) -> Path:
        """Where something to look at goes."""
        name = f"{case.id}.{self.folders[region]}" if region else case.id
        return self.folder / TO_LOOK_AT / f"{name}{ending}"

    def copy_points(self, case: Case, region: str) -> None:
        """Copies the points in findings, where the audit wrote some."""
        source = self.sources[region].record.folder / FOLDER / f"{case.id}.mrk.json"
        if source.is_file():
            shutil.copyfile(source, self.beside(case, region, ".mrk.json"))


class _Slicer(_Writer):
    def write(self, case: Case, ids: Label, geometry: Geometry, found: Sequence[_Found]) -> str:
        classes = self.dataset.classes
        name = f"{case.id}{slicer.ENDING}"
        segments = slicer.segments_of(classes, ignored=bool((ids == IGNORE).any()))
        slicer.write_segments(self.folder / name, ids, geometry, segments)
        for each in found:
            values = each.numbers if each.numbers.max() > IGNORE else each.numbers.astype(np.uint8)
            shown = [
                slicer.Segment(
                    f"{finding.number}: {each.name(finding)}",
                    finding.number,
                    COLOURS[(finding.number - 1) % len(COLOURS)],
                    (
                        ("debride.kind", finding.kind),
                        ("debride.given", each.classes[finding.given]),
                        ("debride.proposed", each.classes[finding.proposed]),
                        ("debride.confidence", f"{finding.confidence:.4f}"),
                    ),
                )
                for finding in sorted(each.findings, key=lambda finding: finding.number)
            ]
            path = self.beside(case, each.region, f".findings{slicer.ENDING}")
            slicer.write_segments(path, values, geometry, shown)
            self.copy_points(case, each.region)
        return name

    def end(self) -> None:
        """Nothing: each case has files of its own."""


class _ItkSnap(_Writer):
    def write(self, case: Case, ids: Label, geometry: Geometry, found: Sequence[_Found]) -> str:
        name = f"{case.id}{itk_snap.ENDING}"
        assert case.label is not None
        itk_snap.write_snap_label(self.folder / name, ids, self.dataset, geometry, case.label)
        for each in found:
            itk_snap.write_snap_findings(
                self.beside(case, each.region, ".findings"),
                each.numbers,
                geometry,
                {finding.number: f"{finding.number}: {each.name(finding)}" for finding in each.findings},
            )
        return name

    def end(self) -> None:
        itk_snap.write_names(self.folder, self.dataset)


class _Coco(_Writer):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.labels = coco.label_file(self.dataset.classes)
        names = {
            coco.finding_name(finding, source.record.classes, region): "finding"
            for region, source in self.sources.items()
            for finding in source.record.findings
        }
        self.findings = coco.CocoFile(sorted(names.items()))
        self.tasks = label_studio.LabelStudioFile(self.dataset.classes)

    def write(self, case: Case, ids: Label, geometry: Geometry, found: Sequence[_Found]) -> str:
        how = label_turn(case, image_grid(case), "")
        name, lying = coco.picture_name(self.dataset, case.image[0]), turned(ids, how)
        coco.add_label(self.labels, name, lying, self.dataset.classes)
        self.findings.add_image(name, lying.shape)
        said = [f"{finding.number}: {each.name(finding)}" for each in found for finding in each.findings]
        self.tasks.add(case.id, name, lying, said)
        for each in found:
            numbers = turned(each.numbers, how)
            for finding in each.findings:
                coco.add_finding(self.findings, finding, numbers, each.classes, each.region)
        return coco.LABELS

    def end(self) -> None:
        self.labels.write(self.folder / coco.LABELS)
        self.findings.write(self.folder / TO_LOOK_AT / coco.FINDINGS)
        self.tasks.write(self.folder / label_studio.FOLDER)


_WRITERS: dict[str, Callable[[Path, Dataset, Path, Mapping[str, Source]], _Writer]] = {
    "slicer": _Slicer,
    "itk-snap": _ItkSnap,
    "coco": _Coco,
}
