"""A noise that punches holes into objects."""

from dataclasses import dataclass

import numpy as np

from debride.noise import Noise
from debride.settings import setting
from debride.types import IGNORE


@dataclass(frozen=True)
class Holes(Noise):
    """Each foreground pixel is lost with the same chance."""

    rate: float = setting(0.3, "chance of a foreground pixel to be lost", least=0, most=1)

    def __call__(self, label, classes, rng, spacing=None):
        """A copy of the label with holes."""
        lost = (rng.random(label.shape) < self.rate) & (label != IGNORE)
        return np.where(lost, np.uint8(0), label)
