"""Every script in ``benchmarks/`` runs at its smallest, on generated data where it asks for real ones; its grids are read."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks import large_volume, memory, review_round
from benchmarks.audit import class_coverage, coverage, run, sets, table
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, build_npz, save_json

from debride.bench.grid import read_grid, run_grid
from debride.cli import main
from debride.data.classes import policies
from debride.methods import METHODS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

SMALL_SETS = ["--images", "4", "--others", "4", "--validation", "1", "--apart", "2", "--side", "16", "--epochs", "1"]
"""Sizes of what is trained and predicted for calibrations."""

ALONE: dict[str, list[str]] = {
    "audit_arrays": ["--seeds", "1", "--images", "12", "--side", "12"],
    "audit_arrays_memory": ["--cases", "4", "--shape", "8", "24", "24", "--folder", "{out}"],
    "audit_memory": ["--cases", "3", "--fewer", "0", "--volume", "16", "40", "40"],
    "audit_raters": ["--images", "3"],
    "audit_work": ["--cases", "3", "--planted", "2", "--shards", "2", "--repeats", "0", "--jobs", "1", "--in-process"],
    "audit_regions": [
        *("{out}/regions", "--cases", "12", "--side", "16", "--epochs", "1", "--folds", "2", "--planted", "2"),
        *("--share", "0.2"),
    ],
    "audit_speed": ["--cases", "4", "--fewer", "0", "--images", "2", "--repeats", "1"],
    "audit_time": ["--smallest", "--repeats", "1"],
    "axial_slices": ["{data}/nnUNet_raw/Dataset101_LeftAtrium", "{out}/slices"],
    "augment_cost": ["--repeats", "1", "--shape", "4", "3", "16", "16"],
    "augment_speed": ["--repeats", "1", "--smallest"],
    "calibration_coverage": [
        *("--cache", "{out}/cache", "--rows", "{out}/rows.jsonl", "--sets", "Kvasir-SEG", "--verified", "2"),
        *("--draws", "1", *SMALL_SETS),
    ],
    "choosing": [
        *("--cache", "{out}/cache", "--rows", "{out}/rows.jsonl", "--sets", "Kvasir-SEG", "--noises", "S_R"),
        *("--draws", "2", "--pool", "4", "--count", "2", "--random", "1", *SMALL_SETS),
    ],
    "cluster_overhead": ["--items", "4", "--seconds", "0.01", "--by", "local", "--folder", "{out}"],
    "cluster_sizes": ["--cases", "2", "--verbs", "corrupt", "--folder", "{out}"],
    "dicom_check": ["--series", "3", "--slices", "3", "--jobs", "1", "--folder", "{out}"],
    "forecast": ["--methods", "ce", "--epochs", "2", "--steps", "8", "--heard", "0"],
    "label_state_cost": ["--cases", "3", "--side", "16", "--repeats", "1"],
    "import_time": ["--repeats", "1"],
    "jobs_speed": ["--smallest"],
    "fast_steps": ["--smallest", "--networks", "unet"],
    "large_volume": ["--shape", "12", "24", "24", "--patch", "16", "16", "16", "--folder", "{out}"],
    "lidc_centres": ["{data}/lidc", "{out}/centres", "--side", "16"],
    "look_ahead_cost": ["--smallest"],
    "loss_cost": ["--smallest"],
    "look_ahead_detection": ["--data", "Kvasir-SEG", "--epochs", "1", "--trusted", "0.3", "--scope", "head"],
    "many_cases": ["--pictures", "3", "--side", "40", "--volumes", "2", "--shape", "16", "40", "40", "--jobs", "1"],
    "markov_speed": ["--smallest"],
    "memory": [
        *("--limit", "3000", "--times", "0.0002", "--cases", "2", "--shape", "16", "32", "32", "--small", "16", "32", "32"),
        *("--patch", "16", "16", "16", "--folder", "{out}"),
    ],
    "noise_pictures": ["--cases", "16", "--size", "32", "--epochs", "1", "--out", "{out}"],
    "paper_estimates": ["--only", "meta-dcseg", "--items", "table-5", "--out", "{out}/estimates.jsonl"],
    "printed_noise": ["{data}/kvasir-seg/masks", "--side", "32"],
    "reader_bias": ["{data}/lidc", "{out}/readers", "--verified", "1"],
    "reading_cost": [
        *("--cases", "2", "--shape", "20", "20", "20", "--patch", "16", "16", "16", "--steps", "2", "--lasting", "0.001"),
    ],
    "readme_picture": ["--cases", "12", "--size", "32", "--epochs", "1", "--out", "{out}/found.png"],
    "refined_labels": ["--epochs", "1", "--steps", "1", "--trusted", "0.5", "--patch", "16", "16", "16"],
    "self_cleansing_filter": ["--epochs", "2", "--every", "1", "--settled", "0.2"],
    "start_cost": ["--cases", "3", "--shape", "4", "16", "16", "--repeats", "1"],
    "review_readers": ["--decisions", "6", "--kills", "1", "--cases", "8"],
    "review_scale": ["--cases", "12", "--decisions", "3"],
    "review_volume": ["--shape", "12", "40", "40"],
    "step_cost": ["--smallest"],
    "volume_speed": [
        *("--shape", "16", "20", "20", "--patch", "16", "16", "16", "--width", "2", "--repeats", "1"),
    ],
    "class_trials": [
        *("--images", "20", "--epochs", "5", "--batch", "10", "--noises", "symmetric", "--trusted", "0.1"),
        *("--method", "dividemix"),
    ],
    "trials": [
        *("--sets", "Kvasir-SEG", "--noises", "S_R", "--images", "4", "--side", "16", "--batch", "2", "--epochs", "5"),
        *("--validation", "1", "--apart", "2"),
    ],
    "unlabelled_images": [
        *("--sets", "Kvasir-SEG", "--methods", "ce", "mean-teacher", "--seeds", "0", "--images", "4", "--labelled", "0.3"),
        *("--tested", "1", "--side", "16", "--epochs", "1", "--steps", "1", "--batch", "2"),
    ],
    "teacher_cost": ["--patch", "16", "16", "16", "--width", "2", "--passes", "2", "--others", "1", "--one-process"],
}
"""The words with which each script that stands alone ends in seconds; ``{data}`` and ``{out}`` are folders."""

OTHERS = {
    "audit_repair",
    "review_round",
    "review_crop",
    "label_scores",
    "class_selection",
    "class_step_cost",
    "paper_pages",
    "exported",
}
"""Scripts with a test of their own, the two of classes in test_class_benchmarks.py, review_crop in tests/review_browser, the
last two in test_paper_pages.py and below."""


def run_script(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """The script's main, in this process, with its folder where Python searches."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / f"{name}.py"), *map(str, words)])
    importlib.import_module(f"benchmarks.{name}").main()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data sets with the names and layouts of the real ones that benchmarks ask for."""
    root = tmp_path_factory.mktemp("real")
    build_folder(root / "kvasir-seg", n=24, size=32)
    acdc = build_nnunet_2d(root / "nnUNet_raw/Dataset102_ACDC", n=24)
    for file in [*acdc.rglob("p*.png")]:
        file.rename(file.with_name(file.name.replace("p", "patient", 1)))
    splits = {
        part: [name.replace("p", "patient", 1) for name in names]
        for part, names in yaml.safe_load((acdc / "splits_final.json").read_text())[0].items()
    }
    save_json(acdc / "splits_final.json", [splits])
    build_nnunet_3d(root / "nnUNet_raw/Dataset101_LeftAtrium", n=5, shape=(16, 16, 16), classes=2, channels=1)
    build_manifest(root / "lidc", n=12, raters=4)
    (root / "cifar10").mkdir()
    (build_npz(root / "made", n=60, classes=10) / "small.npz").rename(root / "cifar10" / "cifar10_12k.npz")
    return root


@pytest.fixture(autouse=True)
def data_in_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_DATA", str(data))


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Methods and policies are those of before: scripts put others in their places."""
    monkeypatch.setattr(policies, "CIFAR10", policies.CIFAR10)
    before = dict(METHODS)
    yield
    for name in [*METHODS]:
        if name in before:
            METHODS[name] = before[name]
        else:
            del METHODS[name]


@pytest.mark.system
def test_exported_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_script("exported", monkeypatch, "--out", tmp_path, "--epochs", 1)
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert all("differing: {'onnx': 0, 'torchscript': 0, 'bundle': 0}" in row for row in rows)


def test_every_script_has_a_test() -> None:
    assert {file.stem for file in BENCHMARKS.glob("*.py")} == {*ALONE, *OTHERS}


@pytest.fixture
def processes_that_have_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts that watch a process's memory start it from one that has imported already, which takes seconds."""
    multiprocessing.set_forkserver_preload(["benchmarks.large_volume", "tests.training_jobs", "monai.networks.nets.basic_unet"])
    for module in (memory, large_volume):
        monkeypatch.setattr(module, "peak_of", functools.partial(memory.peak_of, start="forkserver"))


@pytest.mark.slow
@pytest.mark.usefixtures("as_before", "processes_that_have_imported")
@pytest.mark.parametrize("name", ALONE)
def test_a_script_runs_at_its_smallest(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(name, monkeypatch, *(word.format(data=data, out=tmp_path) for word in ALONE[name]))
    printed = capsys.readouterr().out
    assert printed or name in ("lidc_centres", "reader_bias")
    assert "Traceback" not in printed


@pytest.fixture
def quick_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets of the benchmark of audits, with trainings of one step."""
    quick = {"image_size": (16, 16), "epochs": 1, "batch_size": 32}
    small = {name: dataclasses.replace(each, training=quick, cases=16) for name, each in sets.SETS.items()}
    small["atrium"] = dataclasses.replace(small["atrium"], training=quick | {"image_size": (8, 8, 8)})
    for name, each in small.items():
        monkeypatch.setitem(sets.SETS, name, each)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_sets")
def test_errors_are_planted_found_and_repaired(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    words = ["--out", tmp_path / "out", "--sets", "kvasir", "--seeds", 0, "--shares", 0.3, "--planted", 10, "--rows", rows]
    run.main([*map(str, words)])
    assert "kvasir, seed 0, share 0.3: has its row" in capsys.readouterr().out
    run.main([*map(str, words)])
    assert not capsys.readouterr().out, "a row that stands is not made again"
    page.write_text("Before.\n<!-- table kvasir -->\nold\n<!-- end -->\nAfter.\n")
    table.main(["--rows", str(rows), "--page", str(page)])
    lines = page.read_text().splitlines()
    assert lines[0] == "Before." and lines[-1] == "After." and "old" not in lines
    assert any(line.startswith("| all | 5 | ") for line in lines)
    capsys.readouterr()
    cell = tmp_path / "out" / "kvasir" / "seed-0" / "share-0.3"
    repair = ["repair", cell / "given", cell / "audit", "--out", tmp_path / "repaired", "--accept", "all"]
    assert main([str(word) for word in repair]) == 0
    capsys.readouterr()
    run_script("audit_repair", monkeypatch, cell / "given", tmp_path / "repaired", data / "kvasir-seg")
    printed = capsys.readouterr().out
    assert "| none |" in printed
    shutil.rmtree(cell / "predictions")  # of a network that learnt nothing: those of one that knows all find the errors
    shutil.copytree(data / "kvasir-seg" / "masks", cell / "predictions")
    words = ["--out", str(tmp_path / "out"), "--set", "kvasir", "--share", "0.3", "--planted", "10", "--least", "0.001"]
    review_round.main([*words, "--findings", "4"])
    row = json.loads((tmp_path / "out" / "round" / "row.json").read_text())
    assert row["since"]["asked_twice"] == 0 and row["since"]["decided"] == row["first"]["findings"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("quick_sets")
def test_labels_that_other_raters_reject_are_counted(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    words = ["--out", tmp_path / "out", "--sets", "lidc", "--seeds", 0, "--shares", 0, "--planted", 4, "--rows", rows]
    run.main([*map(str, words)])
    (row,) = run.read_rows(rows)
    assert row["wrong"] == 0 and row["rejected"]["labels"] == 0


@pytest.mark.slow
def test_audits_of_generated_classes_are_counted_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path), "--seed", "3", "--sizes", "60"]
    class_coverage.main([*words, "--audits", "1"])
    class_coverage.main([*words, "--audits", "2"])
    rows = [json.loads(line) for line in (tmp_path / "seed-3.jsonl").read_text().splitlines()]
    assert [row["audit"] for row in rows] == [0, 1], "the first is not made again"
    assert rows[0]["wrong"] == 0 < rows[1]["wrong"]
    printed = capsys.readouterr().out
    assert "| all | 2 |" in printed and "| cases 60 | 2 |" in printed


@pytest.mark.slow
def test_label_scores_of_a_bench(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training: dict[str, Any] = {"epochs": 1, "network": "unet-small", "width": 4, "image_size": [32, 32], "device": "cpu"}
    grid = {
        "datasets": {"toy": {"path": str(data / "kvasir-seg")}},
        "noises": {"S_DE": {"noise": "dilate-erode", "share": 0.5}},
        "methods": {"cl": None},
        "training": training,
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    run_grid(read_grid(tmp_path / "grid.yaml"), tmp_path / "out")
    capsys.readouterr()
    run_script("label_scores", monkeypatch, tmp_path / "out")
    heads, row = capsys.readouterr().out.splitlines()
    assert heads.split()[:2] == ["cell", "wrong"] and row.startswith("toy, S_DE, cl, seed-0")


@pytest.mark.parametrize("file", sorted(BENCHMARKS.glob("*.yaml")), ids=lambda file: file.stem)
def test_its_files_are_read(file: Path) -> None:
    grid = read_grid(file)
    assert grid.datasets and grid.methods


@pytest.mark.slow
def test_simulated_audits_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coverage, "CASES", {2: 8, 3: 2})
    monkeypatch.setattr(coverage, "SIZES", (12,))
    words = ["coverage", "--out", str(tmp_path / "out"), "--seed", "3"]
    monkeypatch.setattr(sys, "argv", [*words, "--audits", "1"])
    coverage.main()
    rows = (tmp_path / "out" / "coverage-3.jsonl").read_text()
    coverage.main()
    assert (tmp_path / "out" / "coverage-3.jsonl").read_text() == rows
    assert "| 2D, good | 1 |" in capsys.readouterr().out
