"""LIDC-IDRI (Armato et al., Medical Physics 2011): CT of the chest with the outlines of four readers, as volumes or patches.

An archive holds series of DICOM, each in a folder of its own, and the readings, XML beside them or in ``LIDC-XML-only.zip``.
Series and readings belong together by the UID of the series. Readers are numbered in each scan anew: reader 1 of two scans need
not be the same person.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from debride.case_work import write_left_out
from debride.data.dicom.extra import require_dicom
from debride.data.dicom.handles import SeriesHandle, Slice
from debride.data.dicom.image_arrays import image_values
from debride.data.dicom.label_facts import LabelFacts
from debride.data.dicom.stacks import Stack, stacks_of
from debride.data.dicom.tags import ImageFacts, read_facts
from debride.data.pixels import find_pixels
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.files import write_csv, write_json
from debride.known.archive import Archive
from debride.known.as_nnunet import opened, paths_of
from debride.known.lidc_patches import SIZE, patches_of
from debride.known.lidc_readings import Mask, Readings, nodule_mask, read_readings
from debride.known.members import Member, fetch, members_of, of, spoken_of
from debride.notes import note, noted_in
from debride.progress import track
from debride.temporaries import temporary_folder
from debride.types import DataError, Geometry

COLUMNS = ("case", "patient", "image", "label", "rater")

_LONGEST = 64 << 20
"""Bytes of an XML file."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_ELSE = "Or set the option keep_going to true, which leaves such series out."


@dataclass(frozen=True)
class Scan:
    """A series with its readings: its case and patient, its files, and the file of its readings."""

    id: str
    patient: str
    series: str
    files: tuple[Member, ...]
    readings: Member


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Any], *, jobs: int = 1) -> None:
    """Write scans as volumes with a mask of each reader or, with ``patches``, squares around nodules that all readers outlined.

    A reader who outlined nothing has an empty mask. With ``keep_going`` a series that makes no volume is left out, and
    stands in left_out.csv. Raises DataError for archives without a series that has readings, and for series and readings
    that are damaged or do not belong together.
    """
    require_dicom(archives[0].path)
    scans = _scans(archives, out)
    setup = {"archives": paths_of(archives), "out": str(out), "patches": bool(options.get("patches"))}
    rows: list[list[str]] = []
    left_out: dict[str, DataError] = {}
    items = [asdict(scan) for scan in scans]
    with (
        track("converting", len(scans)) as show,
        spread(Work(reading, setup), items, jobs=jobs, name=lambda item: str(item["id"])) as outcomes,
    ):
        for done, (scan, outcome) in enumerate(zip(scans, outcomes, strict=True), start=1):
            if outcome.error is not None and options.get("keep_going"):
                left_out[scan.id] = outcome.error
                note(scan.id, "is left out: it stands in left_out.csv")
            else:
                rows += outcome.value()
            show(done)
    if not rows:
        problem = (
            "holds no nodule that all readers of a scan outlined" if setup["patches"] else "holds no scan that can be read"
        )
        raise DataError(archives[0].called, problem, "Give more of the series.")
    write_left_out(out, left_out)
    write_csv(out / "manifest.csv", COLUMNS, rows)
    write_json(out / "dataset.json", {"classes": ["background", "nodule"]})


def _scans(archives: Sequence[Archive], out: Path) -> list[Scan]:
    """The series that have readings."""
    readings = _readings(archives)
    found: dict[str, tuple[str, tuple[Member, ...]]] = {}
    with temporary_folder(out / "series") as work:
        for files in _folders(archives):
            facts = next(filter(None, (_facts(archives, file, work) for file in files)), None)
            if facts is None or facts.modality != "CT":
                continue
            if facts.series in found:
                problem = "is of a series of which another folder holds files too"
                raise DataError(spoken_of(archives, files[0]), problem, "Give each series once, in a folder of its own.")
            found[facts.series] = facts.identity.patient, files
    both = sorted(found.keys() & readings.keys())
    if not both:
        has = "holds no readings (XML)" if not readings else "holds no CT series of the readings"
        raise DataError(archives[0].called, has, "Give the series and LIDC-XML-only.zip together.")
    if unread := len(found.keys() - readings.keys()):
        note(archives[0].called, f"has {unread} CT series without readings, which are left out")
    counts = Counter(found[series][0] for series in both)
    scans = []
    for series in both:
        patient, files = found[series]
        if not _NAME.fullmatch(patient):
            raise DataError(spoken_of(archives, files[0]), "has a PatientID that can be no name of a file", _ELSE)
        id = patient if counts[patient] == 1 else f"{patient}_{series.rpartition('.')[2][-6:]}"
        scans.append(Scan(id, patient, series, files, readings[series]))
    return sorted(scans, key=lambda scan: scan.id)


def _readings(archives: Sequence[Archive]) -> dict[str, Member]:
    """The file of readings of each series. DataError for two that differ."""
    found: dict[str, tuple[Member, bytes]] = {}  # with its digest
    for member in members_of(archives):
        if member.path.suffix.lower() != ".xml":
            continue
        content = archives[member.archive].read(member.name, _LONGEST)
        read = read_readings(content, spoken_of(archives, member))
        digest = hashlib.sha256(content).digest()
        if read is not None and found.setdefault(read.series, (member, digest))[1] != digest:
            first = spoken_of(archives, found[read.series][0])
            raise DataError(
                spoken_of(archives, member), f"has other readings of the series of {first}", "Take one of them away."
            )
    return {series: member for series, (member, _) in found.items()}


def _folders(archives: Sequence[Archive]) -> list[tuple[Member, ...]]:
    """The files of each folder that may be DICOM."""
    folders: dict[tuple[int, str], list[Member]] = defaultdict(list)
    for member in members_of(archives):
        if member.path.suffix.lower() in (".dcm", ""):
            folders[member.archive, str(member.path.parent)].append(member)
    return [tuple(files) for files in folders.values()]


def _facts(archives: Sequence[Archive], member: Member, work: Path) -> ImageFacts | None:
    """What the header of a file says; None for what is no image of DICOM."""
    file = fetch(archives, member, work / f"header{member.path.suffix}")
    with of(spoken_of(archives, member)):
        facts = read_facts(file, file)
    file.unlink()
    return None if isinstance(facts, LabelFacts) else facts


def reading(setup: Any) -> Do:
    """Writes a scan; gives its rows of the manifest."""
    archives, out = opened(setup), Path(setup["out"])

    def write(item: Any) -> list[list[str]]:
        readings = Member(**item["readings"])
        said = spoken_of(archives, readings)
        read = read_readings(archives[readings.archive].read(readings.name, _LONGEST), said)
        assert read is not None, "it was one when it was found"
        files = [Member(**file) for file in item["files"]]
        with noted_in([]), temporary_folder(out / item["id"]) as work, of(f"{archives[files[0].archive].called}: {item['id']}"):
            handle = _series(archives, files, item["series"], work)
            volume = image_values(work, handle, work)[0]
        drawn = _drawn(read, handle, said)
        if not setup["patches"]:
            return _write_volumes(out, item["id"], item["patient"], volume, handle.geometry, drawn)
        return _write_patches(out, item["id"], item["patient"], volume, handle.geometry, drawn)

    return write


def _series(archives: Sequence[Archive], files: Sequence[Member], series: str, work: Path) -> SeriesHandle:
    """The series that files hold, fetched to ``work``. DataError where it makes no single volume."""
    planes = []
    for number, member in enumerate(files):
        file = fetch(archives, member, work / f"{number:05d}{member.path.suffix}")
        facts = read_facts(file, file)
        if facts is None or isinstance(facts, LabelFacts) or facts.series != series:
            file.unlink()
            continue
        planes += [replace(plane, file=file.name) for plane in facts.planes]
    found = stacks_of(planes, "CT")
    for each in found:
        if not isinstance(each, Stack):
            raise DataError(work, each.problem, f"{each.remedy} {_ELSE}")
    (stack, *others) = found
    assert isinstance(stack, Stack)
    if others or len(stack.shape) != 3:
        raise DataError(work, f"makes {len(found)} images, and not one volume", f"Take it away. {_ELSE}")
    slices = tuple(Slice(plane.file, plane.instance, plane.frame) for plane in stack.planes)
    return SeriesHandle(".", slices, stack.shape, stack.planes[0].channels, stack.spacing, stack.affine, "CT")


def _drawn(read: Readings, handle: SeriesHandle, said: str) -> list[list[dict[int, Mask]]]:
    """Each reader's nodules."""
    places = {place.instance: at for at, place in enumerate(handle.slices)}
    _, rows, columns = handle.shape
    try:
        return [[nodule_mask(nodule, places, rows, columns, said) for nodule in nodules] for nodules in read.readers]
    except DataError as error:
        raise DataError(error.where, error.problem, f"{error.remedy} {_ELSE}") from error


def _label(shape: tuple[int, ...], nodules: Sequence[Mapping[int, Mask]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """All nodules of a reader (D, H, W)."""
    label = np.zeros(shape, np.uint8)
    for nodule in nodules:
        for at, mask in nodule.items():
            label[at][mask] = 1
    return label


def _write_volumes(
    out: Path, id: str, patient: str, volume: np.ndarray, place: Geometry, drawn: Sequence[Sequence[Mapping[int, Mask]]]
) -> list[list[str]]:
    image = f"images/{id}.nii.gz"
    _write(out / image, volume, place)
    rows = []
    for reader, nodules in enumerate(drawn, start=1):
        label = f"masks/rater{reader}/{id}.nii.gz"
        _write(out / label, _label(volume.shape, nodules), place)
        rows.append([id, patient, image, label, f"rater{reader}"])
    return rows


def _write_patches(
    out: Path, id: str, patient: str, volume: np.ndarray, place: Geometry, drawn: Sequence[Sequence[Mapping[int, Mask]]]
) -> list[list[str]]:
    labels = [_label(volume.shape, nodules) for nodules in drawn]
    rows = []
    if min(volume.shape[1:]) < SIZE:
        raise DataError(id, f"has slices of {volume.shape[1:]} pixels, smaller than a patch", _ELSE)
    for patch in patches_of(drawn, *volume.shape[1:]):
        name = f"{id}_nodule-{patch.nodule}_slice-{patch.plane:03d}"
        image = f"images/{name}.nii.gz"
        there = patch.plane, slice(patch.top, patch.top + SIZE), slice(patch.left, patch.left + SIZE)
        cut = _moved(place, patch.plane, patch.top, patch.left)
        _write(out / image, volume[there], cut)
        for reader, whole in enumerate(labels, start=1):
            label = f"masks/rater{reader}/{name}.nii.gz"
            _write(out / label, whole[there], cut)
            rows.append([name, patient, image, label, f"rater{reader}"])
    return rows


def _moved(place: Geometry, plane: int, top: int, left: int) -> Geometry:
    """Where a patch of a volume lies."""
    affine = np.array(place.affine, np.float64)
    affine[:3, 3] = affine[:3] @ (left, top, plane, 1)
    return Geometry((place.spacing or ())[1:] or None, tuple(tuple(map(float, row)) for row in affine))


def _write(path: Path, values: np.ndarray, place: Geometry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    find_pixels(path).write(path, np.ascontiguousarray(values), place)
