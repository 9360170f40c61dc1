"""From prepared images for classification to batches: views by shifts, mirroring and AutoAugment, all drawn per image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from debride.batch import Batch, View
from debride.data.augment import Strength
from debride.data.augmentation import ClassAugmentation
from debride.data.classes.class_cache import PreparedClasses, network_input
from debride.data.classes.policies import autoaugment, weak
from debride.data.loader import Raw, Selection
from debride.rng import derive
from debride.state import LabelState
from debride.warp import Warp


def read_classes(prepared: PreparedClasses, selection: Selection) -> Raw:
    """The images (B, C, H, W) uint8 and class ids (B,) of a batch, from disk."""
    images = torch.from_numpy(prepared.images(selection.rows))
    return Raw(selection, images, torch.from_numpy(prepared.targets[selection.rows]), None)


def make_class_batch(
    raw: Raw,
    looks: Sequence[tuple[Strength, bool]],
    augmentation: ClassAugmentation,
    store: LabelState,
    trusted: npt.NDArray[np.bool_],
    seed: int,
    device: torch.device,
) -> Batch:
    """The views of a raw batch, on the device. ``looks`` are (intensity, own warp): without a warp of its own a view is shifted
    and mirrored as the first one is."""
    rows, draw = raw.selection.rows, raw.selection.draw
    image, label = raw.image.to(device, non_blocking=True), raw.label.to(device, non_blocking=True)
    warp = Warp.identity(len(rows), tuple(image.shape[2:]))  # label state has no place that a view could move
    state = {field.name: store.read(field.name, rows).to(device) for field in store.pixel_fields}
    views: list[View] = []
    first = image
    for number, (intensity, own_warp) in enumerate(looks):
        seen = first
        if number == 0 or own_warp:
            seen = image if intensity == "none" else weak(image, augmentation, derive(seed, "warp", number), draw)
            first = seen if number == 0 else first
        if intensity == "strong":
            seen = autoaugment(seen, augmentation.policy, derive(seed, "policy", number), draw)
        views.append(View(network_input(seen), label, warp, None, state))
    return Batch(
        views=tuple(views),
        index=torch.from_numpy(rows).to(device),
        stream=torch.from_numpy(raw.selection.stream).to(device),
        trusted=torch.from_numpy(trusted[rows]).to(device),
        cases={field.name: store.read(field.name, rows).to(device) for field in store.case_fields},
    )
