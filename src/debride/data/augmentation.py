"""How far random views may differ from the working image, as settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from debride.settings import setting
from debride.types import DataError

Policy = Literal["cifar10", "imagenet", "none"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far views may differ from the working image; the spatial defaults are nnU-Net's in 3D, and a shift.

    Mirroring exchanges left and right: leave that axis out of ``flip`` where the classes tell the sides apart. An axis that the
    images do not have is left aside.
    """

    flip: tuple[int, ...] = setting(
        (0, 1, 2), "spatial axes, in array order, that are mirrored with probability 1/2", least=0, most=2
    )
    quarter_turns: bool = setting(False, "turn by a random multiple of 90 degrees in planes of equal sides and spacing")
    rotate: float = setting(30.0, "largest rotation in each plane, in degrees", least=0, most=180)
    zoom: tuple[float, float] = setting((0.7, 1.4), "smallest and largest magnification", above=0)
    translate: float = setting(0.1, "largest shift along each axis, as a fraction of the view's size", least=0, most=1)
    spatial_probability: float = setting(0.2, "chance of a rotation, of a zoom and of a shift, each", least=0, most=1)
    weak_brightness: float = setting(
        0.1, "weak views: largest shift of intensity, in standard deviations of the image", least=0
    )
    weak_contrast: float = setting(0.1, "weak views: largest relative change of contrast", least=0, most=1)
    weak_probability: float = setting(0.5, "weak views: chance of each change of intensity", least=0, most=1)
    strong_brightness: float = setting(
        0.5, "strong views: largest shift of intensity, in standard deviations of the image", least=0
    )
    strong_contrast: float = setting(0.5, "strong views: largest relative change of contrast", least=0, most=1)
    strong_gamma: tuple[float, float] = setting(
        (0.7, 1.5), "strong views: smallest and largest exponent of gamma correction", above=0
    )
    strong_noise: float = setting(0.3, "strong views: largest standard deviation of Gaussian noise", least=0)
    strong_blur: float = setting(1.5, "strong views: largest standard deviation of Gaussian blur, in pixels", least=0, most=10)
    strong_probability: float = setting(0.5, "strong views: chance of each change of intensity", least=0, most=1)

    def conflicts(self) -> Iterator[DataError]:
        """Ranges whose smallest value is above the largest."""
        for name, (low, high) in (("zoom", self.zoom), ("strong_gamma", self.strong_gamma)):
            if low > high:
                yield DataError(f"`{name}`", f"is {(low, high)}", "Give two numbers above 0, the smaller first.")

    @property
    def reach(self) -> float:
        """How much wider than a patch a region must be to hold it, turned in one plane and zoomed out as far as it can be."""
        if self.spatial_probability == 0:
            return 1.0
        angle = math.radians(min(self.rotate, 45.0))
        return (math.cos(angle) + math.sin(angle)) / min(self.zoom[0], 1.0)

    @classmethod
    def none(cls) -> Augmentation:
        """Views that are the working image itself, whatever the strength."""
        zeros: dict[str, Any] = {field.name: 0.0 for field in dataclasses.fields(cls) if isinstance(field.default, float)}
        return cls(flip=(), quarter_turns=False, zoom=(1.0, 1.0), strong_gamma=(1.0, 1.0), **zeros)


@dataclass(frozen=True, kw_only=True)
class ClassAugmentation:
    """How far views of images that are classified whole may differ from them.

    Mirroring exchanges left and right: switch it off where the classes tell the sides apart.
    """

    policy: Literal["cifar10", "imagenet", "none"] = setting("cifar10", "AutoAugment policy of strong views (DCD, section 4.2)")
    pad: float = setting(
        0.125,
        "largest shift along each axis, as a share of the side (4 of 32 pixels, as is usual for CIFAR)",
        least=0,
        most=0.5,
    )
    mirror: bool = setting(True, "exchange left and right with probability 1/2")


AUGMENTATIONS: dict[str, type[Any]] = {"segmentation": Augmentation, "classification": ClassAugmentation}
"""The settings of views, by task."""
