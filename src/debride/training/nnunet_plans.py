"""What nnU-Net plans for a data set, as settings of a training: patch, batch, spacing, intensities and the network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.data.pixels.images import read_header
from debride.files import content_hash, read_json
from debride.networks.planned import described
from debride.notes import tell
from debride.settings import from_mapping
from debride.training.config import TrainConfig
from debride.training.description import read_description
from debride.types import DataError, Dataset

FILE = "plans.json"
"""The copy of a plans file in a run."""

KEPT_RULES = {
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "unit",
    "RGBTo01Normalization": "byte",
    "NoNormalization": "none",
}
"""Rules for intensities by nnU-Net's names, of those that need no numbers. CTNormalization has its own."""

CUT = ("percentile_00_5", "percentile_99_5", "mean", "std")
"""What CTNormalization takes of the foreground's intensities: it cuts at the first two."""

PREPROCESSOR = "DefaultPreprocessor"
"""The only way of preparing that is known: crop to what is not 0, intensities, spacing."""


@dataclass(frozen=True)
class Plans:
    """A plans file, the ``configuration`` chosen in it, and the ``settings`` of a training that follow, by name."""

    file: Path
    configuration: str
    settings: dict[str, Any]

    @property
    def entry(self) -> dict[str, str]:
        """What ``run.json`` says of them."""
        return {"configuration": self.configuration, "hash": content_hash([self.file])}


def plans_of(run: Path) -> tuple[Path, str] | None:
    """The plans file and the configuration that a run was begun with; None for one that had none."""
    if not (run / FILE).is_file() or not (run / "run.json").is_file():
        return None
    said = read_description(run / "run.json").get("plans")
    return (run / FILE, said["configuration"]) if said else None


def read_plans(file: Path, configuration: str, dataset: Dataset) -> Plans:
    """The settings of a training that a configuration of a plans file asks for on a data set, all in array order.

    ``batch_size``, ``patch_size``, ``crop``, ``intensity``, ``network`` and ``architecture`` are always among them, ``spacing``
    where images state theirs. Raises DataError for a file that is none, a configuration that it does not have, that is the
    second stage of a cascade, or that prepares images otherwise than is known here, and for images of another kind.
    """
    plans = read_json(file)
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        remedy = "Give nnUNetPlans.json of a data set in nnUNet_preprocessed, or plans.json of a trained one."
        raise DataError(file, "is no file of plans of nnU-Net", remedy)
    where = f"{file}: {configuration}"
    said = _modern(_inherited(file, plans["configurations"], configuration, ()), where)
    if said.get("previous_stage"):
        problem = f"is the second stage of a cascade, and needs the predictions of {said['previous_stage']}"
        raise DataError(where, problem, "Give a configuration that stands by itself.")
    if (own := said.get("preprocessor_name", PREPROCESSOR)) != PREPROCESSOR:
        raise DataError(where, f"prepares images by {own}, which is not known here", f"Give one by {PREPROCESSOR}.")
    if plans.get("image_reader_writer") == "NibabelIOWithReorient":
        problem = "reads images turned to one orientation (NibabelIOWithReorient), and here they stay as they are stored"
        raise DataError(where, problem, "Plan anew with the reader that nnU-Net chooses.")
    axes = _axes(plans, said, where, dataset)
    back = [axes.index(axis) for axis in range(dataset.ndim)]
    patch = _numbers(said, "patch_size", int, where, dataset.ndim)
    named, root = plans.get("dataset_name"), dataset.root.name
    if isinstance(named, str) and root.startswith("Dataset") and named != root:
        tell(f"{file} was planned for {named}, and the data set is {root}.")
    settings: dict[str, Any] = {
        "batch_size": _batch(said, where),
        "patch_size": tuple(patch[axis] for axis in back),
        "crop": True,
        "intensity": _intensity(plans, said, where, dataset),
        "network": "plans",
        "architecture": described(said.get("architecture"), axes, where),
    }
    spacing = _spacing(said, where, dataset)
    if spacing:
        settings["spacing"] = tuple(spacing[axis] for axis in back)
    from_mapping(TrainConfig, settings, where)
    return Plans(file, configuration, settings)


def with_given(plans: Plans, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of plans that are not ``given`` otherwise; says which are, and what nnU-Net does that is not done here."""
    settings = dict(plans.settings)
    if given.get("image_size"):
        settings.pop("spacing", None)
    if given.get("network") not in (None, "plans"):
        settings.pop("architecture")
    for name in sorted(given.keys() & plans.settings.keys()):
        settings.pop(name, None)
        planned = "another" if name == "network" else _shown(plans.settings[name])
        tell(f"`{name}` is {_shown(given[name])} as given; the plans have {planned}.")
    if "architecture" in settings:
        tell("the network of the plans is trained without deep supervision, and images are resampled linearly.")
    return settings


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _inherited(file: Path, all: Mapping[str, Any], name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """A configuration with what it takes from others (``inherits_from``)."""
    own = all.get(name) if isinstance(name, str) else None
    if not isinstance(own, dict):
        near = difflib.get_close_matches(str(name), all, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Give one of {', '.join(all)}."
        raise DataError(file, f"has no configuration {name!r}", remedy)
    if name in seen:
        raise DataError(file, f"has configurations that inherit from each other: {', '.join((*seen, name))}", "Correct it.")
    parent = own.get("inherits_from")
    return {**(_inherited(file, all, parent, (*seen, name)) if parent else {}), **own}


def _modern(said: dict[str, Any], where: object) -> dict[str, Any]:
    """A configuration with an ``architecture``: of plans from before nnU-Net 2.4, which name its parts each, made of those."""
    if "architecture" in said or "UNet_class_name" not in said:
        return said
    try:
        stages, width = len(said["n_conv_per_stage_encoder"]), said["UNet_base_num_features"]
        ndim, cls = len(said["patch_size"]), said["UNet_class_name"]
        arguments = {
            "n_stages": stages,
            "features_per_stage": [min(width * 2**stage, said["unet_max_num_features"]) for stage in range(stages)],
            "conv_op": f"torch.nn.Conv{ndim}d",
            "kernel_sizes": said["conv_kernel_sizes"],
            "strides": said["pool_op_kernel_sizes"],
            "n_conv_per_stage_decoder": said["n_conv_per_stage_decoder"],
            "n_conv_per_stage" if cls == "PlainConvUNet" else "n_blocks_per_stage": said["n_conv_per_stage_encoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{ndim}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
    except (KeyError, TypeError) as error:
        raise DataError(where, f"does not say what its network is ({error})", "Plan anew by nnU-Net.") from error
    name = f"dynamic_network_architectures.architectures.unet.{cls}"
    return {**said, "architecture": {"network_class_name": name, "arch_kwargs": arguments}}


def _axes(plans: Mapping[str, Any], said: Mapping[str, Any], where: object, dataset: Dataset) -> tuple[int, ...]:
    """The axes of an image in the order that was planned. nnU-Net takes a picture for a volume of one slice."""
    order = plans.get("transpose_forward", [0, 1, 2])
    if not isinstance(order, list) or not all(_is(axis, int) for axis in order) or sorted(order) != [0, 1, 2]:
        raise DataError(where, f"has the order of axes {order!r}", "Plan anew by nnU-Net.")
    patch = said.get("patch_size")
    planned = len(patch) if isinstance(patch, list) else 0
    if planned != dataset.ndim:
        of, held = {2: "slices", 3: "volumes"}.get(planned, "no images"), {2: "pictures", 3: "volumes"}[dataset.ndim]
        problem = f"is for {of}, and the data set holds {held}"
        others = {name: own.get("patch_size") for name, own in plans["configurations"].items() if isinstance(own, dict)}
        instead = [name for name, own in others.items() if isinstance(own, list) and len(own) == dataset.ndim]
        remedy = f"Give {' or '.join(instead)}." if instead else "Give plans of this data set."
        raise DataError(where, problem, remedy)
    if dataset.ndim == 2 and order[0] != 0:
        raise DataError(where, f"has the order of axes {order}, which no picture can have", "Give plans of this data set.")
    return tuple(order) if dataset.ndim == 3 else tuple(axis - 1 for axis in order[1:])


def _numbers(said: Mapping[str, Any], name: str, kind: type, where: object, number: int) -> list[Any]:
    values = said.get(name)
    if not isinstance(values, list) or len(values) != number or not all(_is(value, kind) and value > 0 for value in values):
        raise DataError(where, f"has the {name} {values!r}", f"Give {number} numbers above 0, or plan anew by nnU-Net.")
    return values


def _is(value: Any, kind: type) -> bool:
    return type(value) is kind or (kind is float and type(value) is int)


def _batch(said: Mapping[str, Any], where: object) -> int:
    return int(_numbers({"batch_size": [said.get("batch_size")]}, "batch_size", int, where, 1)[0])


def _spacing(said: Mapping[str, Any], where: object, dataset: Dataset) -> list[float] | None:
    """The spacing planned, in the order planned; None where images state none and each pixel was planned to be one."""
    spacing: list[float] = _numbers(said, "spacing", float, where, dataset.ndim)
    if read_header(dataset.cases[0].image[0]).geometry.spacing is not None:
        return spacing
    if any(mm != 1 for mm in spacing):
        problem = f"resamples to a spacing of {_shown(spacing)}, and images of this data set state none"
        raise DataError(where, problem, "Give plans of this data set.")
    return None


def _intensity(plans: Mapping[str, Any], said: Mapping[str, Any], where: object, dataset: Dataset) -> str:
    """The rule of each channel, or one for all where they are alike."""
    schemes, masked = said.get("normalization_schemes"), said.get("use_mask_for_norm")
    channels = sum(read_header(path).channels for path in dataset.cases[0].image)
    if not isinstance(schemes, list) or len(schemes) != channels:
        number = len(schemes) if isinstance(schemes, list) else 0
        problem = f"normalises {number} channels, and images of this data set have {channels}"
        raise DataError(where, problem, "Give plans of this data set.")
    inside = masked if isinstance(masked, list) and len(masked) == channels else [False] * channels
    found = plans.get("foreground_intensity_properties_per_channel", plans.get("foreground_intensity_properties_by_modality"))
    rules = []
    for channel, scheme in enumerate(schemes):
        if scheme == "CTNormalization":
            known = found.get(str(channel)) if isinstance(found, dict) else None
            if not isinstance(known, dict) or not all(_is(known.get(name), float) for name in CUT):
                raise DataError(where, f"has no intensities of the foreground of channel {channel}", "Plan anew by nnU-Net.")
            low, high, mean, std = (float(known[name]) for name in CUT)
            rules.append(f"ct:{low!r}:{high!r}:{mean!r}:{max(std, 1e-8)!r}")
        elif isinstance(scheme, str) and scheme in KEPT_RULES:
            nonzero = "-nonzero" if scheme == "ZScoreNormalization" and inside[channel] else ""
            rules.append(KEPT_RULES[scheme] + nonzero)
        else:
            known_ones = ", ".join([*KEPT_RULES, "CTNormalization"])
            raise DataError(where, f"normalises by {scheme!r}, which is not known here", f"Known are {known_ones}.")
    return rules[0] if len(set(rules)) == 1 else ",".join(rules)
