"""Labels and the series that they belong to: by reference, by frame of reference, by reader, by date; what is refused."""

import json

import pytest

from debride.data.dicom.label_facts import LabelFacts, SegmentFacts
from debride.data.dicom.pairing import Imaged, LabelObject, pair
from debride.data.dicom.segments_file import read_segments
from debride.notes import take_notes

CLASSES = [{"name": name, "segments": [{"label": name}]} for name in ("heart", "lesion")]


def image(case, series="1.1", frame="1.9", instances="abc", stacks=1, description="T1", **more):
    own = frozenset(f"{series}.{letter}" for letter in instances)
    return Imaged(case, f"{case}.dicom-series", series, stacks, frame, own, "MR", description, **more)


def label(name, *segments, series="1.1", instances="abc", frame="1.9", created="20200101", reader="", frames=()):
    numbered = tuple(
        SegmentFacts(at, text, None, dict(enumerate(frames, 1)).get(at, "")) for at, text in enumerate(segments, 1)
    )
    referenced = ((series, tuple(f"{series}.{letter}" for letter in instances)),) if series else ()
    return LabelObject(f"folder/{name}", name, reader, LabelFacts("9", "SEG", referenced, frame, numbered, created, "", ""))


@pytest.fixture
def paired(tmp_path):
    def run(images, labels, **entries):
        (tmp_path / "segments.json").write_text(json.dumps({"format": "dicom", "classes": CLASSES, **entries}))
        problems = []
        found = pair(tmp_path, images, labels, read_segments(tmp_path), problems.append)
        return found, [str(problem).replace(str(tmp_path), "ROOT") for problem in problems]

    take_notes()
    yield run
    take_notes()


def parts(found, case):
    return [[(part.file, part.number, part.class_id) for part in each.handle.parts] for each in found.labelled[case]]


def test_by_the_series_that_it_refers_to(paired):
    found, problems = paired(
        [image("mr-1"), image("mr-2", series="1.2")],
        [label("seg-2", "Lesion", "couch", series="1.2"), label("seg-1", "lesion", "HEART", "heart")],
        ignored=[{"label": "Couch"}],
        studies="archive",
        threshold=0.25,
    )
    assert not problems and not found.refused
    assert parts(found, "mr-1") == [[("folder/seg-1", 2, 1), ("folder/seg-1", 3, 1), ("folder/seg-1", 1, 2)]]
    assert parts(found, "mr-2") == [[("folder/seg-2", 1, 2)]]
    (only,) = found.labelled["mr-2"]
    handle = only.handle
    assert (only.rater, only.drawn, handle.series, handle.studies) == (None, None, "mr-2.dicom-series", "archive")
    assert (handle.classes, handle.names, handle.threshold) == (3, ("background", "heart", "lesion"), 0.25)
    assert handle.files == ("folder/seg-2",) and not handle.elsewhere


def test_by_the_frame_of_reference_where_it_refers_to_nothing_here(paired):
    found, problems = paired([image("mr-1"), image("mr-2", series="1.2", frame="1.8")], [label("seg-1", "heart", series="1.7")])
    assert list(found.labelled) == ["mr-1"] and not problems
    assert "refers to no series that is here" in " ".join(take_notes())
    found, problems = paired([image("mr-1"), image("mr-2", series="1.2")], [label("seg-1", "heart", series="")])
    assert not found.labelled and "may be a label of several series, of the cases mr-1, mr-2" in problems[0]
    found, problems = paired([image("mr-1")], [label("seg-1", "heart", series="", frame="1.5")])
    assert not found.labelled and not problems and "is a label of no series that is here" in " ".join(take_notes())


def test_labels_of_series_that_are_no_cases_are_left_alone(paired):
    images = [image("mr-1", description="T2"), image("mr-2", series="1.2")]
    objects = [label("seg-1", "unheard of"), label("seg-2", "heart", series="1.2")]
    found, problems = paired(images, objects, series=[{"description": "T1*"}])
    assert list(found.labelled) == ["mr-2"] and not problems and not take_notes()


def test_instances_choose_among_the_stacks_of_a_series(paired):
    stacks = [image("mr-1", instances="abc", stacks=2), image("mr-2", instances="def", stacks=2)]
    found, problems = paired(stacks, [label("seg-1", "heart", instances="ab"), label("seg-2", "lesion", instances="cd")])
    assert parts(found, "mr-1") == [[("folder/seg-1", 1, 1), ("folder/seg-2", 1, 2)]] and not problems
    assert parts(found, "mr-2") == [[("folder/seg-2", 1, 2)]]
    assert all(each.handle.elsewhere for own in found.labelled.values() for each in own)
    found, _ = paired(stacks, [label("seg-1", "heart", instances="")])
    assert list(found.labelled) == ["mr-1", "mr-2"]
    found, problems = paired(stacks, [label("seg-1", "heart", instances="xyz")])
    assert not found.labelled and "is a label of slices that are not here" in problems[0]
    known = frozenset(f"1.1.{letter}" for letter in "abcdef")
    whole = [image("mr-1", instances="abc", stacks=2, others=known), image("mr-2", instances="def", stacks=2, others=known)]
    found, problems = paired(whole, [label("seg-1", "heart", instances="aq")])
    assert not found.labelled and "refers to 1 slices that are not here" in problems[0]


def test_an_unknown_segment_is_refused_once_by_name(paired):
    images = [image("mr-1"), image("mr-2", series="1.2"), image("mr-3", series="1.3")]
    objects = [label("seg-1", "heart", 'a "b"'), label("seg-2", 'a "b"', series="1.2"), label("seg-3", "heart", series="1.3")]
    found, problems = paired(images, objects)
    assert list(found.labelled) == ["mr-3"] and found.refused == {"mr-1", "mr-2"} and len(problems) == 1
    assert problems[0].startswith("ROOT/segments.json: does not say what the segment 'a \"b\"' is, of seg-1, seg-2.")
    assert 'Add {"label": "a \\"b\\""} to a class, or to "ignored".' in problems[0]


def test_several_objects_of_a_series(paired):
    objects = [
        label("seg-b", "heart", created="20200102", reader="r-1"),
        label("seg-a", "lesion", created="20200101", reader="r-2"),
        label("seg-c", "couch", created="20200103", reader="r-3"),
    ]
    ignored = [{"label": "couch"}]
    found, problems = paired([image("mr-1")], objects, ignored=ignored)
    assert parts(found, "mr-1") == [[("folder/seg-a", 1, 2), ("folder/seg-b", 1, 1)]] and not problems
    assert found.labelled["mr-1"][0].handle.files == ("folder/seg-a", "folder/seg-b", "folder/seg-c")
    found, problems = paired([image("mr-1")], objects, ignored=ignored, objects="latest")
    assert parts(found, "mr-1") == [[("folder/seg-b", 1, 1)]] and not problems
    found, problems = paired([image("mr-1")], objects, ignored=ignored, objects="readers")
    assert [each.rater for each in found.labelled["mr-1"]] == ["r-1", "r-2"] and not problems
    assert parts(found, "mr-1") == [[("folder/seg-b", 1, 1)], [("folder/seg-a", 1, 2)]]


@pytest.mark.parametrize(
    ("objects", "created", "reader", "words"),
    [
        ("merge", ("1", "2"), ("r-1", "r-2"), "seg-2: has the class 'heart' of mr-1, as seg-1 has"),
        ("latest", ("1", "1"), ("r-1", "r-2"), "seg-2: is one of 2 labels of mr-1, and dates do not say"),
        ("latest", ("", "1"), ("r-1", "r-2"), "dates do not say"),
        ("readers", ("1", "2"), ("r-1", ""), "seg-2: does not say who drew it, and is one of 2 labels of mr-1"),
        ("readers", ("1", "2"), ("r-1", "r-1"), "seg-2: has the class 'heart' of mr-1, as seg-1 has"),
    ],
)
def test_objects_that_contradict_each_other(paired, objects, created, reader, words):
    labels = [label(f"seg-{at + 1}", "heart", created=created[at], reader=reader[at]) for at in (0, 1)]
    found, problems = paired([image("mr-1")], labels, objects=objects)
    assert not found.labelled and found.refused == {"mr-1"}
    assert len(problems) == 1 and words in problems[0]


def test_an_object_of_nothing_but_ignored_segments_is_no_label(paired):
    found, problems = paired([image("mr-1")], [label("seg-1", "couch")], ignored=[{"label": "couch"}])
    assert not found.labelled and not found.refused and not problems


def test_classes_without_a_segment(paired):
    """They are background, or were not drawn; a combination was where all of its classes were."""
    images, objects = [image("mr-1"), image("mr-2", series="1.2")], [label("seg-1", "heart")]
    objects.append(label("seg-2", "lesion", "heart", series="1.2"))
    found, _ = paired(images, objects)
    assert [found.labelled[case][0].drawn for case in ("mr-1", "mr-2")] == [None, None]
    found, _ = paired(images, objects, absent="undrawn", combined=[["heart", "lesion"]])
    assert [found.labelled[case][0].drawn for case in ("mr-1", "mr-2")] == [("heart",), None]
    assert found.labelled["mr-1"][0].handle.combined == ((1, 2),)


@pytest.mark.parametrize("objects", [{"frame": "1.5"}, {"frames": ("1.5",)}])
def test_another_frame_of_reference_than_the_series_is_refused(paired, objects):
    found, problems = paired([image("mr-1")], [label("seg-1", "heart", **objects)])
    assert not found.labelled and found.refused == {"mr-1"}
    assert "seg-1: has another frame of reference than its series, of the case mr-1" in problems[0]
    found, problems = paired([image("mr-1", frame="")], [label("seg-1", "heart", **objects)])
    assert not problems and found.labelled
