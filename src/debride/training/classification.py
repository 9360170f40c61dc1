"""What a training for classification has of its own: its images, its batches, its validation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from debride.batch import Batch
from debride.data.augmentation import ClassAugmentation
from debride.data.cache import cache_folder
from debride.data.classes.class_cache import PreparedClasses, network_input, prepare_classes
from debride.data.classes.class_loader import make_class_batch, read_classes
from debride.data.formats.class_data import missing_labels
from debride.data.loader import Raw, Selection, read_ahead
from debride.methods.base import Look, Method, Swept
from debride.networks.network import Network
from debride.progress import track
from debride.rng import derive
from debride.training.config import ClassTrainConfig
from debride.training.run import TrainingRun
from debride.types import IGNORE, Case, DataError

if TYPE_CHECKING:
    from debride.training.fit import Job

SEGMENTATION_ONLY = ("patch_size", "spacing", "crop", "intensity", "foreground")
"""Settings of a training that mean nothing here."""

SWEPT = 256
"""Images that pass through a network together where nothing is learnt."""


class ClassificationRun(TrainingRun):
    """A training on images with one class each."""

    prepared: PreparedClasses  # type: ignore[assignment]
    augmentation: ClassAugmentation  # type: ignore[assignment]
    least = 2  # for batch normalisation refuses a single image whose last features are one pixel

    def sweep(self, rows: npt.NDArray[np.int64], network: Network | None = None) -> Iterator[Swept]:
        """Rows of the training set, un-augmented, in evaluation mode, batch by batch."""
        return sweep_classes(self.method, self.prepared, rows, self.fabric.device, network)

    def _set_views(self, augmentation: Any) -> None:
        self.augmentation = augmentation

    def _raw_batches(self, selections: Sequence[Selection], seed: int) -> Iterator[Raw]:
        return read_ahead(selections, lambda selection: read_classes(self.prepared, selection))

    def _batch(self, raw: Raw, looks: Sequence[Look], seed: int) -> Batch:
        pairs = [(look.intensity, look.own_warp) for look in looks]
        return make_class_batch(
            raw, pairs, self.augmentation, self.store, self.is_trusted, derive(seed, "view"), self.fabric.device
        )


@torch.no_grad()
def refuse_alone(method: Method, prepared: PreparedClasses, device: torch.device) -> None:
    """Raises DataError where the method looks ahead at a single trusted image, and its network normalises by the batch and
    leaves one pixel of an image.

    Tried on a copy, with torch's generators put back: nothing of the method or of what it draws changes.
    """
    trusted = np.flatnonzero([case.trusted for case in prepared.cases])
    if min(method.look_ahead_cases, len(trusted)) != 1:
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
                "Trust two training cases or more, with --trusted-batch 2 or more, or give larger images or another --network.",
            ) from error


def prepare_class_sets(job: Job) -> tuple[PreparedClasses, PreparedClasses]:
    """The training and the validation cases. Raises DataError for settings of segmentation, and cases that cannot be learnt."""
    for name in SEGMENTATION_ONLY:
        if getattr(job.config, name) != getattr(ClassTrainConfig(), name):
            raise DataError(f"--{name.replace('_', '-')}", "is for segmentation", "Leave it out; --image-size resizes images.")
    train, val = job.dataset.of("train"), job.dataset.of("val")
    if not train:
        raise DataError(job.dataset.root, "has no training cases", "Check the splits; `debride check` lists them.")
    if min(job.config.batch_size, len(train)) < 2 * job.config.devices:
        problem = f"of {job.config.batch_size} for {len(train)} training images and {job.config.devices} process(es)"
        raise DataError("--batch-size", problem, "Give each process two images or more: networks normalise by the batch.")
    for split in ("train", "val"):
        if missing := missing_labels(job.dataset, split):
            raise missing
    present = {case.target for case in train if case.target is not None}
    if len(present) < 2:
        named = ", ".join(job.dataset.classes[id] for id in present) or "none"
        raise DataError(job.dataset.root, f"has training images of one class only ({named})", "Give images of two classes.")

    def prepared(cases: tuple[Case, ...], name: str) -> PreparedClasses:
        with track(f"preparing {name} images", len(cases)) as show:
            return prepare_classes(cases, job.config.image_size, cache_folder(job.cache), lambda done, _: show(done))

    sets = prepared(train, "training"), prepared(val, "validation")
    if len(val) and sets[0].channels != sets[1].channels:
        problem = f"has training images of {sets[0].channels} channels and validation images of {sets[1].channels}"
        raise DataError(job.dataset.root, problem, "Convert them to one kind.")
    if len(val) and sets[0].size != sets[1].size:
        raise DataError(job.dataset.root, "has validation images of another size than training images", "Give --image-size.")
    return sets


@torch.no_grad()
def sweep_classes(
    method: Method,
    prepared: PreparedClasses,
    rows: npt.NDArray[np.int64],
    device: torch.device,
    network: Network | None = None,
) -> Iterator[Swept]:
    """Prepared images, un-augmented, with the probabilities (B, K) of a method in evaluation mode; with one ``network`` of the
    method its own, and its features (B, F) where it has some."""
    training = method.training
    method.eval()
    try:
        for start in range(0, len(rows), SWEPT):
            batch = rows[start : start + SWEPT]
            image = network_input(torch.from_numpy(prepared.images(batch)).to(device))
            label = torch.from_numpy(prepared.targets[batch]).to(device)
            if network is None:
                yield Swept(batch, image, label, method.predict(image))
                continue
            features = network.features(image)
            assert network.head is not None  # it has features
            yield Swept(batch, image, label, network.head(features).float().softmax(dim=1), features.float())
    finally:
        method.train(training)


def validate_classes(method: Method, prepared: PreparedClasses, fabric: Fabric) -> dict[str, Any]:
    """The accuracy on the validation cases as labelled: {"accuracy", "cases"}, shared out among the processes."""
    counts = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    rows = np.arange(len(prepared))[fabric.global_rank :: fabric.world_size]
    for swept in sweep_classes(method, prepared, rows, fabric.device):
        labelled = swept.label != IGNORE
        right = (swept.probability.argmax(dim=1) == swept.label) & labelled
        counts += torch.stack((right.sum(), labelled.sum())).double()
    if fabric.world_size > 1:
        torch.distributed.all_reduce(counts)
    right_count, labelled_count = counts.tolist()
    return {"accuracy": right_count / labelled_count if labelled_count else None, "cases": len(prepared)}
