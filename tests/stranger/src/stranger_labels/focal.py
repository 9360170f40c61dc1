"""Cross-entropy that looks away from easy pixels, and a network to train with it."""

from dataclasses import dataclass

from torch import nn

from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import Method, Paper
from debride.settings import setting
from debride.types import IGNORE


class Focal(Method):
    """Each pixel's cross-entropy times its probability of being wrong, to a power."""

    paper = Paper(
        title="Focal Loss for Dense Object Detection",
        authors="Lin et al.",
        year=2017,
        reference="ICCV 2017, arXiv:1708.02002",
        sections="Section 3",
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How far to look away."""

        my_gamma: float = setting(2.0, "power of the probability of being wrong (Section 3.2)", least=0)

    def loss(self, batch, run):
        """The mean over the labelled pixels."""
        values = cross_entropy(self.network(batch.image), batch.label)
        wrong = 1 - (-values).exp()
        return {"focal": masked_mean(wrong**self.config.my_gamma * values, batch.label != IGNORE)}


def tiny(ndim, in_channels, classes):
    """One convolution."""
    convolution = nn.Conv2d if ndim == 2 else nn.Conv3d
    return convolution(in_channels, classes, 3, padding=1)
