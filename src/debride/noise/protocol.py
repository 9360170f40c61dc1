"""What a label noise is: of masks (``Noise``), and of the classes of whole images (``ClassNoise``).

A noise is a frozen dataclass of its parameters. One that derives from these protocols inherits what it does not say itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

Label = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]
Spacing = tuple[float, ...]


@runtime_checkable
class Noise(Protocol):
    """Noise of masks: takes a clean label and gives a wrong one.

    All that is random comes from the generator: the parameters, the seed and the case's id then replay a corruption.
    """

    @property
    def needs_spacing(self) -> bool:
        """Whether a label without a spacing cannot be changed. Such a noise has no strength to calibrate."""
        return False

    @property
    def sample(self) -> int:
        """How many labels its strength is calibrated on: more where a few draws decide on the whole label."""
        return 50

    @abstractmethod
    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A noisy copy of a label (S) in ``uint8``, 2D or 3D, which leaves ``IGNORE`` pixels as they are.

        ``classes`` counts the background; ``spacing`` in mm has one entry per axis, None where it is not known.
        """

    def strongest(self, side: int) -> int | None:
        """The strength, a whole number from 0, beyond which hardly anything can change in labels of at most ``side`` pixels;
        None, by default, where the noise has no strength that is one number."""
        return None

    def with_strength(self, strength: int) -> Self:
        """The same noise with another strength."""
        raise TypeError(f"{type(self).__name__} has no strength")


@dataclass(frozen=True)
class LabelFile:
    """A .csv, .npy or .npz ``file`` of classes, and the array of the last that holds them."""

    file: str
    key: str | None = None


@runtime_checkable
class ClassNoise(Protocol):
    """Noise among the classes of whole images: takes clean class ids and gives wrong ones."""

    @property
    def needs_images(self) -> bool:
        """Whether it depends on the images."""
        return False

    @property
    def source(self) -> LabelFile | None:
        """The file whose labels stand in place of a simulation; None, by default, where the noise is simulated."""
        return None

    def with_file(self, file: str) -> Self:
        """The same noise with its labels from another file."""
        raise TypeError(f"{type(self).__name__} reads no file")

    @abstractmethod
    def __call__(
        self, labels: Classes, classes: int, ids: Sequence[str], seed: int, images: npt.NDArray[Any] | None = None
    ) -> Classes:
        """New class ids (N,) for the N cases of these ``ids``, which leaves ``IGNORE`` as it is.

        ``labels`` (N,) run from 0 to ``classes`` - 1. ``images`` (N, D) are given where the noise needs them.
        """
