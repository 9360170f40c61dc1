"""Tasks of Label Studio: masks packed as its own converter packs and unpacks them, and labels back."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exchanged import decisions_in, pictures
from tests.written_audits import given_label

from debride.audit.decided import apply_edit, read_edit
from debride.review.exchange import export_review, import_review
from debride.review.exchange.label_studio import LabelStudioFile, packed_mask, unpacked_mask
from debride.types import DataError

THEIRS = [0, 0, 0, 140, 57, 27, 252, 127, 248, 124, 2, 223, 253, 240, 11, 127, 247, 192, 45, 255, 226, 48, 0]
"""What mask2rle of label_studio_sdk/converter/brush.py (label-studio-sdk 2.1.2 of PyPI) gives for ``small()`` in 0 and 255."""


def small() -> Any:
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:5], mask[0, 0] = True, True
    return mask


def slowly_unpacked(packed: list[int]) -> list[int]:
    """Bit by bit, as the format is described."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    at = 0

    def read(many: int) -> int:
        nonlocal at
        at += many
        return int(bits[at - many : at], 2)

    many = read(32)
    word = read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < many:
        run, length = read(1), 0
        length = read(lengths[read(2)]) + 1
        out += [read(word)] * length if run else [read(word) for _ in range(length)]
    return out


@pytest.mark.parametrize(
    "mask", [small(), np.zeros((3, 2), bool), np.ones((160, 120), bool), np.random.default_rng(0).random((9, 11)) < 0.4]
)
def test_masks_are_unpacked_as_they_were(mask: Any) -> None:
    packed = packed_mask(mask)
    assert slowly_unpacked(packed) == np.repeat(255 * mask.ravel().astype(int), 4).tolist()
    assert np.array_equal(unpacked_mask(Path("a.json"), "a", packed, mask.shape), mask)


def test_what_label_studio_packs_is_read() -> None:
    assert np.array_equal(unpacked_mask(Path("a.json"), "a", THEIRS, (5, 7)), small())
    assert slowly_unpacked(THEIRS) == slowly_unpacked(packed_mask(small()))


def test_blocks_that_are_no_runs_are_read_too() -> None:
    """Two pixels, red and opaque blue, as eight bytes of one block."""
    values = [255, 0, 0, 0, 0, 0, 255, 255]
    bits = f"{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "000" + f"{7:03b}" + "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert unpacked_mask(Path("a.json"), "a", packed, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize("packed", [None, "x", [], [300], [0, 0, 0, 139, *THEIRS[4:]], THEIRS[:-4], THEIRS[:3]])
def test_what_is_no_mask_of_the_picture_is_refused(packed: Any) -> None:
    with pytest.raises(DataError, match="mask of case7"):
        unpacked_mask(Path("a.json"), "case7", packed, (5, 7))


def test_a_project_is_configured_by_names_as_they_are(tmp_path: Path) -> None:
    LabelStudioFile(("background", 'a "b" <c>', "d & e")).write(tmp_path)
    found = [label.attrib["value"] for label in ET.parse(tmp_path / "config.xml").iter("Label")]
    assert found == ['a "b" <c>', "d & e"]


class Exported:
    """Tasks that came back from Label Studio: with ids, and what it adds."""

    def __init__(self, root: Path) -> None:
        self.dataset, self.audit = pictures(root)
        export_review(self.dataset, self.audit, root / "out", "coco")
        self.tasks = json.loads((root / "out" / "label-studio" / "tasks.json").read_text())
        for number, task in enumerate(self.tasks):
            task |= {"id": 70 + number, "file_upload": None, "total_annotations": 1}
            task["annotations"][0] |= {"id": number, "completed_by": 1, "was_cancelled": False}
        self.path = root / "in" / "project-1.json"

    def take(self) -> Any:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(self.tasks))
        return import_review(self.dataset, self.audit, self.path.parent, "ann")


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return Exported(tmp_path)


def test_an_edit_comes_back_bit_for_bit_and_once(exported: Exported) -> None:
    name = exported.dataset.classes[1]
    assert exported.tasks[0]["data"]["findings"] == f"1: missing {name} 0.90; 2: extra {name} 0.25"
    assert exported.take().unchanged == 2
    result = exported.tasks[1]["annotations"][0]["result"][0]
    mask = given_label(exported.dataset, "case003") == 1
    mask[0, 3] = True
    result["value"]["rle"] = packed_mask(mask)
    assert exported.take().edited == ("case003",)
    expected = given_label(exported.dataset, "case003")
    expected[0, 3] = 1
    edit = read_edit(exported.audit, "case003", decisions_in(exported.audit)[0].label, (32, 32), 3)
    assert np.array_equal(apply_edit(given_label(exported.dataset, "case003"), edit), expected)
    assert exported.take().decisions == 0


def test_a_task_without_our_data_is_known_by_its_picture(exported: Exported) -> None:
    for task in exported.tasks:
        del task["data"]["case"]
        task["data"]["image"] = task["data"]["image"].replace("case", "%63ase")
        task["annotations"][0]["result"].append({"type": "textarea", "value": {"text": ["looks fine"]}})
    assert exported.take().unchanged == 2


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda tasks: tasks[0].pop("data"), "no task of Label Studio"),
        (lambda tasks: tasks[0]["data"].update(case="x", image="/data/local-files/?d=x.png"), "names the picture 'x.png'"),
        (lambda tasks: tasks[0]["data"].update(case="case003"), "two tasks of case003"),
        (lambda tasks: tasks[0]["annotations"].append(tasks[0]["annotations"][0]), "2 annotations of case000"),
        (lambda tasks: tasks[0]["annotations"][0].update(was_cancelled=True), "no annotations of case000"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0]["value"].update(brushlabels=["liver"]), "no class of the data"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(value={"polygonlabels": ["a"]}), "outlines or boxes"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(value=None), "holds nothing"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0]["value"].update(rle=[1, 2]), "cut off"),
        (lambda tasks: tasks[0]["annotations"][0]["result"][0].update(original_width=16, original_height=64), "has 64 rows"),
        (lambda tasks: tasks[0]["annotations"][0].update(result=[]), "no annotation of case000"),
    ],
)
def test_what_cannot_be_understood_is_refused(exported: Exported, harm: Callable[[Any], Any], said: str) -> None:
    harm(exported.tasks)
    with pytest.raises(DataError, match=said) as refused:
        exported.take()
    assert refused.value.where == str(exported.path) and refused.value.remedy
    assert not decisions_in(exported.audit)
