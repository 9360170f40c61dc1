"""Operations on the values of 8-bit images, batches at once, with the results of Pillow's ``ImageOps`` and ``ImageEnhance``.

Images are (n, C, H, W) uint8, none of these zero, and come back as new ones of that shape; a magnitude (n,) float64 belongs
to each image. Three channels are red, green and blue, and their grey value is that of ITU-R BT.601; the grey value of any
other number is their mean, so that ``color`` leaves one channel as it is. All else is done to each channel on its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RED, _GREEN, _BLUE = 19595, 38470, 7471
"""0.299, 0.587 and 0.114 (ITU-R BT.601) in units of 2^-16, as Pillow has them."""


def invert(images: Tensor, magnitude: Tensor) -> Tensor:
    """255 minus the value; the magnitude has no meaning."""
    return 255 - images


def solarize(images: Tensor, magnitude: Tensor) -> Tensor:
    """255 minus the value where it is at least the magnitude, from 0 (all) to 256 (none)."""
    least = _per_image(magnitude.ceil().short(), images)
    return torch.where(images.short() >= least, 255 - images, images)


def posterize(images: Tensor, magnitude: Tensor) -> Tensor:
    """The highest ``magnitude`` bits of each value, from 1 to 8; the others are set to zero."""
    mask = (0xFF00 >> magnitude.long()) & 0xFF
    return images & _per_image(mask.byte(), images)


def auto_contrast(images: Tensor, magnitude: Tensor) -> Tensor:
    """Stretches each channel's values to 0..255, rounded down; a channel of one value stays; the magnitude has no meaning."""
    flat = images.flatten(2)
    low, high = flat.amin(2).double(), flat.amax(2).double()
    constant = high == low
    scale = torch.where(constant, 1.0, torch.full_like(low, 255.0) / (high - low))  # a number / a tensor would round twice
    offset = torch.where(constant, 0.0, -low * scale)
    values = torch.arange(256, device=images.device, dtype=torch.float64)
    table = values * scale[..., None] + offset[..., None]  # in Pillow's order: rounding down shows the last bit
    return _look_up(table.clamp_(0, 255).byte(), images)


def equalize(images: Tensor, magnitude: Tensor) -> Tensor:
    """Equalises each channel's histogram; a channel of too few pixels or values stays; the magnitude has no meaning.

    With N pixels below the highest value that occurs, a level is worth step = N // 255 pixels, and a value becomes
    (step // 2 + number of pixels below it) // step.
    """
    flat = images.flatten(0, 1).flatten(1)
    channels, pixels = flat.shape
    start = 256 * torch.arange(channels, device=images.device)[:, None]
    histogram = torch.bincount((flat + start).flatten(), minlength=256 * channels).reshape(channels, 256)
    below = histogram.cumsum(1) - histogram
    step = (pixels - histogram.gather(1, flat.amax(1, keepdim=True).long())) // 255
    table = (step // 2 + below) // step.clamp_min(1)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return _look_up(table.clamp_(0, 255).byte().reshape(*images.shape[:2], 256), images)


def color(images: Tensor, magnitude: Tensor) -> Tensor:
    """Saturation: 0 gives the grey values, 1 the image, 2 colours twice as far from grey."""
    return _blend(_grey(images).expand_as(images), images, magnitude)


def contrast(images: Tensor, magnitude: Tensor) -> Tensor:
    """Distance to the mean grey value, rounded to a whole number: 0 gives that value everywhere, 1 the image."""
    grey = _grey(images)
    pixels = grey[0].numel()
    mean = (2 * grey.sum((1, 2, 3), dtype=torch.int64) + pixels) // (2 * pixels)
    return _blend(_per_image(mean, images), images, magnitude)


def brightness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Multiplies values: 0 gives black, 1 the image."""
    return _blend(torch.zeros_like(images), images, magnitude)


def sharpness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Distance to the smoothed image: 0 gives that, 1 the image, 2 a sharpened one; the outermost pixels stay.

    A smoothed value is the mean of the 3x3 pixels around it, in which the one in the middle counts five times, rounded.
    """
    wide = images.short()
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[..., 1:-1, 1:-1]
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = ((2 * total + 13) // 26).byte()
    return _blend(smooth, images, magnitude)


def _grey(images: Tensor) -> Tensor:
    """Grey values (n, 1, H, W) int32, rounded."""
    if images.shape[1] == 3:
        red, green, blue = images.int().unbind(1)
        return ((_RED * red + _GREEN * green + _BLUE * blue + (1 << 15)) >> 16)[:, None]
    number = images.shape[1]
    return (2 * images.sum(1, keepdim=True, dtype=torch.int32) + number) // (2 * number)


def _blend(start: Tensor, images: Tensor, magnitude: Tensor) -> Tensor:
    """start + magnitude (images - start) within 0..255, rounded down (Haeberli and Voorhies 1994), in float32 as Pillow."""
    first = start.float()
    change = images.float().sub_(first).mul_(_per_image(magnitude.float(), images))
    return change.add_(first).clamp_(0, 255).byte()


def _look_up(table: Tensor, images: Tensor) -> Tensor:
    """Each value's entry in its channel's table (n, C, 256)."""
    return table.gather(2, images.flatten(2).long()).reshape(images.shape)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """One value for each image, shaped to broadcast."""
    return values.reshape(-1, *(1,) * (images.ndim - 1))
