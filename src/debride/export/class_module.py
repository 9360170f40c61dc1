"""Classification in TorchScript: from a read image to the probabilities of its classes, without debride and without Python.

As in ``mask_module`` the code is compiled by ``torch.jit.script``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClassModule(nn.Module):
    """A method with the preparation of its images and what becomes of its probabilities.

    ``graph`` maps images (B, C, H, W) to probabilities (B, K); ``weights`` (K,) are what a calibration multiplies them by.
    Images are resized to ``size`` (H, W).
    """

    weights: Tensor
    size: list[int]

    def __init__(self, graph: nn.Module, *, channels: int, weights: Tensor, size: list[int], fixed: bool) -> None:
        super().__init__()
        self.graph = graph
        self.register_buffer("weights", weights)
        self.channels, self.size, self.fixed = channels, size, fixed

    def forward(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K) of prepared images (B, C, H, W), after the weights, with a sum of one."""
        if self.fixed:
            scores = torch.cat([self.graph(image[each : each + 1]) for each in range(image.shape[0])])
        else:
            scores = self.graph(image)
        weighed = scores * self.weights
        return weighed / weighed.sum(1, keepdim=True)

    @torch.jit.export
    def predict(self, image: Tensor, spacing: list[float]) -> Tensor:
        """Class probabilities (K,) of an image (C, H, W) of values from 0 to 255. ``spacing`` is not looked at."""
        if image.dim() != 3 or image.shape[0] != self.channels:
            raise RuntimeError(f"the image has the shape {image.shape}, not {self.channels} channels and two axes")
        prepared = image.float()
        if not bool(((prepared >= 0) & (prepared <= 255)).all()):  # NaN is neither
            raise RuntimeError("the image holds values that are not from 0 to 255: convert it to 8 bits")
        if list(prepared.shape[1:]) != self.size:
            prepared = F.interpolate(prepared[None], size=self.size, mode="bilinear", align_corners=False, antialias=True)[0]
            prepared = prepared.round().clamp(0, 255)
        return self.forward((prepared / 127.5 - 1)[None])[0]

    @torch.jit.export
    def predict_xyz(self, image: Tensor, spacing: list[float]) -> Tensor:
        """As ``predict``, for an image (C, X, Y) as MONAI reads it."""
        return self.predict(image.transpose(1, 2).contiguous(), spacing)
