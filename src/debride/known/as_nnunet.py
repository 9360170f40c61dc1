"""Volumes of an archive as a data set in the raw layout of nnU-Net v2, case by case.

Images are copied byte for byte. A label is copied too where its values stay, and else written with its own header.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.pixels import pixels_of, suffix
from debride.data.pixels.images import read_header, read_values
from debride.data.same_grid import Grid, Turn, compare
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.files import write_json
from debride.known.archive import Archive
from debride.known.members import Member, fetch, of, spoken_of
from debride.known.nifti_headers import SFORM_LEFT_OUT, by_qform
from debride.notes import note, noted_in
from debride.progress import track
from debride.temporaries import temporary_folder
from debride.types import DataError

ELSEWHERE = "has a header that says another place than that of its image, and is written on the grid of that"
"""What is noted of such a label."""

WRONG = "Get the archive again: this file is not as it was published."


@dataclass(frozen=True)
class RawCase:
    """A case: a file for each channel, or one file of all of them, and its label, if it has one.

    ``values`` maps the label's values to those that are written. A ``test`` case lies in imagesTs.
    """

    id: str
    patient: str
    channels: tuple[Member, ...]
    label: Member | None
    values: Mapping[int, int]
    test: bool = False

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "values": sorted(self.values.items())}


@dataclass(frozen=True)
class RawSet:
    """What a dataset.json says: names of ``channels`` and ``labels``, with ``order`` where labels are regions, the ``ending``
    of files, and what ``more`` there is to say. ``by_qform``: where headers contradict themselves, their sforms are wrong."""

    name: str
    channels: tuple[str, ...]
    labels: Mapping[str, int | Sequence[int]]
    ending: str = ".nii.gz"
    order: tuple[int, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    by_qform: bool = False


def write_cases(archives: Sequence[Archive], out: Path, about: RawSet, cases: Sequence[RawCase], jobs: int) -> None:
    """Write cases and dataset.json into the folder ``out``.

    Raises DataError as ``refuse_cases`` does, for a file that cannot be read, a label on another grid than its image, a value
    that the set does not have, and where there is no training case.
    """
    refuse_cases(archives, cases)
    setup = {
        "archives": paths_of(archives),
        "out": str(out),
        "ending": about.ending,
        "channels": len(about.channels),
        "by_qform": about.by_qform,
    }
    done_by(Work(copying, setup), [case.plain() for case in cases], jobs)
    write_description(out, about, [(case.id, case.patient, case.test) for case in cases])


def done_by(work: Work, items: Sequence[Any], jobs: int) -> list[Any]:
    """The results of items that are cases, in their order."""
    results = []
    with (
        track("converting", len(items)) as show,
        spread(work, items, jobs=jobs, name=lambda item: str(item["id"])) as outcomes,
    ):
        for outcome in outcomes:
            results.append(outcome.value())
            show(len(results))
    return results


def write_description(out: Path, about: RawSet, cases: Iterable[tuple[str, str, bool]]) -> None:
    """Write dataset.json; of each case its id, its patient, and whether it is a test case."""
    listed = list(cases)
    training = sum(not test for *_, test in listed)
    if not training:
        raise DataError(about.name, "has no training case in these archives", "Give the training archive too.")
    patients = {id: patient for id, patient, _ in listed if patient != id}
    regions = {"regions_class_order": list(about.order)} if about.order else {}
    described = {
        "name": about.name,
        "channel_names": {str(number): name for number, name in enumerate(about.channels)},
        "labels": dict(about.labels),
        **regions,
        "numTraining": training,
        "file_ending": about.ending,
        **({"patients": patients} if patients else {}),
        **about.more,
    }
    write_json(out / "dataset.json", described)


def refuse_cases(archives: Sequence[Archive], cases: Sequence[RawCase]) -> None:
    """DataError for a case that several files of the archives claim to be, and where some test cases alone have labels."""
    twice = [id for id, number in Counter(case.id for case in cases).items() if number > 1]
    if twice:
        where = next(case.channels[0] for case in cases if case.id == twice[0])
        problem = f"has the case {twice[0]} more than once"
        raise DataError(
            archives[where.archive].called, problem, "Give every archive once, and not its unpacked folder beside it."
        )
    bare = [case for case in cases if case.test and case.label is None]
    if bare and any(case.test and case.label for case in cases):
        problem = "is a test case without a label, and others have one"
        raise DataError(spoken_of(archives, bare[0].channels[0]), problem, "Get the archive again: a label is missing.")


def paths_of(archives: Sequence[Archive]) -> list[list[str]]:
    """Where archives lie and what they are called, for other processes."""
    return [[str(archive.path), archive.called] for archive in archives]


def opened(setup: Mapping[str, Any]) -> list[Archive]:
    """The archives of ``paths_of``, opened again."""
    return [Archive(Path(path), called) for path, called in setup["archives"]]


def copying(setup: Any) -> Do:
    """Writes the files of a case."""
    archives, out, ending, count = opened(setup), Path(setup["out"]), setup["ending"], int(setup["channels"])
    mend = bool(setup["by_qform"])

    def copy(item: Any) -> None:
        folder = "Ts" if item["test"] else "Tr"
        members = [Member(**member) for member in item["channels"]]
        targets = [out / f"images{folder}" / f"{item['id']}_{number:04d}{ending}" for number in range(count)]
        to_note: list[tuple[str, str]] = []
        with noted_in([]), temporary_folder(out / item["id"]) as work:
            if len(members) == count:
                for member, target in zip(members, targets, strict=True):
                    fetched(archives, member, target, mend, to_note)
            else:
                _split(archives, members[0], targets, work)
            _check_channels(archives, members, targets)
            if item["label"] is not None:
                label = Member(**item["label"])
                own = fetched(archives, label, work / f"label{ending}", mend, to_note)
                with of(spoken_of(archives, label)):
                    how = turn_of(own, targets[0])
                    target = out / f"labels{folder}" / f"{item['id']}{ending}"
                    _write_label(own, dict(item["values"]), target, how, targets[0])
                if how is None:
                    to_note.append((spoken_of(archives, label), ELSEWHERE))
        for where, said in to_note:
            note(where, said)

    return copy


def fetched(archives: Sequence[Archive], member: Member, target: Path, mend: bool, to_note: list[tuple[str, str]]) -> Path:
    """A file fetched to ``target``, ``by_qform`` where it is to be mended; what is ``to_note`` of that is added."""
    fetch(archives, member, target)
    with of(spoken_of(archives, member)):
        if mend and by_qform(target):
            to_note.append((spoken_of(archives, member), SFORM_LEFT_OUT))
    return target


def turn_of(label: Path, image: Path) -> Turn | None:
    """How a label is turned to lie as its image; None where its header says another place, but its shape is that of the image:
    labels of known sets are drawn voxel by voxel. DataError for another shape."""
    own, its = read_header(label).grid, read_header(image).grid
    found = compare(own, its)
    if isinstance(found, Turn):
        return found
    if own.shape == its.shape:
        return None
    raise DataError(label, f"does not lie on the grid of its image: {found}", WRONG)


def _write_label(source: Path, values: Mapping[int, int], target: Path, how: Turn | None, image: Path) -> None:
    """Write a label file with other ``values``, moved where they stay; without a turn, on the grid of its image."""
    raw, _ = read_values(source)
    new = mapped(raw, values, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if how is None:
        pixels_of(image).write(target, new, read_header(image).geometry, image)
    elif all(old == value for old, value in values.items()):
        source.replace(target)
    else:
        pixels_of(source).write_like(source, new, target)


def mapped(raw: npt.NDArray[Any], values: Mapping[int, int], where: Path) -> npt.NDArray[np.uint8]:
    """Label values (*S) of a file as ``values`` say. DataError for one that is not among them."""
    held = np.unique(raw)
    if strange := [int(value) for value in held if int(value) not in values]:
        known = ", ".join(str(value) for value in sorted(values))
        raise DataError(where, f"holds the label value {strange[0]}, and the set has {known}", WRONG)
    new = np.zeros(raw.shape, np.uint8)
    for value in held:
        new[raw == value] = values[int(value)]
    return new


def _check_channels(archives: Sequence[Archive], members: Sequence[Member], targets: Sequence[Path]) -> None:
    """DataError for images that are damaged, and for channels on other grids than the first."""
    grids: list[Grid] = []
    for number, target in enumerate(targets):
        with of(spoken_of(archives, members[min(number, len(members) - 1)])):
            header = read_header(target)
            if header.channels != 1:
                raise DataError(target, f"holds {header.channels} channels, and one is meant", WRONG)
            if grids and isinstance(apart := compare(header.grid, grids[0]), str):
                raise DataError(target, f"does not lie on the grid of the first channel: {apart}", WRONG)
            grids.append(header.grid)


def _split(archives: Sequence[Archive], member: Member, targets: Sequence[Path], work: Path) -> None:
    """Write a file with several numbers for each voxel as a file for each of them."""
    with of(spoken_of(archives, member)):
        whole = fetch(archives, member, work / f"image{suffix(targets[0])}")
        kind = pixels_of(whole)
        if (layers := kind.layers(whole)) != len(targets):
            raise DataError(whole, f"holds {layers} channels, and {len(targets)} are named", WRONG)
        maps, geometry = kind.maps(whole)
        for values, target in zip(maps, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            kind.write(target, values, geometry)
