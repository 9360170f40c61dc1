"""Plans of nnU-Net as settings of a training: what is read, in which order of axes, and what is refused by name."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_folder, build_nnunet_2d, build_nnunet_3d, build_npz
from tests.small_plans import Plans, arguments, configuration, plans, written

import debride
from debride.data.cache import working_image
from debride.data.open import open_dataset
from debride.data.preparation import Preparation, read_rule
from debride.export.mask_module import MaskModule
from debride.networks.planned import described, planned
from debride.settings import check_bounds
from debride.training.config import TrainConfig
from debride.training.description import training_entries
from debride.training.nnunet_plans import read_plans, with_given
from debride.types import DataError, Dataset, Geometry


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(build_nnunet_3d(tmp_path_factory.mktemp("volumes") / "data", channels=1))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(build_nnunet_2d(tmp_path_factory.mktemp("pictures") / "data"))


def test_settings_are_in_array_order(tmp_path: Path, volumes: Dataset) -> None:
    """The first axis that was planned is the last of an array: (2, 0, 1) takes a D H W array to W D H."""
    settings = read_plans(written(tmp_path, plans()), "3d_fullres", volumes).settings
    assert settings["patch_size"] == (16, 24, 8)
    assert settings["spacing"] == (0.5, 0.75, 4.0)
    assert (settings["batch_size"], settings["crop"], settings["intensity"]) == (3, True, "zscore")
    kept = json.loads(settings["architecture"])
    assert kept["axes"] == [2, 0, 1] and kept["class"] == "PlainConvUNet" and kept["arguments"] == arguments(3)
    check_bounds(TrainConfig(**settings))
    low = read_plans(written(tmp_path, plans()), "3d_lowres", volumes).settings
    assert low == {**settings, "spacing": (1.0, 1.5, 8.0)}


def test_pictures_have_no_spacing_to_resample_to(tmp_path: Path, pictures: Dataset) -> None:
    settings = read_plans(written(tmp_path, plans((0, 2, 1))), "2d", pictures).settings
    assert "spacing" not in settings and settings["patch_size"] == (24, 16)
    assert json.loads(settings["architecture"])["axes"] == [1, 0]


@pytest.mark.parametrize(
    ("scheme", "masked", "rule"),
    [
        ("ZScoreNormalization", True, "zscore-nonzero"),
        ("RescaleTo01Normalization", True, "unit"),
        ("RGBTo01Normalization", False, "byte"),
        ("NoNormalization", False, "none"),
        ("CTNormalization", False, "ct:-5.0:90.0:40.5:12.25"),
    ],
)
def test_intensities(tmp_path: Path, volumes: Dataset, scheme: str, masked: bool, rule: str) -> None:
    said = plans()
    said["configurations"]["3d_fullres"] |= {"normalization_schemes": [scheme], "use_mask_for_norm": [masked]}
    assert read_plans(written(tmp_path, said), "3d_fullres", volumes).settings["intensity"] == rule
    assert read_rule(rule).kind == rule.split(":")[0]


def test_plans_from_before_2_4_say_the_same_network(tmp_path: Path, volumes: Dataset) -> None:
    said, own = plans(), arguments(3)
    new = read_plans(written(tmp_path, said), "3d_fullres", volumes).settings["architecture"]
    old = said["configurations"]["3d_fullres"]
    del old["architecture"]
    old |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 6,
        "n_conv_per_stage_encoder": own["n_conv_per_stage"],
        "n_conv_per_stage_decoder": own["n_conv_per_stage_decoder"],
        "conv_kernel_sizes": own["kernel_sizes"],
        "pool_op_kernel_sizes": own["strides"],
    }
    read = json.loads(read_plans(written(tmp_path, said), "3d_fullres", volumes).settings["architecture"])
    wanted = json.loads(new)
    wanted["arguments"]["features_per_stage"] = [4, 6, 6]
    kept = {name: value for name, value in wanted["arguments"].items() if not name.startswith("dropout")}
    for name in ("conv_op", "norm_op"):
        kept[name] = f"torch.nn.{kept[name].rpartition('.')[2]}"
    assert read == {**wanted, "arguments": kept}


def change(**entries: Any) -> Callable[[Plans], object]:
    return lambda said: said["configurations"]["3d_fullres"].update(entries)


def network(**entries: Any) -> Callable[[Plans], object]:
    return lambda said: said["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(entries)


def cls(name: str) -> Callable[[Plans], object]:
    return lambda said: said["configurations"]["3d_fullres"]["architecture"].update(network_class_name=name)


REFUSED: list[tuple[Callable[[Plans], object], str, str]] = [
    (lambda said: said.pop("configurations"), "3d_fullres", r"nnUNetPlans.json: is no file of plans of nnU-Net"),
    (lambda said: None, "3d_fulres", r"has no configuration '3d_fulres'. Did you mean 3d_fullres\?"),
    (lambda said: None, "2d", r"2d: is for slices, and the data set holds volumes. Give 3d_fullres"),
    (lambda said: None, "3d_cascade_fullres", r"is the second stage of a cascade, and needs the predictions of 3d_lowres"),
    (change(inherits_from="3d_lowres"), "3d_lowres", r"inherit from each other: 3d_lowres, 3d_fullres, 3d_lowres"),
    (change(preprocessor_name="Mine"), "3d_fullres", r"prepares images by Mine, which is not known"),
    (change(normalization_schemes=["Mine"]), "3d_fullres", r"normalises by 'Mine', which is not known"),
    (change(normalization_schemes=["NoNormalization"] * 2), "3d_fullres", r"normalises 2 channels, and images .* have 1"),
    (change(patch_size=[8, 16, 0]), "3d_fullres", r"has the patch_size \[8, 16, 0\]"),
    (change(spacing=[1, "1", 1]), "3d_fullres", r"has the spacing"),
    (change(batch_size=None), "3d_fullres", r"has the batch_size"),
    (lambda said: said.update(image_reader_writer="NibabelIOWithReorient"), "3d_fullres", r"turned to one orientation"),
    (lambda said: said.update(transpose_forward=[0, 0, 1]), "3d_fullres", r"has the order of axes \[0, 0, 1\]"),
    (cls("torch.hub.load"), "3d_fullres", r"plans the network 'torch.hub.load', which is not known here. Networks .* Plain"),
    (cls("os.PlainConvUNet"), "3d_fullres", r"plans the network 'os.PlainConvUNet'"),
    (network(conv_op="os.Conv3d"), "3d_fullres", r"says conv_op \"os.Conv3d\" of its network"),
    (network(conv_op="torch.nn.Conv2d"), "3d_fullres", r"says conv_op"),
    (network(norm_op="torch.nn.modules.batchnorm.SyncBatchNorm"), "3d_fullres", r"says norm_op"),
    (network(nonlin_kwargs={"inplace": "yes"}), "3d_fullres", r"says nonlin_kwargs"),
    (network(n_stages=40), "3d_fullres", r"says n_stages 40"),
    (network(features_per_stage=[4, 6]), "3d_fullres", r"says features_per_stage"),
    (network(features_per_stage=[4, 6, 100000]), "3d_fullres", r"says features_per_stage"),
    (network(strides=[[1, 1], [2, 2], [2, 2]]), "3d_fullres", r"says strides"),
    (network(block="os.system"), "3d_fullres", r"says block of its network, which is not known here"),
]


@pytest.mark.parametrize(("edit", "name", "said"), REFUSED)
def test_what_is_not_done_is_refused_by_name(
    tmp_path: Path, volumes: Dataset, edit: Callable[[Plans], object], name: str, said: str
) -> None:
    wrong = plans()
    edit(wrong)
    with pytest.raises(DataError, match=said):
        read_plans(written(tmp_path, wrong), name, volumes)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in plain JSON, at any depth."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*at, key)
        yield from places(each, (*at, key))


def test_whatever_stands_in_a_file_it_is_read_or_refused(tmp_path: Path, volumes: Dataset) -> None:
    """Every entry is replaced by other values, one after the other: none is a mistake of ours."""
    said = plans()
    said["configurations"] = {name: said["configurations"][name] for name in ("3d_fullres", "3d_lowres")}
    refused = 0
    for at in places(said):
        for other in (None, 0.5, "x", [[1]]):
            wrong = json.loads(json.dumps(said))
            holder = wrong
            for key in at[:-1]:
                holder = holder[key]
            holder[at[-1]] = other
            try:
                settings = read_plans(written(tmp_path, wrong), "3d_lowres", volumes).settings
            except DataError:
                refused += 1
                continue
            check_bounds(TrainConfig(**settings))
    assert refused > 100


def test_plans_of_another_data_set(tmp_path: Path, pictures: Dataset, volumes: Dataset, capsys: Any) -> None:
    with pytest.raises(DataError, match=r"3d_fullres: is for volumes, and the data set holds pictures. Give 2d"):
        read_plans(written(tmp_path, plans((0, 1, 2))), "3d_fullres", pictures)
    with pytest.raises(DataError, match=r"order of axes \[2, 0, 1\], which no picture can have"):
        read_plans(written(tmp_path, plans()), "2d", pictures)
    said = plans((0, 1, 2))
    said["configurations"]["2d"]["spacing"] = [0.5, 0.5]
    with pytest.raises(DataError, match=r"resamples to a spacing of 0.5 0.5, and images of this data set state none"):
        read_plans(written(tmp_path, said), "2d", pictures)
    read_plans(written(tmp_path, plans()), "3d_fullres", replace(volumes, root=volumes.root.with_name("Dataset101_Atrium")))
    assert "was planned for Dataset007_Parts, and the data set is Dataset101_Atrium" in capsys.readouterr().err


def test_what_is_given_goes_before_the_plans_and_is_said(tmp_path: Path, volumes: Dataset, capsys: Any) -> None:
    read = read_plans(written(tmp_path, plans()), "3d_fullres", volumes)
    assert with_given(read, {}) == read.settings
    assert "without deep supervision" in capsys.readouterr().err
    rest = with_given(read, {"batch_size": 1, "network": "unet", "image_size": (16, 16, 16)})
    assert rest.keys() == read.settings.keys() - {"batch_size", "network", "architecture", "spacing"}
    told = capsys.readouterr().err
    assert "`batch_size` is 1 as given; the plans have 3." in told and "deep supervision" not in told


def test_plans_and_configuration_belong_together(tmp_path: Path, volumes: Dataset) -> None:
    file = written(tmp_path, plans())
    for options, said in (({"plans": file}, "`configuration`: is missing"), ({"configuration": "2d"}, "`plans`: is missing")):
        with pytest.raises(DataError, match=said):
            debride.train("ce", volumes, tmp_path / "run", **options)
    with pytest.raises(DataError, match=r"`plans`: are for networks that segment, and the data set is for classification"):
        debride.train("ce", build_npz(tmp_path / "classes"), tmp_path / "run", plans=file, configuration="2d")
    with pytest.raises(DataError, match=r"`network`: is plans, and no `plans` describe it"):
        debride.train("ce", build_folder(tmp_path / "data"), tmp_path / "run", network="plans")


@pytest.mark.skipif(importlib.util.find_spec("dynamic_network_architectures") is not None, reason="the package is installed")
def test_a_missing_package_is_named(tmp_path: Path, volumes: Dataset) -> None:
    with pytest.raises(DataError, match=r"needs dynamic-network-architectures.*pip install 'debride\[nnunet\]'"):
        debride.train("ce", volumes, tmp_path / "run", plans=written(tmp_path, plans()), configuration="3d_fullres", epochs=1)


def test_a_network_for_other_images_is_refused() -> None:
    architecture = described(configuration(3)["architecture"], (0, 1, 2), "plans")
    with pytest.raises(DataError, match="plan a network for 3D images, these are 2D"):
        planned(architecture, ndim=2, in_channels=1, classes=2)


def test_runs_from_before_there_were_plans_are_read() -> None:
    assert training_entries({"epochs": 3}) == {"architecture": None, "nodes": 1, "epochs": 3}


@pytest.mark.parametrize("rule", ["ct:-50:80.5:12.25:30", "byte", "none"])
def test_exported_models_have_the_rules_of_plans(rule: str) -> None:
    image = np.random.default_rng(0).integers(-100, 200, (1, 6, 7)).astype(np.float32)
    read, nothing = read_rule(rule), torch.ones(1)
    module = MaskModule(
        torch.nn.Identity(),
        **{"ndim": 2, "channels": 1, "weights": nothing, "values": nothing, "importance": nothing, "patch": [], "steps": []},
        **{"at_once": 1, "multiple": 1, "fixed": [], "image_size": [], "spacing": [], "crop": False},
        **{"rules": [read.kind], "lows": [read.low], "highs": [read.high], "means": [read.mean], "stds": [read.std]},
    )
    expected, _ = working_image(image, Geometry(), Preparation(intensity=rule))
    np.testing.assert_allclose(module.normalised(torch.from_numpy(image.copy())).numpy(), expected, rtol=1e-6, atol=1e-6)
