"""Measures of classification against plain loops and scikit-learn, and their bootstrap intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from debride.evaluation.class_metrics import BINS, CLASS_METRICS, intervals, measures
from debride.evaluation.summary import RESAMPLES
from debride.types import IGNORE, DataError


def draw(cases, classes, seed=0, decimals=None):
    """Probabilities that lean to the labels, with ties where they are rounded."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=cases)
    logits = rng.normal(size=(cases, classes)) + 1.2 * (np.arange(classes) == label[:, None])
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probability if decimals is None else probability.round(decimals), label


def likeliest(row):
    return max(range(len(row)), key=lambda k: (row[k], -k))


def slow_auroc(scores, positive):
    pairs = [
        (a, b)
        for a, yes in zip(scores, positive, strict=True)
        if yes
        for b, yes in zip(scores, positive, strict=True)
        if not yes
    ]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs) if pairs else math.nan


def slow_ece(probability, label):
    total = 0.0
    for m in range(1, BINS + 1):
        inside = [n for n, row in enumerate(probability) if (m - 1) / BINS < max(row) <= m / BINS]
        if inside:
            right = sum(likeliest(probability[n]) == label[n] for n in inside) / len(inside)
            confidence = sum(max(probability[n]) for n in inside) / len(inside)
            total += len(inside) / len(label) * abs(right - confidence)
    return total


def slow_top5(probability, label):
    if len(probability[0]) <= 5:
        return math.nan
    best = [sorted(range(len(row)), key=lambda k, row=row: (-row[k], k))[:5] for row in probability]
    return sum(true in five for true, five in zip(label, best, strict=True)) / len(label)


def mean_defined(values):
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def slow_measures(probability, label):
    probability, label = probability.tolist(), label.tolist()
    classes = range(len(probability[0]))
    predicted = [likeliest(row) for row in probability]
    pairs = list(zip(label, predicted, strict=True))
    recall, precision, auroc = [], [], []
    for k in classes:
        hits, occurs, said = pairs.count((k, k)), label.count(k), predicted.count(k)
        recall.append(hits / occurs if occurs else math.nan)
        precision.append(hits / said if said else math.nan)
        auroc.append(slow_auroc([row[k] for row in probability], [each == k for each in label]))
    return {
        "accuracy": sum(true == said for true, said in pairs) / len(pairs),
        "top5": slow_top5(probability, label),
        "balanced_accuracy": mean_defined(recall),
        "auroc": auroc[1] if len(classes) == 2 else mean_defined(auroc),
        "ece": slow_ece(probability, label),
        "confusion": [[pairs.count((true, said)) for said in classes] for true in classes],
        "recall": recall,
        "precision": precision,
        "class_auroc": auroc,
        "support": [label.count(k) for k in classes],
    }


def value_of(found, name):
    """A measure over all classes, or an array of those of each class."""
    return found.values[name] if name in CLASS_METRICS else getattr(found, name)


def assert_equal(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(value_of(found, name), value, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("classes", "decimals"), [(2, None), (2, 1), (4, None), (4, 1), (5, None), (6, 1), (7, 2)])
def test_measures_are_those_of_plain_loops(classes, decimals):
    probability, label = draw(60, classes, seed=classes, decimals=decimals)
    assert_equal(measures(probability, label), slow_measures(probability, label))


def test_classes_that_do_not_occur_or_are_never_predicted():
    probability, label = draw(50, 5)
    probability[:, 1] = 0
    label[label == 3] = 0
    expected = slow_measures(probability, label)
    assert math.isnan(expected["precision"][1]) and math.isnan(expected["recall"][3]) and math.isnan(expected["class_auroc"][3])
    assert_equal(measures(probability, label), expected)


@pytest.mark.parametrize("decimals", [None, 1])
def test_measures_are_those_of_scikit_learn(decimals):
    probability, label = draw(300, 4, decimals=decimals)
    found, predicted = measures(probability, label), probability.argmax(axis=1)
    assert found.values["accuracy"] == pytest.approx(reference.accuracy_score(label, predicted))
    assert found.values["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(label, predicted))
    np.testing.assert_array_equal(found.confusion, reference.confusion_matrix(label, predicted))
    np.testing.assert_allclose(found.recall, reference.recall_score(label, predicted, average=None))
    np.testing.assert_allclose(found.precision, reference.precision_score(label, predicted, average=None))
    each = [reference.roc_auc_score(label == k, probability[:, k]) for k in range(4)]
    np.testing.assert_allclose(found.class_auroc, each)
    assert found.values["auroc"] == pytest.approx(np.mean(each))


def test_of_two_classes_the_auroc_is_that_of_the_second():
    label = np.array([0, 1, 0, 1, 1])
    probability = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.2, 0.9]])
    found = measures(probability, label)
    assert (
        found.values["auroc"]
        == found.class_auroc[1]
        == pytest.approx(reference.roc_auc_score(label, probability[:, 1]))
        == 4 / 6
    )
    assert found.class_auroc[0] != found.class_auroc[1]


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower():
    edge = 12 / BINS
    probability = np.array([[edge, 1 - edge], [edge - 0.03, 1 - edge + 0.03], [edge + 0.03, 1 - edge - 0.03]])
    label = np.array([1, 0, 0])
    lower = 2 / 3 * abs(1 / 2 - (2 * edge - 0.03) / 2)
    upper = 1 / 3 * abs(1 - (edge + 0.03))
    assert measures(probability, label).values["ece"] == pytest.approx(lower + upper)


def test_certain_and_right_is_perfect():
    label = np.array([0, 1, 2, 1])
    found = measures(np.eye(3)[label], label)
    assert math.isnan(found.values.pop("top5"))
    assert found.values == {"accuracy": 1, "balanced_accuracy": 1, "auroc": 1, "ece": 0}


def test_of_equals_the_first_is_predicted():
    assert measures(np.full((2, 3), 1 / 3), np.array([0, 2])).confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_cases_without_a_label_are_left_out():
    probability, label = draw(80, 3)
    patients = [f"p{n % 20}" for n in range(80)]
    kept = np.arange(80) % 3 > 0
    hidden = np.where(kept, label, IGNORE)
    expected = {name: value_of(measures(probability[kept], label[kept]), name) for name in slow_measures(probability, label)}
    assert_equal(measures(probability, hidden), expected)
    some = [patient for patient, keep in zip(patients, kept, strict=True) if keep]
    assert intervals(probability, hidden, patients) == intervals(probability[kept], label[kept], some)


def test_without_labels_all_is_undefined():
    found = measures(np.full((2, 3), 1 / 3, np.float32), np.full(2, IGNORE, np.uint8))
    assert all(math.isnan(found.values[name]) for name in CLASS_METRICS)
    assert np.isnan([*found.recall, *found.precision, *found.class_auroc]).all()
    assert not found.confusion.any() and not found.support.any()
    bounds = intervals(np.full((2, 3), 1 / 3), np.full(2, IGNORE), ["a", "b"])
    assert np.isnan([*bounds.values()]).all()


@pytest.mark.parametrize(
    ("probability", "label", "problem"),
    [
        (np.full((2, 3), 1 / 3), np.array([0, 3]), "ids from 0 to 3"),
        (np.full((2, 3), 1 / 3), np.array([-1, 0]), "ids from -1 to 0"),
        (np.full((2, 3), 1 / 3), np.zeros(3, int), "shape"),
        (np.full(3, 1 / 3), np.zeros(3, int), "shape"),
        (np.array([[0.5, np.nan]]), np.zeros(1, int), "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(probability, label, problem):
    with pytest.raises(DataError, match=problem):
        measures(probability, label)


def test_intervals_are_those_of_measures_on_repeated_cases(monkeypatch):
    """Each resample is rebuilt as a list of cases, patient by patient, and measured anew."""
    from debride.evaluation import class_metrics as classification

    probability, label = draw(24, 6, decimals=1)
    label[:3] = 2
    patients = [f"p{n % 5}" for n in range(24)]
    seen = []
    weighed = classification.Weighed

    def record(scores, ids, weights):
        seen.append(weights)
        return weighed(scores, ids, weights)

    monkeypatch.setattr(classification, "Weighed", record)
    monkeypatch.setattr(classification, "_BLOCK", 24 * 300)
    bounds = intervals(probability, label, patients, seed=3)
    monkeypatch.undo()

    weights = np.concatenate(seen)
    assert [len(each) for each in seen] == [300] * 6 + [200] and weights.shape == (RESAMPLES, 24)
    first = weights[:, :5]
    assert (first.sum(axis=1) == 5).all() and (first.mean(axis=0) == pytest.approx(1, abs=0.1))
    assert all((weights[:, n] == first[:, n % 5]).all() for n in range(24))
    found = [measures(np.repeat(probability, times, axis=0), np.repeat(label, times)) for times in weights.astype(int)]
    for name in CLASS_METRICS:
        values = [each.values[name] for each in found]
        assert bounds[name] == pytest.approx(np.nanquantile(values, [0.025, 0.975]), rel=1e-9), name
    drawn = {tuple(times) for times in first}
    assert len(drawn) > 100


def test_resamples_where_a_measure_is_undefined_are_left_out():
    probability, label = np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]), np.array([1, 1, 0])
    assert intervals(probability, label, ["a", "b", "c"])["auroc"] == (1, 1)
    bounds = intervals(probability[:2], label[:2], ["a", "b"])
    assert np.isnan(bounds["auroc"]).all() and bounds["accuracy"] == (1, 1)


def test_patients_are_drawn_and_not_cases():
    probability, label = draw(400, 3)
    alone = intervals(probability, label, [str(n) for n in range(400)])
    order = np.argsort(probability[np.arange(400), label])
    patients = np.empty(400, dtype=int)
    patients[order] = np.arange(400) // 40
    together = intervals(probability, label, [str(patient) for patient in patients])
    accuracy = measures(probability, label).values["accuracy"]
    deviation = math.sqrt(accuracy * (1 - accuracy) / 400)
    assert alone["accuracy"] == pytest.approx((accuracy - 1.96 * deviation, accuracy + 1.96 * deviation), abs=0.01)
    assert together["accuracy"][1] - together["accuracy"][0] > 3 * (alone["accuracy"][1] - alone["accuracy"][0])
    assert np.isnan([*intervals(probability, label, ["one"] * 400).values()]).all()


def test_intervals_depend_on_the_seed_and_not_on_the_order_of_cases():
    probability, label = draw(60, 6, decimals=2)
    patients = [f"p{n % 12}" for n in range(60)]
    order = np.random.default_rng(1).permutation(60)
    shuffled = intervals(probability[order], label[order], [patients[n] for n in order])
    bounds = intervals(probability, label, patients)
    for name in CLASS_METRICS:
        assert shuffled[name] == pytest.approx(bounds[name])
    assert intervals(probability, label, patients, seed=1) != bounds
