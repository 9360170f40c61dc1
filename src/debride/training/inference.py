"""Prediction: whole working images or a sliding window, and back to the image's own shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.data.cache import Prepared, resize
from debride.methods.base import Method, Swept
from debride.networks.network import Network

WINDOW_OVERLAP = 0.5
"""Share by which neighbouring windows overlap, as nnU-Net's step size of 0.5."""


@torch.no_grad()
def probabilities(method: Method, image: Tensor, patch: tuple[int, ...] | None) -> Tensor:
    """Class probabilities (B, K, *S) of working images (B, C, *S): at once, or by windows with Gaussian weights if the
    method trained on patches."""
    if _fits(image, patch):
        return method.predict(image)
    windows = _by_windows(method.predict, image, patch)
    return windows.div_(windows.sum(dim=1, keepdim=True))


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


def _by_windows(predictor: Callable[[Tensor], Tensor], image: Tensor, patch: tuple[int, ...] | None) -> Tensor:
    from monai.inferers.utils import sliding_window_inference

    windows: Tensor = sliding_window_inference(
        image,
        patch,
        sw_batch_size=2,
        predictor=predictor,
        overlap=WINDOW_OVERLAP,
        mode="gaussian",
        padding_mode="constant",
    )
    return windows


def sweep(
    method: Method,
    prepared: Prepared,
    rows: npt.NDArray[np.int64],
    patch: tuple[int, ...] | None,
    size: int,
    device: torch.device,
    network: Network | None = None,
) -> Iterator[Swept]:
    """Prepared cases, un-augmented, with the probabilities of a method in evaluation mode, in batches of neighbours of one
    shape; one by one where there is a patch, since whole volumes need more memory than the patches that made a batch.

    With one ``network`` of the method the probabilities are its own and its features come with them, from one pass.
    """
    training = method.training
    method.eval()
    try:
        for batch in _of_one_shape(prepared, rows, 1 if patch else size):
            image = torch.from_numpy(np.stack([prepared.image(row) for row in batch])).to(device)
            label = torch.from_numpy(np.stack([prepared.label(row) for row in batch])).to(device).long()
            if network is None:
                yield Swept(batch, image, label, probabilities(method, image, patch))
            else:
                yield Swept(batch, image, label, *_with_features(network, image, patch, method.classes))
    finally:
        method.train(training)


def segment(probability: Tensor, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Class ids (*shape) from probabilities (K, *S) of a working image: probabilities are resized, never the ids."""
    return resize(probability.float().cpu(), shape).argmax(dim=0).to(torch.uint8).numpy()


def _of_one_shape(prepared: Prepared, rows: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    start = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or at - start == size or prepared.shapes[rows[at]] != prepared.shapes[rows[start]]:
            yield rows[start:at]
            start = at
