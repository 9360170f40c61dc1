import base64
import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest
from tests.large_audit import write_large_audit

from debride.audit.findings.finding import Finding, FindingKind
from debride.audit.shown import charts as plots
from debride.audit.shown.audit_report import KINDS, write_report
from debride.audit.shown.finding_pictures import picture
from debride.types import DataError

EVIL = """<script>alert("x")</script>&'"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
POLICY += "base-uri 'none'; form-action 'none'"


def finding(case="p1", number=1, kind="missing", given=0, proposed=1, **changes):
    base = {"box": ((2, 6), (3, 9)), "voxels": 12, "volume": None, "severity": 0.4, "confidence": 0.9}
    return Finding(case=case, number=number, kind=kind, given=given, proposed=proposed, **{**base, **changes})


def line(case="p1", rank=1, wrong=0.9, flagged=1, kind="missing", findings=1, dice=0.5):
    known = {"rank": rank, "case": case, "patient": case, "split": "train", "rater": "", "trusted": 0, "wrong": wrong}
    return {**known, "flagged": flagged, "kind": kind, "findings": findings, "dice": dice}


def audit(folder, findings, cases, classes=("background", "liver", "tumour"), pictured=(), **about):
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    with (folder / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, line())
        writer.writeheader()
        writer.writerows(cases)
    (folder / "findings.jsonl").write_text("".join(json.dumps(asdict(each)) + "\n" for each in findings))
    record = {
        "version": "0.1",
        "dataset": {"root": "/data/livers", "format": "folder", "classes": list(classes), "ndim": 2},
        "predictions": {"source": "cross-validation", "folds": 5},
        "labels": {case["case"]: "0" * 32 for case in cases},
        "summary": {"cases": len(cases), "flagged": 1, "share_wrong": 0.125, "share_wrong_interval": [0.05, 0.2]},
    }
    (folder / "audit.json").write_text(json.dumps({**record, **about}))
    label = np.zeros((16, 16), np.uint8)
    png = picture(np.zeros((1, 16, 16)), label, label, label, ((0, 4), (0, 4)), 2, None)
    for each in pictured:
        (folder / "pictures" / f"{each.case}-{each.number}.png").write_bytes(png)
    return folder


class Page(HTMLParser):
    """Collects tags with their attributes, the text by section, and what the script is given."""

    def __init__(self, folder, **options):
        super().__init__()
        self.html = write_report(folder, **options).read_text(encoding="utf-8")
        self.tags, self.text, self.scripts, self.inside = [], "", [], False
        self.feed(self.html)
        self.data = json.loads(self.scripts[-2])
        ids = [attrs.get("id", "") for tag, attrs in self.tags if tag == "script"]
        self.pictures = {name: text for name, text in zip(ids, self.scripts, strict=True) if name != "data" and name}

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag in ("script", "style") and tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif not self.inside:
            self.text += data

    def values(self, attribute):
        return [attrs[attribute] for _, attrs in self.tags if attribute in attrs]

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def usual(folder, **about):
    findings = [
        finding("p1", 1, confidence=0.95),
        finding("p1", 2, "boundary", 2, 0, displacement=-3.25, volume=1.5),
        finding("p2", 1, "extra", 1, 0),
    ]
    cases = [line("p1", 1, 0.97, findings=2), line("p2", 2, 0.6, 1, "extra"), line("p3", 3, 0.01, 0, "", 0, 0.93)]
    return audit(folder, findings, cases, pictured=findings[:2], **about)


def test_nothing_is_requested_from_outside(tmp_path):
    page = Page(usual(tmp_path))
    assert page.values("content")[0] == POLICY
    assert page.values("src") == page.values("href") == []
    assert not {"link", "iframe", "object", "base", "embed"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttp|import\(", re.sub(r"data:[^\"]*", "", page.html))
    assert page.scripts[-1].count("\n") < 240 and len(page.scripts) == 4


def test_pictures_lie_in_the_page_and_are_not_drawn_before_they_are_wanted(tmp_path):
    page = Page(usual(tmp_path))
    assert page.count("img") == page.count("article") == 1  # in the template alone
    assert list(page.pictures) == ["p0", "p1"]
    for name, (case, number) in zip(page.pictures, (("p1", 1), ("p1", 2)), strict=True):
        assert base64.b64decode(page.pictures[name]) == (tmp_path / "pictures" / f"{case}-{number}.png").read_bytes()


def test_the_page_shows_what_was_found(tmp_path):
    summary = {
        "cases": 3,
        "flagged": 2,
        "share_in_words": "about 12.5 % wrong (5.0 to 20.0 %)",
        "share_wrong": 0.125,
        "share_wrong_interval": [0.05, 0.2],
        "kinds": {"missing": 1, "swap": 0},
    }
    summary |= {"suggestion": "Repair the missing ones.", "warnings": ["Only one fold."]}
    text = " ".join(Page(usual(tmp_path, summary=summary)).text.split())
    for part in (
        "Audit of livers",
        "3 labelled, 2 flagged",
        "about 12.5 % wrong (5.0 to 20.0 %)",
        "Flagged, by kindmissing 1 Findings",
        "3 in 2 cases",
        "Warning. Only one fold.",
        "Suggestion. Repair the missing ones.",
        "cross-validation",
        "folds5",
        "The first 2 of 3 findings have pictures here",
        "Flagged cases have their probability in colour",
    ):
        assert part in text, part


def test_a_finding_says_what_changes_how_large_it_is_and_where(tmp_path):
    first, second, third = Page(usual(tmp_path)).data["findings"]
    assert (first["change"], first["size"], first["place"]) == ("background → liver", "12 pixels", "2–5 × 3–8")
    assert (first["confidence"], first["severity"], first["displacement"]) == (0.95, 0.4, "")
    assert (second["change"], second["size"]) == ("tumour → background", "1.5 ml (12 voxels)")
    assert second["displacement"] == "3.2 mm too far in" and third["case"] == 1


@pytest.mark.parametrize(
    ("changes", "change", "extent"),
    [
        ({"kind": "missing", "distance": 7.0}, "background → liver", "7.0 px long"),
        (
            {"kind": "boundary", "distance": 1.5, "displacement": -4.0},
            "background → liver",
            "off by 1.5 px, at most 4.0 px too far in",
        ),
        ({"kind": "shift", "distance": 5.0, "displacement": 5.0}, "the whole label", "off by 5.0 px"),
        ({"kind": "flip", "distance": 90.0}, "the whole label", ""),
        ({"kind": "gap", "distance": 6.0, "volume": 1.0}, "background → liver", "6.0 mm of slices"),
    ],
)
def test_a_finding_says_how_far_the_label_is_off(tmp_path, changes, change, extent):
    (found,) = Page(audit(tmp_path, [finding(**changes)], [line()])).data["findings"]
    assert (found["change"], found["displacement"]) == (change, extent)


def test_the_ranking_has_every_case_and_leads_to_its_findings(tmp_path):
    data = Page(usual(tmp_path)).data
    assert [column["name"] for column in data["columns"]] == ["case", "wrong", "kind", "findings", "dice"]
    name, wrong, kind, findings, dice = data["cases"]["cells"]
    assert name == [["p1", "p1"], ["p2", "p2"], ["p3", "p3"]]
    assert wrong == [[0.97, "0.97"], [0.6, "0.60"], [0.01, "0.01"]]
    assert (kind[1], findings[0], dice[2]) == (["extra", "extra"], [2, "2"], [0.93, "0.93"])
    assert data["cases"]["first"] == [0, 2, -1] and data["cases"]["flagged"] == [1, 1, 0]


def test_where_nothing_is_flagged_nobody_is_sent_to_flagged_cases(tmp_path):
    page = Page(audit(tmp_path, [], [line(flagged=0, kind="", findings=0, wrong=0.01)]))
    text = page.text.split("Cases, most suspicious first")[1]
    assert "No case is flagged." in text and "Flagged cases" not in text
    assert [attrs for tag, attrs in page.tags if attrs.get("class") == "box"] == [{"class": "box", "hidden": None}]
    kinds = {"cases": 1, "flagged": 0, "share_wrong": 0.1, "kinds": {}}
    unsure = Page(audit(tmp_path / "unsure", [], [line(flagged=0, findings=0, wrong=0.7)], summary=kinds)).text
    assert "No case is flagged, as the interval" in unsure and "Flagged, by kind" not in unsure


def test_the_report_speaks_of_itself_as_here_and_explains_its_shares(tmp_path):
    said = "Where they are wrong, repair them by decisions from report.html, or accept"
    page = Page(usual(tmp_path, summary={"cases": 3, "flagged": 1, "share_wrong": 0.1, "suggestion": said}))
    assert "by decisions that you make below, or accept" in page.text and "report.html" not in page.text
    titles = " ".join(page.values("title"))
    assert "how sure it is" in titles and "how much of the object" in titles
    assert "a case that comes first may have one of little confidence" in page.text


def test_where_nothing_can_be_told_no_probability_is_shown(tmp_path):
    told = {"share_in_words": "how many are wrong cannot be told", "share_wrong": None, "share_wrong_interval": [0, 1]}
    page = Page(audit(tmp_path, [], [line(flagged=0, kind="", findings=0, wrong=0)], summary=told))
    assert (
        "cannot be told" in page.text
        and "How likely labels are wrong" not in page.text
        and page.data["cases"]["cells"][1] == [[-1, "–"]]
    )
    assert [column["name"] for column in page.data["columns"]] == ["case", "wrong", "dice"]


def test_the_script_gets_the_findings_in_their_order(tmp_path):
    page = Page(usual(tmp_path))
    assert [(each["case"], each["number"], each["kind"], each["class"]) for each in page.data["findings"]] == [
        (0, 1, "missing", 1),
        (0, 2, "boundary", 2),
        (1, 1, "extra", 1),
    ]
    assert page.data["classes"] == {"1": "liver", "2": "tumour"}
    assert {attrs["value"] for tag, attrs in page.tags if tag == "option" and "value" in attrs} == {"", "1", "2"}
    other = Page(audit(tmp_path / "other", [finding()], [line()]))
    assert other.data["key"] != page.data["key"] == Page(tmp_path).data["key"]


def test_only_the_first_findings_have_pictures_and_the_page_says_so(tmp_path):
    page = Page(usual(tmp_path), limit=1)
    assert list(page.pictures) == ["p0"] and len(page.data["findings"]) == 3
    assert "The first 1 of 3 findings have pictures here." in page.text and "3 in 2 cases" in page.text
    assert Page(tmp_path, limit=0).pictures == Page(tmp_path, limit=-1).pictures == {}


def test_a_page_of_many_cases_is_no_larger_than_its_numbers(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    found = [len(write_large_audit(folder, cases)) for folder, cases in ((few, 20), (many, 420))]
    pages = [Page(folder) for folder in (few, many)]
    assert len(pages[1].tags) < 700
    assert len(pages[1].html) - len(pages[0].html) < 400 * 200 + (found[1] - found[0]) * 300
    assert [len(page.data["cases"]["flagged"]) for page in pages] == [20, 420]
    assert [len(page.data["findings"]) for page in pages] == found


def test_names_are_escaped_everywhere(tmp_path):
    name = EVIL.replace("/", "")
    summary = {"suggestion": EVIL, "warnings": [EVIL], "kinds": {EVIL: 3}}
    found = [finding(name), finding(name, 2, "boundary", 1, 0, displacement=2.0)]
    cases = [line(name, kind=EVIL, findings=2)]
    folder = audit(tmp_path, found, cases, ("background", EVIL), summary=summary, predictions={EVIL: {EVIL: EVIL}})
    (folder / "scores.csv").write_text(f'case,class,dice\nx,"{EVIL.replace(chr(34), chr(34) * 2)}",0.5\n')
    page = Page(folder)
    assert page.count("script") == 2 and page.html.count("<script") == 2
    assert page.data["cases"]["cells"][0][page.data["findings"][0]["case"]] == [name, name]
    assert page.data["findings"][0]["change"] == f"background → {EVIL}"
    assert page.text.count(EVIL) >= 8 and page.html.count("</script>") == 2
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)


def test_an_audit_that_found_nothing_still_has_a_report(tmp_path):
    page = Page(audit(tmp_path, [], [line(flagged=0, kind="", findings=0, wrong="nan", dice="")], summary={}))
    assert "Nothing was found." in page.text and "nan" not in page.text.lower() and page.data["findings"] == []
    assert "No case was compared." in Page(audit(tmp_path / "none", [], [], summary={})).text


def test_medians_of_the_scores_stand_by_class(tmp_path):
    folder = usual(tmp_path)
    rows = ["p1,liver,0.5,nan,a", "p2,liver,0.9,2,b", "p3,liver,0.8,4,", "p1,tumour,nan,,a"]
    (folder / "scores.csv").write_text("case,class,dice,bias,note\n" + "\n".join(rows) + "\n")
    text = " ".join(Page(folder).text.split())
    assert "class cases dice bias liver 3 0.8 3 tumour 1 – –".replace(" ", "") in text.replace(" ", "")


@pytest.mark.parametrize("name", ["audit.json", "cases.csv", "findings.jsonl"])
def test_what_is_missing_or_damaged_is_named(tmp_path, name):
    usual(tmp_path)
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=name):
        write_report(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=name):
        write_report(tmp_path)


def test_equal_audits_give_equal_reports(tmp_path):
    assert Page(usual(tmp_path)).html == Page(usual(tmp_path)).html


def test_every_kind_is_explained():
    assert set(KINDS) == set(get_args(FindingKind))


def bars(svg):
    """Tooltips of a chart as (bar, piece, count, height), in order."""
    found = []
    for rect in ET.fromstring(str(svg)).iter("rect"):
        bar, piece, count = re.fullmatch(r"(.*), (.*): (\d+)", rect.find("title").text).groups()
        found.append((bar, piece, int(count), float(rect.get("height"))))
    return found


def test_the_histogram_counts_every_finite_case():
    rng = np.random.default_rng(0)
    values = [*rng.random(400).tolist(), 0.0, 1.0, 0.05, math.nan]
    flagged = [value > 0.7 for value in values]
    found = bars(plots.wrong(values, flagged))
    for bar, piece, count, _ in found:
        low, high = (float(each) for each in bar.split(" to "))
        expected = 0
        for value, marked in zip(values, flagged, strict=True):
            inside = low - 1e-9 <= value < high - 1e-9 or (value == high == 1.0)
            expected += inside and marked == (piece == "flagged")
        assert count == expected, bar
    assert sum(each[2] for each in found) == len(values) - 1
    heights = {each[3] / each[2] for each in found if each[2] > 5}
    assert max(heights) - min(heights) < 0.1


def test_displacements_are_told_apart_by_their_sign():
    values = [-0.9, -0.2, 0.3, 0.35, 80.0, math.nan, *[1.7] * 97]
    found = bars(plots.displacement(values, "mm"))
    assert {piece for bar, piece, _, _ in found if bar.startswith("-")} == {"too far in"}
    assert {piece for bar, piece, _, _ in found if bar.startswith("+")} == {"too far out"}
    assert sum(each[2] for each in found) == 102
    assert found[-1][:3] == ("+1.80 to +2.00 mm", "too far out", 1)
    assert "+2" in str(plots.displacement(values, "mm")) and str(plots.displacement([], "px"))


def test_shares_and_biases_stand_with_their_intervals(tmp_path):
    summary = {"share_wrong": 0.1, "share_wrong_interval": [0.05, 0.2], "kind_shares": {EVIL: [0.08, 0.04, 0.16]}}
    of_class = {"liver": {"mean": [1.3, 0.9, 1.6], "patients": 30}, "tumour": {"mean": [-0.4, None, None], "patients": 3}}
    group = {"class": "liver", "by": "site", "value": "B", "bias": 4.0, "others": 1.0, "difference": [3.0, 2.0, 4.0]}
    summary |= {"bias": {"unit": "mm", "classes": of_class, "groups": [{**group, "patients": 9}]}, "noise": ["liver lies out."]}
    page = Page(usual(tmp_path, summary=summary))
    assert "<li>liver lies out.</li>" in page.html and EVIL not in page.html
    tips = [" ".join(tip.split()) for tip in re.findall("<title>([^<]*)</title>", page.html)]
    assert "any kind: 10 (5 to 20) % of the labels" in tips
    for tip in ("liver: 1.3 (0.9 to 1.6)", "tumour: -0.4", "liver, B: 4"):
        assert f"{tip} labels lie in (−) or out (+), mm" in tips
    svg = ET.fromstring(str(plots.intervals("t", [("a", 1.0, 0.5, 2.0), ("b", -2.0, None, None)], "mm", signed=True)))
    (bar,), (one, other) = svg.iter("rect"), svg.iter("circle")
    zero = float(next(svg.iter("line")).get("x1"))
    assert float(bar.get("x")) - zero == pytest.approx(float(bar.get("width")) / 3, abs=0.2)
    assert float(one.get("cx")) - zero == pytest.approx((zero - float(other.get("cx"))) / 2, abs=0.2)


def test_kinds_are_stacked_by_class():
    found = bars(plots.kinds({"extra": {"a<b": 3, "c": 1}, "swap": {"c": 2}}, ["a<b", "c"]))
    assert [each[:3] for each in found] == [("extra", "a<b", 3), ("extra", "c", 1), ("swap", "c", 2)]
    assert found[0][3] == pytest.approx(3 * found[1][3], abs=0.2)
    lower, upper, _ = ET.fromstring(str(plots.kinds({"extra": {"a": 3, "c": 1}, "swap": {"c": 2}}, ["a", "c"]))).iter("rect")
    assert float(upper.get("y")) + float(upper.get("height")) == pytest.approx(float(lower.get("y")), abs=0.2)
