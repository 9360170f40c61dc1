"""How far outlines lie outside what networks see: by class, and where it is different."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from debride.audit.evidence import CaseScore, ClassScore
from debride.audit.outline_bias import bias_lines, bias_of
from debride.types import Case

CLASSES = ("background", "liver")
NAN = math.nan


def cases_of(patients, raters=None, sites=None):
    return [
        Case(
            f"c{row}",
            (Path("i.png"),),
            Path("l.png"),
            patient,
            rater=raters[row] if raters else None,
            groups=(("site", sites[row]),) if sites else (),
        )
        for row, patient in enumerate(patients)
    ]


def found(cases, values, finest=None, parts=None, used=None):
    """The bias of cases whose labels of one class have these ``values``, and in ``parts`` those of slices."""
    parts = parts or [(NAN, NAN, NAN)] * len(cases)
    scores = {
        case.id: CaseScore(0.9, 0.1, 0.9, (ClassScore(1, 9, 9, 0.9, 0.9, 0.1, 0.8, 0.1, float(value), *part),), finest)
        for case, value, part in zip(cases, values, parts, strict=True)
    }
    return bias_of(cases, scores, used or [True] * len(cases), CLASSES)


def test_a_patient_counts_once_and_the_interval_is_that_of_a_trimmed_t_test():
    values = np.random.default_rng(0).normal(1.3, 0.5, 8)
    patients = [f"p{at}" for at in range(8)]
    once = found(cases_of(patients), values, 0.8)
    often = found(cases_of([each for each in patients for _ in range(5)]), np.repeat(values, 5), 0.8)
    assert once["classes"] == often["classes"] and once["unit"] == "mm"
    mean, low, high = once["classes"]["liver"]["mean"]
    ordered = np.sort(values)
    winsorised = np.array([ordered[1], *ordered[1:-1], ordered[-2]])  # a fifth of eight is one
    reach = stats.t.ppf(0.975, 5) * math.sqrt(winsorised.var(ddof=1) * 7 / (6 * 5))  # Yuen 1974
    assert (mean, low, high) == pytest.approx((ordered[1:-1].mean(), mean - reach, mean + reach))
    (line,) = bias_lines(once)
    assert line == f"labels of liver lie {mean:.2f} mm outside what networks see ({low:.2f} to {high:.2f} mm)"


def test_one_failed_prediction_decides_nothing():
    values = np.random.default_rng(1).normal(0, 0.3, 40)
    mean, _, _ = found(cases_of([f"p{at}" for at in range(40)]), [*values[:-1], 60.0])["classes"]["liver"]["mean"]
    assert abs(mean) < 0.2


def test_words_for_no_bias_few_patients_and_none():
    cases = cases_of([f"p{at}" for at in range(12)])
    (line,) = bias_lines(found(cases, [0.5, -0.5] * 6))
    assert line.startswith("labels of liver lie on average where networks see them: +0.00 px (")
    (line,) = bias_lines(found(cases[:3], [-2.0] * 3))
    assert line == "labels of liver lie 2.00 px inside what networks see; 3 patients are too few for an interval"
    assert bias_lines(found(cases, [NAN] * 12)) == [] == bias_lines(found([], []))


def sites(rng, by, patients=40):
    """Cases of ten sites, of which one lies ``by`` further out."""
    names = [f"site{at % 10}" for at in range(patients)]
    values = rng.normal(0.5, 0.5, patients) + [by * (name == "site3") for name in names]
    return cases_of([f"p{at}" for at in range(patients)], sites=names), values


def test_a_site_that_differs_is_named_with_its_difference():
    cases, values = sites(np.random.default_rng(0), 3.0, 80)
    result = found(cases, values)
    (group,) = result["groups"]
    mean, low, high = group["difference"]
    assert (group["class"], group["by"], group["value"], group["patients"]) == ("liver", "site", "site3", 8)
    assert low < 3.0 < high and mean == pytest.approx(3, abs=0.7)
    assert group["bias"] - group["others"] == pytest.approx(mean, abs=0.3)
    assert any("of site site3 lie" in line and "further out than those of the others" in line for line in bias_lines(result))


def test_groups_that_do_not_differ_are_hardly_ever_named():
    """At 5 % for all groups together: of 20 data sets with ten sites each, one. At 5 % for each group it would be eight."""
    rng = np.random.default_rng(2)
    named = sum(bool(found(*sites(rng, 0.0, 80), 1e-3)["groups"]) for _ in range(20))
    assert named <= 4


def test_a_difference_of_less_than_half_the_finest_spacing_is_left_unsaid():
    cases, values = sites(np.random.default_rng(0), 3.0, 80)
    assert found(cases, values, 8.0)["groups"] == [] and len(found(cases, values, 2.0)["groups"]) == 1


def test_raters_of_the_same_images_are_compared_image_by_image():
    """The images differ by far more than the raters."""
    rng = np.random.default_rng(3)
    images = rng.normal(0, 20, 12)
    patients = [f"p{at}" for at in range(12) for _ in range(3)]
    values = np.repeat(images, 3) + np.tile([0.0, 0.1, -1.5], 12) + rng.normal(0, 0.2, 36)
    result = found(cases_of(patients, raters=["ann", "ben", "cid"] * 12), values)
    first = result["groups"][0]
    assert (first["by"], first["value"]) == ("rater", "cid") and first["difference"][0] == pytest.approx(-1.55, abs=0.2)
    assert {(group["by"], group["value"]) for group in result["groups"]} >= {("rater", "cid")}


def test_a_patient_unlike_the_others_is_named_where_it_has_several_labels():
    rng = np.random.default_rng(4)
    patients = [f"p{at // 4}" for at in range(100)]
    values = rng.normal(0, 0.5, 100) + [6.0 * (patient == "p7") for patient in patients]
    (group,) = found(cases_of(patients), values)["groups"]
    assert (group["by"], group["value"]) == ("patient", "p7") and group["difference"][0] == pytest.approx(6, abs=0.7)
    others = np.array([np.median(values[4 * at : 4 * at + 4]) for at in range(25) if at != 7])
    reach = others.std(ddof=1) * math.sqrt(1 + 1 / 24) * stats.t.ppf(1 - 0.05 / 25 / 2, 23)
    assert group["difference"][2] - group["difference"][0] == pytest.approx(reach)
    once = [f"p{at}" for at in range(24)] + ["odd"]
    assert found(cases_of(once), [*rng.normal(0, 0.5, 24), 6.0])["groups"] == []


def test_the_first_slices_are_compared_with_the_middle_of_the_same_volumes():
    rng = np.random.default_rng(5)
    middle = rng.normal(0, 10, 15)
    parts = [(each - 2.0 + rng.normal(0, 0.3), each, each + rng.normal(0, 0.3)) for each in middle]
    result = found(cases_of([f"p{at}" for at in range(15)]), middle, 0.8, parts)
    (group,) = result["groups"]
    assert (group["by"], group["value"]) == ("slices", "first fifth") and group["difference"][0] == pytest.approx(-2, abs=0.3)
    assert "labels of liver in the first fifth of volumes lie 2.1" in bias_lines(result)[-1]
    assert "mm further in than those in the middle (" in bias_lines(result)[-1]


def test_labels_that_are_wrong_otherwise_are_left_out():
    cases, values = sites(np.random.default_rng(0), 3.0, 80)
    used = [dict(case.groups)["site"] != "site3" for case in cases]
    result = found(cases, values, used=used)
    assert result["groups"] == [] and result["classes"]["liver"]["patients"] == 72
