"""Images with one class each, un-augmented, and what a method thinks of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from debride.data.classes.class_cache import PreparedClasses, network_input
from debride.methods.base import Method, Swept
from debride.networks.network import Network

SWEPT = 256
"""Images that pass through a network together where nothing is learnt."""


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
