"""segments.json: what it may say, what is a class, what becomes regions, and what is proposed."""

import json

import pytest

from debride.data.dicom.label_facts import LABEL_TAGS, LabelFacts, SegmentFacts, label_facts
from debride.data.dicom.proposing import propose
from debride.data.dicom.segments_file import Entry, read_segments
from debride.data.label_regions import memberships, not_painted
from debride.records import read_as
from debride.types import DataError

CODE = ("10200004", "SCT")
LIVER = {"name": "liver", "segments": [{"label": "Liver", "code": list(CODE)}, {"label": "Hepar"}]}
LESION = {"name": "lesion", "segments": [{"code": ["52988006", "SCT"]}]}
VESSEL = {"name": "vessel", "segments": [{"label": "Portal vein"}]}
CLASSES = [LIVER, LESION, VESSEL]


def read(root, **entries):
    (root / "segments.json").write_text(json.dumps({"format": "dicom", "classes": CLASSES, **entries}))
    return read_segments(root)


def test_defaults(tmp_path):
    said = read(tmp_path)
    assert said.names == said.drawn == ("background", "liver", "lesion", "vessel") and said.regions == ()
    assert (said.studies, said.objects, said.absent, said.threshold) == (".", "merge", "background", 0.5)
    assert (said.unlabelled, said.trusted, said.series, said.ignored) == ("leave-out", (), (), ())


@pytest.mark.parametrize(
    ("label", "code", "expected"),
    [
        ("Liver", (*CODE, "Liver"), 1),
        (" L i v E r", (*CODE, "any words"), 1),
        ("Liver", None, None),
        ("Liver", ("1", "SCT", ""), None),
        ("hepar", None, 1),
        ("HEPAR", ("99", "99X", ""), 1),
        ("anything", ("52988006", "SCT", "Lesion"), 2),
        ("anything", ("52988006", "SRT", "Lesion"), None),
        ("portalvein", None, 3),
        ("Couch", None, 0),
        ("couch 2", None, None),
        ("", None, None),
    ],
)
def test_segments_are_of_the_class_whose_entry_they_fit(tmp_path, label, code, expected):
    """All that an entry says must fit; in labels case and spaces do not count."""
    assert read(tmp_path, ignored=[{"label": "couch"}]).match(label, code) == expected


def test_a_class_goes_before_what_is_ignored_and_two_classes_are_refused(tmp_path):
    said = read(tmp_path, ignored=[{"label": "hepar"}])
    assert said.match("Hepar", None) == 1
    with pytest.raises(DataError, match=r"'Hepar' \(52988006, SCT\) is of 'liver' and 'lesion'"):
        said.match("Hepar", ("52988006", "SCT", ""))


def test_what_is_written_of_a_class_is_of_it_again(tmp_path):
    said = read(tmp_path)
    for id in (1, 2, 3):
        entry = said.entry_of(id)
        assert said.match(entry.label, entry.code and (*entry.code, "")) == id
    assert said.entry_of(2) == Entry("lesion", ("52988006", "SCT"))
    assert said.code_of(1) == (*CODE, "Liver") and said.code_of(3) is None


def test_classes_that_overlap_are_regions(tmp_path):
    """Each class and combination comes back from the masks of all regions."""
    said = read(tmp_path, combined=[["liver", "lesion", "vessel"], ["lesion", "liver"], ["liver", "vessel"]])
    assert said.sets == ((1, 2, 3), (1, 2), (1, 3))
    assert said.names[4:] == ("liver & lesion & vessel", "lesion & liver", "liver & vessel")
    assert [region.name for region in said.regions] == [*said.names[1:4], *said.names[5:], said.names[4]]
    held = dict(zip((region.name for region in said.regions), memberships(said.regions, 7).tolist(), strict=True))
    assert held["liver"] == [False, True, False, False, True, True, True]
    assert held["lesion & liver"] == [False, False, False, False, True, True, False]
    assert list(not_painted(said.regions, len(said.names))) == []


@pytest.mark.parametrize(
    ("modality", "description", "expected"),
    [("MR", "T1 axial", True), ("mr", " t1  AXIAL fs", True), ("MR", "axial T1", False), ("CT", "x", True), ("US", "", False)],
)
def test_which_series_are_cases(tmp_path, modality, description, expected):
    said = read(tmp_path, series=[{"modality": "MR", "description": "T1*"}, {"modality": "CT"}])
    assert said.is_case(modality, description) == expected and read(tmp_path).is_case(modality, description)


WRONG = {
    "unknown entry": ({"class": []}, "has the entry 'class'"),
    "unknown in classes": ({"classes": [{**LIVER, "colour": 1}]}, "the entry 'colour' in \"classes\""),
    "unknown in segments": ({"classes": [{"name": "a", "segments": [{"labels": "x"}]}]}, "the entry 'labels' in \"segments\""),
    "unknown in ignored": ({"ignored": [{"name": "x"}]}, "the entry 'name' in \"ignored\""),
    "unknown in series": ({"series": [{"x": "y"}]}, "the entry 'x' in \"series\""),
    "says nothing": ({"ignored": [{}]}, '"ignored" that says nothing'),
    "series says nothing": ({"series": [{}]}, '"series" that says nothing'),
    "format": ({"format": "folder"}, "format is 'folder', not 'dicom'"),
    "no list": ({"classes": {"liver": 1}}, "classes is"),
    "no segments": ({"classes": [{"name": "liver"}]}, "segments is missing"),
    "empty segments": ({"classes": [{"name": "liver", "segments": []}]}, "names no segment of the class 'liver'"),
    "name twice": ({"classes": [LIVER, {**VESSEL, "name": "LIVER "}]}, "has a class 'LIVER '"),
    "background": ({"classes": [{**LIVER, "name": "Background"}]}, "has a class 'Background'"),
    "empty name": ({"classes": [{**LIVER, "name": " "}]}, "name is ' '"),
    "control": ({"classes": [{**LIVER, "name": "a\u001b[31m"}]}, "control character"),
    "segment twice": ({"classes": [LIVER, {"name": "x", "segments": [{"label": "HEPAR"}]}]}, "in the classes 'liver' and 'x'"),
    "code": ({"classes": [{"name": "x", "segments": [{"code": ["1"]}]}]}, "has 1 entries, not 2"),
    "number as code": ({"classes": [{"name": "x", "segments": [{"code": [1, "SCT"]}]}]}, "code"),
    "threshold 0": ({"threshold": 0}, "threshold is 0"),
    "threshold 2": ({"threshold": 2}, "threshold is 2"),
    "objects": ({"objects": "all"}, "objects is 'all'"),
    "absent": ({"absent": None}, "absent is None"),
    "combined of one": ({"combined": [["liver"]]}, "not several classes"),
    "combined of one twice": ({"combined": [["liver", "liver"]]}, "not several classes"),
    "combined unknown": ({"combined": [["liver", "spleen"]]}, "'spleen' in \"combined\", which is no class"),
    "combined twice": ({"combined": [["liver", "lesion"], ["lesion", "liver"]]}, "the same classes twice"),
    "combined as class": (
        {"classes": [*CLASSES, {"name": "liver & lesion", "segments": [{"label": "b"}]}], "combined": [["liver", "lesion"]]},
        "and this combination",
    ),
    "too many": (
        {"classes": [{"name": f"c{i}", "segments": [{"label": f"l{i}"}]} for i in range(254)]},
        "has 255 classes and combinations",
    ),
    "studies": ({"studies": ""}, "no path of a folder"),
    "studies with zero": ({"studies": "a\0b"}, "no path of a folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_may_not_say(tmp_path, name):
    entries, words = WRONG[name]
    with pytest.raises(DataError) as caught:
        read(tmp_path, **entries)
    assert words in str(caught.value) and str(tmp_path / "segments.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "dicom", "format": "dicom", "classes": []}', "[" * 9999])
def test_what_is_no_object(tmp_path, text):
    (tmp_path / "segments.json").write_text(text)
    with pytest.raises(DataError):
        read_segments(tmp_path)


def test_a_missing_one_is_said_with_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"has no segments.json. `debride check .* --write-segments` writes one"):
        read_segments(tmp_path)


def facts(*segments):
    found = tuple(SegmentFacts(at, label, code) for at, (label, code) in enumerate(segments, 1))
    return LabelFacts("1.2", "SEG", (), "", found, "", "", "")


def test_a_proposal_has_a_class_for_every_segment(tmp_path):
    """Labels that differ in case or spaces are one, codes that differ are entries of one class; frequent ones come first."""
    objects = [
        facts(("Left atrium", ("82471001", "SCT", "Left atrium")), ("Background", None), ("", ("7", "99X", "Tissue"))),
        facts(("left  atrium", None), ("Aorta\n", None), ("", ("8", "99X", "tissue"))),
        facts(("left atrium", ("82471001", "SCT", "Left atrium"))),
    ]
    proposed = propose(objects)
    (tmp_path / "segments.json").write_text(json.dumps(proposed))
    said = read_segments(tmp_path)
    assert said.drawn == ("background", "Left atrium", "Tissue", "tissue 2", "Aorta")
    assert proposed["classes"][0]["segments"] == [
        {"label": "Left atrium", "code": ["82471001", "SCT"]},
        {"label": "Left atrium"},
    ]
    assert said.match("Background", None) == 0
    assert all(said.match(each.label, each.code) is not None for one in objects for each in one.segments)
    assert propose([])["classes"] == []


def test_facts_of_headers(tmp_path):
    """Of a SEG and of an RT-STRUCT, by the few tags that are read of each; they outlive the index's JSON."""
    from dataclasses import asdict

    from pydicom import dcmread
    from tests.dicom_studies import make_study

    for at, kind in enumerate(("BINARY", "LABELMAP", "RTSTRUCT")):
        study = make_study(tmp_path, at, kind=kind)
        header = dcmread(study.file, stop_before_pixels=True, specific_tags=list(LABEL_TAGS), force=True)
        found = label_facts(header, "here")
        series, instances = found.series[0]
        assert (found.kind, series) == ("RTSTRUCT" if kind == "RTSTRUCT" else "SEG", study.series.uid)
        assert set(instances) == {str(one.SOPInstanceUID) for one in study.series.datasets}
        assert [(each.number, each.label) for each in found.segments] == [(1, "Heart"), (2, "Lesion")]
        assert found.frame_of_reference == study.series.frame and found.created.startswith(study.series.person.studied)
        assert found.reader == "Umrisser^Kunibert"
        assert (found.segments[0].code == ("80891009", "SCT", "Heart")) == (kind != "RTSTRUCT")
        assert read_as(LabelFacts, json.loads(json.dumps(asdict(found))), "index", "") == found


@pytest.mark.parametrize("change", ["SegmentSequence", "twice", "number"])
def test_headers_that_are_no_labels(tmp_path, change):
    from pydicom import dcmread
    from tests.dicom_studies import make_study

    header = dcmread(make_study(tmp_path, 0).file, stop_before_pixels=True)
    if change == "twice":
        header.SegmentSequence[1].SegmentNumber = 1
    elif change == "number":
        del header.SegmentSequence[1].SegmentNumber
    else:
        del header.SegmentSequence
    with pytest.raises(DataError, match="here"):
        label_facts(header, "here")
