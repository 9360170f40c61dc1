"""What is damaged in an archive is refused by its file, or read as it is, and is never a mistake of ours."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.known_archives import decathlon_task, unpacked
from tests.lidc_made import message, nodule, outline

from debride.known import acdc, msd
from debride.known.archive import Archive
from debride.known.lidc_readings import nodule_mask, read_readings
from debride.types import DataError

MANY = 200


def changed(content: bytes, draw: random.Random) -> bytes:
    """Content with a byte changed, a part cut out, a part twice, or cut off."""
    at, length = draw.randrange(len(content)), draw.randrange(1, 40)
    return draw.choice(
        [
            content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :],
            content[:at] + content[at + length :],
            content[: at + length] + content[at:],
            content[:at],
        ]
    )


def refused_or_done(do: Callable[[], Any]) -> bool:
    try:
        do()
    except DataError as error:
        assert error.where and error.problem and error.remedy
        return True
    return False


def test_changed_readings() -> None:
    content = message("1.2.3", nodule(outline("a", [(1, 1), (7, 1), (7, 7), (1, 7)]), outline("a", [(3, 3), (5, 5)], "FALSE")))

    def read(changed: bytes) -> None:
        if (found := read_readings(changed, "x.xml")) is not None:
            for nodules in found.readers:
                for outlines in nodules:
                    nodule_mask(outlines, {"a": 0}, 9, 9, "x.xml")

    draw = random.Random(5)
    refused = [refused_or_done(lambda: read(changed(content, draw))) for _ in range(MANY)]
    assert MANY // 2 < sum(refused) < MANY


def test_changed_descriptions_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msd, "write_cases", lambda *told: None)
    folder = unpacked(tmp_path / "task", decathlon_task())
    file = folder / "Task05_Prostate" / "dataset.json"
    content, draw = file.read_bytes(), random.Random(6)
    for _ in range(MANY):
        file.write_bytes(changed(content, draw))
        refused_or_done(lambda: msd.convert([Archive(folder)], tmp_path, {}))
    for wrong in (
        None,
        1,
        [],
        {},
        {"labels": {"0": 1}},
        {**json.loads(content), "training": [1]},
        {**json.loads(content), "labels": {"0": [], "1": {}}},
    ):
        file.write_text(json.dumps(wrong))
        refused_or_done(lambda: msd.convert([Archive(folder)], tmp_path, {}))


def test_changed_facts_of_a_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acdc, "write_cases", lambda *told: None)
    name = "training/patient001"
    frames = (f"{name}/patient001_frame{frame:02d}{end}.nii.gz" for frame in (1, 10) for end in ("", "_gt"))
    content = b"ED: 1\nES: 10\nGroup: DCM\nHeight: 184.0\n"
    folder = unpacked(tmp_path / "acdc", {f"{name}/Info.cfg": content, **dict.fromkeys(frames, b"not read")})
    draw = random.Random(7)
    for _ in range(MANY):
        (folder / name / "Info.cfg").write_bytes(changed(content, draw))
        refused_or_done(lambda: acdc.convert([Archive(folder)], tmp_path, {}))
