"""The file of predicted classes, and its evaluation against a data set: matching, what is written, and what is refused."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from debride.evaluation.class_metrics import intervals, measures
from debride.evaluation.class_predictions import read_predictions, write_predictions
from debride.evaluation.evaluate_classes import evaluate_classes
from debride.types import IGNORE, Case, DataError, Dataset

CLASSES = ("benign", 'one, "two"', "a|b")
IDS = [f"folder/case {n}" for n in range(12)]


def probabilities(cases=12, classes=3, seed=0):
    """Of four decimals, which are written and read back as they are."""
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=cases).round(4)


def data_set(root, targets=(0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 0, 1), classes=CLASSES):
    """Twelve test cases of six patients, and one case in each other split."""
    root.mkdir(exist_ok=True)
    cases = [
        Case(name, (root / f"{n}.png",), None, f"patient{n // 2}", "test", target=target)
        for n, (name, target) in enumerate(zip(IDS, targets, strict=True))
    ]
    others = [Case(split, (root / f"{split}.png",), None, split, split, target=0) for split in ("train", "val")]
    return Dataset(root, "classes", classes, (others[0], *cases, others[1]), 2, task="classification")


@pytest.fixture
def task(tmp_path):
    """A data set and a file of predictions for its test cases, in another order."""
    file = tmp_path / "run" / "predictions.csv"
    write_predictions(file, IDS[::-1], probabilities()[::-1], CLASSES)
    return data_set(tmp_path / "data"), file, tmp_path / "out"


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cells_of(table):
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.strip().splitlines()]


def test_what_is_written_is_read_back_exactly(tmp_path):
    file = tmp_path / "new" / "predictions.csv"
    given = np.random.default_rng(1).dirichlet(np.full(3, 0.1), size=12).astype(np.float32)
    write_predictions(file, IDS, given, CLASSES)
    ids, found = read_predictions(file, CLASSES)
    assert ids == IDS
    assert found.dtype == np.float64 and (found.astype(np.float32) == given).all()
    lines = rows_of(file)
    assert list(lines[0]) == ["case", "class", *(f"probability_{name}" for name in CLASSES)]
    assert [line["class"] for line in lines] == [CLASSES[k] for k in given.argmax(axis=1)]


def test_batches_are_written_as_they_come(tmp_path):
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    given, written = probabilities(), []

    def batches():
        for start in (0, 5, 10):
            pending = list(tmp_path.glob(".tmp-*parts.csv"))
            assert len(pending) == 1 and not parts.exists()
            written.append(start)
            yield given[start : start + 5]

    write_predictions(whole, IDS, given, CLASSES)
    write_predictions(parts, iter(IDS), batches(), CLASSES)
    assert written == [0, 5, 10]
    assert parts.read_bytes() == whole.read_bytes()


def test_only_one_batch_is_asked_for_before_it_is_written(tmp_path):
    asked, at_case = [], []

    def batches():
        for n in range(3):
            asked.append(n)
            yield probabilities(2, seed=n)

    def ids():
        for n in range(6):
            at_case.append(len(asked))
            yield str(n)

    write_predictions(tmp_path / "p.csv", ids(), batches(), CLASSES)
    assert at_case == [0, 1, 1, 2, 2, 3]


def test_a_failure_leaves_the_old_file(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text("old")

    def broken():
        yield probabilities(2)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        write_predictions(file, IDS, broken(), CLASSES)
    with pytest.raises(ValueError, match="longer"):
        write_predictions(file, IDS[:3], probabilities(4), CLASSES)
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_columns_may_be_in_any_order_and_others_are_passed_over(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("﻿note,probability_b,class,probability_a,case\nx,0.3,a,0.7,one\n\ny,0.9996,b,0,two\n", encoding="utf-8")
    ids, found = read_predictions(file, ("a", "b"))
    assert ids == ["one", "two"] and found.tolist() == [[0.7, 0.3], [0, 0.9996]]


HEADER = "case,class,probability_a,probability_b\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", None, "is empty"),
        ("\n\n", None, "is empty"),
        (HEADER, None, "holds no prediction"),
        ("case,class,probability_a\none,a,1\n", 1, "lacks the column probability_b"),
        ("class,probability_a,probability_b\na,1,0\n", 1, "lacks the column case"),
        ("case,probability_a,probability_b\none,1,0\n", 1, "lacks the column class"),
        ("case,case,class,probability_a,probability_b\none,one,a,1,0\n", 1, "column case twice"),
        ("case,class,probability_a,probability_b,probability_c\none,a,1,0,0\n", 1, "probability_c of an unknown class"),
        (HEADER + "one,a,1,0\ntwo,c,1,0\n", 3, "unknown class 'c'"),
        (HEADER + "one,a,1,0\ntwo,b,0.6,0.4\n", 3, "not the likeliest"),
        (HEADER + "one,a,1,0\n\ntwo,a,high,0\n", 4, "'high' as the probability of a"),
        (HEADER + "one,a,1,\n", 2, "'' as the probability of b"),
        (HEADER + "one,a,1,nan\n", 2, "'nan' as the probability of b"),
        (HEADER + "one,a,inf,0\n", 2, "'inf' as the probability of a"),
        (HEADER + "one,a,1.2,-0.2\n", 2, "'1.2' as the probability of a"),
        (HEADER + "one,b,-0.2,1\n", 2, "'-0.2' as the probability of a"),
        (HEADER + "one,a,0.7,0.2988\n", 2, "sum up to 0.9988"),
        (HEADER + "one,a,0.7,0.3012\n", 2, "sum up to 1.0012"),
        (HEADER + "one,a,1,0\ntwo,a,1,0\none,a,1,0\n", 4, "predicts case one, as line 2 does"),
        (HEADER + "one,a,1\n", 2, "3 values for 4 columns"),
        (HEADER + "one,a,1,0,0\n", 2, "5 values for 4 columns"),
        (HEADER + ",a,1,0\n", 2, "has no case"),
        (HEADER + "one,a,1,0\n" + "x" * 200_000 + ",a,1,0\n", 3, "not valid CSV"),
    ],
)
def test_unusable_files_are_refused_by_line(tmp_path, text, line, problem):
    file = tmp_path / "p.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=problem) as caught:
        read_predictions(file, ("a", "b"))
    assert caught.value.where == (str(file) if line is None else f"{file}:{line}")
    assert caught.value.remedy


def test_sums_within_the_tolerance_are_taken(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text(HEADER + "one,a,0.7,0.3009\ntwo,b,0.4991,0.5\n")
    assert read_predictions(file, ("a", "b"))[0] == ["one", "two"]


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"predictions\.csv: cannot be read"):
        evaluate_classes(tmp_path, data_set(tmp_path / "data"), tmp_path.with_name("out"))


def test_cases_are_matched_by_id_and_measured(task):
    dataset, file, out = task
    label = np.array([case.target for case in dataset.of("test")])
    result = evaluate_classes(file, dataset, out)
    expected, given = measures(probabilities(), label), probabilities()
    assert (result.confusion == expected.confusion).all() and result.values["auroc"] == expected.values["auroc"]
    assert rows_of(out / "cases.csv") == [
        {
            "case": name,
            "true": CLASSES[target],
            "predicted": CLASSES[row.argmax()],
            "probability_of_true": str(float(row[target])),
        }
        for name, target, row in zip(IDS, label, given, strict=True)
    ]
    assert sorted(path.name for path in out.glob("[!.]*")) == ["cases.csv", "confusion.png", "summary.json", "summary.md"]


def test_the_summaries_say_what_was_measured(task):
    dataset, file, out = task
    label = np.array([case.target for case in dataset.of("test")])
    result = evaluate_classes(file.parent, dataset, out)
    bounds = intervals(probabilities(), label, [case.patient for case in dataset.of("test")])
    found = strict_json(out / "summary.json")
    assert (found["predictions"], found["reference"]) == (str(file), str(dataset.root))
    assert (found["splits"], found["cases"], found["patients"]) == (["test"], 12, 6)
    for name in ("accuracy", "balanced_accuracy", "auroc", "ece"):
        value, low, high = found["measures"][name].values()
        assert (value, (low, high)) == (result.values[name], bounds[name])
        assert low < high
    assert [each["class"] for each in found["classes"]] == list(CLASSES)
    assert [each["cases"] for each in found["classes"]] == [5, 4, 3]
    for name, values in {"recall": result.recall, "precision": result.precision, "auroc": result.class_auroc}.items():
        assert [each[name] for each in found["classes"]] == values.tolist()
    assert found["confusion"] == result.confusion.tolist()

    first, classes, confusion = (out / "summary.md").read_text().split("## ")
    accuracy = found["measures"]["accuracy"]
    assert cells_of(first.split("\n\n")[2])[2] == ["accuracy", *(f"{accuracy[key]:.3f}" for key in ("value", "low", "high"))]
    assert "12, of 6 patients" in first
    table = cells_of(classes.split("\n\n")[1])
    assert [row[0] for row in table[2:]] == ["benign", 'one, "two"', "a\\|b"]
    assert table[2][1:] == ["5", *(f"{values[0]:.3f}" for values in (result.recall, result.precision, result.class_auroc))]
    table = cells_of(confusion.split("\n\n")[2])
    assert table[0] == ["true", "benign", 'one, "two"', "a\\|b"]
    assert [[int(cell) for cell in row[1:]] for row in table[2:]] == result.confusion.tolist()


def test_the_picture_shows_the_matrix(tmp_path):
    """Of two pictures the one of perfect predictions is dark on the diagonal, the other beside it."""
    shades = {}
    for name, order in {"right": (0, 1), "wrong": (1, 0)}.items():
        dataset = data_set(tmp_path / "data", targets=(0, 1) * 6, classes=("a", "b"))
        write_predictions(tmp_path / f"{name}.csv", IDS, np.tile(np.eye(2)[list(order)], (6, 1)), ("a", "b"))
        evaluate_classes(tmp_path / f"{name}.csv", dataset, tmp_path / name)
        with Image.open(tmp_path / name / "confusion.png") as picture:
            assert picture.mode == "RGBA"
            pixels = np.asarray(picture)[..., :3].astype(int)
        shades[name] = pixels
    dark = np.array([8, 48, 107])
    places = {name: np.argwhere(np.abs(pixels - dark).sum(axis=-1) < 6) for name, pixels in shades.items()}
    for name, sign in {"right": 1, "wrong": -1}.items():
        assert len(places[name]) > 500
        assert sign * np.corrcoef(places[name].T)[0, 1] > 0.5


@pytest.mark.slow
def test_many_classes_and_undefined_measures(tmp_path):
    classes = tuple(f"class {k}" for k in range(40))
    dataset = data_set(tmp_path / "data", targets=(3,) * 12, classes=classes)
    write_predictions(tmp_path / "p.csv", IDS, probabilities(classes=40), classes)
    result = evaluate_classes(tmp_path / "p.csv", dataset, tmp_path / "out")
    assert math.isnan(result.values["auroc"])
    found = strict_json(tmp_path / "out" / "summary.json")
    assert found["measures"]["auroc"] == {"value": None, "low": None, "high": None}
    assert found["classes"][0]["recall"] is None
    assert "| AUROC | undefined | undefined | undefined |" in (tmp_path / "out" / "summary.md").read_text()
    assert (tmp_path / "out" / "confusion.png").stat().st_size > 1000


def test_several_splits(task, tmp_path):
    dataset, _, out = task
    write_predictions(tmp_path / "p.csv", [*IDS, "val"], probabilities(13), CLASSES)
    evaluate_classes(tmp_path / "p.csv", dataset, out, splits=("test", "val"))
    assert [row["case"] for row in rows_of(out / "cases.csv")] == [*IDS, "val"]


def test_an_empty_folder_is_filled(task):
    dataset, file, out = task
    out.mkdir()
    evaluate_classes(file, dataset, out)
    assert (out / "summary.md").is_file()
    with pytest.raises(DataError, match="is not empty"):
        evaluate_classes(file, dataset, out)


def test_predictions_must_be_those_of_the_split(task, tmp_path):
    dataset, file, out = task
    other = tmp_path / "other.csv"
    write_predictions(other, IDS[:-2], probabilities(10), CLASSES)
    with pytest.raises(DataError, match=r"no prediction for case folder/case 10 and 1 more"):
        evaluate_classes(other, dataset, out)
    write_predictions(other, IDS[1:], probabilities(11), CLASSES)
    with pytest.raises(DataError, match=r"no prediction for case folder/case 0\."):
        evaluate_classes(other, dataset, out)
    write_predictions(other, [*IDS, "stranger"], probabilities(13), CLASSES)
    with pytest.raises(DataError, match="predicts stranger, no case of the data set"):
        evaluate_classes(other, dataset, out)
    with pytest.raises(DataError, match="no prediction for case val"):
        evaluate_classes(file, dataset, out, splits=("val",))
    assert not out.exists()
    write_predictions(other, [*IDS, "val"], probabilities(13), CLASSES)
    write_predictions(file, IDS, probabilities(13)[:-1], CLASSES)
    whole, own = evaluate_classes(other, dataset, out), evaluate_classes(file, dataset, out.with_name("own"))
    assert whole.values == pytest.approx(own.values, abs=0, nan_ok=True)
    assert whole.confusion.sum() == len(IDS)  # another split's prediction is passed over


def test_places_and_cases_that_cannot_be_used_are_refused(task, tmp_path):
    dataset, file, out = task
    with pytest.raises(DataError, match="lies in the data set"):
        evaluate_classes(file, dataset, dataset.root / "results")
    with pytest.raises(DataError, match="is a file"):
        evaluate_classes(file, dataset, file)
    for target in (None, IGNORE):
        unlabelled = data_set(tmp_path / "data", targets=(*[0] * 11, target))
        with pytest.raises(DataError, match=r"case folder/case 11: has no class"):
            evaluate_classes(file, unlabelled, out)
    empty = Dataset(dataset.root, "classes", CLASSES, dataset.of("train"), 2, task="classification")
    with pytest.raises(DataError, match="no case in split test and val"):
        evaluate_classes(file, empty, out, splits=("test", "val"))
    assert not out.exists()
