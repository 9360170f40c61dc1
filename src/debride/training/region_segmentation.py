"""Segmenting regions that may overlap: what a training on them has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor

from debride.batch import Batch
from debride.data.cache import Prepared
from debride.data.label_regions import region_table
from debride.data.loader import Raw
from debride.methods.base import Look, Method
from debride.networks import Network
from debride.training.config import TrainConfig
from debride.training.inference import sweep
from debride.training.region_heads import RegionHeads, region_counts, region_labels
from debride.training.segmentation import Segmentation, SegmentationRun
from debride.training.validate import mean_dice
from debride.types import Dataset


class RegionRun(SegmentationRun):
    """A training on images with a label for every pixel, of which every region is learnt by itself."""

    @cached_property
    def table(self) -> Tensor:
        """``region_table`` on the device."""
        return torch.from_numpy(region_table(self.prepared.regions)).to(self.fabric.device)

    def make_batch(self, raw: Raw, looks: Sequence[Look], seed: int) -> Batch:
        """The views of a raw batch: images (B, C, *S), and for each region a label of two classes (B R, *S)."""
        batch = super().make_batch(raw, looks, seed)
        views = (replace(view, label=region_labels(view.label, self.table)) for view in batch.views)
        return replace(batch, views=tuple(views))


class RegionSegmentation(Segmentation):
    """The task of saying for every pixel which regions it is in.

    Methods see two classes and an image for each region: those that only compare a network's logits with labels can do so.
    """

    methods = ("ce", "gce", "sce", "t-loss")
    cleanses = False
    calibrates = False
    run = RegionRun

    def outputs(self, labels: Dataset) -> tuple[int, int]:
        """A logit for each region; two classes."""
        return len(labels.regions), 2

    def network(self, config: TrainConfig, ndim: int, channels: int, classes: int) -> Network:
        """A freshly initialised network from images (B, C, *S) to logits (B R, 2, *S) of so many regions."""
        return RegionHeads(super().network(config, ndim, channels, classes))

    def prepare(self, dataset: Dataset, config: TrainConfig, cache: Path, jobs: int = 1) -> tuple[Prepared, Prepared]:
        """The training and the validation cases, as for classes, with the regions."""
        train, val = super().prepare(dataset, config, cache, jobs)
        return replace(train, regions=dataset.regions), replace(val, regions=dataset.regions)

    def description(self, train: Prepared) -> dict[str, Any]:
        """As for classes, and ``regions``."""
        return {**super().description(train), "regions": [asdict(region) for region in train.regions]}

    def validate(self, method: Method, val: Prepared, config: TrainConfig, fabric: Fabric) -> dict[str, Any]:
        """Dice of regions on the validation cases, shared out among the processes: {"dice", "per_class", "cases"}, the second
        for each region."""
        table = torch.from_numpy(region_table(val.regions)).to(fabric.device)
        counts = torch.zeros(len(val), len(val.regions), 3, dtype=torch.float64, device=fabric.device)
        rows = np.arange(len(val))[fabric.global_rank :: fabric.world_size]
        for swept in sweep(method, val, rows, config.patch_size, config.batch_size, fabric.device):
            found = region_counts(swept.probability, swept.label, table)
            counts[torch.from_numpy(swept.rows)] = found * _drawn(val, swept.rows).to(found)
        if fabric.world_size > 1:
            dist.all_reduce(counts)
        dice, per_region = mean_dice(counts.cpu())
        return {"dice": dice, "per_class": per_region, "cases": len(val)}


def _drawn(prepared: Prepared, rows: npt.NDArray[np.int64]) -> Tensor:
    """Whether all classes of each region were drawn in a case (B, R, 1): without counts it is undefined there."""
    cases = [prepared.cases[row] for row in rows]
    return torch.tensor([[[all(map(case.drew, region.classes))] for region in prepared.regions] for case in cases])
