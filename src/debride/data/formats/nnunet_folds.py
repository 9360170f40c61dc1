"""The folds of nnU-Net v2, splits_final.json: drawn as it draws them, and without some cases."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from debride.data.formats.names import plain
from debride.data.links import is_there
from debride.files import read_json
from debride.types import DataError

FOLDS, SEED = 5, 12345
"""How many folds nnU-Net draws, and from what: ``generate_crossval_split`` of its nnunetv2/utilities/crossval_split.py."""

Fold = dict[str, list[str]]
"""The cases to train on ("train") and to validate on ("val")."""


def drawn_folds(cases: Collection[str]) -> list[Fold]:
    """The folds that nnU-Net draws of training cases where it finds no splits_final.json: its five of scikit-learn's KFold."""
    from sklearn.model_selection import KFold

    names = np.array(sorted(cases))
    parts = KFold(n_splits=FOLDS, shuffle=True, random_state=SEED).split(names)
    return [{"train": names[train].tolist(), "val": names[held].tolist()} for train, held in parts]


def folds_without(path: Path, cases: Collection[str], left_out: Collection[str]) -> list[Fold]:
    """The folds of a splits_final.json, or where there is none those that nnU-Net draws of ``cases``, without some cases.

    Raises DataError where none can be drawn, and where a list would lose all of its cases.
    """
    if is_there(path):
        folds = read_json(path)
    elif len(cases) < FOLDS:
        raise DataError(path, f"does not exist, and {FOLDS} folds of {len(cases)} cases cannot be drawn", "Write it.")
    else:
        folds = drawn_folds(cases)
    kept = [{name: [id for id in ids if plain(id, path) not in left_out] for name, ids in fold.items()} for fold in folds]
    for number, (old, new) in enumerate(zip(folds, kept, strict=True)):
        if empty := [name for name in old if old[name] and not new[name]]:
            problem = f'would have no case in "{empty[0]}" of fold {number}, as all of them are left out'
            raise DataError(path, problem, "Write folds by hand, or leave out `leave_out`.")
    return kept
