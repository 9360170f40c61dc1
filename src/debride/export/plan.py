"""What of a run is exported: its method, loaded, and all that is done to an image before and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from torch import Tensor

from debride.calibration.bias_record import FILE
from debride.calibration.correction import Calibration
from debride.data.pixels.images import raw_values
from debride.data.preparation import intensity_rules, read_rule
from debride.export.class_module import ClassModule
from debride.export.mask_module import MaskModule
from debride.export.tracing import Traced, multiple_of, quiet, trace, traced_size
from debride.plugins import Trust
from debride.training.description import read_description
from debride.training.inference import WINDOW_OVERLAP, at_once
from debride.training.predict import load_run
from debride.training.run_calibration import Applied
from debride.training.trained import Trained
from debride.types import DataError


@dataclass(frozen=True)
class Plan:
    """A run with the weights of ``which``, to be exported: ``weights`` (K,) are what its calibration multiplies probabilities
    by, ``size`` what images are resized to (None: none, or by their spacing), ``values`` (K,) the label value of each class."""

    run: Path
    which: str
    trained: Trained
    description: dict[str, Any]
    weights: Tensor
    calibrated: bool
    size: tuple[int, ...] | None

    @property
    def ndim(self) -> int:
        """The axes of an image."""
        return self.trained.labels.ndim

    @property
    def task(self) -> str:
        """What the run was trained for."""
        return self.trained.labels.task

    @property
    def values(self) -> list[int]:
        """The label value of each class id."""
        return raw_values(self.trained.labels)


def plan_export(run_folder: Path, use: Applied, trust: Trust) -> Plan:
    """What is exported of a run with the calibration in ``use``. DataError as ``load_run`` raises it, and for a calibration
    that no graph can apply."""
    description = read_description(run_folder / "run.json")
    if use.calibration:
        _refuse(use.calibration, use, run_folder / FILE)
    if description.get("regions"):
        problem = "is a run on regions, whose masks are painted one over the other, which no exported model does"
        raise DataError(run_folder, problem, "Predict by `debride predict`, or train on classes.")
    trained = load_run(run_folder, use.checkpoint, torch.device("cpu"), trust)
    if "zscore-nonzero" in intensity_rules(trained.config.intensity):
        problem = "has the rule zscore-nonzero for intensities, which no graph computes"
        raise DataError(run_folder / "run.json", problem, "Predict by `debride predict`.")
    trained.method.requires_grad_(False)  # nor do they of the exported model, whose users would keep graphs of gradients
    weights = np.ones(len(trained.labels.classes), np.float32)
    if use.calibration:
        weights = use.calibration.scaled(weights)
    working = description.get("working_size")
    return Plan(
        run=run_folder,
        which=use.checkpoint,
        trained=trained,
        description=description,
        weights=torch.from_numpy(weights),
        calibrated=bool((weights != 1).any()),
        size=tuple(map(int, working)) if working else trained.config.image_size,
    )


def _refuse(calibration: Calibration, use: Applied, where: Path) -> None:
    problem = "moves outlines, which is no part of a network" if any(calibration.shifts) else ""
    if use.own:
        problem = f"has calibrations of their own for some {use.own.by}s, and an image does not say which is its"
    if problem:
        remedy = "Export the network without it by `raw`, or predict by `debride predict`, which applies it."
        raise DataError(where, problem, remedy)


def traced(plan: Plan) -> Traced:
    """The graph of a plan's method."""
    method, patch = plan.trained.method, plan.trained.config.patch_size
    multiple = multiple_of(method)
    return trace(method, plan.trained.channels, traced_size(patch or plan.size, plan.ndim, multiple), multiple)


def scripted(plan: Plan, graph: Traced) -> Any:
    """The graph with all that is done before and after it, in TorchScript."""
    with quiet():
        return torch.jit.script(MODULES[plan.task](plan, graph)).eval()


def _mask_module(plan: Plan, graph: Traced) -> MaskModule:
    config = plan.trained.config
    patch = config.patch_size or ()
    rules = [read_rule(rule) for rule in intensity_rules(config.intensity)]
    return MaskModule(
        graph.graph,
        ndim=plan.ndim,
        channels=plan.trained.channels,
        weights=plan.weights,
        values=torch.tensor(plan.values),
        importance=compute_importance_map(patch, mode="gaussian") if patch else torch.ones(()),
        patch=list(patch),
        steps=steps(patch),
        at_once=at_once(patch),
        multiple=graph.multiple,
        fixed=list(graph.example.shape[2:]) if graph.fixed else [],
        image_size=list(config.image_size or ()),
        spacing=list(config.spacing or ()),
        rules=[rule.kind for rule in rules],
        lows=[rule.low for rule in rules],
        highs=[rule.high for rule in rules],
        means=[rule.mean for rule in rules],
        stds=[rule.std for rule in rules],
        crop=config.crop,
    )


def _class_module(plan: Plan, graph: Traced) -> ClassModule:
    assert plan.size is not None  # of every run for classification
    return ClassModule(
        graph.graph, channels=plan.trained.channels, weights=plan.weights, size=list(plan.size), fixed=graph.fixed
    )


def steps(patch: tuple[int, ...]) -> list[int]:
    """How far windows lie from each other along each axis."""
    return [max(1, int(length * (1 - WINDOW_OVERLAP))) for length in patch]


MODULES: dict[str, Callable[[Plan, Traced], torch.nn.Module]] = {"segmentation": _mask_module, "classification": _class_module}
"""What puts the preparation around a graph, by task."""
