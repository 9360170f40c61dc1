"""A file of DICOM by itself, outside of any archive: a picture, a volume of many frames, or a segmentation."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from debride.data.dicom.dicom_files import read_dicom, stamp_of
from debride.data.dicom.elements import functional_group, own_groups, shared_groups, text
from debride.data.dicom.handles import LabelHandle, Part, SeriesHandle, Slice
from debride.data.dicom.label_facts import LABELMAP, SEG, LabelFacts
from debride.data.dicom.quiet import quiet
from debride.data.dicom.stacks import Plane, Stack, stacks_of
from debride.data.dicom.tags import read_facts
from debride.types import DataError

_CONVERT = "Put it into a data set of DICOM, with segments.json, or convert it."


def single_series(path: Path) -> SeriesHandle:
    """The image that a file holds. Raises DataError for one that holds none, or several."""
    return _series(path, *stamp_of(path, path))


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM SEG."""
    return isinstance(read_facts(path, path), LabelFacts)


def single_label(path: Path) -> tuple[LabelHandle, SeriesHandle]:
    """A segmentation whose segment numbers are class ids, and the grid that its own frames lie on.

    That is the one of its series where the first segment has every plane, as ours do. Raises DataError for what is no
    segmentation, and for frames that make no grid.
    """
    return _label(path, *stamp_of(path, path))


@lru_cache(maxsize=64)
def _series(path: Path, *stat: int) -> SeriesHandle:
    facts = read_facts(path, path)
    if facts is None or isinstance(facts, LabelFacts):
        problem = "is a label of DICOM, not an image" if facts else "is no DICOM image"
        raise DataError(path, problem, "Give an image." if facts else "Give it its own ending.")
    return _one_stack(path, facts.planes, facts.modality)


def _one_stack(path: Path, planes: tuple[Plane, ...], modality: str) -> SeriesHandle:
    found = stacks_of(planes, modality)
    stack = next((each for each in found if not isinstance(each, Stack)), found[0])
    if not isinstance(stack, Stack):
        raise DataError(path, stack.problem, stack.remedy)
    if len(found) != 1:
        raise DataError(path, f"holds {len(found)} images", _CONVERT)
    slices = tuple(Slice(path.name, plane.instance, plane.frame) for plane in stack.planes)
    return SeriesHandle(".", slices, stack.shape, stack.planes[0].channels, stack.spacing, stack.affine, modality)


@lru_cache(maxsize=64)
def _label(path: Path, *stat: int) -> tuple[LabelHandle, SeriesHandle]:
    with quiet():
        try:
            header = read_dicom(path, path, stop_before_pixels=True)
            if str(header.get("SOPClassUID", "")) not in (SEG, LABELMAP):
                raise DataError(path, "is no DICOM SEG", "Give a segmentation.")
            numbers = sorted(int(item.SegmentNumber) for item in header.SegmentSequence if int(item.SegmentNumber) > 0)
            names = {int(item.SegmentNumber): text(item, "SegmentLabel") for item in header.SegmentSequence}
            planes = tuple(_planes(header))
        except DataError:
            raise
        except Exception as error:  # its words may name a person
            raise DataError(path, f"cannot be read ({type(error).__name__})", "Restore the file, it is damaged.") from None
    if not numbers or numbers[-1] > 253:
        raise DataError(path, f"has {len(numbers)} segments, up to the number {max(numbers, default=0)}", "Use 1 to 253.")
    series = _one_stack(path, planes, text(header, "Modality"))
    parts = tuple(Part(path.name, number, number) for number in numbers)
    called = ("background", *(names.get(number, f"number {number}") for number in range(1, numbers[-1] + 1)))
    return LabelHandle(".", "", parts, len(called), names=called), series


def _planes(header: Any) -> list[Plane]:
    """The places of frames, each once: of ours all that the series has."""
    shared = shared_groups(header)
    found: dict[Any, Plane] = {}
    for own in own_groups(header) or [None]:
        group = partial(functional_group, own=own, shared=shared)
        derived = group("DerivationImageSequence")
        image: Any = next(iter(derived.get("SourceImageSequence") or ()), {})
        position = _numbers(group("PlanePositionSequence").get("ImagePositionPatient"))
        instance, frame = text(image, "ReferencedSOPInstanceUID"), int(image.get("ReferencedFrameNumber") or 0)
        plane = Plane(
            file="",
            instance=instance,
            frame=frame,
            number=len(found) + 1,
            rows=int(header.Rows),
            columns=int(header.Columns),
            channels=1,
            position=position,
            orientation=_numbers(group("PlaneOrientationSequence").get("ImageOrientationPatient")),
            spacing=_numbers(group("PixelMeasuresSequence").get("PixelSpacing")),
        )
        found.setdefault(position or (instance, frame), plane)
    return [*found.values()]


def _numbers(said: Any) -> tuple[float, ...] | None:
    return None if said is None else tuple(float(number) for number in said)
