"""Small plans as nnU-Net writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Plans = dict[str, Any]


def arguments(ndim: int) -> Plans:
    """A U-Net of three stages, of which the first axis is pooled once and the others twice."""
    return {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{ndim}d",
        "kernel_sizes": [[1] + [3] * (ndim - 1), [3] * ndim, [3] * ndim],
        "strides": [[1] * ndim, [1] + [2] * (ndim - 1), [2] * ndim],
        "n_conv_per_stage": [1, 2, 2],
        "n_conv_per_stage_decoder": [2, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def configuration(ndim: int) -> Plans:
    """One for images of one channel."""
    cls = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    return {
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 3,
        "patch_size": [8, 16, 24][-ndim:],
        "spacing": [4.0, 0.5, 0.75][-ndim:],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": cls, "arch_kwargs": arguments(ndim), "_kw_requires_import": ["conv_op"]},
    }


def plans(order: tuple[int, ...] = (2, 0, 1)) -> Plans:
    """Plans with four configurations; the axes of an array are taken in the ``order`` given."""
    return {
        "dataset_name": "Dataset007_Parts",
        "transpose_forward": list(order),
        "image_reader_writer": "SimpleITKIO",
        "configurations": {
            "2d": {**configuration(2), "spacing": [1.0, 1.0]},
            "3d_fullres": configuration(3),
            "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [8.0, 1.0, 1.5]},
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 40.5, "std": 12.25, "percentile_00_5": -5.0, "percentile_99_5": 90.0}
        },
    }


def written(tmp_path: Path, said: Plans) -> Path:
    """The file of plans."""
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(said))
    return tmp_path / "nnUNetPlans.json"
