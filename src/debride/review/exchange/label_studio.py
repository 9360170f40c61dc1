"""Tasks of Label Studio with brush masks, and labels back from its export as JSON: its COCO knows outlines alone.

A mask is the bits of packed runs (github.com/thi-ng/umbrella, packages/rle-pack): how many bytes there are (32 bits), the bits
of one less 1 (5), the bits of lengths less 1 (four times 4); and then blocks, each with whether it is a run (1), which of the
four bits its length has (2), its length less 1, and its byte or bytes. The bytes are RGBA by rows; alpha says what is painted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from debride.audit.findings import Label
from debride.audit.shown.charts import COLOURS
from debride.files import write_text
from debride.review.exchange.coco import joined, pictures_of
from debride.review.exchange.run_lengths import Mask
from debride.types import DataError, Dataset

FOLDER = "label-studio"

SERVED = "/data/local-files/?d="
"""What Label Studio serves files of its own machine under, before their path."""

_WORD, _LENGTHS = 8, (3, 4, 8, 16)
"""Bits of a byte, and of the four kinds of lengths, as Label Studio itself writes them."""

_LONGEST = 1 << _LENGTHS[3]

_AGAIN = "Export it from Label Studio again, as JSON."


class LabelStudioFile:
    """Tasks as they grow."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.tasks: list[dict[str, Any]] = []

    def add(self, case: str, name: str, label: Label, findings: Sequence[str]) -> None:
        """Adds a picture by its path in the data set, with its label (H, W) of class ids."""
        height, width = label.shape
        results = [
            {
                "id": f"class-{id}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": packed_mask(label == id), "brushlabels": [category]},
            }
            for id, category in enumerate(self.classes)
            if id and (label == id).any()
        ]
        data = {"image": f"{SERVED}{quote(name)}", "case": case, "findings": "; ".join(findings)}
        self.tasks.append({"data": data, "annotations": [{"result": results}]})

    def write(self, folder: Path) -> None:
        """Writes the tasks, and the configuration that a project needs for them."""
        names = (
            f"    <Label value={quoteattr(name)} background={quoteattr(COLOURS[(id - 1) % len(COLOURS)])}/>"
            for id, name in enumerate(self.classes)
            if id
        )
        lines = [
            *("<View>", '  <Header value="$findings"/>', '  <Image name="image" value="$image" zoom="true"/>'),
            *('  <BrushLabels name="label" toName="image">', *names, "  </BrushLabels>", "</View>"),
        ]
        write_text(folder / "tasks.json", json.dumps(self.tasks, ensure_ascii=False) + "\n")
        write_text(folder / "config.xml", "".join(f"{line}\n" for line in lines))


def read_tasks(
    path: Path, tasks: Sequence[Any], dataset: Dataset, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, Label]]:
    """The cases of an export, each with its class ids (H, W); ``shapes`` are those of the pictures of audited
    cases.

    Raises DataError for what is no such export, pictures and names that the data set does not have, a task with several
    annotations, sizes that differ, outlines in place of masks, and pixels of two classes.
    """
    lookup = pictures_of(dataset, shapes)
    seen: set[str] = set()
    for task in tasks:
        data = task.get("data") if isinstance(task, dict) else None
        annotations = task.get("annotations") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(annotations, list):
            raise DataError(path, "holds what is no task of Label Studio", _AGAIN)
        case = data.get("case")
        if not isinstance(case, str) or case not in shapes:
            case = lookup(path, unquote(str(data.get("image", "")).rpartition("?d=")[2]))
        if case in seen:
            raise DataError(path, f"has two tasks of {case}", "Keep one of them.")
        seen.add(case)
        kept = [each for each in annotations if isinstance(each, dict) and not each.get("was_cancelled")]
        if len(kept) != 1:
            remedy = "Export the annotations of one person at a time: each is a reader."
            raise DataError(path, f"has {len(kept) or 'no'} annotations of {case}", remedy)
        yield case, joined(path, case, _masks(path, case, kept[0].get("result"), dataset, shapes[case]), shapes[case])


def _masks(path: Path, case: str, results: Any, dataset: Dataset, shape: tuple[int, ...]) -> Iterator[tuple[int, Mask]]:
    for result in results if isinstance(results, list) else [None]:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(result, dict) or not isinstance(value, dict):
            raise DataError(path, f"has an annotation of {case} that holds nothing", _AGAIN)
        if "brushlabels" not in value:
            if any(name.endswith("labels") for name in value):
                raise DataError(path, f"has outlines or boxes in {case}, not masks", "Paint with the brush.")
            continue  # a text or a choice
        names = value["brushlabels"]
        if not isinstance(names, list) or len(names) != 1 or names[0] not in dataset.classes[1:]:
            remedy = f"Name each mask by one of {', '.join(dataset.classes[1:])}."
            raise DataError(path, f"has a mask of {case} named {names!r}, which is no class of the data set", remedy)
        size = result.get("original_height", shape[0]), result.get("original_width", shape[1])
        if size != shape:  # as of a photograph that the browser turned
            problem = f"says that {case} has {size[0]} rows and {size[1]} columns, its picture has {shape[0]} and {shape[1]}"
            raise DataError(path, problem, "Give annotations of the pictures as they are in the data set.")
        yield dataset.classes.index(names[0]), unpacked_mask(path, case, value.get("rle"), shape)


def packed_mask(mask: Mask) -> list[int]:
    """The bytes of a mask (H, W): each run of pixels as runs of its four equal channels."""
    flat = np.repeat(mask.ravel(), 4)
    ends = np.flatnonzero(np.append(flat[1:] != flat[:-1], True)) + 1
    starts = np.concatenate(([0], ends[:-1]))
    pieces = [
        (min(_LONGEST, end - at), 255 * int(flat[start]))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        for at in range(start, end, _LONGEST)
    ]
    head = [_bits(np.array([flat.size]), 32), _bits(np.array([_WORD - 1]), 5)]
    head += [_bits(np.array([length - 1]), 4) for length in _LENGTHS]
    lengths, values = np.array(pieces, np.int64).T
    run = np.broadcast_to(np.array([1, 1, 1], np.uint8), (len(lengths), 3))
    body = np.concatenate([run, _bits(lengths - 1, _LENGTHS[3]), _bits(values, _WORD)], axis=1)
    bits = np.concatenate([*(part.ravel() for part in head), body.ravel()])
    return [int(byte) for byte in np.packbits(bits)]


def unpacked_mask(path: Path, case: str, packed: Any, shape: tuple[int, ...]) -> Mask:
    """The mask (H, W) of packed bytes: where alpha is at least a half. DataError for what is no such mask of this shape."""
    sound = isinstance(packed, list) and all(type(byte) is int and 0 <= byte < 256 for byte in packed)
    size = shape[0] * shape[1] * 4
    bits = np.unpackbits(np.array(packed if sound else [], np.uint8))
    flat = np.zeros(size, np.uint8)
    at = filled = 0

    def read(many: int, count: int = 1) -> npt.NDArray[np.int64]:
        nonlocal at
        part = bits[at : at + many * count]
        if len(part) < many * count:
            raise DataError(path, f"has a mask of {case} that is cut off", _AGAIN)
        at += many * count
        weights = 1 << np.arange(many - 1, -1, -1, dtype=np.int64)
        numbers: npt.NDArray[np.int64] = part.reshape(count, many) @ weights
        return numbers

    if not sound or int(read(32)[0]) != size or int(read(5)[0]) != _WORD - 1:
        raise DataError(path, f"has a mask of {case} that is not of its {shape[0]} x {shape[1]} pixels", _AGAIN)
    widths = [int(read(4)[0]) + 1 for _ in range(4)]
    while filled < size:
        is_run, kind = int(read(1)[0]), int(read(2)[0])
        many = int(read(widths[kind])[0]) + 1
        if filled + many > size:
            raise DataError(path, f"has a mask of {case} with more pixels than its picture", _AGAIN)
        flat[filled : filled + many] = read(_WORD) if is_run else read(_WORD, many)
        filled += many
    mask: Mask = flat.reshape(*shape, 4)[..., 3] >= 128
    return mask


def _bits(values: npt.NDArray[Any], many: int) -> npt.NDArray[np.uint8]:
    """Numbers (n,) as bits (n, many), the highest first."""
    bits: npt.NDArray[np.uint8] = ((values[:, None] >> np.arange(many - 1, -1, -1)) & 1).astype(np.uint8)
    return bits
