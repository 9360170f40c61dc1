"""One case of arrays: checked, and looked at as the audit of a folder looks at one of files.

``begin_looking`` and ``begin_judging`` make of what all cases share the function of one case, for any process. An item has its
arrays, or where they lie in files.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.array_kinds import class_ids
from debride.audit.evidence.boxes import box_of
from debride.audit.findings import Label, Numbers
from debride.audit.from_arrays.series import opened
from debride.audit.one_case import Plain, Seen, donated, first_look, scored, second_look, see
from debride.audit.predictions.nnunet_maps import as_map, shape_error, soften, softened
from debride.data.plain import case_of
from debride.types import IGNORE, DataError

Array = npt.NDArray[Any]


def begin_looking(setup: Plain) -> Callable[[Plain], Plain]:
    """The first look at a label, by {"classes", "ignore", "ndim", "seed"}: its "shape", whether it "shows"
    foreground ("classes") and pixels without a label ("gaps"), the ``Looked``, and where "plant" is true the ``Planted``."""

    def look_at(item: Plain) -> Plain:
        seen = read_case(item, setup)
        donor = None
        if item["donor"]:
            other = read_label(item["donor"], setup)
            donor = donated(case_of(item["donor"]["case"]), other, seen)
        told = first_look(seen, read_image(item, seen), setup["seed"], donor, planting=item["plant"])
        shows = {"classes": bool(((seen.label > 0) & (seen.label < IGNORE)).any()), "gaps": bool((seen.label == IGNORE).any())}
        return {"shape": list(seen.label.shape), "shows": shows, **told}

    return look_at


def begin_judging(setup: Plain) -> Callable[[Plain], Plain]:
    """Scores and findings of a case, by "thresholds", "typical" and "least" too: the ``CaseScore``, the findings of {"wrong",
    "odds"} in "find", and what they propose (``packed``)."""
    thresholds, how = np.array(setup["thresholds"]), {"typical": setup["typical"], "least": setup["least"]}

    def judge(item: Plain) -> Plain:
        seen = read_case(item, setup)
        told: Plain = {"scores": asdict(scored(seen, thresholds)), "findings": [], "proposed": None}
        if item["find"]:
            found = second_look(seen, **item["find"], **how)
            told["findings"] = [asdict(finding) for finding in found.findings]
            told["proposed"] = packed(found.numbers, found.proposed) if found.findings else None
        return told

    return judge


def read_case(item: Plain, setup: Plain) -> Seen:
    """A case as an audit sees it. DataError that names its place in what was given."""
    label = read_label(item, setup)
    probability = None
    if item["probability"] is not None:
        given = _array(item["probability"])
        probability = probabilities(f"probabilities[{item['at']}]", given, label.shape, setup["classes"], setup["ignore"])
    spacing = None if item["spacing"] is None else tuple(item["spacing"])
    return see(case_of(item["case"]), label, probability, spacing, setup["classes"])


def read_label(item: Plain, setup: Plain) -> Label:
    """The class ids (*S) of a case."""
    where = f"labels[{item['at']}]"
    ids, _ = class_ids(where, _array(item["label"]), setup["classes"], setup["ignore"])
    if ids.ndim != setup["ndim"] or not ids.size:
        axes = "(H, W)" if setup["ndim"] == 2 else "(D, H, W)"
        raise DataError(where, f"has shape {ids.shape}", f"Give masks {axes}, like the first one.")
    return np.array(ids)


def read_image(item: Plain, seen: Seen) -> Array:
    """The image (C, *S) of a case; one that shows nothing where there is none."""
    shape = seen.label.shape
    if item["image"] is None:
        return np.broadcast_to(np.float32(0), (1, *shape))
    image = _array(item["image"])
    if image.shape == shape:
        return image[None]
    if image.shape[1:] == shape:
        return image
    if image.shape[:-1] == shape:
        return np.moveaxis(image, -1, 0)
    raise DataError(f"images[{item['at']}]", f"has shape {image.shape}, its label {shape}", "Give (*S), (C, *S) or (*S, C).")


def probabilities(where: str, given: Array, shape: tuple[int, ...], classes: int, ignore: int | None) -> Array:
    """The probabilities (K, *S) that a prediction gives: such, those of the foreground of two classes, or class ids (*S)."""
    if given.dtype.kind in "bui" and given.ndim == len(shape):
        if given.shape != shape:
            raise shape_error(where, given.shape, shape)
        return soften(class_ids(where, given, classes, ignore)[0], classes)
    return softened(*as_map(where, given.astype(np.float32) if given.dtype == np.bool_ else given, classes, shape))


def packed(numbers: Numbers, proposed: Label) -> Plain:
    """What findings propose, (*S) each, as plain JSON: of the box around them, compressed."""
    box = box_of((numbers > 0).view(np.uint8))
    arrays = (np.ascontiguousarray(array[box]).tobytes() for array in (numbers, proposed))
    return {
        "shape": list(numbers.shape),
        "box": [[axis.start, axis.stop] for axis in box],
        "maps": [base64.b64encode(zlib.compress(array)).decode("ascii") for array in arrays],
    }


def unpacked(plain: Plain) -> tuple[Numbers, Label]:
    """What ``packed`` was given."""
    box = tuple(slice(*ends) for ends in plain["box"])
    maps = []
    for text, kind in zip(plain["maps"], (np.uint16, np.uint8), strict=True):
        whole = np.zeros(plain["shape"], kind)
        inside = whole[box]
        inside[...] = np.frombuffer(zlib.decompress(base64.b64decode(text)), kind).reshape(inside.shape)
        maps.append(whole)
    return maps[0], maps[1]


def _array(given: Any) -> Array:
    return opened(given) if isinstance(given, dict) else given
