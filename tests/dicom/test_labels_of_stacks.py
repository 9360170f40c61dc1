"""Series of several stacks: a label is read on those that it was drawn on, whatever instances its header lists."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from tests.dicom_labels_made import make_rtstruct, make_seg, outlines
from tests.dicom_made import Series, localiser, make_series, uid
from tests.dicom_studies import fix_key, phantom, save_segments

from debride.data.formats.dicom import Dicom
from debride.data.pixels.dicom import Dicom as Pixels
from debride.types import Case, DataError

VOXELS, LABEL = phantom(np.random.default_rng(3), (3, 16, 16))
MASKS = {"Heart": LABEL > 0}
OUTLINES = {"Heart": outlines(LABEL > 0)}


def phases(root: Path) -> tuple[Series, Series]:
    """Two acquisitions at the same places, of one series."""

    def of(acquisition: int) -> Any:
        def change(one: Dataset, k: int) -> None:
            one.AcquisitionNumber, one.SOPInstanceUID = acquisition, uid("phase", acquisition, k)

        return change

    first, second = (make_series(root / f"phase{at}", VOXELS + at, change=of(at), salt="one") for at in (1, 2))
    assert first.uid == second.uid
    return first, second


def names_all(*series: Series) -> Any:
    """Lists the instances of all these in a SEG's header, as programs do that read a folder."""

    def change(made: Dataset) -> None:
        (listed,) = made.ReferencedSeriesSequence
        template = listed.ReferencedInstanceSequence[0]
        listed.ReferencedInstanceSequence = [
            _reference(template, str(image.SOPInstanceUID)) for each in series for image in each.datasets
        ]

    return change


def _reference(template: Dataset, instance: str) -> Dataset:
    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = template.ReferencedSOPClassUID, instance
    return one


def opened(root: Path, **entries: Any) -> tuple[dict[str, Case], list[str]]:
    """The cases by the first number of their image, and what is wrong."""
    save_segments(root, **entries)
    fix_key(root)
    problems: list[DataError] = []
    cases: tuple[Case, ...] = ()
    try:
        cases = Dicom().read(root, problems.append).cases
    except DataError as problem:  # where there is no case at all
        problems.append(problem)
    return {str(case.image[0].name): case for case in cases}, [str(problem) for problem in problems]


def read(case: Case) -> Any:
    assert case.label is not None
    return Pixels().values(case.label)[0]


def split(cases: dict[str, Case]) -> tuple[Case, Case]:
    """The cases of the first and the second phase."""
    first, second = sorted(cases.values(), key=lambda case: int(Pixels().image(case.image[0])[0].astype(int).sum()))
    return first, second


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_a_label_of_one_phase_is_no_label_of_another(tmp_path: Path, kind: str) -> None:
    first, second = phases(tmp_path)
    if kind == "SEG":
        make_seg(second, MASKS, tmp_path / "label", change=names_all(first, second))
    else:

        def change(made: Dataset) -> None:
            study = made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
            images = study.RTReferencedSeriesSequence[0].ContourImageSequence
            images += [_reference(images[0], str(image.SOPInstanceUID)) for image in first.datasets]

        make_rtstruct(second, OUTLINES, tmp_path / "label", change=change)
    cases, problems = opened(tmp_path)
    assert not problems and len(cases) == 2
    wrong, right = split(cases)
    assert (read(right) == (LABEL > 0)).all() and read(right).any()
    with pytest.raises(DataError, match=r'drawn on other slices of its series, and nothing of it on these.*"left_out"'):
        read(wrong)
    left, problems = opened(tmp_path, left_out=[wrong.id])
    assert [case.id for case in left.values()] == [right.id] and not problems


def test_labels_of_both_phases_are_each_on_their_own(tmp_path: Path) -> None:
    first, second = phases(tmp_path)
    make_seg(second, {"Heart": LABEL > 0}, tmp_path / "a", change=names_all(first, second))
    make_seg(first, {"Lesion": LABEL == 2}, tmp_path / "b", change=names_all(first, second))
    one, other = split(opened(tmp_path)[0])
    assert (read(one) == (LABEL == 2) * 2).all() and (read(other) == (LABEL > 0)).all()


def test_a_label_that_names_no_slices_may_not_be_of_several_stacks(tmp_path: Path) -> None:
    def change(made: Dataset) -> None:
        del made.ReferencedSeriesSequence

    first, second = phases(tmp_path)
    make_seg(second, MASKS, tmp_path / "label", change=change)
    cases, problems = opened(tmp_path)
    assert "may be a label of several stacks of one series" in problems[0] and len(problems) == 1
    (wrong,) = (case for case in cases.values() if (Pixels().image(case.image[0])[0] == first.voxels).all())
    left, problems = opened(tmp_path, left_out=[wrong.id])
    assert not problems and (read(next(iter(left.values()))) == (LABEL > 0)).all()


def test_a_scout_that_is_listed_with_the_slices_is_not_missed(tmp_path: Path) -> None:
    """Two phases and a localiser in one series: a label that lists them all is read on its phase."""
    first, second = phases(tmp_path)
    scout = Dataset()
    scout.SOPInstanceUID = uid(first.uid, "localiser", None)
    localiser(tmp_path, first)
    listed = Series(**{**vars(first), "datasets": [*first.datasets, scout]})
    make_seg(second, MASKS, tmp_path / "label", change=names_all(listed, second))
    cases, problems = opened(tmp_path)
    assert not problems and (read(split(cases)[1]) == (LABEL > 0)).all()


def test_references_to_images_of_another_study(tmp_path: Path) -> None:
    """PS3.3 C.12.2: they stand in a sequence of their own, and choose between two series of one frame of reference."""

    def change(made: Dataset) -> None:
        other = Dataset()
        other.StudyInstanceUID, other.ReferencedSeriesSequence = second.study, made.ReferencedSeriesSequence
        made.StudiesContainingOtherReferencedInstancesSequence = [other]
        del made.ReferencedSeriesSequence
        made.StudyInstanceUID = uid("another study")

    make_series(tmp_path / "first", VOXELS, number=1)
    second = make_series(tmp_path / "second", VOXELS, number=2)
    make_seg(second, MASKS, tmp_path / "label", change=change)
    cases, problems = opened(tmp_path)
    (case,) = cases.values()
    assert not problems and (Pixels().image(case.image[0])[0] == second.voxels).all() and read(case).any()


def test_mosaics_are_refused(tmp_path: Path) -> None:
    def change(one: Dataset, k: int) -> None:
        one.ImageType, one.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], k
        one.ImagePositionPatient = ["0", "0", "0"]

    make_series(tmp_path / "functional", VOXELS, change=change)
    cases, problems = opened(tmp_path)
    assert not cases and "has mosaics, each of which shows several slices" in problems[0]


def test_pixels_of_a_labelmap_that_no_segment_describes(tmp_path: Path) -> None:
    made = make_series(tmp_path / "series", VOXELS)

    def change(seg: Dataset) -> None:
        seg.SegmentSequence = seg.SegmentSequence[:-1]

    make_seg(made, {"Heart": LABEL == 1, "Lesion": LABEL == 2}, tmp_path / "label", kind="LABELMAP", change=change)
    cases, problems = opened(tmp_path)
    assert not problems
    with pytest.raises(DataError, match="has pixels of the segment 2, which it does not describe"):
        read(next(iter(cases.values())))
