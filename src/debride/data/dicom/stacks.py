"""Planes of a series put in order: the stacks that they make, each of which is an image, or why they make none.

Coordinates are DICOM's, in mm to the left, back and head of the patient (PS3.3 C.7.6.2.1.1). Nothing here reads a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from debride.data.same_grid import TOLERANCE
from debride.words import some

Reals = npt.NDArray[np.float64]

SQUARE = 1e-3
"""How far directions of rows and columns may be from unit length and right angles."""

FARTHEST = 1e6
"""Millimetres that no slice lies away, and no pixel measures: numbers beyond are damaged."""

SAME_PLACE = 1e-3
"""Millimetres between two slices at one position: what decimal strings of 16 characters leave of rounding."""

MOST_DIRECTIONS = 64
"""Stacks of different directions or sizes in a series: more are turns about an axis, and no volumes."""

PICTURES = frozenset({"CR", "DX", "MG", "IO", "PX", "RG", "XC", "ES", "OP", "GM", "SM", "US"})
"""Modalities whose images are pictures, each by itself (PS3.3 C.7.3.1.1.1)."""

TELLING = (
    "image type",
    "acquisition number",
    "echo time",
    "echo number",
    "inversion time",
    "b-value",
    "direction",
    "temporal position",
    "trigger time",
    "phase",
    "stack",
    "kernel",
    "series time",
    "acquisition time",
)
"""What may tell several images at one position apart, in the order in which it is tried."""


@dataclass(frozen=True)
class Plane:
    """One frame: the ``file`` it lies in and its number there (0: the file has one), what its headers say of its place, and in
    ``told``, by the names of ``TELLING``, what tells it from others at the same place."""

    file: str
    instance: str
    frame: int
    number: int
    rows: int
    columns: int
    channels: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None = None
    localiser: bool = False
    told: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Stack:
    """Planes in order along the normal of their rows and columns, with shape (*S), ``spacing`` in array order, and the
    ``affine`` (4, 4) from (x, y, z) to RAS. ``note`` is what is to be said of it."""

    planes: tuple[Plane, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    affine: tuple[tuple[float, ...], ...] | None
    note: str = ""


@dataclass(frozen=True)
class Refused:
    """Planes that make no image: what is wrong, and what to do."""

    planes: tuple[Plane, ...]
    problem: str
    remedy: str


_ARCHIVE = "Restore the series from the archive, whole."
_RESAMPLE = "Resample it to equal distances, or take it out."


def stacks_of(planes: Sequence[Plane], modality: str) -> list[Stack | Refused]:
    """The stacks of a series, in an order that does not depend on that of the planes."""
    ordered = sorted(planes, key=lambda plane: (plane.number, plane.instance, plane.frame))
    kept = [plane for plane in ordered if not plane.localiser] or ordered
    if modality in PICTURES or all(plane.position is None for plane in kept):
        return _pictures(kept)
    left = len(ordered) - len(kept)
    found: list[Stack | Refused] = []
    groups = _groups(kept)
    if len(groups) > MOST_DIRECTIONS:
        problem = f"has slices in more than {MOST_DIRECTIONS} directions or sizes"
        return [Refused(tuple(kept), problem, "Take it out: it is no volume.")]
    for group in groups:
        found += _stacks_of_group(group)
    if left:
        words = f"leaves out {left} localiser image{'s' if left > 1 else ''} of its series"
        found = [_noted(each, words) if isinstance(each, Stack) else each for each in found]
    return found


def _pictures(planes: Sequence[Plane]) -> list[Stack | Refused]:
    """Each plane by itself; a file of several is refused whole."""
    files: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        files[plane.instance].append(plane)
    found: list[Stack | Refused] = []
    for own in files.values():
        if len(own) > 1:
            problem = f"has {len(own)} frames that do not say where they lie: a film, phases of time, or tiles"
            found.append(Refused(tuple(own), problem, "Export the frames that are labelled as single images."))
        else:
            (plane,) = own
            spacing = plane.spacing if _sized(plane) else None
            found.append(Stack((plane,), (plane.rows, plane.columns), spacing, None))
    return found


def _groups(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes of one size, spacing and orientation, the largest group first."""
    groups: list[list[Plane]] = []
    known: dict[tuple[object, ...], list[Plane]] = {}  # planes that say the same are compared once
    for plane in planes:
        said = plane.rows, plane.columns, plane.channels, plane.orientation, plane.spacing
        if said not in known:
            known[said] = next((group for group in groups if _lie_alike(plane, group[0])), [])
            if not known[said]:
                groups.append(known[said])
        known[said].append(plane)
        if len(groups) > MOST_DIRECTIONS:
            break
    return sorted(groups, key=lambda group: (-len(group), group[0].instance, group[0].frame))


def _lie_alike(one: Plane, other: Plane) -> bool:
    if (one.rows, one.columns, one.channels) != (other.rows, other.columns, other.channels):
        return False
    if not _near(one.orientation, other.orientation, TOLERANCE / max(one.rows, one.columns)):
        return False  # the far corner would lie elsewhere
    if one.spacing is None or other.spacing is None:
        return one.spacing == other.spacing
    return all(
        abs(a - b) * max(one.rows, one.columns) <= TOLERANCE * b for a, b in zip(one.spacing, other.spacing, strict=True)
    )


def _near(one: Sequence[float] | None, other: Sequence[float] | None, most: float) -> bool:
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and max(abs(a - b) for a, b in zip(one, other, strict=True)) <= most


def _stacks_of_group(planes: list[Plane]) -> list[Stack | Refused]:
    if problem := _unplaced(planes):
        return [Refused(tuple(planes), *problem)]
    along = _along(planes)
    repeated = _repeated(along, planes)
    if not repeated:
        whole = _stack(planes, along)
        if isinstance(whole, Stack) or whole.remedy == _ARCHIVE:  # slices are missing: no parts make up for that
            return [whole]
        return _overlapping(planes) or [whole]
    most = max(map(len, repeated))  # a tag that differs from slice to slice, such as a time, tells no stacks apart
    for names in _tellings(planes):
        parts = _parted(planes, names)
        if 1 < len(parts) <= most and not any(_repeated(_along(part), part) for part in parts.values()):
            return _told_apart(parts)
    return [_doubled(planes, along)]


def _overlapping(planes: Sequence[Plane]) -> list[Stack | Refused]:
    """The stacks of acquisitions whose slices lie between each other's, such as of two breath holds; none where that is not
    what is wrong with the distances of all."""
    for names in _tellings(planes, 1):
        parts = _parted(planes, names)
        if len(parts) < 2 or min(map(len, parts.values())) < 2:
            continue
        ends = sorted((float(along.min()), float(along.max())) for along in map(_along, parts.values()))
        found = _told_apart(parts)
        if any(start < before for (_, before), (start, _) in pairwise(ends)) and all(isinstance(one, Stack) for one in found):
            return found
    return []


def _told_apart(parts: Mapping[tuple[str, ...], list[Plane]]) -> list[Stack | Refused]:
    return [_stack(own, _along(own)) for _, own in sorted(parts.items())]


def _tellings(planes: Sequence[Plane], most: int = 2) -> Iterator[tuple[str, ...]]:
    """The tags that are not the same in all planes, one by one and then ``most`` at a time."""
    different = [name for name in TELLING if len(_parted(planes, (name,))) > 1]
    for count in range(1, most + 1):
        yield from combinations(different, count)


def _unplaced(planes: Sequence[Plane]) -> tuple[str, str] | None:
    """What keeps planes from having a place: the problem, and what to do."""
    if any("MOSAIC" in kind.upper().split("\\") for plane in planes for name, kind in plane.told if name == "image type"):
        return "has mosaics, each of which shows several slices", "Export it as enhanced images, which tell their slices apart."
    lacking = [plane for plane in planes if plane.position is None or plane.orientation is None]
    if lacking:
        return f"has {len(lacking)} of {len(planes)} slices that do not say where they lie", _ARCHIVE
    if any(plane.spacing is None for plane in planes):
        return "does not say the spacing of its pixels", "Take it out: its distances are not known."
    places = [(*(plane.position or ()), *(plane.orientation or ())) for plane in planes]
    if any(len(place) != 9 or not all(abs(value) < FARTHEST for value in place) for place in places):
        return "has slices with a damaged place", _ARCHIVE
    across, down, _ = _axes(planes[0])
    lengths = [
        abs(float(one @ other) - wanted) for one, other, wanted in ((across, across, 1), (down, down, 1), (across, down, 0))
    ]
    if max(lengths) > SQUARE:
        return "has rows and columns that are not at right angles to each other", _ARCHIVE
    if not all(map(_sized, planes)):
        return "has pixels of no size", _ARCHIVE
    return None


def _sized(plane: Plane) -> bool:
    """Whether the pixels of a plane have a size that can be."""
    return plane.spacing is not None and all(1 / FARTHEST < value < FARTHEST for value in plane.spacing)


def _axes(plane: Plane) -> tuple[Reals, Reals, Reals]:
    """The directions of a row, of a column, and of the normal (PS3.3 C.7.6.2.1.1)."""
    across, down = np.array(plane.orientation, np.float64).reshape(2, 3)
    return across, down, np.cross(across, down)


def _places(planes: Sequence[Plane]) -> Reals:
    return np.array([plane.position for plane in planes], np.float64)


def _along(planes: Sequence[Plane]) -> Reals:
    """How far each plane lies along the normal (N,), in mm."""
    distances: Reals = _places(planes) @ _axes(planes[0])[2]
    return distances


def _repeated(along: Reals, planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes at one position, where it has several: those nearer to each other than ``TOLERANCE`` of the usual distance."""
    order = np.argsort(along, kind="stable").tolist()
    apart = np.diff(along[order])
    wide = apart[apart > SAME_PLACE]
    least = max(SAME_PLACE, TOLERANCE * float(np.median(wide))) if len(wide) else np.inf
    groups: list[list[Plane]] = [[planes[order[0]]]]
    for at, distance in zip(order[1:], apart.tolist(), strict=True):
        if distance <= least:
            groups[-1].append(planes[at])
        else:
            groups.append([planes[at]])
    return [group for group in groups if len(group) > 1]


def _parted(planes: Sequence[Plane], names: tuple[str, ...]) -> Mapping[tuple[str, ...], list[Plane]]:
    parts: dict[tuple[str, ...], list[Plane]] = defaultdict(list)
    for plane in planes:
        told = dict(plane.told)
        parts[tuple(told.get(name, "") for name in names)].append(plane)
    return parts


def _doubled(planes: Sequence[Plane], along: Reals) -> Refused:
    repeated = _repeated(along, planes)
    count = sum(len(group) - 1 for group in repeated)
    numbers = some([str(plane.number) for group in repeated for plane in group], 4)
    problem = f"has {count} slice{'s' if count > 1 else ''} twice at one position, of the numbers {numbers}"
    return Refused(tuple(planes), problem, "Take the copies, or the other acquisition, out of the series.")


def _stack(planes: Sequence[Plane], along: Reals) -> Stack | Refused:
    order = np.argsort(along, kind="stable")
    sorted_planes = tuple(planes[at] for at in order)
    across, down, normal = _axes(sorted_planes[0])
    places = _places(sorted_planes)
    if len(sorted_planes) == 1:
        thickness = sorted_planes[0].thickness
        step = normal * (thickness if thickness and 1 / FARTHEST < thickness < FARTHEST else 1.0)
    elif uneven := _uneven(along[order], sorted_planes):
        return Refused(sorted_planes, *uneven)
    else:
        step = (places[-1] - places[0]) / (len(places) - 1)
    spacing_down, spacing_across = sorted_planes[0].spacing or (1.0, 1.0)
    columns = np.column_stack([across * spacing_across, down * spacing_down, step])
    off = np.linalg.solve(columns, (places - (places[0] + np.arange(len(places))[:, None] * step)).T)
    if np.abs(off).max() > TOLERANCE:
        problem = f"has slices that are shifted against each other, by up to {np.abs(off[:2]).max():.3g} pixels"
        return Refused(sorted_planes, problem, "Resample it onto one grid, or take it out.")
    affine = np.eye(4)
    affine[:3] = np.column_stack([columns, places[0]])
    affine[:2] *= -1  # to NIfTI's axes, to the right and front
    size = float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(np.clip(step @ normal / size, -1, 1))))
    shape = (len(sorted_planes), sorted_planes[0].rows, sorted_planes[0].columns)
    drift = float(np.linalg.norm(step - normal * (step @ normal))) * (len(sorted_planes) - 1)
    tilted = drift > TOLERANCE * min(spacing_down, spacing_across)
    note = f"has slices tilted by {angle:.3g} degrees, and is read as they lie" if tilted else ""
    rows = tuple(tuple(float(value) for value in row) for row in affine)
    return Stack(sorted_planes, shape, (size, float(spacing_down), float(spacing_across)), rows, note)


def _uneven(along: Reals, planes: Sequence[Plane]) -> tuple[str, str] | None:
    """What is wrong with distances (N,) along the normal that are not equal, and what to do; None where they are.

    Each slice must lie within ``TOLERANCE`` of a distance of where it would with equal ones.
    """
    apart = np.diff(along)
    even = along[0] + np.arange(len(along)) * (along[-1] - along[0]) / (len(along) - 1)
    if np.abs(along - even).max() <= TOLERANCE * float(apart.mean()):
        return None
    for usual in (float(np.median(apart)), float(apart.min())):  # of few slices half may be missing
        times = np.rint(apart / usual)
        gaps = np.flatnonzero(times > 1).tolist()
        if not 0 < len(gaps) <= len(apart) / 2 or np.abs(apart - times * usual).max() > TOLERANCE * usual:
            continue
        lost = int((times[gaps] - 1).sum())
        where = some([f"{planes[at].number} and {planes[at + 1].number}" for at in gaps], 3)
        problem = f"lacks {lost} slice{'s' if lost > 1 else ''}, between the numbers {where}: {usual:.4g} mm are usual there"
        return problem, _ARCHIVE
    return f"has slices at unequal distances, from {apart.min():.4g} to {apart.max():.4g} mm", _RESAMPLE


def _noted(stack: Stack, words: str) -> Stack:
    said = f"{stack.note}, and {words}" if stack.note else words
    return Stack(stack.planes, stack.shape, stack.spacing, stack.affine, said)
