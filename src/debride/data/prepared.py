"""What every prepared set of cases says of itself, whatever its labels are."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from debride.types import Case, Region


class PreparedCases(Protocol):
    """Cases by row that are ready for training: how many there are, what they are, and the shapes S of their labels."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases, by row."""

    @property
    def channels(self) -> int:
        """The channels C that every image has; 0 where there is no case."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape S of each label, which fields of the label state have too; empty where an image has one class."""

    def fingerprint(self, row: int) -> list[object]:
        """What a case was trained as, as plain values: its id, and what tells its image and label apart from others."""

    def __len__(self) -> int: ...


class WorkingImages(Protocol):
    """Working images (C, *S) float32 and labels (*S) uint8 by row, all that a sweep over them asks for."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape S of each."""

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that are learnt in place of classes; none where classes are."""

    def image(self, row: int) -> npt.NDArray[np.float32]:
        """The image of a row."""

    def label(self, row: int) -> npt.NDArray[np.uint8]:
        """The label of a row."""
