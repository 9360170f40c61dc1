"""What ``preprocessing.json`` of an export says, done in NumPy alone: written from the description, not from debride."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Floats = npt.NDArray[np.float32]


def predict(folder: Path, image: npt.NDArray[Any], spacing: tuple[float, ...] | None = None) -> npt.NDArray[Any]:
    """Label values (*S) of a read image (C, *S), or the probabilities of its classes (K,)."""
    told = json.loads((folder / "preprocessing.json").read_text())
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    image = image.astype(np.float32)
    axes = len(told["image"]["axes"]) - 1
    assert image.ndim == axes + 1 and len(image) == told["image"]["channels"]
    if told["task"] == "classification":
        prepared = resized(image, tuple(told["resize"]["size"])).round().clip(0, 255) / 127.5 - 1
        scores = network(session, told, prepared[None].astype(np.float32))[0]
        return scores / scores.sum()
    whole = image.shape[1:]
    box = tuple(slice(0, length) for length in whole)
    if told["crop"] and (image != 0).any():
        places = np.nonzero((image != 0).any(axis=0))
        box = tuple(slice(int(place.min()), int(place.max()) + 1) for place in places)
    image = image[(slice(None), *box)]
    shape = image.shape[1:]
    rules = told["intensity"]["rules"]
    image = np.stack([normalised(channel, rules[at % len(rules)]) for at, channel in enumerate(image)])
    image = resized(image, wanted_size(told["resize"], shape, spacing))
    scores = resized(windowed(session, told, image), shape)
    mask = np.zeros(whole, np.int64)
    mask[box] = scores.argmax(axis=0)
    return np.array([entry["value"] for entry in told["classes"]])[mask]


def normalised(channel: Floats, rule: dict[str, Any]) -> Floats:
    if rule["rule"] == "clip":
        low, high = rule["low"], rule["high"]
        return ((channel.clip(low, high) - low) * (2 / (high - low)) - 1).astype(np.float32)
    if rule["rule"] == "unit":
        return (channel - channel.min()) / max(channel.max() - channel.min(), np.float32(1e-6))
    if rule["rule"] == "percentile":
        channel = channel.clip(*np.percentile(channel, [rule["low"], rule["high"]]).astype(np.float32))
    wide = channel.astype(np.float64)
    return ((channel - wide.mean()) / max(wide.std(), 1e-6)).astype(np.float32)


def wanted_size(resize: dict[str, Any] | None, shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> tuple[int, ...]:
    if resize is None:
        return shape
    if "spacing" not in resize:
        return tuple(resize["size"])
    assert spacing is not None
    return tuple(max(1, round(n * own / mm)) for n, own, mm in zip(shape, spacing, resize["spacing"], strict=True))


def resized(array: Floats, shape: tuple[int, ...]) -> Floats:
    """(C, *S), along each axis by the matrix of triangles that the description names."""
    for axis in range(len(shape), 0, -1):
        old, new = array.shape[axis], shape[axis - 1]
        if old == new:
            continue
        centre = (np.arange(new) + 0.5)[:, None] * old / new
        wide = max(1.0, old / new)
        weights = np.maximum(0, 1 - np.abs(np.arange(old)[None] + 0.5 - centre) / wide)
        weights /= weights.sum(axis=1, keepdims=True)
        array = np.moveaxis(np.tensordot(weights, np.moveaxis(array, axis, 0), 1), 0, axis)
    return array.astype(np.float32)


def network(session: Any, told: dict[str, Any], images: Floats) -> Floats:
    """Probabilities of images, padded to what the graph takes."""
    multiple, shape = told["network"]["multiple_of"], images.shape[2:]
    if multiple == 1:
        scores: Floats = session.run(None, {"image": images})[0]
        return scores
    more = [-length % multiple for length in shape]
    if all(length + extra == multiple for length, extra in zip(shape, more, strict=True)):
        more[-1] += multiple
    padded = np.pad(images, [(0, 0), (0, 0), *((0, extra) for extra in more)], mode="edge")
    if told["network"]["batch"] == 1:
        scores = np.concatenate([session.run(None, {"image": image[None]})[0] for image in padded])
    else:
        scores = session.run(None, {"image": padded})[0]
    return scores[(slice(None), slice(None), *(slice(0, length) for length in shape))]


def windowed(session: Any, told: dict[str, Any], image: Floats) -> Floats:
    windows, shape = told["windows"], image.shape[1:]
    if windows is None or all(length <= size for length, size in zip(shape, windows["size"], strict=True)):
        return network(session, told, image[None])[0]
    missing = [max(0, size - length) for length, size in zip(shape, windows["size"], strict=True)]
    image = np.pad(image, [(0, 0), *((extra // 2, extra - extra // 2) for extra in missing)])
    starts = [
        sorted({min(start, length - size) for start in range(0, length, step)})
        for length, size, step in zip(image.shape[1:], windows["size"], windows["step"], strict=True)
    ]
    bells = [
        np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
        for size, sigma in zip(windows["size"], windows["sigma"], strict=True)
    ]
    weight = bells[0]
    for bell in bells[1:]:
        weight = weight[..., None] * bell
    weight = np.maximum(weight, windows["least_weight"])
    total = np.zeros((len(told["classes"]), *image.shape[1:]))
    weights = np.zeros(image.shape[1:])
    for start in itertools.product(*starts):
        here = tuple(slice(at, at + size) for at, size in zip(start, windows["size"], strict=True))
        total[(slice(None), *here)] += network(session, told, image[(slice(None), *here)][None])[0] * weight
        weights[here] += weight
    total /= weights
    total = total[(slice(None), *(slice(extra // 2, extra // 2 + n) for extra, n in zip(missing, shape, strict=True)))]
    return (total / total.sum(axis=0)).astype(np.float32)
