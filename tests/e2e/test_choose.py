"""``debride choose``: ids for ``--trusted``, with the reasons, and what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, build_npz, save_png
from tests.e2e.conftest import Command

PATIENTS = ("--patient-pattern", "^(p[0-9]+)")


def chosen(out: str) -> list[str]:
    """The cases that were named, in order."""
    return [line.split(":")[0] for line in out.splitlines() if "by how ordinary" in line]


def test_what_is_chosen_can_be_trusted(tmp_path: Path, debride: Command) -> None:
    scans, file = build_nnunet_2d(tmp_path / "scans", n=12), tmp_path / "verified.txt"
    answer = debride("choose", scans, "--count", 4, "--out", file, *PATIENTS)
    assert answer.code == 0, answer.err
    ids = file.read_text().splitlines()
    assert chosen(answer.out) == ids and len(ids) == 4
    assert len({id[:3] for id in ids}) == 4, "a patient each"
    for line, id in zip(answer.out.splitlines(), ids, strict=False):
        assert re.search(
            rf"^{id}: patient {id[:3]}; number \d+ of 10 by how ordinary it is; part_1 [\d.]+ voxels; part_2 ", line
        )
    assert debride("check", scans, "--trusted", file, *PATIENTS).code == 0
    assert debride("choose", scans, "--count", 4, *PATIENTS).out.startswith(answer.out.splitlines()[0])
    other = debride("choose", scans, "--count", 1, "--trusted", file, *PATIENTS)
    assert other.code == 0 and not set(chosen(other.out)) & set(ids), "what is trusted is not chosen again"


def test_more_cases_than_patients_are_told_of(tmp_path: Path, debride: Command) -> None:
    answer = debride("choose", build_nnunet_2d(tmp_path / "scans", n=6), "--count", 4, *PATIENTS)
    assert answer.code == 0 and "They are of 2 patients" in answer.out


def test_what_a_bias_would_cost_is_in_mm(tmp_path: Path, debride: Command) -> None:
    answer = debride("choose", build_nnunet_3d(tmp_path / "scans"), "--count", 2, "--what-if")
    assert answer.code == 0, answer.err
    costs = dict(re.findall(r"^  (\d mm too far (?:inside|outside)): ([\d.]+)$", answer.out, re.MULTILINE))
    assert list(costs) == ["2 mm too far inside", "1 mm too far inside", "1 mm too far outside", "2 mm too far outside"]
    assert 0 < float(costs["1 mm too far inside"]) < float(costs["2 mm too far inside"]) <= 100
    assert "cannot be known without a verified case" in answer.out and re.search(r"part_1 [\d.]+ ml", answer.out)


def test_pictures_without_a_spacing_are_moved_by_pixels(tmp_path: Path, debride: Command) -> None:
    answer = debride("choose", build_folder(tmp_path / "scans"), "--count", 1, "--what-if")
    assert answer.code == 0 and "2 px too far outside" in answer.out


def test_of_several_readers_a_label_is_named(tmp_path: Path, debride: Command) -> None:
    answer = debride("choose", build_manifest(tmp_path / "scans", n=6), "--count", 2)
    assert answer.code == 0 and all("@rater" in id for id in chosen(answer.out))


def test_of_images_with_a_class_each_every_class_has_one(tmp_path: Path, debride: Command) -> None:
    answer = debride("choose", build_npz(tmp_path / "scans", n=30), "--count", 3, "--out", tmp_path / "ids.txt")
    assert answer.code == 0, answer.err
    classes = re.findall(r": class (\w+), number 1 of \d+ by how", answer.out)
    assert len(set(classes)) == 3
    refused = debride("choose", tmp_path / "scans", "--what-if")
    assert refused.code == 2 and "--what-if: is for masks" in refused.err


@pytest.mark.parametrize(("count", "said"), [(0, "is 0, but 4"), (5, "is 5, but 4"), (-1, "is -1, but 4")])
def test_counts_that_cannot_be(tmp_path: Path, debride: Command, count: int, said: str) -> None:
    answer = debride("choose", build_folder(tmp_path / "scans"), f"--count={count}", "--out", tmp_path / "ids.txt")
    assert answer.code == 2 and "--count" in answer.err and said in answer.err and "from 1 to 4" in answer.err
    assert not (tmp_path / "ids.txt").exists()


def test_without_labels_or_images_nothing_is_chosen(tmp_path: Path, debride: Command) -> None:
    scans = build_folder(tmp_path / "scans")
    (tmp_path / "all.txt").write_text("".join(f"case{at:03d}\n" for at in range(4)))
    answer = debride("choose", scans, "--trusted", tmp_path / "all.txt")
    assert answer.code == 2 and "no training case with a label that is not trusted yet" in answer.err
    (scans / "images" / "case001.png").write_bytes(b"")
    answer = debride("choose", scans, "--count", 2)
    assert answer.code == 2 and "case001.png" in answer.err
    shutil.rmtree(scans / "masks")
    assert debride("choose", scans, "--count", 2).code == 2
    assert debride("choose", tmp_path / "nowhere").code == 2


def test_labels_without_foreground_cannot_be_moved(tmp_path: Path, debride: Command) -> None:
    scans = build_folder(tmp_path / "scans", classes=3)
    for number in range(4):
        save_png(scans / "masks" / f"case00{number}.png", np.zeros((32, 32), np.uint8))
    answer = debride("choose", scans, "--count", 2, "--what-if")
    assert answer.code == 2 and "no foreground in the labels of 4 cases" in answer.err
    assert debride("choose", scans, "--count", 2).code == 0


def test_images_of_other_channels_are_refused(tmp_path: Path, debride: Command) -> None:
    scans = build_folder(tmp_path / "scans")
    save_png(scans / "images" / "case002.png", np.zeros((32, 32), np.uint8))
    answer = debride("choose", scans, "--count", 2)
    assert answer.code == 2 and "other channels" in answer.err
