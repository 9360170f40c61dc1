"""How far random views may differ from the working image, as settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from debride.settings import setting
from debride.types import DataError

Policy = Literal["cifar10", "imagenet", "none"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far views may differ from the working image; the spatial defaults are nnU-Net's in 3D, and a shift.

    Mirroring exchanges left and right: leave that axis out of ``flip`` where the classes tell the sides apart. An axis that the
    images do not have is left aside. Raises DataError for a value out of range.
    """

    flip: tuple[int, ...] = setting((0, 1, 2), "spatial axes, in array order, that are mirrored with probability 1/2")
    quarter_turns: bool = setting(False, "turn by a random multiple of 90 degrees in planes of equal sides and spacing")
    rotate: float = setting(30.0, "largest rotation in each plane, in degrees")
    zoom: tuple[float, float] = setting((0.7, 1.4), "smallest and largest magnification")
    translate: float = setting(0.1, "largest shift along each axis, as a fraction of the view's size")
    spatial_probability: float = setting(0.2, "chance of a rotation, of a zoom and of a shift, each")
    weak_brightness: float = setting(0.1, "weak views: largest shift of intensity, in standard deviations of the image")
    weak_contrast: float = setting(0.1, "weak views: largest relative change of contrast")
    weak_probability: float = setting(0.5, "weak views: chance of each change of intensity")
    strong_brightness: float = setting(0.5, "strong views: largest shift of intensity, in standard deviations of the image")
    strong_contrast: float = setting(0.5, "strong views: largest relative change of contrast")
    strong_gamma: tuple[float, float] = setting((0.7, 1.5), "strong views: smallest and largest exponent of gamma correction")
    strong_noise: float = setting(0.3, "strong views: largest standard deviation of Gaussian noise")
    strong_blur: float = setting(1.5, "strong views: largest standard deviation of Gaussian blur, in pixels")
    strong_probability: float = setting(0.5, "strong views: chance of each change of intensity")

    def __post_init__(self) -> None:
        if not set(self.flip) <= {0, 1, 2}:
            raise DataError("augmentation.flip", f"is {self.flip}", "Give spatial axes: 0, 1 and, in 3D, 2.")
        for name, largest in _LIMITS.items():
            if not 0 <= getattr(self, name) <= largest:
                raise DataError(f"augmentation.{name}", f"is {getattr(self, name)}", f"Give a number from 0 to {largest:g}.")
        for name in ("zoom", "strong_gamma"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise DataError(f"augmentation.{name}", f"is {(low, high)}", "Give two numbers above 0, the smaller first.")

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
        zeros = dict.fromkeys(_LIMITS, 0.0)
        return cls(flip=(), quarter_turns=False, zoom=(1.0, 1.0), strong_gamma=(1.0, 1.0), **zeros)


@dataclass(frozen=True, kw_only=True)
class ClassAugmentation:
    """How far views of images that are classified whole may differ from them; raises DataError for a value out of range.

    Mirroring exchanges left and right: switch it off where the classes tell the sides apart.
    """

    policy: Literal["cifar10", "imagenet", "none"] = setting("cifar10", "AutoAugment policy of strong views (DCD, section 4.2)")
    pad: float = setting(0.125, "largest shift along each axis, as a share of the side (4 of 32 pixels, as is usual for CIFAR)")
    mirror: bool = setting(True, "exchange left and right with probability 1/2")

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise DataError("--augment-policy", f"is {self.policy!r}", f"Choose one of {', '.join(get_args(Policy))}.")
        if not 0 <= self.pad <= 0.5:
            raise DataError("--augment-pad", f"is {self.pad}", "Give a number from 0 to 0.5.")


_LIMITS = {
    "rotate": 180.0,
    "translate": 1.0,
    "spatial_probability": 1.0,
    "weak_brightness": math.inf,
    "weak_contrast": 1.0,
    "weak_probability": 1.0,
    "strong_brightness": math.inf,
    "strong_contrast": 1.0,
    "strong_noise": math.inf,
    "strong_blur": 10.0,
    "strong_probability": 1.0,
}
