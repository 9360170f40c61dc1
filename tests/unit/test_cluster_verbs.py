"""What verbs give to jobs of a cluster: cells and trainings as plain JSON, options, and what cannot go there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.class_grids import grid_of as class_grid
from tests.datasets import build_folder
from tests.training_jobs import small_class_job, small_job

import debride
from debride.audit.predictions import cross_validation
from debride.bench.grid import cells, make_grid
from debride.bench.plain_cell import cell_of, plain_cell
from debride.cli import main
from debride.cli.options import named_values
from debride.training.predict_classes import images_of_file
from debride.types import DataError


def through_json(plain: Any) -> Any:
    return json.loads(json.dumps(plain))


def test_a_cell_of_masks_passes_as_json(tmp_path: Path) -> None:
    raw = {
        "datasets": {
            "toy": {"path": str(build_folder(tmp_path / "data", n=6)), "limit": {"train": 3}, "trusted": 0.4},
            "same": {"path": "$HOME/data", "training": {"image_size": [32, 32], "foreground": 0.5}},
        },
        "noises": {
            "clean": None,
            "S_DE": {"noise": "dilate-erode", "dice": 0.8, "share": 0.5, "validation": "clean"},
            "walk": {"noise": "markov", "parameters": {"steps": 7, "preference": 0.1}},
            "raters": {"raters": "sample"},
        },
        "methods": {
            "ce": {"calibrate": True, "hold_out_trusted": 0.5},
            "co": {"method": "co-teaching", "preset": "paper", "config": {"noise_rate": 0.3}},
        },
        "seeds": [0, 3],
        "training": {"epochs": 2, "network": "unet-small", "learning_rate": 1e-3},
        "augmentation": {"spatial_probability": 0.1},
        "cells": [
            {"datasets": ["toy"], "noises": ["clean", "S_DE", "walk"]},
            {"datasets": ["same"], "noises": ["raters"], "methods": ["co"]},
        ],
    }
    todo = cells(make_grid(raw, "grid"), tmp_path / "out")
    assert len(todo) == 14
    for cell in todo:
        again = cell_of(through_json(plain_cell(cell)))
        assert replace(again, training=dict(cell.training)) == replace(cell, training=dict(cell.training))
        assert again.settings == cell.settings and again.folder == cell.folder and again.data_folder == cell.data_folder


def test_a_cell_of_classes_passes_as_json(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("case,class\n")
    noises = {
        "swapped": {"noise": "transition", "parameters": {"matrix": [[0.8, 0.2, 0], [0, 1, 0], [0.1, 0, 0.9]]}},
        "mapped": {"noise": "asymmetric", "parameters": {"rate": 0.2, "map": {0: 1, 1: 0}}},
        "file": {"noise": "file", "parameters": {"file": str(labels)}},
    }
    todo = cells(make_grid(class_grid(tmp_path, noises=noises, cells=[]), "grid"), tmp_path / "out")
    assert {cell.noise for cell in todo} == set(noises)
    for cell in todo:
        again = cell_of(through_json(plain_cell(cell)))
        assert again.simulator == cell.simulator and again.settings == cell.settings


@pytest.mark.parametrize(
    ("make", "method"),
    [(small_job, "ce"), (small_job, "self-cleansing"), (small_class_job, "ce"), (small_class_job, "dividemix")],
)
def test_a_training_passes_as_json(make: Any, method: str, tmp_path: Path) -> None:
    job = replace(make(tmp_path, method), cache=tmp_path / "cache", jobs=3)
    again = cross_validation._job_of(through_json(cross_validation._plain(job)))
    assert replace(again, dataset=job.dataset) == job
    assert again.dataset == replace(job.dataset, cases=(), rest=again.dataset.rest)


def test_options_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["partition=gpu", "setup=module load cuda; export A=1: b", "gpus=1"]
    assert named_values("--cluster-option", words, "") == [
        ("partition", "gpu"),
        ("setup", "module load cuda; export A=1: b"),
        ("gpus", "1"),
    ]
    for verb in ("bench", "audit", "corrupt", "predict"):
        assert main([verb, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "of any: folder, at_once, per_job, cpus, gpus, retries" in said and "page cluster" in said, verb
        assert "of slurm: partition, account, qos, minutes" in said and "of ray: address" in said, verb


REFUSED = [
    (["--cluster-option", "partition=gpu"], "--cluster-option: is given, and no cluster"),
    (["--cluster", "slurm", "--cluster-option", "partition"], "'partition' is not NAME=VALUE"),
    (["--cluster", "slurm", "--cluster-option", "cpus=1", "cpus=2"], "gives cpus twice"),
    (["--cluster", "slurm", "--cluster-option", "address=a:1"], "'address' is none of slurm"),
    (["--cluster", "ray", "--cluster-option", "cpus=none"], "--cluster-option: cpus: is 'none'"),
    (["--cluster", "ray", "--cluster-option", "retries=-1"], "--cluster-option: retries: is -1"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
@pytest.mark.parametrize("verb", ["bench", "audit", "corrupt", "predict"])
def test_what_is_asked_of_a_cluster_is_checked_before_anything_is_written(
    verb: str, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = build_folder(tmp_path / "data", n=3), tmp_path / "out"
    command = {
        "bench": ["bench", str(tmp_path / "absent.yaml"), "--out", str(out)],
        "audit": ["audit", str(data), "--out", str(out), "--without-predictions"],
        "corrupt": ["corrupt", str(data), str(out), "--noise", "markov"],
        "predict": ["predict", str(tmp_path / "absent"), str(data), "--out", str(out)],
    }[verb]
    assert main([*command, *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_what_is_in_the_script_itself_is_refused(tmp_path: Path) -> None:
    data, out = build_folder(tmp_path / "data", n=3), tmp_path / "out"
    grid = {
        "datasets": {"toy": {"path": str(data)}},
        "noises": {"clean": None},
        "methods": {"ce": None},
        "training": {"network": "__main__:net"},
    }
    message = "`cluster`: has jobs that cannot find net, which is in the script itself. Put net into a module"
    for ask in (
        lambda: debride.run_bench(grid, out, trust_code=True, cluster="slurm"),
        lambda: debride.audit_dataset(data, out, method="__main__:net", cluster="slurm"),
        lambda: debride.audit_dataset(data, out, network="__main__:net", cluster="ray"),
        lambda: debride.corrupt_dataset(data, out, "__main__:net", cluster="slurm"),
        lambda: debride.predict(tmp_path, data, out, network="__main__:net", cluster="ray"),
    ):
        with pytest.raises(DataError, match=message):
            ask()
        assert not out.exists()


def test_what_is_no_grid_of_a_paper_does_not_go_to_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`cluster`: is for grids of trainings, and Figure 3 is none"):
        debride.run_bench("figure-3", tmp_path / "out", paper="alc", cluster="slurm")
    assert not (tmp_path / "out").exists()


def test_images_that_a_machine_does_not_see_are_missed_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other.npy: is not there.*another machine.*\$DEBRIDE_CACHE"):
        images_of_file(tmp_path / "other.npy")
