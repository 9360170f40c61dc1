"""Predictions of the same images at several scales, and how much they agree (ADELE, Liu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.losses.pixel import full_precision

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def at_scale(network: Callable[[Tensor], Tensor], image: Tensor, scale: float) -> Tensor:
    """Logits (B, K, *S), in full precision, of images (B, C, *S) that are seen ``scale`` times as large; at 1 as they are.

    Images and logits are interpolated linearly, corner to corner; sizes are rounded down, to one pixel at least.
    """
    shape = image.shape[2:]
    if scale == 1:
        return full_precision(network(image))
    mode = _MODES[len(shape)]
    seen = [max(1, int(round(length * scale, 6))) for length in shape]  # rounded: 0.7 * 10 may be below 7
    logits = full_precision(network(F.interpolate(image, size=seen, mode=mode, align_corners=True)))
    return F.interpolate(logits, size=shape, mode=mode, align_corners=True)


def scale_divergence(logits: Tensor, rho: float, valid: Tensor) -> Tensor:
    """The Jensen-Shannon divergence (B, *S) of predictions at M scales (M, B, K, *S), the mean of KL(p_m || q), in [0, log M].

    q is their mean. 0 in images whose largest q among ``valid`` pixels (B, *S) bool, of any class, is below ``rho``.
    """
    log_p = full_precision(logits).log_softmax(dim=2)
    p = log_p.exp()
    q = p.mean(dim=0)
    log_q = log_p.logsumexp(dim=0) - torch.tensor(float(len(logits)), dtype=log_p.dtype, device=log_p.device).log()
    divergence = (p * (log_p - log_q)).sum(dim=2).mean(dim=0)
    sure = (q.detach().amax(dim=1) * valid).flatten(1).amax(dim=1) >= rho
    return divergence * sure.reshape(-1, *(1,) * (divergence.ndim - 1))
