"""Weights and training states on disk: safetensors and JSON, complete or absent, never in between.

A run's folder holds ``weights/`` (best.safetensors and one file for each of the last epochs) and ``resume/epoch-NNNN/``
with everything that a training needs to go on as if it had not stopped: weights, optimiser, gradient scaler, counters and
the label state. A resumed training repeats the epoch that was cut off; nothing random in it depends on what happened before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from debride.files import atomic_path, read_json, write_json
from debride.state import LabelState
from debride.types import DataError


def save_weights(module: nn.Module, file: Path) -> None:
    """All parameters and buffers of a method, as safetensors."""
    _save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}, file)


def load_weights(module: nn.Module, file: Path) -> None:
    """Loads what ``save_weights`` wrote; a file of another network is refused by name."""
    tensors = _load(file)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            file, f"does not fit the network ({str(error).splitlines()[-1].strip()})", "Use the run that wrote it."
        ) from error


def weights_file(run_folder: Path, which: str) -> Path:
    """The weights file of a run: "best", "last" or the number of an epoch."""
    folder = run_folder / "weights"
    epochs = _by_epoch(folder.glob("epoch-*.safetensors"))
    if which == "last" and epochs:
        return epochs[-1]
    file = folder / (f"epoch-{int(which):04d}.safetensors" if which.isdecimal() else f"{which}.safetensors")
    if not file.exists():
        there = ", ".join(path.stem for path in sorted(folder.glob("*.safetensors"))) or "none"
        raise DataError(
            file, "does not exist", f"Weights in this run: {there}. Train first, or choose one of them with `checkpoint`."
        )
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

    The state appears under its name in one move, so a kill at any moment leaves this one or the one before.
    """
    save_weights(method, run_folder / "weights" / f"epoch-{epoch:04d}.safetensors")
    folder = run_folder / "resume" / f"epoch-{epoch:04d}"
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    save_weights(method, temporary / "weights.safetensors")
    tensors, numbers = _optimiser_state(optimiser)
    _save(tensors, temporary / "optimiser.safetensors")
    store.snapshot(temporary / "labels")
    write_json(temporary / "state.json", {**state, "epoch": epoch, "optimiser": numbers})
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
    for old in sorted((run_folder / "resume").iterdir()):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    for old in _by_epoch((run_folder / "weights").glob("epoch-*.safetensors"))[: -max(keep, 1)]:
        old.unlink()


def latest_state(run_folder: Path) -> Path | None:
    """The folder of the newest complete training state of a run."""
    folders = [folder for folder in (run_folder / "resume").glob("epoch-*") if folder.suffix != ".partial"]
    return _by_epoch(folders)[-1] if folders else None


def load_state(folder: Path, method: nn.Module, optimiser: torch.optim.Optimizer, store: LabelState) -> dict[str, Any]:
    """Brings method, optimiser and label state back to what ``save_state`` saw, and returns its counters."""
    load_weights(method, folder / "weights.safetensors")
    state: dict[str, Any] = read_json(folder / "state.json")
    entries: dict[int, dict[str, Any]] = {}
    for name, value in {**_load(folder / "optimiser.safetensors"), **state["optimiser"]}.items():
        number, key = name.split(".", 1)
        entries.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    store.restore(folder / "labels")
    return state


def _by_epoch(paths: Iterable[Path]) -> list[Path]:
    """Files or folders named epoch-NUMBER, in order of their numbers."""
    return sorted(paths, key=lambda path: int(path.name.split(".")[0].split("-")[1]))


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
        temporary.write_bytes(save(tensors))


def _load(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(file, f"cannot be read ({error})", "Resume from another checkpoint or train again.") from error
