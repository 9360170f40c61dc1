"""A training by plans of nnU-Net: all that comes after it knows the network from the run alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_nnunet_3d
from tests.small_plans import plans, written

import debride
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label
from debride.types import DataError

FEW: dict[str, Any] = {"epochs": 2, "device": "cpu", "jobs": 1, "log_to": ()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, plans that are turned, and a run by them."""
    root = tmp_path_factory.mktemp("planned")
    data = build_nnunet_3d(root / "data", channels=1)
    file = written(root, plans())
    options = {**FEW, "cache": root / "cache"}
    debride.train("ce", data, root / "run", plans=file, configuration="3d_fullres", **options)
    file.unlink()  # what follows has the run alone
    return root


def test_the_run_says_what_was_planned(trained: Path) -> None:
    said = json.loads((trained / "run" / "run.json").read_text())
    assert said["plans"]["configuration"] == "3d_fullres"
    assert json.loads((trained / "run" / "plans.json").read_text()) == plans()
    training = said["training"]
    assert (training["patch_size"], training["spacing"], training["batch_size"]) == ([16, 24, 8], [0.5, 0.75, 4.0], 3)
    assert training["network"] == "plans" and json.loads(training["architecture"])["axes"] == [2, 0, 1]
    (run,) = debride.compare_runs(trained / "run").runs
    assert run.settings["configuration"] == "3d_fullres" and "architecture" not in run.settings


def test_it_predicts_and_is_exported(trained: Path, tmp_path: Path) -> None:
    debride.predict(trained / "run", trained / "data", tmp_path / "masks", device="cpu")
    dataset = open_dataset(trained / "data")
    masks = sorted((tmp_path / "masks").glob("*.nii.gz"))
    assert len(masks) == len(dataset.of("test"))
    debride.export_run(trained / "run", tmp_path / "exported", to="torchscript")
    (module,) = (tmp_path / "exported").glob("*.ts")
    case = dataset.of("test")[0]
    image, geometry = read_image(case.image)
    mask = torch.jit.load(str(module)).predict(torch.from_numpy(image.astype(np.float32)), list(geometry.spacing or ()))
    (own,) = (path for path in masks if path.name.startswith(case.id))
    assert (mask.numpy() == read_label(own, dataset)[0]).mean() > 0.999


def test_it_goes_on_bit_for_bit_without_the_plans(trained: Path, tmp_path: Path) -> None:
    """A run of three epochs, and one of them that was cut off after two."""
    file, options = written(tmp_path, plans()), {**FEW, "cache": trained / "cache", "epochs": 3}
    data = trained / "data"
    whole = debride.train("ce", data, tmp_path / "whole", plans=file, configuration="3d_fullres", **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for left in ("weights", "resume"):
        for path in (tmp_path / "cut" / left).glob("*0003*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    file.unlink()
    resumed = debride.train("ce", data, tmp_path / "cut", resume=True, **options)
    for run in (whole, resumed):
        assert (run.out / "weights" / "epoch-0003.safetensors").is_file()
    first, second = ((run.out / "weights" / "epoch-0003.safetensors").read_bytes() for run in (whole, resumed))
    assert first == second


def test_a_checkpoint_of_nnunet_begins_it(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The network that nnU-Net makes of the same plans, as its trainers save it."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    said = plans()["configurations"]["3d_fullres"]["architecture"]
    imported = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    theirs = get_network_from_plans(said["network_class_name"], said["arch_kwargs"], imported, 1, 3, deep_supervision=True)
    torch.save({"network_weights": theirs.state_dict()}, tmp_path / "checkpoint_final.pth")
    options = {**FEW, "cache": trained / "cache", "epochs": 1, "init": tmp_path / "checkpoint_final.pth"}
    file = written(tmp_path, plans())
    debride.train("ce", trained / "data", tmp_path / "run", plans=file, configuration="3d_fullres", **options)
    told = capsys.readouterr().out
    parameters = {parameter.data_ptr() for name, parameter in theirs.named_parameters() if "seg_layers.0" not in name}
    assert f"`network`: {len(parameters)} of {len(parameters)} tensors are loaded." in told
    assert "2 tensors of the file have no place: decoder.seg_layers.0.weight, decoder.seg_layers.0.bias" in told


def test_methods_of_two_networks_and_of_look_ahead_train_by_plans(trained: Path, tmp_path: Path) -> None:
    options = {**FEW, "cache": trained / "cache", "epochs": 1}
    for method, more in (("co-teaching", {"noise_rate": 0.2}), ("gsd-net", {})):
        out, file = tmp_path / method, written(tmp_path, plans())
        debride.train(method, trained / "data", out, plans=file, configuration="3d_fullres", **options, **more)
        assert (out / "weights" / "epoch-0001.safetensors").is_file()


def test_regions_train_by_plans(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "data", tmp_path / "data")
    description = json.loads((tmp_path / "data" / "dataset.json").read_text())
    description |= {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
    options = {**FEW, "cache": trained / "cache", "epochs": 1}
    file = written(tmp_path, plans())
    debride.train("gce", tmp_path / "data", tmp_path / "run", plans=file, configuration="3d_fullres", **options)
    debride.predict(tmp_path / "run", tmp_path / "data", tmp_path / "masks", device="cpu")
    assert list((tmp_path / "masks").glob("*.nii.gz"))


def test_another_network_in_the_place_of_the_planned_one_is_refused_on_resume(trained: Path) -> None:
    with pytest.raises(DataError, match="training with other"):
        options = {**FEW, "cache": trained / "cache", "network": "unet"}
        debride.train("ce", trained / "data", trained / "run", resume=True, **options)
