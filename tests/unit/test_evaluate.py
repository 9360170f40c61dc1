"""A folder of predictions against a data set: matching, the three files written, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import pytest
from tests.datasets import SPACING, build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_nifti, save_png

from debride.data.open import open_dataset
from debride.data.pixels.images import read_label, write_label
from debride.evaluation.evaluate import evaluate_folder
from debride.evaluation.mask_metrics import METRICS, Metric, case_metrics
from debride.types import IGNORE, DataError, Geometry


@pytest.fixture
def folder(tmp_path):
    """A binary data set with a test split of two cases, and a folder of perfect predictions for it."""
    dataset = open_dataset(build_folder(tmp_path / "data", n=12))
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for case in dataset.of("test"):
        shutil.copy(case.label, predictions / f"{case.id}.png")
    return dataset, predictions, tmp_path / "out"


def read_cases(out):
    with (out / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_perfect_predictions(folder):
    dataset, predictions, out = folder
    (predictions / "dataset.json").write_text("{}")
    done = []
    summaries = evaluate_folder(predictions, dataset, out, progress=done.append)
    assert done == [1, 2]
    assert [summary.class_id for summary in summaries] == [1, None]
    assert [row["case"] for row in read_cases(out)] == [case.id for case in dataset.of("test")]
    assert all(
        (row["dice"], row["hausdorff"], row["unit"], row["kind"]) == ("1.0", "0.0", "px", "both") for row in read_cases(out)
    )
    assert strict_json(out / "summary.json")["mean_dice"] == 1.0
    assert "1.000 ± 0.000 [1.000, 1.000] (2)" in (out / "summary.md").read_text()


def test_volumes_in_mm_with_a_class_never_predicted(tmp_path):
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data"))
    for case in dataset.of("val"):
        ids, geometry = read_label(case.label, dataset)
        write_label(
            tmp_path / "predictions" / f"{case.id}.nii.gz", np.where(np.roll(ids, 1, axis=0) == 1, 1, 0), dataset, geometry
        )
    out = tmp_path / "out"
    summaries = evaluate_folder(tmp_path / "predictions", tmp_path / "data", out, splits=("val",))

    rows = read_cases(out)
    for case in dataset.of("val"):
        ids, _ = read_label(case.label, dataset)
        first, second = case_metrics(np.where(np.roll(ids, 1, axis=0) == 1, 1, 0), ids, 3, SPACING)
        written = [row for row in rows if row["case"] == case.id]
        assert [row["class"] for row in written] == list(dataset.classes[1:])
        assert [row["kind"] for row in written] == ["both", "missed"]
        assert [float(written[0][name]) for name in METRICS] == [first.values[name] for name in METRICS]
        assert (float(written[1]["dice"]), written[1]["hd95"], second.values["dice"]) == (0.0, "", 0.0)
    found = strict_json(out / "summary.json")
    assert [each["class"] for each in found["classes"]] == [*dataset.classes[1:], "all classes"]
    assert found["classes"][1]["kinds"]["missed"] == len(dataset.of("val"))
    assert found["classes"][1]["metrics"]["hd95"] == dict.fromkeys(["mean", "std", "median", "low", "high"]) | {"n": 0}
    assert found["mean_dice"] == pytest.approx(summaries[-1].metrics["dice"].mean)
    assert "HD95 (mm)" in (out / "summary.md").read_text()


def test_without_distances_and_several_splits(tmp_path):
    dataset = open_dataset(build_nnunet_2d(tmp_path / "data"))
    for case in dataset.of("val", "test"):
        write_label(tmp_path / "predictions" / f"{case.id}.png", read_label(case.label, dataset)[0], dataset, Geometry())
    summaries = evaluate_folder(tmp_path / "predictions", dataset, tmp_path / "out", splits=("val", "test"), distances=False)
    assert len(read_cases(tmp_path / "out")) == 3 * len(dataset.of("val", "test"))
    assert (summaries[-1].metrics["dice"].mean, summaries[-1].metrics["hd95"].n) == (1.0, 0)


def test_predictions_of_other_splits_are_passed_over(tmp_path):
    dataset = open_dataset(build_nnunet_2d(tmp_path / "data"))
    for case in dataset.cases:
        if case.label:
            write_label(tmp_path / "predictions" / f"{case.id}.png", read_label(case.label, dataset)[0], dataset, Geometry())
    evaluate_folder(tmp_path / "predictions", dataset, tmp_path / "out", splits=("val",), distances=False)
    assert {row["case"] for row in read_cases(tmp_path / "out")} == {case.id for case in dataset.of("val")}


def test_one_prediction_against_several_raters(tmp_path):
    dataset = open_dataset(build_manifest(tmp_path / "data"))
    cases = dataset.of("val")
    for case in cases:
        if case.rater == "rater1":
            name = case.id.removesuffix("@rater1")
            write_label(tmp_path / "predictions" / f"{name}.png", read_label(case.label, dataset)[0], dataset, Geometry())
    evaluate_folder(tmp_path / "predictions", dataset, tmp_path / "out", splits=("val",))
    rows = read_cases(tmp_path / "out")
    assert [row["case"] for row in rows] == [case.id for case in cases]
    assert all((row["dice"] == "1.0") == row["case"].endswith("@rater1") for row in rows)


def test_ignored_pixels_of_the_reference_are_left_out(folder, tmp_path):
    dataset, predictions, out = folder
    root = tmp_path / "with_ignore"
    shutil.copytree(dataset.root, root)
    (root / "dataset.json").write_text(json.dumps({"classes": ["background", "lesion"], "ignore": 7}))
    for path in (*(root / "masks").iterdir(), *predictions.iterdir()):
        ids, _ = read_label(path, dataset)
        top = np.arange(len(ids))[:, None] < 16
        save_png(path, np.where(top, 7 if path.parent.name == "masks" else 0, ids).astype(np.uint8))
    evaluate_folder(predictions, root, out)
    labels = [read_label(case.label, open_dataset(root))[0] for case in open_dataset(root).of("test")]
    assert all((label[:16] == IGNORE).all() for label in labels)
    assert [row["dice"] for row in read_cases(out)] == ["1.0", "1.0"]
    assert [int(row["reference"]) for row in read_cases(out)] == [int((label[16:] == 1).sum()) for label in labels]

    save_png(predictions / f"{dataset.of('test')[0].id}.png", np.full((32, 32), 7, np.uint8))
    with pytest.raises(DataError, match="ignore value 7"):
        evaluate_folder(predictions, root, out.with_name("second"))


def missing(predictions, name):
    (predictions / f"{name}.png").unlink()
    return predictions / f"{name}.*"


def superfluous(predictions, name):
    shutil.copy(predictions / f"{name}.png", predictions / "stranger.png")
    return predictions / "stranger.png"


def given_twice(predictions, name):
    shutil.copy(predictions / f"{name}.png", predictions / f"{name}.tif")
    return predictions / f"{name}.tif"


def other_shape(predictions, name):
    save_png(predictions / f"{name}.png", np.zeros((32, 31), np.uint8))
    return predictions / f"{name}.png"


def unknown_value(predictions, name):
    save_png(predictions / f"{name}.png", np.full((32, 32), 9, np.uint8))
    return predictions / f"{name}.png"


def truncated(predictions, name):
    path = predictions / f"{name}.png"
    path.write_bytes(path.read_bytes()[:40])
    return path


def no_folder(predictions, name):
    shutil.rmtree(predictions)
    return predictions


@pytest.mark.parametrize(
    "damage", [missing, superfluous, given_twice, other_shape, unknown_value, truncated, no_folder], ids=lambda f: f.__name__
)
def test_unusable_predictions_are_refused_by_name(folder, damage):
    dataset, predictions, out = folder
    where = damage(predictions, dataset.of("test")[0].id)
    with pytest.raises(DataError) as caught:
        evaluate_folder(predictions, dataset, out)
    assert caught.value.where == str(where)
    assert not out.exists()


def test_predictions_with_other_values_are_no_mistake_of_the_data_set(folder):
    dataset, predictions, out = folder
    name = dataset.of("test")[0].id
    save_png(predictions / f"{name}.png", np.eye(32, dtype=np.uint8) * 2)
    says = (
        r"holds the values 2, which .* labels 0, 255\. Write predictions with the values of the data set's own masks, or class"
    )
    with pytest.raises(DataError, match=says):
        evaluate_folder(predictions, dataset, out)
    truncated(predictions, name)
    with pytest.raises(DataError) as caught:
        evaluate_folder(predictions, dataset, out)
    assert "Write predictions" not in str(caught.value)


def growth(pair):
    """The relative error of the volume, with its sign; infinite without a reference."""
    predicted, reference = pair.sizes
    return (predicted - reference) / reference if reference else math.inf


def test_what_is_said_of_metrics_follows_from_their_table(folder, monkeypatch):
    dataset, predictions, out = folder
    lost = Metric(
        name="lost", title="LR", about="lost", of=lambda _: 0.0, needs="reference", unit="share", better="low", bench="LR"
    )
    error = Metric(name="error", title="VE", about="signed", of=growth, needs="masks", unit="number", better="zero")
    size = Metric(
        name="size", title="Size", about="big", of=lambda pair: sum(pair.sizes), needs="masks", unit="number", better=None
    )
    for metric in (lost, error, size):
        monkeypatch.setitem(METRICS, metric.name, metric)
    first, second = dataset.of("test")
    save_png(predictions / f"{first.id}.png", np.zeros((32, 32), np.uint8))
    for case in (first, second):
        save_png(case.label, np.zeros((32, 32), np.uint8))
    evaluate_folder(predictions, dataset, out)
    written = strict_json(out / "summary.json")
    measured = written["classes"][0]["metrics"]
    assert [measured[name]["n"] for name in ("error", "lost", "size")] == [0, 0, 1]
    rules = written["rules"]
    assert "VE and Size can be defined only where at least one mask holds the class." in rules
    assert "Area ratio and LR can be defined only where the reference holds the class." in rules
    assert (
        "LR, lower is better. For" in rules
        and "VE, closer to zero is better. For Area ratio, closer to one is better. Intervals" in rules
    )
    header = next(line for line in (out / "summary.md").read_text().splitlines() if line.startswith("| class"))
    assert header.index("ASSD") < header.index("LR") < header.index("HD (px)") < header.index("VE | Size")


def test_other_spacing_is_refused(tmp_path):
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data"))
    predictions = tmp_path / "predictions"
    for case in dataset.of("val"):
        ids, _ = read_label(case.label, dataset)
        save_nifti(predictions / f"{case.id}.nii.gz", ids, spacing=(9.0, 1.5, 1.0))
    with pytest.raises(DataError, match="spacing"):
        evaluate_folder(predictions, dataset, tmp_path / "out", splits=("val",))


def test_cases_that_cannot_be_evaluated_are_refused(folder, tmp_path):
    dataset, predictions, out = folder
    with pytest.raises(DataError, match="lies in the data set"):
        evaluate_folder(predictions, dataset, dataset.root / "results")
    with pytest.raises(DataError, match="lies in the folder of predictions"):
        evaluate_folder(predictions, dataset, predictions / "results")
    with pytest.raises(DataError, match="no reference label"):
        evaluate_folder(predictions, open_dataset(build_nnunet_3d(tmp_path / "unlabelled")), out)
    with pytest.raises(DataError, match="no case in split test"):
        evaluate_folder(predictions, open_dataset(build_manifest(tmp_path / "raters")), out)


def test_results_are_never_written_over_others(folder):
    dataset, predictions, out = folder
    evaluate_folder(predictions, dataset, out)
    before = (out / "summary.json").read_bytes()
    with pytest.raises(DataError, match="is not empty"):
        evaluate_folder(predictions, dataset, out, seed=1)
    assert (out / "summary.json").read_bytes() == before


def test_a_case_without_the_class_leaves_an_empty_cell(folder):
    dataset, predictions, out = folder
    cases = dataset.of("test")
    save_png(predictions / f"{cases[0].id}.png", np.zeros((32, 32), np.uint8))
    evaluate_folder(predictions, dataset, out)
    row = read_cases(out)[0]
    assert (row["kind"], row["dice"], row["hd95"]) == ("missed", "0.0", "")
    summary = strict_json(out / "summary.json")["classes"][0]
    assert (summary["metrics"]["dice"]["mean"], summary["metrics"]["hd95"]["n"]) == (0.5, 1)
    assert summary["metrics"]["dice"]["std"] == pytest.approx(math.sqrt(0.5))
