"""Weights and training states on disk: safetensors and JSON, complete or absent, never in between.

A run's folder holds ``weights/`` (best.safetensors and one file for each of the last epochs) and ``resume/epoch-NNNN/``
with everything that a training needs to go on as if it had not stopped: weights, optimiser, gradient scaler, counters, and
which of the two copies of the label state beside it (``state_copies``) belongs to it. A resumed training repeats the epoch
that was cut off; nothing random in it depends on what happened before.
Weights and states carry checksums, so that a changed bit is found when they are loaded; those from before there were any load
without.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from debride.files import atomic_path, content_hash, read_json, write_json, writing
from debride.records import read_as
from debride.state import LabelState, copy_number
from debride.state_copies import COPIES
from debride.training.counters import optimiser_entries, read_counters
from debride.types import DataError

CHECKSUM = "blake2b"
"""The entry of a weights file's metadata that holds the hash of its tensors."""

CHECKSUMS = "checksums.json"
"""The file of a training state that holds the hashes of those without one of their own."""

_RESTORE = "Restore it from a copy, choose other weights by `checkpoint`, or train again."


def save_weights(module: nn.Module, file: Path) -> None:
    """All parameters and buffers of a method, as safetensors."""
    _save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}, file)


def load_weights(module: nn.Module, file: Path) -> None:
    """Loads what ``save_weights`` wrote. Raises DataError for a file that is damaged, of another network, or not finite."""
    tensors, parameters = load_tensors(file), {name for name, _ in module.named_parameters()}
    for name, tensor in tensors.items():
        if tensor.isnan().any() or (name in parameters and tensor.isinf().any()):
            raise DataError(file, f"holds weights that are not finite ({name})", _RESTORE)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            file, f"does not fit the network ({str(error).splitlines()[-1].strip()})", "Use the run that wrote it."
        ) from error


def weights_file(run_folder: Path, which: str) -> Path:
    """The weights file of a run: "best", "last" or the number of an epoch. Raises DataError where the run does not have it."""
    folder = run_folder / "weights"
    epochs = _by_epoch(folder.glob("epoch-*.safetensors"))
    there = ", ".join(path.stem for path in sorted(folder.glob("*.safetensors"))) or "none"
    if which not in ("best", "last") and not which.isdecimal():
        raise DataError(
            f"`checkpoint` {which}", "is neither best, last nor an epoch's number", f"Weights in this run: {there}."
        )
    if which == "last" and epochs:
        return epochs[-1]
    file = folder / (f"epoch-{int(which):04d}.safetensors" if which.isdecimal() else f"{which}.safetensors")
    if not file.exists():
        other = "Use `checkpoint` last: a run without validation cases has no best epoch." if which == "best" and epochs else ""
        remedy = other or "Train first, or choose one of them by `checkpoint`."
        raise DataError(file, "does not exist", f"Weights in this run: {there}. {remedy}")
    return file


def save_state(
    run_folder: Path,
    epoch: int,
    method: nn.Module,
    optimiser: torch.optim.Optimizer,
    store: LabelState,
    state: dict[str, Any],
    keep: int,
) -> None:
    """Writes the training state after an epoch, then removes older states and the weights of all but the last ``keep`` epochs.

    The state appears under its name in one move, so a kill at any moment leaves this one or the one before. Of label state
    only the copy that the state before does not name is written to.
    """
    before = latest_state(run_folder)
    save_weights(method, run_folder / "weights" / f"epoch-{epoch:04d}.safetensors")
    folder = run_folder / "resume" / f"epoch-{epoch:04d}"
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    save_weights(method, temporary / "weights.safetensors")
    tensors, numbers = _optimiser_state(optimiser)
    _save(tensors, temporary / "optimiser.safetensors")
    store.save(temporary / "labels", 0 if before is None else _other_copy(before))
    write_json(temporary / "state.json", {**state, "epoch": epoch, "optimiser": numbers})
    write_json(temporary / CHECKSUMS, _checksums(temporary))
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    for old in sorted((run_folder / "resume").iterdir()):
        if old != folder and old.name not in COPIES:
            shutil.rmtree(old, ignore_errors=True)
    for old in _by_epoch((run_folder / "weights").glob("epoch-*.safetensors"))[: -max(keep, 1)]:
        old.unlink()


def drop_older_copy(run_folder: Path) -> None:
    """Removes the copy of the label state that the newest training state does not name: no further one will be written."""
    if latest := latest_state(run_folder):
        shutil.rmtree(run_folder / "resume" / COPIES[_other_copy(latest)], ignore_errors=True)


def latest_state(run_folder: Path) -> Path | None:
    """The folder of the newest complete training state of a run."""
    folders = _by_epoch((run_folder / "resume").glob("epoch-*"))
    return folders[-1] if folders else None


def load_state(folder: Path, method: nn.Module, optimiser: torch.optim.Optimizer, store: LabelState | None) -> dict[str, Any]:
    """Brings method, optimiser and label state back to what ``save_state`` saw, and returns its counters. Without a ``store``
    another process brings the label state back.

    Raises DataError for a state that is damaged, before anything is changed.
    """
    if (folder / CHECKSUMS).exists():
        remedy = f"Restore {folder} from a copy. Without that folder the training begins anew."
        expected = read_as(dict[str, str], read_json(folder / CHECKSUMS), folder / CHECKSUMS, remedy)
        found = _checksums(folder)
        if wrong := [name for name in {**expected, **found} if found.get(name) != expected.get(name)]:
            raise DataError(folder / wrong[0], "is damaged: it is not what was written", remedy)
    labels = store.verified(folder / "labels") if store else None
    load_weights(method, folder / "weights.safetensors")
    tensors, state = load_tensors(folder / "optimiser.safetensors"), read_counters(folder)
    entries = optimiser_entries({**tensors, **state["optimiser"]}, optimiser, folder / "optimiser.safetensors")
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    if store and labels:
        store.take(labels)
    return state


def _other_copy(folder: Path) -> int:
    """The copy of the label state that a training state does not name."""
    number = copy_number(folder / "labels")
    return 0 if number is None else 1 - number


def _by_epoch(paths: Iterable[Path]) -> list[Path]:
    """Files or folders named epoch-NUMBER, in order of their numbers; others are left out."""
    numbered = ((re.match(r"epoch-(\d+)(\.safetensors)?$", path.name), path) for path in paths)
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match)]


def _optimiser_state(optimiser: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, float | None]]:
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, float | None] = {}
    for number, entry in optimiser.state_dict()["state"].items():
        for key, value in entry.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{key}"] = value.detach().cpu().contiguous()
            else:
                numbers[f"{number}.{key}"] = value
    return tensors, numbers


def _save(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Written by Python, whose error for a full disk ``atomic_path`` knows; safetensors' own is only a text."""
    with atomic_path(file) as temporary:
        temporary.write_bytes(save(tensors, {CHECKSUM: _checksum(tensors)}))


def load_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, checked by their hash where it has one; DataError for one that cannot be read."""
    if not file.is_file():
        raise DataError(file, "is missing, or is no file", _RESTORE)
    try:
        with safe_open(file, framework="pt") as opened:
            expected = (opened.metadata() or {}).get(CHECKSUM)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # of the file system, safetensors and torch, unrelated kinds
        raise DataError(file, f"cannot be read ({error})", _RESTORE) from error
    if expected is not None and expected != _checksum(tensors):
        raise DataError(file, "is damaged: its weights are not those that were written", _RESTORE)
    return tensors


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    """A hash of names, kinds, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    """The hash of every file in a training state that does not carry its own, by its name there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".safetensors")
    files = [path for path in files if path.name != CHECKSUMS]
    return {path.relative_to(folder).as_posix(): content_hash([path]) for path in files}
