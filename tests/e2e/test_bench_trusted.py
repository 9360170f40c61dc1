"""Trusted cases of a grid: drawn once for all methods of a seed, spared by the noise, counted in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d
from tests.methods_under_test import TwoStreams

from debride.bench.grid import cells, make_grid, run_grid
from debride.data.open import open_dataset, trust
from debride.data.pixels.images import read_label
from debride.methods import METHODS
from debride.rng import derive
from debride.types import DataError

TRAINING = {"epochs": 1, "network": "unet-small", "width": 4, "image_size": [32, 32], "batch_size": 4, "device": "cpu"}


def grid_of(root: Path, **changes: Any) -> dict[str, Any]:
    """18 small images, 8 of them to train on, a quarter of these trusted."""
    if not (root / "data").exists():
        build_folder(root / "data", n=18)
    grid = {
        "datasets": {"toy": {"path": str(root / "data"), "limit": {"train": 8}, "trusted": 0.25}},
        "noises": {"S_DE": {"noise": "dilate-erode", "dice": 0.7}},
        "methods": {"ce": None, "ce noisy": {"method": "ce", "config": {"cases": "others"}}},
        "training": TRAINING,
    }
    return grid | changes


def runs(out: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What run.json says, by noise, method and seed."""
    files = sorted(out.glob("cells/*/*/*/*/run/run.json"))
    return {(file.parts[-5], file.parts[-4], int(file.parts[-3][5:])): json.loads(file.read_text()) for file in files}


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_trusted_cases_keep_their_labels_and_are_the_same_for_all_methods(tmp_path: Path) -> None:
    raw = grid_of(tmp_path, noises={"clean": None, "S_DE": {"noise": "dilate-erode", "dice": 0.7}}, seeds=[0, 1])
    out = tmp_path / "out"
    run_grid(make_grid(raw, "grid"), out)
    assert [(row["failed"], row["train_cases"], row["trusted_cases"]) for row in rows_of(out)] == [(None, 8, 2)] * 8
    by_seed: dict[int, list[str]] = {}
    for (noise, _, seed), run in runs(out).items():
        names = [name for name, *_ in run["train"]]
        assert set(run["trusted"]) == set(sorted(names, key=lambda name: derive(seed, "trusted", name))[:2])
        assert by_seed.setdefault(seed, run["trusted"]) == run["trusted"]
        if noise == "clean":
            continue
        source, given = open_dataset(tmp_path / "data"), open_dataset(Path(run["dataset_root"]))
        clean = {case.id: read_label(case.label, source)[0] for case in source.cases if case.label}
        same = {
            case.id for case in given.of("train") if case.label and (read_label(case.label, given)[0] == clean[case.id]).all()
        }
        assert same == set(run["trusted"])
        record = json.loads((Path(run["dataset_root"]) / "noise.json").read_text())
        assert record["trusted"] == sorted(run["trusted"]) and not set(run["trusted"]) & set(record["cases"])
    assert by_seed[0] != by_seed[1]
    html = (out / "report.html").read_text()
    assert html.count("<td>8 (2 trusted)</td>") == 8
    assert "Trusted</b> cases are training cases that keep their clean label, the same for all methods of a seed" in html


def test_without_a_share_nothing_is_trusted_and_the_report_counts_cases_alone(tmp_path: Path) -> None:
    raw = grid_of(tmp_path, noises={"clean": None}, methods={"ce": None})
    del raw["datasets"]["toy"]["trusted"]
    run_grid(make_grid(raw, "grid"), tmp_path / "out")
    assert rows_of(tmp_path / "out")[0]["trusted_cases"] == 0
    assert "<td>8</td>" in (tmp_path / "out" / "report.html").read_text()


def test_a_share_has_data_of_its_own(tmp_path: Path) -> None:
    folders = set()
    for share in (0.0, 0.25, 0.5):
        raw = grid_of(tmp_path)
        raw["datasets"]["toy"]["trusted"] = share
        folders |= {cell.data_folder for cell in cells(make_grid(raw, "grid"), tmp_path)}
    assert len(folders) == 3


def test_trusted_cases_among_the_labels_of_raters(tmp_path: Path) -> None:
    data = build_manifest(tmp_path / "data", n=8)
    manifest = data / "manifest.csv"
    changed = re.sub(r"(?m)^(scan[45],.*),train,", r"\1,test,", manifest.read_text())
    manifest.write_text(re.sub(r"(?m),1$", ",0", changed))
    noises = {"one": {"raters": "rater2"}, "sample": {"raters": "sample"}, "S_DE": {"noise": "dilate-erode", "dice": 0.8}}
    raw = grid_of(tmp_path, datasets={"scans": {"path": str(data), "trusted": 0.01}}, noises=noises, methods={"ce": None})
    run_grid(make_grid(raw, "grid"), tmp_path / "out")
    rows = {row["noise"]: row for row in rows_of(tmp_path / "out")}
    assert {noise: (row["train_cases"], row["trusted_cases"]) for noise, row in rows.items()} == {
        "one": (4, 1),
        "sample": (4, 1),
        "S_DE": (12, 3),
    }
    trusted = {noise: run["trusted"] for (noise, *_), run in runs(tmp_path / "out").items()}
    assert len({name.split("@")[0] for names in trusted.values() for name in names}) == 1, "one image, whoever labelled it"
    assert [name.split("@")[1] for name in trusted["S_DE"]] == ["rater1", "rater2", "rater3"]


def test_trust_draws_images_of_the_training_set_and_a_smaller_share_is_part_of_a_larger(tmp_path: Path) -> None:
    for dataset in (open_dataset(build_nnunet_2d(tmp_path / "n", n=12)), open_dataset(build_manifest(tmp_path / "m", n=9))):
        before: set[str] = set()
        for share in (0.01, 0.3, 0.6):
            drawn = trust(dataset, share, 3)
            assert [(case.id, case.split) for case in drawn.cases] == [(case.id, case.split) for case in dataset.cases]
            marked = {case.id for case in drawn.cases if case.trusted}
            assert marked and before < marked
            assert {case.split for case in drawn.cases if case.trusted} == {"train"}
            images = {case.image for case in drawn.of("train")}
            assert len({case.image for case in drawn.cases if case.trusted}) == max(1, round(share * len(images)))
            before = marked
    assert {case.id for case in trust(dataset, 0.3, 4).cases if case.trusted} != {
        case.id for case in trust(dataset, 0.3, 3).cases if case.trusted
    }


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_a_share_out_of_range_is_refused(share: float, tmp_path: Path) -> None:
    raw = grid_of(tmp_path)
    raw["datasets"]["toy"]["trusted"] = share
    with pytest.raises(DataError, match=f"datasets, toy: trusted: is {share}"):
        make_grid(raw, "grid.yaml")


def test_a_method_that_needs_trusted_cases_is_refused_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "two-streams", TwoStreams)
    raw = grid_of(tmp_path, methods={"two-streams": None})
    make_grid(raw, "grid.yaml")
    del raw["datasets"]["toy"]["trusted"]
    with pytest.raises(DataError, match=r"methods, two-streams: needs trusted cases, toy has none.*trusted: 0\.02"):
        make_grid(raw, "grid.yaml")


def mark(data: Path, names: list[str]) -> None:
    """Marks cases of a folder as trusted, as a user does in its dataset.json."""
    (data / "dataset.json").write_text(
        json.dumps({"classes": ["background", "lesion"], "values": {"0": 0, "255": 1}, "trusted": names})
    )


def unshared(root: Path, names: list[str], **changes: Any) -> dict[str, Any]:
    """A grid without a share, whose data set marks trusted cases of its own."""
    raw = grid_of(root, **changes)
    raw["datasets"] = {"toy": {"path": str(root / "data")}}
    mark(root / "data", names)
    return raw


def test_a_data_sets_own_trusted_cases_count_and_keep_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "two-streams", TwoStreams)
    own = ["case001", "case004", "case007"]
    noises = {"clean": None, "S_DE": {"noise": "dilate-erode", "dice": 0.7}}
    raw = unshared(tmp_path, own, noises=noises, methods={"two-streams": None}, seeds=[0, 1])
    out = tmp_path / "out"
    run_grid(make_grid(raw, "grid"), out)
    assert [(row["failed"], row["train_cases"], row["trusted_cases"]) for row in rows_of(out)] == [(None, 12, 3)] * 4
    source = open_dataset(tmp_path / "data")
    clean = {case.id: read_label(case.label, source)[0] for case in source.cases if case.label}
    for (noise, *_), run in runs(out).items():
        assert run["trusted"] == own
        given = open_dataset(Path(run["dataset_root"]))
        same = [
            case.id for case in given.of("train") if case.label and (read_label(case.label, given)[0] == clean[case.id]).all()
        ]
        assert noise == "clean" or same == own


def test_a_share_for_a_data_set_with_trusted_cases_of_its_own_is_refused_before_anything_runs(tmp_path: Path) -> None:
    raw = unshared(tmp_path, ["case001"])
    raw["datasets"]["toy"]["trusted"] = 0.25
    with pytest.raises(DataError, match=r"^grid.yaml, datasets, toy: has a trusted share of 0.25, and .* Leave trusted out"):
        make_grid(raw, "grid.yaml")


@pytest.mark.parametrize(
    ("names", "limit"), [(["case012"], {}), (["case001"], {"train": 1})], ids=["not for training", "left out by the limit"]
)
def test_own_trusted_cases_that_are_not_trained_on_do_not_count(
    names: list[str], limit: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "two-streams", TwoStreams)
    raw = unshared(tmp_path, names, methods={"two-streams": None})
    raw["datasets"]["toy"]["limit"] = limit
    with pytest.raises(DataError, match=r"methods, two-streams: needs trusted cases, toy has none.*mark them in the data set"):
        make_grid(raw, "grid.yaml")
    raw["datasets"]["toy"]["trusted"] = 0.25
    assert make_grid(raw, "grid.yaml")


def test_a_data_set_that_cannot_be_opened_is_left_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "two-streams", TwoStreams)
    raw = grid_of(tmp_path, datasets={"toy": {"path": str(tmp_path / "nowhere")}}, methods={"two-streams": None})
    with pytest.raises(DataError, match="nowhere: does not exist"):
        run_grid(make_grid(raw, "grid"), tmp_path / "out")
