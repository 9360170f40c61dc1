"""Tasks of the decathlon, as nnU-Net's own converter names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.known_archives import converted, decathlon_task, described, intensities, tarred, unpacked, zones

from debride.known.msd import convert
from debride.types import DataError


@pytest.mark.parametrize("channels", [1, 2])
def test_a_task_becomes_raw_files_of_each_channel(tmp_path: Path, channels: int) -> None:
    cases = converted(
        convert, tmp_path / "out", tarred(tmp_path / "Task05_Prostate.tar", decathlon_task(channels=channels)), jobs=2
    )
    assert {id: case.split for id, (_, _, case) in cases.items() if case.split == "test"} == {"prostate_07": "test"}
    assert sorted(cases) == ["prostate_00", "prostate_04", "prostate_07"]
    image, label, case = cases["prostate_04"]
    assert [path.name for path in case.image] == [f"prostate_04_{number:04d}.nii.gz" for number in range(channels)]
    assert (image == intensities(4, channels).reshape(7, 6, 5, channels).T).all() and (label == zones(4).T).all()
    assert cases["prostate_07"][1] is None
    said = described(tmp_path / "out")
    assert said["name"] == "Task05_Prostate" and said["labels"] == {"background": 0, "PZ": 1, "TZ": 2}
    assert list(said["channel_names"].values()) == [f"MRI{number}" for number in range(channels)]


def test_a_folder_converts_as_its_archive(tmp_path: Path) -> None:
    files = {name.removeprefix("Task05_Prostate/"): content for name, content in decathlon_task().items()}
    cases = converted(convert, tmp_path / "out", unpacked(tmp_path / "own", files))
    assert len(cases) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modality": {"0": "MRI"}}, "has the axes"),
        ({"modality": {"0": "a", "1": "b", "2": "c"}}, "holds 2 channels, and 3 are named"),
        ({"modality": {"1": "MRI"}}, "modality"),
        ({"labels": {"0": "background", "1": "PZ"}}, "label value 2"),
        ({"training": [{"image": "./imagesTr/no.nii.gz", "label": "./labelsTr/no.nii.gz"}]}, "does not hold"),
        ({"training": [{"image": "../../x", "label": "x"}]}, "does not hold"),
        ({"training": "all"}, "no list"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        converted(convert, tmp_path / "out", tarred(tmp_path / "a.tar", decathlon_task(**change)))


def test_one_task_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 tasks"):
        converted(convert, tmp_path / "out", tarred(tmp_path / "a.tar", decathlon_task() | decathlon_task("Task02_Heart", 1)))
