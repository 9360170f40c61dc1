"""Views of images that are classified whole: a shift and a mirror image (weak), and AutoAugment's policies (strong).

Images are uint8 from first to last. What is drawn for an image depends on the seed and its row only, and all arithmetic is
exact or elementwise, so an image's view is the same in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.data.augment import Index
from debride.data.augmentation import ClassAugmentation, Policy
from debride.data.classes import colour
from debride.rng import derive, uniforms

SubPolicy = tuple[str, float, int, str, float, int]
Numbers = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Operation = Callable[[Tensor, Tensor], Tensor]

FILL = 128
"""What AutoAugment's spatial operations bring from outside the image: grey, as usual; the paper is silent."""


# (operation, probability, level from 0 to 9), twice.
CIFAR10: tuple[SubPolicy, ...] = (
    ("Invert", 0.1, 7, "Contrast", 0.2, 6),
    ("Rotate", 0.7, 2, "TranslateX", 0.3, 9),
    ("Sharpness", 0.8, 1, "Sharpness", 0.9, 3),
    ("ShearY", 0.5, 8, "TranslateY", 0.7, 9),
    ("AutoContrast", 0.5, 8, "Equalize", 0.9, 2),
    ("ShearY", 0.2, 7, "Posterize", 0.3, 7),
    ("Color", 0.4, 3, "Brightness", 0.6, 7),
    ("Sharpness", 0.3, 9, "Brightness", 0.7, 9),
    ("Equalize", 0.6, 5, "Equalize", 0.5, 1),
    ("Contrast", 0.6, 7, "Sharpness", 0.6, 5),
    ("Color", 0.7, 7, "TranslateX", 0.5, 8),
    ("Equalize", 0.3, 7, "AutoContrast", 0.4, 8),
    ("TranslateY", 0.4, 3, "Sharpness", 0.2, 6),
    ("Brightness", 0.9, 6, "Color", 0.2, 8),
    ("Solarize", 0.5, 2, "Invert", 0.0, 3),
    ("Equalize", 0.2, 0, "AutoContrast", 0.6, 0),
    ("Equalize", 0.2, 8, "Equalize", 0.6, 4),
    ("Color", 0.9, 9, "Equalize", 0.6, 6),
    ("AutoContrast", 0.8, 4, "Solarize", 0.2, 8),
    ("Brightness", 0.1, 3, "Color", 0.7, 0),
    ("Solarize", 0.4, 5, "AutoContrast", 0.9, 3),
    ("TranslateY", 0.9, 9, "TranslateY", 0.7, 9),
    ("AutoContrast", 0.9, 2, "Solarize", 0.8, 3),
    ("Equalize", 0.8, 8, "Invert", 0.1, 3),
    ("TranslateY", 0.7, 9, "AutoContrast", 0.9, 1),
)
"""The policy found on CIFAR-10 (Cubuk et al., CVPR 2019, appendix)."""

IMAGENET: tuple[SubPolicy, ...] = (
    ("Posterize", 0.4, 8, "Rotate", 0.6, 9),
    ("Solarize", 0.6, 5, "AutoContrast", 0.6, 5),
    ("Equalize", 0.8, 8, "Equalize", 0.6, 3),
    ("Posterize", 0.6, 7, "Posterize", 0.6, 6),
    ("Equalize", 0.4, 7, "Solarize", 0.2, 4),
    ("Equalize", 0.4, 4, "Rotate", 0.8, 8),
    ("Solarize", 0.6, 3, "Equalize", 0.6, 7),
    ("Posterize", 0.8, 5, "Equalize", 1.0, 2),
    ("Rotate", 0.2, 3, "Solarize", 0.6, 8),
    ("Equalize", 0.6, 8, "Posterize", 0.4, 6),
    ("Rotate", 0.8, 8, "Color", 0.4, 0),
    ("Rotate", 0.4, 9, "Equalize", 0.6, 2),
    ("Equalize", 0.0, 7, "Equalize", 0.8, 8),
    ("Invert", 0.6, 4, "Equalize", 1.0, 8),
    ("Color", 0.6, 4, "Contrast", 1.0, 8),
    ("Rotate", 0.8, 8, "Color", 1.0, 2),
    ("Color", 0.8, 8, "Solarize", 0.8, 7),
    ("Sharpness", 0.4, 7, "Invert", 0.6, 8),
    ("ShearX", 0.6, 5, "Equalize", 1.0, 9),
    ("Color", 0.4, 0, "Equalize", 0.6, 3),
    ("Equalize", 0.4, 7, "Solarize", 0.2, 4),
    ("Solarize", 0.6, 5, "AutoContrast", 0.6, 5),
    ("Invert", 0.6, 4, "Equalize", 1.0, 8),
    ("Color", 0.6, 4, "Contrast", 1.0, 8),
    ("Equalize", 0.8, 8, "Equalize", 0.6, 3),
)
"""The policy found on ImageNet (Cubuk et al., CVPR 2019, appendix), in which five sub-policies occur twice."""

_ENHANCE = np.linspace(0.0, 0.9, 10)
_NOTHING = np.zeros(10)
LEVELS = {
    "ShearX": np.linspace(0.0, 0.3, 10),
    "ShearY": np.linspace(0.0, 0.3, 10),
    "TranslateX": np.linspace(0.0, 150 / 331, 10),
    "TranslateY": np.linspace(0.0, 150 / 331, 10),
    "Rotate": np.linspace(0.0, 30.0, 10),
    "Color": _ENHANCE,
    "Contrast": _ENHANCE,
    "Sharpness": _ENHANCE,
    "Brightness": _ENHANCE,
    "Posterize": np.round(np.linspace(8.0, 4.0, 10)),
    "Solarize": np.linspace(256.0, 0.0, 10),
    "AutoContrast": _NOTHING,
    "Equalize": _NOTHING,
    "Invert": _NOTHING,
}
"""What levels 0 to 9 mean: the ranges of Cubuk et al., Table 6, so that a higher level changes an image more.

Shear in pixels per pixel, shifts as a share of the side (150 of the 331 pixels of the paper's images), degrees, distance of a
factor from 1, bits that are kept, smallest value that is inverted.
"""

_SPATIAL = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_FACTORS = ("Color", "Contrast", "Sharpness", "Brightness")
_VALUES: dict[str, Operation] = {
    "Color": colour.color,
    "Contrast": colour.contrast,
    "Sharpness": colour.sharpness,
    "Brightness": colour.brightness,
    "Posterize": colour.posterize,
    "Solarize": colour.solarize,
    "AutoContrast": colour.auto_contrast,
    "Equalize": colour.equalize,
    "Invert": colour.invert,
}


def weak(images: Tensor, config: ClassAugmentation, seed: int, index: Index) -> Tensor:
    """Images (B, C, H, W) uint8 shifted by whole pixels and mirrored, each as ``index`` (B,) and ``seed`` determine.

    Every shift of at most ``pad`` of a side, rounded down, is as likely as any other; zeros come from outside, as if images
    were padded and a part cut out. Each image has three draws: down, across, and mirrored if below 1/2.
    """
    (B, C, H, W), device = images.shape, images.device
    draws = uniforms(derive(seed, "weak"), index, 3)
    pad = tuple(math.floor(config.pad * side + 1e-9) for side in (H, W))
    corner = np.floor(draws[:, :2] * (2 * np.array(pad) + 1)).astype(np.int64)
    if config.mirror:
        chosen = torch.from_numpy(draws[:, 2] < 0.5).to(device).reshape(B, 1, 1, 1)
        images = torch.where(chosen, images.flip(3), images)
    if not any(pad) or images.numel() == 0:
        return images.clone() if not config.mirror else images
    padded = torch.nn.functional.pad(images, (pad[1], pad[1], pad[0], pad[0]))
    height, width = padded.shape[2:]
    first = torch.from_numpy(corner[:, 0] * width + corner[:, 1]).to(device)[:, None] + width * torch.arange(H, device=device)
    start = first[:, None] + (height * width) * torch.arange(B * C, device=device).reshape(B, C, 1)
    rows = padded.flatten().unfold(0, W, 1)  # every stretch of W pixels: what is shifted is one of them for each line
    return rows[start]


def autoaugment(images: Tensor, policy: Policy, seed: int, index: Index) -> Tensor:
    """Images (B, C, H, W) uint8 changed by AutoAugment (Cubuk et al., 2019), each as ``index`` (B,) and ``seed`` determine.

    Each image has five draws: its sub-policy, whether the first and the second operation happen (below their probability), and
    the sign of each (negative below 1/2) where its magnitude has one. Operations give what Pillow's give, with the nearest
    pixel; shears are about the upper left corner and rotations about the middle.
    """
    if policy == "none" or images.numel() == 0:
        return images
    table = CIFAR10 if policy == "cifar10" else IMAGENET
    draws = uniforms(derive(seed, "autoaugment"), index, 5)
    chosen = np.floor(draws[:, 0] * len(table)).astype(np.int64)
    result = images.clone()
    for first in (0, 3):
        names, chances, levels = (np.array([row[first + column] for row in table])[chosen] for column in range(3))
        part = first // 3
        happens, sign = draws[:, 1 + part] < chances, np.where(draws[:, 3 + part] < 0.5, -1.0, 1.0)
        at = np.flatnonzero(happens & np.isin(names, _SPATIAL))
        _replace(result, at, _move, _lattices(names[at], levels[at], sign[at], *images.shape[2:]))
        for name, operation in _VALUES.items():
            at = np.flatnonzero(happens & (names == name))
            magnitude = LEVELS[name][levels[at]]
            _replace(result, at, operation, 1 + sign[at] * magnitude if name in _FACTORS else magnitude)
    return result


def _replace(images: Tensor, at: Whole, operation: Operation, values: Numbers | Whole) -> None:
    """Puts what an operation makes of the images at some positions in their place; ``values`` (n, ...) are of those images."""
    if len(at):
        where = torch.from_numpy(at).to(images.device)
        images.index_copy_(0, where, operation(images[where], torch.from_numpy(values).to(images.device)))


def _lattices(names: npt.NDArray[np.str_], levels: Whole, sign: Numbers, H: int, W: int) -> Whole:
    """Where output pixels come from, as maps (n, 2, 3) of (column, row, 1) to x and y in units of 2^-16 pixel, as Pillow's."""
    value = {name: np.where(names == name, sign * LEVELS[name][levels], 0.0) for name in _SPATIAL}
    angle = np.radians(value["Rotate"])
    cos, sin = np.cos(angle), np.sin(angle)
    x = (cos, value["ShearX"] - sin, W / 2 * (1 - cos) + H / 2 * sin + W * value["TranslateX"])
    y = (value["ShearY"] + sin, cos, H / 2 * (1 - cos) - W / 2 * sin + H * value["TranslateY"])
    rows = [np.stack((a, b, c + (a + b) / 2), axis=1) for a, b, c in (x, y)]  # of the pixels' middles
    return np.floor(65536 * np.stack(rows, axis=1) + 0.5).astype(np.int64)


def _move(images: Tensor, lattices: Tensor) -> Tensor:
    """The source pixel in which each pixel's middle comes to lie, ``FILL`` outside."""
    (n, C, H, W), device = images.shape, images.device
    across, down, start = lattices.reshape(n, 2, 3, 1, 1).unbind(2)
    places = start + across * torch.arange(W, device=device) + down * torch.arange(H, device=device)[:, None]
    x, y = (places >> 16).unbind(1)
    inside = ((x >= 0) & (x < W) & (y >= 0) & (y < H)).reshape(n, 1, H * W)
    source = (y.clamp(0, H - 1) * W + x.clamp(0, W - 1)).reshape(n, 1, H * W).expand(n, C, H * W)
    return torch.where(inside, images.flatten(2).gather(2, source), FILL).reshape(images.shape)
