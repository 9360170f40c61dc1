"""Segmenting: what a training on masks has of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from debride.batch import Batch
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, prepare
from debride.data.loader import Raw, Regions, Selection, make_batch, raw_batches
from debride.data.masks.annotated import for_training, refuse_unlearnable
from debride.data.masks.foreground import prepare_foreground
from debride.data.masks.prepared_maps import prepare_maps
from debride.data.pairs import one_bit_labels
from debride.data.preparation import Preparation
from debride.execute import Do
from debride.methods.base import Look, Method, Swept
from debride.networks import Network, build
from debride.networks.planned import planned
from debride.progress import track
from debride.rng import derive
from debride.training import inference, label_scores
from debride.training.config import TrainConfig
from debride.training.predict_masks import masks_of, predict_masks
from debride.training.run import TrainingRun
from debride.training.trained import Predicted, Request, Trained
from debride.training.trusted_shares import warn_of_shares
from debride.training.validate import validate
from debride.types import Case, DataError, Dataset


class SegmentationRun(TrainingRun[Prepared]):
    """A training on images with a label for every pixel."""

    def set_views(self, augmentation: Augmentation) -> None:
        """How views are cut from images and changed."""
        patch = self.config.patch_size
        # A patch lies anywhere already: a shift would only bring in what is outside the region that was read.
        self.augmentation = replace(augmentation, translate=0.0) if patch else augmentation
        self.regions = Regions(patch, augmentation.reach, self.config.foreground if patch else 0.0)

    def raw_batches(self, selections: Sequence[Selection], seed: int) -> Iterator[Raw]:
        """The selected cases of each batch, from disk, in order."""
        return raw_batches(self.prepared, selections, self.regions, seed, self.on_gpu)

    def make_batch(self, raw: Raw, looks: Sequence[Look], seed: int) -> Batch:
        """The views of a raw batch, on the device."""
        return make_batch(
            raw,
            [(look.intensity, look.own_warp) for look in looks],
            self.augmentation,
            self.store,
            self.prepared,
            self.regions,
            self.is_trusted,
            derive(seed, "view"),
            self.fabric.device,
        )

    def sweep(self, rows: npt.NDArray[np.int64], network: Network | None = None) -> Iterator[Swept]:
        """Rows of the training set, un-augmented, in evaluation mode, batch by batch."""
        config = self.config
        patch, size, device = config.patch_size, config.batch_size, self.fabric.device
        batches = inference.sweep(self.method, self.prepared, rows, patch, size, device, network)
        if not self.fabric.is_global_zero:
            yield from batches
            return
        done = 0
        with track("looking at labels", len(rows)) as show:
            for swept in batches:
                yield swept
                done += len(swept.rows)
                show(done)


class Segmentation:
    """The task of giving every pixel a class."""

    methods: tuple[str, ...] = ()
    config = TrainConfig
    augmentation = Augmentation
    measure, shown_measure = "dice", "Dice"
    predicted = "masks"
    cleanses = True
    calibrates = True
    takes_unlabelled = True
    takes_plans = True
    prepares_by_case = True
    run: type[TrainingRun[Prepared]] = SegmentationRun

    def outputs(self, labels: Dataset) -> tuple[int, int]:
        """A logit for each class, and the classes."""
        return len(labels.classes), len(labels.classes)

    def refuse(self, dataset: Dataset, config: TrainConfig) -> None:
        """Raises DataError for patches of another number of axes than the images, and where some class or the background is
        certain in no training case."""
        refuse_unlearnable(dataset)
        if config.patch_size is not None and len(config.patch_size) != dataset.ndim:
            raise DataError("`patch_size`", f"has {len(config.patch_size)} numbers", f"Give {dataset.ndim}, in array order.")

    def network(self, config: TrainConfig, ndim: int, channels: int, classes: int) -> Network:
        """A freshly initialised network from images (B, C, *S) to logits (B, K, *S)."""
        if config.architecture is not None:
            return planned(config.architecture, ndim=ndim, in_channels=channels, classes=classes)
        return build(config.network, ndim=ndim, in_channels=channels, classes=classes, width=config.width)

    def prepare(self, dataset: Dataset, config: TrainConfig, cache: Path, jobs: int = 1) -> tuple[Prepared, Prepared]:
        """The training and the validation cases; DataError where images of several shapes are trained on whole."""
        preparation = Preparation(
            image_size=config.image_size, spacing=config.spacing, intensity=config.intensity, crop=config.crop
        )

        def prepared(cases: tuple[Case, ...], name: str) -> Prepared:
            with track(f"preparing {name} cases", len(cases)) as show:
                return prepare(dataset, cases, preparation, cache, lambda done, _: show(done), jobs)

        train, val = for_training(prepared(dataset.of("train"), "training")), prepared(dataset.of("val"), "validation")
        if config.patch_size is None and len(set(train.shapes)) > 1:
            shapes = ", ".join(sorted({"x".join(map(str, shape)) for shape in train.shapes})[:4])
            raise DataError(
                dataset.root, f"has images of different shapes ({shapes} ...)", "Give `image_size`, or train on `patch_size`."
            )
        return train, val

    def with_extras(self, train: Prepared, method: Method, config: TrainConfig, cache: Path, show_progress: bool) -> Prepared:
        """The training cases with the maps of the method, and the foreground that patches are placed on."""
        train = _with_maps(train, method, cache, show_progress)
        if config.patch_size and config.foreground:
            train = prepare_foreground(train, cache, trusted_only=method.trusted_labels_only)
        return train

    def refuse_prepared(self, train: Prepared, method: Method, device: torch.device) -> None:
        """Nothing: whole images and patches have pixels enough to be normalised by."""

    def warn(self, train: Prepared, method: Method, classes: Sequence[str]) -> None:
        """Says where a method looks ahead at trusted cases that show classes more or less often than the others."""
        if method.look_ahead_cases(sum(case.trusted for case in train.cases)):
            warn_of_shares(train, classes)

    def description(self, train: Prepared) -> dict[str, Any]:
        """``one_bit`` where all labels are pictures of one bit."""
        return {"one_bit": True} if one_bit_labels(train.cases) else {}

    def validate(self, method: Method, val: Prepared, config: TrainConfig, fabric: Fabric) -> dict[str, Any]:
        """Dice on the validation cases, shared out among the processes: {"dice", "per_class", "cases"}."""
        return validate(method, val, config, fabric)

    def write_cleansed(self, out: Path, dataset: Dataset, run: TrainingRun[Prepared]) -> None:
        """Writes the labels that the method takes for right to ``out``/cleansed, each process those of its own cases."""
        label_scores.write_cleansed(out, dataset, run)

    def predict(self, trained: Trained, source: Path, out: Path, request: Request, device: torch.device) -> Predicted:
        """Writes a mask for every image, and returns how many there are."""
        return predict_masks(trained, source, out, request, device)

    def predicting(self, trained: Trained, out: Path, request: Request, device: torch.device) -> Do:
        """What writes the mask of one case."""
        return masks_of(trained, out, request, device)


def _with_maps(train: Prepared, method: Method, cache: Path, show_progress: bool) -> Prepared:
    maps = method.maps()
    if not maps or not show_progress:
        return prepare_maps(train, maps, cache)
    with track("preparing " + " and ".join(maps), len(train)) as show:
        return prepare_maps(train, maps, cache, lambda done, _: show(done))
