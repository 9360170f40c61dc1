"""A column or entry that is nearly named as one that is read is noted; predictions ask nothing of labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.datasets import build_folder, build_manifest, save_json

from debride.data.open import dataset_or_images, open_dataset
from debride.notes import take_notes
from debride.types import Dataset


@pytest.mark.parametrize(
    ("name", "meant"), [("anotated", "annotated"), ("patient_id", "patient"), ("Sites", "site"), ("comment", None)]
)
def test_a_column(tmp_path: Path, name: str, meant: str | None) -> None:
    table = build_manifest(tmp_path) / "manifest.csv"
    head, *rows = table.read_text().replace("patient", "from").splitlines()
    table.write_text("\n".join([f"{head},{name}", *(f"{row},x" for row in rows)]) + "\n")
    open_dataset(tmp_path)
    said = " ".join(map(str, take_notes()))
    assert (f"not read; {meant!r} would be" in said) if meant else "would be" not in said


@pytest.mark.parametrize(("name", "meant"), [("annotatd", "annotated"), ("group", "groups"), ("licence", None)])
def test_an_entry(tmp_path: Path, name: str, meant: str | None) -> None:
    build_folder(tmp_path)
    save_json(tmp_path / "dataset.json", {"classes": ["background", "a"], "values": {"0": 0, "255": 1}, name: {}})
    open_dataset(tmp_path)
    said = " ".join(map(str, take_notes()))
    assert (f"not read; {meant!r} would be" in said) if meant else "would be" not in said


def test_a_damaged_label_keeps_no_image_from_being_predicted(tmp_path: Path) -> None:
    build_folder(tmp_path)
    (tmp_path / "masks/case003.png").write_bytes(b"")
    held = dataset_or_images(tmp_path, "segmentation", {})
    assert isinstance(held, Dataset) and [case.id for case in held.of("test")] == ["case005"]
