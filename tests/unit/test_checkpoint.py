from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from debride.state import Field, LabelState
from debride.training.checkpoint import (
    drop_older_copy,
    latest_state,
    load_state,
    load_weights,
    save_state,
    save_weights,
    weights_file,
)
from debride.training.config import TrainConfig
from debride.training.schedule import make_optimiser
from debride.types import DataError

FIELDS = (Field("weight", "pixel", initial=1.0), Field("seen", "case"))
SHAPES = ((4, 5), (4, 5))


class Training:
    """A small network with running statistics, an optimiser and label state, and updates that use all of them."""

    def __init__(self, optimiser: str, folder: Path, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Conv2d(1, 1, 1))
        self.optimiser = make_optimiser(TrainConfig(optimiser=optimiser), self.network.parameters())  # type: ignore[arg-type]
        self.store = LabelState(FIELDS, SHAPES, folder)

    def update(self, step: int) -> None:
        """One step on random data; the last layer is not used, as networks of other phases are not."""
        generator = torch.Generator().manual_seed(step)
        image, label = torch.randn(2, 1, 4, 5, generator=generator), torch.rand(2, 4, 5, generator=generator)
        logits = self.network[:3](image)
        loss = ((logits[:, 0] - label) ** 2 * self.store.read("weight", [0, 1])).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.store.add("weight", [0, 1], (logits[:, 1].detach() - label) / 10)
        self.store.add("seen", [0, 1], torch.ones(2))

    def save(self, run: Path, epoch: int, keep: int = 10) -> None:
        state = {"step": 10 * epoch, "best": {"dice": None}, "scaler": {}}
        save_state(run, epoch, self.network, self.optimiser, self.store, state, keep)


def states(run: Path) -> list[str]:
    """What lies in the folder of training states."""
    return sorted(path.name for path in (run / "resume").iterdir())


def parts(training: Training) -> dict[str, torch.Tensor]:
    state = {f"network {name}": value for name, value in training.network.state_dict().items()}
    for number, entry in training.optimiser.state_dict()["state"].items():
        state |= {f"optimiser {number} {name}": torch.as_tensor(value) for name, value in entry.items() if value is not None}
    return state | {f"field {name}": training.store.read(name, [0, 1]) for name in ("weight", "seen")}


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_restored_training_goes_on_bit_for_bit(optimiser: str, tmp_path: Path) -> None:
    whole = Training(optimiser, tmp_path / "a")
    for step in range(3):
        whole.update(step)
    whole.save(tmp_path / "run", 1)
    restored = Training(optimiser, tmp_path / "b", seed=1)
    for step in range(7, 9):  # state of its own that must go
        restored.update(step)
    folder = latest_state(tmp_path / "run")
    assert folder is not None
    state = load_state(folder, restored.network, restored.optimiser, restored.store)
    assert (state["epoch"], state["step"], state["best"]) == (1, 10, {"dice": None})
    for step in range(3, 6):
        for training in (whole, restored):
            training.update(step)
        a, b = parts(whole), parts(restored)
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    name = "momentum_buffer" if optimiser == "sgd" else "exp_avg_sq"
    assert f"optimiser 0 {name}" in a and f"optimiser 6 {name}" not in a, "the unused layer has no state"


def test_a_state_before_the_first_step(tmp_path: Path) -> None:
    for number, optimiser in enumerate(("sgd", "adamw")):
        fresh, other = (Training(optimiser, tmp_path / f"{optimiser}{n}", seed=n) for n in (0, 1))
        fresh.save(tmp_path / "run", number)
        load_state(tmp_path / "run" / "resume" / f"epoch-000{number}", other.network, other.optimiser, other.store)
        for training in (fresh, other):
            training.update(0)
        a, b = parts(fresh), parts(other)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_last_state_and_the_last_weights_are_kept(tmp_path: Path) -> None:
    training = Training("sgd", tmp_path / "a")
    assert latest_state(tmp_path / "run") is None
    for epoch in range(1, 6):
        training.update(epoch)
        training.save(tmp_path / "run", epoch, keep=2)
    assert states(tmp_path / "run") == ["epoch-0005", "labels-0", "labels-1"]
    assert latest_state(tmp_path / "run") == tmp_path / "run" / "resume" / "epoch-0005"
    names = sorted(path.name for path in (tmp_path / "run" / "weights").iterdir())
    assert names == ["epoch-0004.safetensors", "epoch-0005.safetensors"]
    training.save(tmp_path / "run", 6, keep=0)
    assert [path.name for path in (tmp_path / "run" / "weights").iterdir()] == ["epoch-0006.safetensors"]
    saved = load_file(weights_file(tmp_path / "run", "last"))
    assert all(torch.equal(saved[name], value) for name, value in training.network.state_dict().items())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError, RuntimeError])
@pytest.mark.parametrize("moment", ["optimiser.safetensors", "labels", "state.json", "replace"])
def test_interrupted_at_any_moment_the_state_before_is_there(
    moment: str, kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training("sgd", tmp_path / "a")
    training.update(0)
    training.save(tmp_path / "run", 1)
    before = parts(training)
    before = {name: value.clone() for name, value in before.items()}
    training.update(1)
    interrupt(monkeypatch, moment, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if kind is OSError else kind())
    with pytest.raises(DataError if kind is OSError else kind):
        training.save(tmp_path / "run", 2)
    monkeypatch.undo()
    folder = latest_state(tmp_path / "run")
    assert folder is not None and folder.name == "epoch-0001"
    other = Training("sgd", tmp_path / "b", seed=1)
    assert load_state(folder, other.network, other.optimiser, other.store)["epoch"] == 1
    assert all(torch.equal(before[name], value) for name, value in parts(other).items())
    training.save(tmp_path / "run", 2)  # what was left of the second state is no hindrance
    assert states(tmp_path / "run") == ["epoch-0002", "labels-0", "labels-1"]


def interrupt(monkeypatch: pytest.MonkeyPatch, moment: str, error: BaseException) -> None:
    """Raises when a file or folder of that name is about to be written, or moved to where it belongs."""
    open_, replace = Path.open, Path.replace

    def opened(path: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if moment in str(path) and set(mode) & set("wax+") and "resume" in str(path):
            raise error
        return open_(path, mode, *arguments, **more)

    def moved(path: Path, target: Any) -> Path:
        if moment == "replace" and Path(target).name == "epoch-0002":
            raise error
        return replace(path, target)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(Path, "replace", moved)


def test_partial_folders_are_ignored(tmp_path: Path) -> None:
    training = Training("sgd", tmp_path / "a")
    training.save(tmp_path / "run", 1)
    (tmp_path / "run" / "resume" / "epoch-0002.partial").mkdir()
    folder = latest_state(tmp_path / "run")
    assert folder is not None and folder.name == "epoch-0001"
    training.save(tmp_path / "run", 3)
    assert states(tmp_path / "run") == ["epoch-0003", "labels-0", "labels-1"]
    drop_older_copy(tmp_path / "run")
    assert states(tmp_path / "run") == ["epoch-0003", "labels-1"]
    load_state(tmp_path / "run" / "resume" / "epoch-0003", training.network, training.optimiser, training.store)


def test_weights_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Linear(2, 2)
    save_weights(network, tmp_path / "weights" / "best.safetensors")
    before = (tmp_path / "weights" / "best.safetensors").read_bytes()
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(DataError, match=r"best.safetensors: cannot be written \(No space left on device\)"):
        save_weights(nn.Linear(2, 2), tmp_path / "weights" / "best.safetensors")
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["best.safetensors"]
    assert (tmp_path / "weights" / "best.safetensors").read_bytes() == before


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), tmp_path / "a.safetensors")
    for other in (nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3)):
        with pytest.raises(DataError, match="does not fit the network") as raised:
            load_weights(other, tmp_path / "a.safetensors")
        assert raised.value.where == str(tmp_path / "a.safetensors")
    same = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    load_weights(same, tmp_path / "a.safetensors")


def test_shared_parameters_and_strides_are_saved(tmp_path: Path) -> None:
    first, second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    first.weight = nn.Parameter(first.weight.detach().contiguous(memory_format=torch.channels_last))
    second.weight = first.weight
    save_weights(nn.Sequential(first, second), tmp_path / "a.safetensors")
    saved = load_file(tmp_path / "a.safetensors")
    assert torch.equal(saved["0.weight"], first.weight) and torch.equal(saved["1.weight"], first.weight)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\x10" + bytes(7) + b"{}"])
def test_damaged_files_are_named(content: bytes | None, tmp_path: Path) -> None:
    training = Training("sgd", tmp_path / "a")
    training.update(0)
    training.save(tmp_path / "run", 1)
    folder = tmp_path / "run" / "resume" / "epoch-0001"
    for name in ("weights.safetensors", "optimiser.safetensors", "state.json"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(DataError) as raised:
            load_state(folder, training.network, training.optimiser, training.store)
        assert raised.value.where.startswith(str(folder / name))
        (folder / name).write_bytes(kept)
    load_state(folder, training.network, training.optimiser, training.store)


def test_label_state_of_another_training_is_refused(tmp_path: Path) -> None:
    training = Training("sgd", tmp_path / "a")
    training.save(tmp_path / "run", 1)
    other = LabelState(FIELDS, ((4, 5), (5, 4)), tmp_path / "b")
    with pytest.raises(DataError, match="other shapes"):
        load_state(tmp_path / "run" / "resume" / "epoch-0001", training.network, training.optimiser, other)


def test_which_weights(tmp_path: Path) -> None:
    training = Training("sgd", tmp_path / "a")
    with pytest.raises(DataError, match="Weights in this run: none"):
        weights_file(tmp_path / "run", "last")
    for epoch in (2, 3, 11):
        training.save(tmp_path / "run", epoch)
    folder = tmp_path / "run" / "weights"
    assert weights_file(tmp_path / "run", "last") == folder / "epoch-0011.safetensors"
    assert weights_file(tmp_path / "run", "3") == folder / "epoch-0003.safetensors"
    for missing in ("best", "4", "³", "other", ""):
        with pytest.raises(DataError, match="Weights in this run: epoch-0002, epoch-0003, epoch-0011"):
            weights_file(tmp_path / "run", missing)
    save_weights(training.network, folder / "best.safetensors")
    assert weights_file(tmp_path / "run", "best") == folder / "best.safetensors"
