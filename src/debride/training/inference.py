"""Prediction: whole working images or a sliding window, and back to the image's own shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.data.cache import Prepared, resize
from debride.methods.base import Method, Swept

WINDOW_OVERLAP = 0.5
"""Share by which neighbouring windows overlap, as nnU-Net's step size of 0.5."""


@torch.no_grad()
def probabilities(method: Method, image: Tensor, patch: tuple[int, ...] | None) -> Tensor:
    """Class probabilities (B, K, *S) of working images (B, C, *S): at once, or by windows with Gaussian weights if the
    method trained on patches."""
    if patch is None or all(length <= size for length, size in zip(image.shape[2:], patch, strict=True)):
        return method.predict(image)
    from monai.inferers.utils import sliding_window_inference

    windows: Tensor = sliding_window_inference(
        image,
        patch,
        sw_batch_size=2,
        predictor=method.predict,
        overlap=WINDOW_OVERLAP,
        mode="gaussian",
        padding_mode="constant",
    )
    return windows.div_(windows.sum(dim=1, keepdim=True))


def sweep(
    method: Method,
    prepared: Prepared,
    rows: npt.NDArray[np.int64],
    patch: tuple[int, ...] | None,
    size: int,
    device: torch.device,
) -> Iterator[Swept]:
    """Prepared cases, un-augmented, with the probabilities of a method in evaluation mode, in batches of neighbours of one
    shape; one by one where there is a patch, since whole volumes need more memory than the patches that made a batch."""
    training = method.training
    method.eval()
    try:
        for batch in _of_one_shape(prepared, rows, 1 if patch else size):
            image = torch.from_numpy(np.stack([prepared.image(row) for row in batch])).to(device)
            label = torch.from_numpy(np.stack([prepared.label(row) for row in batch])).to(device).long()
            yield Swept(batch, image, label, probabilities(method, image, patch))
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
