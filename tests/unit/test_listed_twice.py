"""A case that stands twice in a list of a split, where another may have been meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets import build_folder, build_nnunet_2d, build_npz, save_json

from debride.data.open import open_dataset
from debride.types import DataError


@pytest.mark.parametrize(
    ("build", "file"), [(build_folder, "splits.json"), (build_nnunet_2d, "splits_final.json"), (build_npz, "splits.json")]
)
def test_it_is_refused_by_name(tmp_path: Path, build: Callable[[Path], Path], file: str) -> None:
    root = build(tmp_path / "set")
    if build is build_npz:
        save_json(root / file, {"train": [f"train_{n:05d}" for n in range(9)], "val": ["val_00000"], "test": ["test_00000"]})
    said = json.loads((root / file).read_text())
    train = (said[0] if isinstance(said, list) else said)["train"]
    twice, train[1] = train[0], train[0]
    save_json(root / file, said)
    with pytest.raises(DataError, match=rf"{file}: puts '{twice}' more than once in train"):
        open_dataset(root)
