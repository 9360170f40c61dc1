"""Values that the command line refuses by itself, checked where they come from Python."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, signature
from typing import TypeVar, cast, get_args

from debride.types import GROUPS, DataError, Split

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda")

SYNONYMS = {
    **dict.fromkeys(("lr", "lr_rate", "initial_lr", "base_lr"), "learning_rate"),
    **dict.fromkeys(("bs", "batchsize"), "batch_size"),
    **dict.fromkeys(("max_epochs", "num_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("spatial_size", "img_size", "input_size"), "image_size"),
    **dict.fromkeys(("model", "backbone", "arch"), "network"),
    **dict.fromkeys(("num_workers", "n_jobs", "workers"), "jobs"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "schedule"),
    **{"roi_size": "patch_size", "wd": "weight_decay", "optim": "optimiser", "amp": "precision"},
}
"""What PyTorch, MONAI and scikit-learn call our settings, and our names of them."""


def one_of(name: str, value: T, known: Iterable[object]) -> T:
    """The value of an argument, None or one of those known; DataError, naming the argument, for any other."""
    if value is not None and value not in (known := tuple(known)):
        raise DataError(f"`{name}`", f"is {value!r}", f"Choose one of {', '.join(map(str, known))}.")
    return value


def group_of(name: str, value: str | None) -> str | None:
    """What groups cases, or None."""
    return one_of(name, value, GROUPS)


def splits_of(splits: str | Sequence[str]) -> tuple[Split, ...]:
    """One split or several; DataError for a name that is none."""
    return tuple(cast(Split, one_of("splits", split, get_args(Split))) for split in words_of(splits))


def parameters_of(function: Callable[..., object]) -> list[str]:
    """The names of the parameters that a function has itself, without those of ``**settings``."""
    return [each.name for each in signature(function).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the likest of the ``known`` names, first what other libraries call ``name``; empty without any."""
    known = list(known)
    meant = [SYNONYMS[name]] if SYNONYMS.get(name) in known else difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(f'`{each}`' for each in meant)}?" if meant else ""


def words_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """One word or several."""
    return (words,) if isinstance(words, str) else tuple(words)
