"""Classifying: what a training on images with one class each has of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from debride.batch import Batch
from debride.data.augmentation import ClassAugmentation
from debride.data.classes.class_cache import PreparedClasses, network_input, prepare_classes
from debride.data.classes.class_labels import missing_labels
from debride.data.classes.class_loader import make_class_batch, read_classes
from debride.data.loader import Raw, Selection, read_ahead
from debride.data.source_hashes import SourceHashes
from debride.execute import Do
from debride.losses.pixel import likeliest
from debride.methods.base import Look, Method, Swept
from debride.networks import WIDENING, Network, build_classifier
from debride.progress import track
from debride.rng import derive
from debride.training.class_sweep import sweep_classes
from debride.training.config import ClassTrainConfig, TrainConfig
from debride.training.predict_classes import classes_of, predict_classes
from debride.training.run import TrainingRun
from debride.training.trained import Predicted, Request, Trained
from debride.types import IGNORE, Case, DataError, Dataset

SEGMENTATION_ONLY = ("patch_size", "spacing", "crop", "intensity", "foreground")
"""Settings of a training that mean nothing here."""


class ClassificationRun(TrainingRun[PreparedClasses]):
    """A training on images with one class each."""

    least = 2  # for batch normalisation refuses a single image whose last features are one pixel

    def set_views(self, augmentation: ClassAugmentation) -> None:
        """How views are shifted, mirrored and changed."""
        self.augmentation = augmentation

    def raw_batches(self, selections: Sequence[Selection], seed: int) -> Iterator[Raw]:
        """The selected images of each batch, from disk, in order."""
        return read_ahead(selections, lambda selection: read_classes(self.prepared, selection), self.on_gpu)

    def make_batch(self, raw: Raw, looks: Sequence[Look], seed: int) -> Batch:
        """The views of a raw batch, on the device."""
        pairs = [(look.intensity, look.own_warp) for look in looks]
        return make_class_batch(
            raw, pairs, self.augmentation, self.store, self.is_trusted, derive(seed, "view"), self.fabric.device
        )

    def sweep(self, rows: npt.NDArray[np.int64], network: Network | None = None) -> Iterator[Swept]:
        """Rows of the training set, un-augmented, in evaluation mode, batch by batch."""
        return sweep_classes(self.method, self.prepared, rows, self.fabric.device, network)


class Classification:
    """The task of giving every image a class."""

    methods: tuple[str, ...] = ()
    config = ClassTrainConfig
    augmentation = ClassAugmentation
    measure = shown_measure = "accuracy"
    predicted = "predictions"
    cleanses = False
    calibrates = True
    takes_unlabelled = False
    takes_plans = False
    prepares_by_case = False  # one file has all images
    run = ClassificationRun

    def outputs(self, labels: Dataset) -> tuple[int, int]:
        """A logit for each class, and the classes."""
        return len(labels.classes), len(labels.classes)

    def refuse(self, dataset: Dataset, config: TrainConfig) -> None:
        """Raises DataError for settings of segmentation, batches too small to normalise by, and classes that cannot be
        learnt."""
        usual = self.config()
        for name in SEGMENTATION_ONLY:
            if getattr(config, name) != getattr(usual, name):
                raise DataError(f"`{name}`", "is for segmentation", "Leave it out; `image_size` resizes images.")
        train = dataset.of("train")
        if min(config.batch_size, len(train)) < 2 * config.processes:
            problem = f"of {config.batch_size} for {len(train)} training images and {config.processes} process(es)"
            raise DataError("`batch_size`", problem, "Give each process two images or more: networks normalise by the batch.")
        for split in ("train", "val"):
            if missing := missing_labels(dataset, split):
                raise missing
        present = {case.target for case in train if case.target is not None}
        if len(present) < 2:
            named = ", ".join(dataset.classes[id] for id in present) or "none"
            raise DataError(dataset.root, f"has training images of one class only ({named})", "Give images of two classes.")

    def network(self, config: TrainConfig, ndim: int, channels: int, classes: int) -> Network:
        """A freshly initialised network from images (B, C, H, W) to logits (B, K)."""
        width = config.width * WIDENING.get(config.network, 1)
        return build_classifier(config.network, in_channels=channels, classes=classes, width=width)

    def prepare(
        self, dataset: Dataset, config: TrainConfig, cache: Path, jobs: int = 1
    ) -> tuple[PreparedClasses, PreparedClasses]:
        """The training and the validation images; DataError where they differ in size or channels."""

        def prepared(cases: tuple[Case, ...], name: str) -> PreparedClasses:
            with track(f"preparing {name} images", len(cases)) as show, SourceHashes(cache, dataset.root) as hashes:
                return prepare_classes(cases, config.image_size, cache, lambda done, _: show(done), hashes.of)

        train, val = prepared(dataset.of("train"), "training"), prepared(dataset.of("val"), "validation")
        if len(val) and train.channels != val.channels:
            problem = f"has training images of {train.channels} channels and validation images of {val.channels}"
            raise DataError(dataset.root, problem, "Convert them to one kind.")
        if len(val) and train.size != val.size:
            raise DataError(dataset.root, "has validation images of another size than training images", "Give `image_size`.")
        return train, val

    def with_extras(
        self, train: PreparedClasses, method: Method, config: TrainConfig, cache: Path, show_progress: bool
    ) -> PreparedClasses:
        """The images as they are: maps and foreground are of pixels."""
        return train

    def refuse_prepared(self, train: PreparedClasses, method: Method, device: torch.device) -> None:
        """Raises DataError where the method looks ahead at one image that cannot be normalised by itself."""
        refuse_alone(method, train, device)

    def warn(self, train: PreparedClasses, method: Method, classes: Sequence[str]) -> None:
        """Nothing: a few trusted images of many classes differ from the others by chance."""

    def description(self, train: PreparedClasses) -> dict[str, Any]:
        """``working_size``: what images were resized to, or had."""
        return {"working_size": list(train.size)}

    def validate(self, method: Method, val: PreparedClasses, config: TrainConfig, fabric: Fabric) -> dict[str, Any]:
        """The accuracy on the validation cases as labelled: {"accuracy", "cases"}, shared out among the processes."""
        counts = torch.zeros(2, dtype=torch.float64, device=fabric.device)
        rows = np.arange(len(val))[fabric.global_rank :: fabric.world_size]
        for swept in sweep_classes(method, val, rows, fabric.device):
            labelled = swept.label != IGNORE
            right = (likeliest(swept.probability) == swept.label) & labelled
            counts += torch.stack((right.sum(), labelled.sum())).double()
        if fabric.world_size > 1:
            torch.distributed.all_reduce(counts)
        right_count, labelled_count = counts.tolist()
        return {"accuracy": right_count / labelled_count if labelled_count else None, "cases": len(val)}

    def write_cleansed(self, out: Path, dataset: Dataset, run: TrainingRun[PreparedClasses]) -> None:
        """Not called: ``cleanses`` says so."""
        raise AssertionError("classes of a method's own are not written")

    def predict(self, trained: Trained, source: Path, out: Path, request: Request, device: torch.device) -> Predicted:
        """Writes ``predictions.csv`` with a line for every image, and returns how many there are."""
        return predict_classes(trained, source, out, request, device)

    def predicting(self, trained: Trained, out: Path, request: Request, device: torch.device) -> Do:
        """What gives the probabilities of one part of the images."""
        return classes_of(trained, device)


@torch.no_grad()
def refuse_alone(method: Method, prepared: PreparedClasses, device: torch.device) -> None:
    """Raises DataError where the method looks ahead at a single trusted image, and its network normalises by the batch and
    leaves one pixel of an image.

    Tried on a copy, with torch's generators put back: nothing of the method or of what it draws changes.
    """
    trusted = np.flatnonzero([case.trusted for case in prepared.cases])
    if min(method.look_ahead_cases(len(trusted)), len(trusted)) != 1:
        return
    image = network_input(torch.from_numpy(prepared.images(trusted[:1])).to(device))
    network = copy.deepcopy(next(module for module in method.modules() if isinstance(module, Network))).train()
    with torch.random.fork_rng(devices=[image.device] if image.device.type == "cuda" else []):
        try:
            network(image)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            size = "x".join(map(str, image.shape[2:]))
            raise DataError(
                "a batch of trusted cases",
                f"has one image, of which the network leaves one pixel (at {size}) that cannot be normalised by the batch",
                "Trust two training cases or more, with `trusted_batch` 2 or more, or give larger images or another `network`.",
            ) from error
