"""Prediction: whole working images or a sliding window, and back to the image's own shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import cc3d
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.data.cache import resize
from debride.data.cropping import Box, cropped_shape, put_back
from debride.data.label_regions import paint
from debride.data.prepared import WorkingImages
from debride.methods.base import Method, Swept
from debride.networks.network import Network
from debride.training.region_heads import of_regions
from debride.types import Region

WINDOW_OVERLAP = 0.5
"""Share by which neighbouring windows overlap, as nnU-Net's step size of 0.5."""

WINDOW_PIXELS = 2**21
"""Pixels of the windows that pass through a network at once: two windows at most, and large ones by themselves. On CPUs torch
takes a slow way through convolutions of few channels for a single small image: two windows take half the time of one."""

STITCHED_SHARE = 0.25
"""Share of a GPU's memory that stitched windows may take; above it they are stitched in the main memory."""


@torch.no_grad()
def probabilities(
    method: Method, image: Tensor, patch: tuple[int, ...] | None, device: torch.device | None = None, *, regions: int = 0
) -> Tensor:
    """Class probabilities (B, K, *S) of working images (B, C, *S): at once, or by windows with Gaussian weights if the
    method trained on patches. Of a method that learnt so many ``regions`` it is the probability of each, (B, R, *S).

    The method computes on ``device`` (default: where the images are); windows are stitched where the images are, which takes
    4 bytes per pixel for each class and 4 more.
    """
    predictor = (lambda part: of_regions(method.predict(part), regions)) if regions else method.predict
    if _fits(image, patch):
        return predictor(image.to(device))
    windows = _by_windows(predictor, image, patch, device)
    return windows if regions else windows.div_(windows.sum(dim=1, keepdim=True))


def stitching_device(device: torch.device, channels: int, classes: int, shape: tuple[int, ...]) -> torch.device:
    """Where to put a working image (C, *S) whose windows a ``device`` predicts: there, or in the main memory if image,
    probabilities and weights are more than ``STITCHED_SHARE`` of a GPU's memory."""
    if device.type != "cuda":
        return device
    needed = 4 * (channels + classes + 1) * math.prod(shape)
    total: int = torch.cuda.get_device_properties(device).total_memory
    return device if needed <= STITCHED_SHARE * total else torch.device("cpu")


@torch.no_grad()
def _with_features(network: Network, image: Tensor, patch: tuple[int, ...] | None, classes: int) -> tuple[Tensor, Tensor]:
    """A network's class probabilities (B, K, *S) and features (B, F, *S), at once or by windows."""

    def both(part: Tensor) -> Tensor:
        features = network.features(part)
        assert network.head is not None  # it has features
        return torch.cat((network.head(features).float().softmax(dim=1), features.float()), dim=1)

    joint = both(image) if _fits(image, patch) else _by_windows(both, image, patch)
    # With channels last, as networks give them, what is computed per pixel takes several times as long on CPUs.
    probability, features = (part.contiguous() for part in joint.tensor_split((classes,), 1))
    return probability.div_(probability.sum(dim=1, keepdim=True)), features


def _fits(image: Tensor, patch: tuple[int, ...] | None) -> bool:
    return patch is None or all(length <= size for length, size in zip(image.shape[2:], patch, strict=True))


def _by_windows(
    predictor: Callable[[Tensor], Tensor], image: Tensor, patch: tuple[int, ...] | None, device: torch.device | None = None
) -> Tensor:
    from monai.inferers.utils import sliding_window_inference

    assert patch is not None  # without it every image fits
    windows: Tensor = sliding_window_inference(
        image,
        patch,
        sw_batch_size=at_once(patch),
        predictor=predictor,
        overlap=WINDOW_OVERLAP,
        mode="gaussian",
        padding_mode="constant",
        sw_device=device,
    )
    return windows


def at_once(patch: tuple[int, ...]) -> int:
    """How many windows pass through a network at once."""
    return max(1, min(2, WINDOW_PIXELS // math.prod(patch)))


def sweep(
    method: Method,
    prepared: WorkingImages,
    rows: npt.NDArray[np.int64],
    patch: tuple[int, ...] | None,
    size: int,
    device: torch.device,
    network: Network | None = None,
) -> Iterator[Swept]:
    """Prepared cases, un-augmented, with the probabilities of a method in evaluation mode, in batches of neighbours of one
    shape; one by one where there is a patch, since whole volumes need more memory than the patches that made a batch.

    Where there are regions, probabilities are those of the regions. With one ``network`` of the method the probabilities are
    its own and its features come with them, from one pass.
    """
    training = method.training
    method.eval()
    try:
        for batch in _of_one_shape(prepared, rows, 1 if patch else size):
            image = torch.from_numpy(np.stack([prepared.image(row) for row in batch])).to(device)
            label = torch.from_numpy(np.stack([prepared.label(row) for row in batch])).to(device).long()
            if network is None:
                maps = probabilities(method, image, patch, regions=len(prepared.regions))
                yield Swept(batch, image, label, maps)
            else:
                assert not prepared.regions, "methods for regions have no use for the features of one network"
                yield Swept(batch, image, label, *_with_features(network, image, patch, method.classes))
    finally:
        method.train(training)


def segment(probability: Tensor, shape: tuple[int, ...], box: Box | None = None) -> npt.NDArray[np.uint8]:
    """Class ids (*shape) from probabilities (K, *S) of a working image: probabilities are resized, never the ids. What was
    cropped, outside ``box``, is background.

    Class by class, the first of equal ones: an argmax of a volume would take eight bytes per voxel, and resizing it whole four
    for each class.
    """
    inside = cropped_shape(shape, box)
    ids = torch.zeros(inside, dtype=torch.uint8)
    largest = torch.full(inside, -math.inf)
    for number, share in enumerate(probability):
        resized = resize(share[None].float().cpu(), inside)[0]
        ids.masked_fill_(resized > largest, number)
        torch.maximum(largest, resized, out=largest)
        del resized  # before the next class is resized
    return put_back(ids.numpy(), box, shape)


def painted(
    probability: Tensor, regions: Sequence[Region], shape: tuple[int, ...], box: Box | None = None, *, largest: bool = False
) -> npt.NDArray[np.uint8]:
    """Class ids (*shape) from the probabilities of regions (R, *S) of a working image, which are resized, painted where they
    are above 0.5. What was cropped, outside ``box``, is in no region. With ``largest`` each region keeps its largest piece."""
    inside = cropped_shape(shape, box)

    def masks() -> Iterator[npt.NDArray[np.bool_]]:
        for share in probability:
            mask = (resize(share[None].float().cpu(), inside)[0] > 0.5).numpy()
            yield largest_components(mask.view(np.uint8)).view(np.bool_) if largest else mask

    return put_back(paint(masks(), regions), box, shape)


def largest_components(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Class ids (*S) of which every foreground class keeps its largest connected piece alone, in place; pieces are connected
    across corners (8 neighbours in 2D, 26 in 3D)."""
    for value in range(1, int(ids.max()) + 1):
        pieces = cc3d.connected_components(ids == value, connectivity=8 if ids.ndim == 2 else 26)
        sizes = cc3d.statistics(pieces, no_slice_conversion=True)["voxel_counts"][1:]
        if len(sizes) > 1:
            ids[(pieces > 0) & (pieces != sizes.argmax() + 1)] = 0
    return ids


def _of_one_shape(prepared: WorkingImages, rows: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    start = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or at - start == size or prepared.shapes[rows[at]] != prepared.shapes[rows[start]]:
            yield rows[start:at]
            start = at
