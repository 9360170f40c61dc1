"""Tables and report of a grid for classification, from rows that are written down here."""

import re
import statistics

import numpy as np
import pytest
from tests.unit.test_report import CONTEXT, EVIL, Page

from debride.bench import plots
from debride.bench.class_report import confusion, mean_confusion, render_classes
from debride.bench.class_tables import markdown, not_class_measures, tables


def score(accuracy, epoch=12):
    return {"epoch": epoch, "accuracy": accuracy, "balanced_accuracy": accuracy - 0.1, "auroc": 0.9, "ece": 0.05}


def row(noise="half", method="ce", seed=0, accuracy=0.7, failed=None, **changes):
    """A cell of 12 epochs: ``accuracy`` at the last one, a point more at the best (5), three at the highest (3)."""
    cell = {
        "task": "classification",
        "dataset": "d",
        "noise": noise,
        "method": method,
        "seed": seed,
        "validation_labels": "given",
        "minutes": 2.5,
        "device": "cpu",
        "train_cases": 20,
        "trusted_cases": 4,
        "epochs": 12,
        "failed": failed,
        "classes": ["cat", "dog"],
        "wrong_labels": None if failed else 0.0 if noise == "clean" else 0.4,
        "best": None if failed else score(accuracy + 0.01, 5),
        "last": None if failed else score(accuracy),
        "highest": None if failed else {"epoch": 3, "accuracy": accuracy + 0.03},
        "last_ten": None if failed else {"accuracy": accuracy - 0.01, "deviation": 0.004},
        "confusion": None if failed else [[6, 2], [1, 3]],
        "curve": []
        if failed
        else [{"epoch": e, "train_loss": 1.0, "val_accuracy": 0.5, "test_accuracy": accuracy - 0.2 / e} for e in range(1, 13)],
    }
    return {**cell, **changes}


def titled(rows, title):
    (table,) = (table for table in tables(rows) if table.title == title)
    return table


def lines(table):
    return dict(table.lines)


def test_accuracy_is_shown_by_rule_with_methods_down_and_noises_across():
    rows = [row(noise, method, accuracy=a) for noise, a in (("clean", 0.9), ("half", 0.6)) for method in ("gce", "ce")]
    expected = {
        "last epoch": ("90.0 (1)", "60.0 (1)"),
        "best epoch": ("91.0 (1)", "61.0 (1)"),
        "last ten epochs": ("89.0 (1)", "59.0 (1)"),
    }
    for rule, numbers in expected.items():
        table = titled(rows, f"Test accuracy, {rule}")
        assert table.columns == ("clean", "half")
        assert [name for name, _ in table.lines] == ["wrong training labels", "ce", "gce"]
        assert lines(table)["gce"] == numbers
        assert lines(table)["wrong training labels"] == ("0.0", "40.0")


def test_means_and_deviations_are_over_seeds():
    values = [0.80, 0.84, 0.83]
    rows = [row(seed=seed, accuracy=value) for seed, value in enumerate(values)]
    mean, deviation = 100 * statistics.fmean(values), 100 * statistics.stdev(values)
    assert lines(titled(rows, "Test accuracy, last epoch"))["ce"] == (f"{mean:.1f} ± {deviation:.1f} (3)",)


def test_differences_are_paired_by_seed():
    base, method = {0: 0.80, 1: 0.70, 2: 0.60}, {1: 0.74, 2: 0.70, 3: 0.99}
    rows = [row(seed=s, accuracy=a) for s, a in base.items()] + [
        row(method="gce", seed=s, accuracy=a) for s, a in method.items()
    ]
    found = lines(titled(rows, "Difference to ce, last epoch"))
    deviation = 100 * statistics.stdev([0.04, 0.10])
    assert found == {"gce": (f"+7.0 ± {deviation:.1f} (2)",)}
    assert not [table for table in tables(rows[:3]) if table.title.startswith("Difference")]


def test_the_highest_is_apart_and_said_to_be_chosen_on_test_data():
    rows = [row(seed=0, accuracy=0.70), row(seed=1, accuracy=0.72), row(method="gce", accuracy=0.5)]
    table = titled(rows, "Highest test accuracy")
    assert table.columns == ("highest (test)", "its epoch", "last", "last - highest", "minutes")
    assert "chosen on the test data" in table.note
    assert lines(table)["ce, half"] == ("74.0 ± 1.4 (2)", "3.0 ± 0.0 (2)", "71.0 ± 1.4 (2)", "-3.0 ± 0.0 (2)", "2.5 ± 0.0 (2)")
    assert lines(table)["gce, half"] == ("53.0 (1)", "3.0 (1)", "50.0 (1)", "-3.0 (1)", "2.5 (1)")
    assert not any("highest" in table.title.lower() for table in tables(rows) if table.title.startswith("Test accuracy"))


def test_other_measures_are_those_of_the_last_epoch_and_may_be_undefined():
    rows = [row(accuracy=0.7), row(method="gce", last={**score(0.6), "auroc": None})]
    table = titled(rows, "Balanced accuracy, AUROC and calibration error, last epoch")
    assert table.columns == ("accuracy", "balanced accuracy", "AUROC", "ECE")
    assert lines(table) == {
        "ce, half": ("70.0 (1)", "60.0 (1)", "90.0 (1)", "5.0 (1)"),
        "gce, half": ("60.0 (1)", "50.0 (1)", "–", "5.0 (1)"),
    }


def test_top5_has_a_column_where_a_row_has_it_and_rows_of_before_are_read():
    rows = [row(), row(method="gce", last={**score(0.6), "top5": 0.95})]
    table = titled(rows, "Top-5 accuracy, balanced accuracy, AUROC and calibration error, last epoch")
    assert table.columns == ("accuracy", "top-5", "balanced accuracy", "AUROC", "ECE")
    assert lines(table)["ce, half"][1] == "–" and lines(table)["gce, half"][1] == "95.0 (1)"
    assert not not_class_measures(score(0.6)) and not not_class_measures({**score(0.6), "top5": None})
    assert not_class_measures({**score(0.6), "top5": "high"}) == "which holds a measure that is no number"
    assert not_class_measures({"epoch": 1, "accuracy": 0.6, "top5": 0.9}) == "which lacks a measure"


def test_failed_cells_are_shown_and_count_in_no_mean():
    rows = [row(seed=0), row(seed=1, failed="broke | here"), row(method="gce", failed="broke")]
    found = lines(titled(rows, "Test accuracy, last epoch"))
    assert found["ce"] == ("70.0 (1, 1 failed)",)
    assert found["gce"] == ("failed (1)",)
    assert lines(titled(rows, "Highest test accuracy"))["gce, half"] == ("failed (1)",) * 5
    assert "- d, half, ce, seed 1: broke \\| here" in markdown(rows)


def test_measures_that_no_cell_has_have_no_table():
    rows = [row(best=None, last_ten=None)]
    assert [table.title for table in tables(rows)] == [
        "Test accuracy, last epoch",
        "Highest test accuracy",
        "Balanced accuracy, AUROC and calibration error, last epoch",
    ]
    assert "Test accuracy, last epoch" in markdown([row(failed="broke")])


@pytest.mark.parametrize(
    ("noisy", "said"), [("clean", "with clean labels"), ("given", "with given labels"), (None, "with given labels")]
)
def test_the_labels_that_epochs_are_chosen_on_are_those_of_corrupted_cells(noisy, said):
    rows = [row("clean")] + ([row("half", validation_labels=noisy)] if noisy else [])
    assert said in titled(rows, "Test accuracy, best epoch").note


def test_data_sets_have_tables_of_their_own():
    rows = [row(accuracy=0.7), row(accuracy=0.6, dataset="e")]
    found = [(table.dataset, lines(table).get("ce")) for table in tables(rows) if table.title == "Test accuracy, last epoch"]
    assert found == [("d", ("70.0 (1)",)), ("e", ("60.0 (1)",))]
    assert markdown(rows).count("\n## ") + markdown(rows).startswith("## ") == 2


def test_mean_confusion_against_loops():
    matrices = [[[6, 2, 0], [1, 3, 0], [0, 0, 0]], [[1, 1, 2], [0, 5, 5], [0, 0, 0]]]
    expected = np.zeros((3, 3))
    for matrix in matrices:
        for true in range(3):
            for predicted in range(3):
                total = sum(matrix[true])
                expected[true, predicted] += (matrix[true][predicted] / total if total else 0) / len(matrices)
    np.testing.assert_allclose(mean_confusion(matrices), expected)


def test_confusion_shows_names_and_shares():
    svg = confusion(np.array([[0.75, 0.25], [0.0, 1.0]]), ["$cat_$", EVIL]).decode()
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert "$cat_$" in texts
    assert "…" in svg
    assert EVIL not in svg
    assert sorted(text for text in texts if text.isdigit()) == ["100", "25", "75"]
    many = confusion(np.eye(25), [f"class{k}" for k in range(25)]).decode()
    assert not [text for text in re.findall(r">([^<>]+)</text>", many) if text.isdigit()]


def test_report_has_tables_charts_matrices_and_every_cell():
    rows = [row(noise, method, seed) for noise in ("clean", "half") for method in ("ce", "gce") for seed in (0, 1)]
    rows += [row(method="sce", failed=EVIL), row(noise="<b>", method=EVIL, curve=[], best=None, last_ten=None)]
    html = render_classes("demo", rows, CONTEXT)
    page = Page(html)
    assert EVIL not in html
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert all(source.startswith("data:image/") for source in page.values("src"))
    assert sum("Confusion matrix of" in text for text in page.values("alt")) == 5
    assert sum("Test accuracy over epochs" in text for text in page.values("alt")) == 2
    assert "Dice" not in page.text
    assert page.text.count("20 (4 trusted)") == len(rows)
    for table in tables(rows):
        assert table.title in page.text
    assert "73.0 (3)" in page.text


def test_charts_draw_accuracy():
    import base64

    html = render_classes("demo", [row(), row(method="gce", seed=1)], CONTEXT)
    charts = [
        base64.b64decode(source.split(",", 1)[1]).decode()
        for source in Page(html).values("src")
        if source.startswith("data:image/svg")
    ]
    assert any("test accuracy (%)" in chart for chart in charts)
    assert any("test accuracy, mean of the last ten epochs (%)" in chart for chart in charts)
    assert not any("Dice" in chart for chart in charts)


def test_noises_whose_cells_all_failed_have_no_section() -> None:
    rows = [row(), row(method="gce"), row(noise="broken", failed="no disk")]
    html = render_classes("demo", rows, CONTEXT)
    noise = rows[0]["noise"]
    assert f": {noise}</h3>" in html and ": broken</h3>" not in html and "no disk" in html
    assert plots.dotted(rows, rows[0]["dataset"], "accuracy") == [noise]
