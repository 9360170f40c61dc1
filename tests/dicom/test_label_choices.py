"""What segments.json chooses, through a data set that is opened: readers, the latest, classes that were not drawn."""

import json

import numpy as np
import pytest
from tests.dicom_labels_made import make_seg
from tests.dicom_made import PEOPLE, make_series
from tests.dicom_studies import phantom, save_segments

from debride.api.datasets import check_dataset
from debride.data.dicom.pseudonyms import make_key
from debride.data.pixels.images import read_label


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three series, each with a label of Adam's, and a later one of Berta's that has no lesion but in the first."""
    root, labels = tmp_path_factory.mktemp("archive"), []
    for at in range(3):
        voxels, label = phantom(np.random.default_rng(at), (3, 16, 16))
        made = make_series(root / f"series{at}", voxels, person=PEOPLE[at], stored=12)
        heart, lesion = label == 1, label == 2
        make_seg(made, {"Heart": heart, "Lesion": lesion}, root / f"adam{at}", reader="Adam^A", salt="a")
        second = {"Heart": heart | lesion, **({} if at else {"Lesion": lesion})}
        late = lambda seg: setattr(seg, "ContentDate", "20300101")  # noqa: E731
        make_seg(made, second, root / f"berta{at}", reader="Berta^B", salt="b", change=late)
        labels.append(label)
    make_key(root)
    return root, labels


def opened(archive, **entries):
    root, labels = archive
    save_segments(root, **entries)
    checked = check_dataset(root, depth="all", jobs=1)
    return checked, labels


def label_of(case, dataset):
    return read_label(case.label, dataset)[0]


def test_readers_are_raters(archive):
    """A rater's case is named by the pseudonym of who drew it, and no name is anywhere in it."""
    checked, labels = opened(archive, objects="readers", absent="undrawn", combined=[["heart", "lesion"]])
    cases = checked.dataset.cases
    assert not checked.problems and len(cases) == 6 and len({case.rater for case in cases}) == 2
    assert all(case.id.endswith(f"@{case.rater}") and case.rater.startswith("r-") for case in cases)
    assert not any("Adam" in repr(case) or "Berta" in repr(case) for case in cases)
    assert sorted(case.annotated or () for case in cases) == [(), (), (), (), (1,), (1,)]
    plain = [label_of(case, checked.dataset) for case in cases if case.annotated is None]
    assert all(any(np.array_equal(label, own) for own in plain) for label in labels)


def test_the_latest_alone(archive):
    checked, labels = opened(archive, objects="latest", combined=[["heart", "lesion"]])
    assert not checked.problems and len(checked.dataset.cases) == 3
    found = [label_of(case, checked.dataset) for case in checked.dataset.cases]
    expected = [np.where(label == 2, 1 if at else 3, label) for at, label in enumerate(labels)]
    assert all(any(np.array_equal(each, own) for own in found) for each in expected)


def test_one_class_in_two_objects_is_refused_for_each_case(archive):
    checked, _ = opened(archive)
    problems = [each for each in checked.problems if "has the class 'heart' of mr-" in each.problem]
    assert len(problems) == 3 and all('"latest"' in each.remedy and each.file.startswith("file-") for each in problems)
    assert not any(person.number in json.dumps([each.__dict__ for each in checked.problems]) for person in PEOPLE)
