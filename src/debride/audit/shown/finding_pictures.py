"""The place of one finding as PNG: left the image alone, right with the outlines of given, predicted and proposed label.

Colours are after Okabe & Ito (2008, "Color Universal Design"): vermilion, sky blue and yellow differ in hue and in lightness
for all common kinds of colour blindness. Drawn with Pillow, not Matplotlib: an audit may have thousands of findings.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw
from skimage.measure import find_contours

from debride.audit.findings import Finding
from debride.types import IGNORE

Labels = npt.NDArray[np.uint8]
Box = tuple[tuple[int, int], ...]

PANEL = 320
"""Pixels of the longer side of each of the two panels."""

COLOURS = {"given": "#d55e00", "predicted": "#56b4e9", "proposed": "#f0e442"}

WHOLE = ("flip", "shift", "swap", "empty")
"""Kinds that concern a label as a whole: their picture shows the whole image."""

_WIDTHS = {"predicted": 4.0, "proposed": 2.0, "given": 2.0}
"""Pixels of each outline, in the order they are drawn: where outlines coincide, the prediction's is seen beside the others, and
a proposal only where it departs from the given label."""

_CASING, _TINT = 1.5, 70
"""Pixels that the dark rim adds to the width of an outline, and the opacity of the changed area of 255."""

_SMALLEST, _MARGIN, _GAP = 64, 0.25, 4
"""Least extent of a crop in pixels, margin on each side as a share of the box, and pixels between the panels."""

_FINE = 2
"""Outlines are drawn this much larger and reduced, which smooths them."""

_SAMPLES = 65536
"""About as many values of a plane set its contrast."""


def picture(
    image: npt.NDArray[Any],
    given: Labels,
    predicted: Labels,
    proposed: Labels,
    box: Box,
    ndim: int,
    spacing: tuple[float, ...] | None,
    *,
    whole: bool = False,
) -> bytes:
    """A PNG of what changes inside ``box`` when the label ``given`` (*S) becomes ``proposed`` (*S).

    ``image`` is (C, *S): of an image with three channels RGB, else the first channel in grey, from its 1st to its 99th
    percentile. All labels are class ids; ``proposed`` is the given label with the proposal applied, not the proposal alone.
    ``ndim`` is 2 or 3: of a volume the slice of axis 0 with most changed voxels in the box is shown. The crop is the box with a
    margin, at least 64 pixels and a third of the image, all of it with ``whole``; pixels have their true aspect by ``spacing``
    (mm per array axis). The longer side of a panel has ``PANEL`` pixels.
    """
    if ndim == 3:
        (first, past), *rest = box
        inside = (slice(first, past), *(slice(*side) for side in rest))
        at = first + _busiest([given[inside], predicted[inside], proposed[inside]])
        image, given, predicted, proposed = image[:1, at], given[at], predicted[at], proposed[at]
    labels = {"given": given, "predicted": predicted, "proposed": proposed}
    changed = np.zeros(given.shape, bool)
    inside = tuple(slice(*side) for side in box[-2:])
    changed[inside] = proposed[inside] != given[inside]
    return _png(image, labels, changed, box[-2:], spacing and spacing[-2:], whole)


def picture_of(
    finding: Finding,
    image: npt.NDArray[Any],
    given: Labels,
    predicted: Labels,
    number: npt.NDArray[np.uint16],
    proposed: Labels,
    spacing: tuple[float, ...] | None,
) -> bytes:
    """The ``picture`` of a finding from its case's maps: ``number`` (*S) and ``proposed`` (*S) as they are in ``proposals``.

    Only the finding's own voxels count as changed and only one plane of a volume is read, so nothing of its size is made.
    """
    box = finding.box
    if number.ndim == 3:
        (first, past), *rest = box
        inside = (slice(first, past), *(slice(*side) for side in rest))
        at = first + int(np.argmax(np.count_nonzero(number[inside] == finding.number, axis=(1, 2))))
        image, given, predicted, number, proposed = image[:1, at], given[at], predicted[at], number[at], proposed[at]
    changed = number == finding.number
    labels = {"given": given, "predicted": predicted, "proposed": np.where(changed, proposed, given)}
    return _png(image, labels, changed, box[-2:], spacing and spacing[-2:], finding.kind in WHOLE)


def crop(box: Box, shape: tuple[int, ...], spacing: tuple[float, ...], whole: bool = False) -> Box:
    """What is shown of a plane (H, W): as wide in mm as high where the image is large enough, and inside the image."""
    if whole:
        return tuple((0, length) for length in shape)
    sides = [
        max((past - first) * (1 + 2 * _MARGIN), _SMALLEST, length / 3) for (first, past), length in zip(box, shape, strict=True)
    ]
    extent = max(side * step for side, step in zip(sides, spacing, strict=True))
    shown = []
    for (first, past), length, step in zip(box, shape, spacing, strict=True):
        side = min(length, round(extent / step))
        start = min(max((first + past - side) // 2, 0), length - side)
        shown.append((start, start + side))
    return tuple(shown)


def _busiest(labels: list[Labels]) -> int:
    """The index along axis 0 where most voxels change from the first to the last label, or else most have a class."""
    given, _, proposed = labels
    counts = np.count_nonzero(given != proposed, axis=(1, 2))
    if not counts.any():
        counts = np.sum([np.count_nonzero((label > 0) & (label != IGNORE), axis=(1, 2)) for label in labels], axis=0)
    return int(np.argmax(counts))


def _png(
    image: npt.NDArray[Any],
    labels: dict[str, Labels],
    changed: npt.NDArray[np.bool_],
    box: Box,
    spacing: tuple[float, ...] | None,
    whole: bool,
) -> bytes:
    """Both panels of a plane: ``image`` (C, H, W), ``labels`` and ``changed`` (H, W)."""
    spacing = spacing or (1.0, 1.0)
    shown = crop(box, changed.shape, spacing, whole)
    extent = [(past - first) * step for (first, past), step in zip(shown, spacing, strict=True)]
    height, width = (max(8, round(PANEL * length / max(extent))) for length in extent)
    plain = Image.fromarray(_grey_or_rgb(image, shown)).resize((width, height), Image.Resampling.BICUBIC)
    overlay = _overlay(labels, changed, shown, (width, height))
    both = Image.new("RGB", (2 * width + _GAP, height))
    both.paste(plain, (0, 0))
    both.paste(plain, (width + _GAP, 0))
    both.paste(overlay, (width + _GAP, 0), overlay)
    if plain.mode == "L":
        both = _with_palette(both, plain, overlay)
    else:
        both = both.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    both.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _with_palette(both: Image.Image, plain: Image.Image, overlay: Image.Image) -> Image.Image:
    """Both panels of a grey image in 256 colours, a third of the size: 128 greys, 64 tinted greys, and 64 for the outlines."""
    grey, cover = np.asarray(plain), np.asarray(overlay)[..., 3]
    drawn = (cover != 0) & (cover != _TINT)
    right = np.where(cover == _TINT, 128 + (grey >> 2), grey >> 1)
    levels = np.linspace(0, 255, 128).round()
    tinted = np.linspace(0, 255, 64)[:, None] * (1 - _TINT / 255) + np.array(ImageColor.getrgb(COLOURS["proposed"])) * (
        _TINT / 255
    )
    palette = [*np.repeat(levels, 3), *tinted.round().ravel()]
    if drawn.any():
        pixels = np.asarray(both)[:, -plain.width :][drawn]
        lines = Image.fromarray(pixels[None]).quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        right[drawn] = 192 + np.asarray(lines)[0]
        palette += lines.getpalette() or []
    indices = np.zeros((both.height, both.width), np.uint8)
    indices[:, : plain.width], indices[:, -plain.width :] = grey >> 1, right
    coloured = Image.fromarray(indices)
    coloured.putpalette([int(value) for value in palette[:768]])
    return coloured


def _grey_or_rgb(image: npt.NDArray[Any], shown: Box) -> npt.NDArray[np.uint8]:
    """The crop of an image (C, H, W) in 8 bits, (h, w) or (h, w, 3); NaN and what is infinite are black."""
    channels = image if len(image) == 3 else image[:1]
    values = channels.reshape(-1)[:: max(1, channels.size // _SAMPLES)].astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    if high <= low:
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    (top, bottom), (left, right) = shown
    pixels = channels[:, top:bottom, left:right].astype(np.float64)
    with np.errstate(invalid="ignore"):
        scaled = (pixels - low) * (255 / (high - low)) if high > low else np.full(pixels.shape, 127.0)
    scaled = np.where(np.isfinite(pixels), np.clip(scaled, 0, 255), 0).astype(np.uint8)
    return np.ascontiguousarray(scaled.transpose(1, 2, 0)) if len(scaled) == 3 else scaled[0]


def _overlay(labels: dict[str, Labels], changed: npt.NDArray[np.bool_], shown: Box, size: tuple[int, int]) -> Image.Image:
    """Outlines of all labels over the tinted change, transparent elsewhere; ``size`` is (width, height)."""
    width, height = size
    (top, bottom), (left, right) = shown
    scale = np.array([_FINE * width / (right - left), _FINE * height / (bottom - top)])
    lines = {name: _lines(labels[name], shown, scale) for name in _WIDTHS}
    tint = Image.fromarray(changed[top:bottom, left:right].view(np.uint8) * np.uint8(_TINT))
    fine = Image.new("RGBA", (_FINE * width, _FINE * height), COLOURS["proposed"])
    fine.putalpha(tint.resize(fine.size, Image.Resampling.BILINEAR))
    draw = ImageDraw.Draw(fine)
    for name, line_width in _WIDTHS.items():
        for points in lines[name]:
            draw.line(points, fill="#000000b0", width=round(_FINE * (line_width + _CASING)))
    for name, line_width in _WIDTHS.items():
        for points in lines[name]:
            draw.line(points, fill=COLOURS[name], width=round(_FINE * line_width))
    return fine.reduce(_FINE)


def _lines(label: Labels, shown: Box, scale: npt.NDArray[np.float64]) -> list[list[float]]:
    """Outlines of every class inside a crop as x, y, x, y, ... of the enlarged crop.

    They are closed where a class touches the border of the image, and open where the crop cuts it.
    """
    framed = np.zeros([past - first + 2 for first, past in shown], np.uint8)
    around = tuple(slice(max(first - 1, 0), past + 1) for first, past in shown)
    inside = label[around]
    starts = [1 - first + piece.start for (first, _), piece in zip(shown, around, strict=True)]
    into = tuple(slice(start, start + length) for start, length in zip(starts, inside.shape, strict=True))
    framed[into] = inside
    step = max(1, max(framed.shape) // (_FINE * PANEL))
    framed = framed[::step, ::step]
    lines = []
    for class_id in np.flatnonzero(np.bincount(framed.ravel(), minlength=256)):
        if class_id in (0, IGNORE):
            continue
        rows, columns = (np.flatnonzero((framed == class_id).any(axis=axis)) for axis in (1, 0))
        top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
        mask = framed[top : rows[-1] + 2, left : columns[-1] + 2] == class_id
        for contour in find_contours(mask.astype(np.float32), 0.5):
            points = (np.add(contour, (top, left)) * step - 0.5)[:, ::-1] * scale
            lines.append(points.ravel().tolist())
    return lines
