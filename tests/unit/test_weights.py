"""Weights and training states that are not those that were written are found, and those of older runs load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from debride.state import Field, LabelState
from debride.training.checkpoint import CHECKSUMS, load_state, load_weights, save_state, save_weights, weights_file
from debride.types import DataError


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, dtype=torch.bfloat16))


def flipped(path: Path, bit: int) -> bytes:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def test_every_flipped_bit_of_a_tensor_is_found(tmp_path: Path) -> None:
    file, module = tmp_path / "a.safetensors", network()
    save_weights(module, file)
    whole, before = file.read_bytes(), module.state_dict()
    start = 8 + int.from_bytes(whole[:8], "little")
    assert len(whole) - start > 100
    for bit in range(8 * start, 8 * len(whole), 37):
        file.write_bytes(flipped(file, bit))
        with pytest.raises(DataError, match="damaged") as raised:
            load_weights(module, file)
        assert raised.value.where == str(file)
        file.write_bytes(whole)
    load_weights(network(1), file)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_flipped_bit_of_the_header_changes_no_weight(tmp_path: Path) -> None:
    file, module = tmp_path / "a.safetensors", network()
    save_weights(module, file)
    whole, before = file.read_bytes(), {name: value.clone() for name, value in module.state_dict().items()}
    for bit in range(0, 8 * (8 + int.from_bytes(whole[:8], "little")), 7):
        file.write_bytes(flipped(file, bit))
        other = network(1)
        try:
            load_weights(other, file)
        except DataError:
            pass
        else:
            assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
        file.write_bytes(whole)


def test_weights_without_a_checksum_load(tmp_path: Path) -> None:
    old, new = network(), network(1)
    save_file(old.state_dict(), tmp_path / "old.safetensors")
    load_weights(new, tmp_path / "old.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "value"), [("0.weight", float("nan")), ("0.bias", float("inf")), ("1.running_var", float("nan"))]
)
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float) -> None:
    module = network()
    before = module.state_dict()[name].clone()
    module.state_dict()[name].view(-1)[1] = value
    save_weights(module, tmp_path / "a.safetensors")
    module.state_dict()[name].copy_(before)
    with pytest.raises(DataError, match=f"not finite .{name}"):
        load_weights(module, tmp_path / "a.safetensors")
    assert torch.equal(module.state_dict()[name], before)


def test_a_mask_of_minus_infinity_is_a_buffer_like_any(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    module.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    save_weights(module, tmp_path / "a.safetensors")
    load_weights(module, tmp_path / "a.safetensors")


PARTS = ("optimiser.safetensors", "weights.safetensors", "state.json", "labels/seen.hashes", "../labels-0/seen.float32")


@pytest.mark.parametrize("name", PARTS)
def test_a_flipped_bit_of_a_training_state_is_found(tmp_path: Path, name: str) -> None:
    module, store = network(), LabelState((Field("seen", "case"),), ((2, 2),) * 3, tmp_path / "labels")
    optimiser = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    save_state(tmp_path / "run", 1, module, optimiser, store, {"step": 1, "best": {}, "scaler": {}}, 1)
    folder = tmp_path / "run" / "resume" / "epoch-0001"
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(flipped(folder / name, 8 * len(whole) - 9))
    with pytest.raises(DataError, match="damaged"):
        load_state(folder, module, optimiser, store)
    (folder / name).write_bytes(whole)
    assert load_state(folder, module, optimiser, store)["epoch"] == 1
    (folder / CHECKSUMS).unlink()  # as runs had none
    assert load_state(folder, module, optimiser, store)["epoch"] == 1


def test_a_run_without_a_best_epoch_says_what_to_give(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "weights" / "epoch-0003.safetensors")
    (tmp_path / "weights" / "epoch-x.safetensors").touch()
    with pytest.raises(DataError, match="Use `checkpoint` last") as raised:
        weights_file(tmp_path, "best")
    assert raised.value.where == str(tmp_path / "weights" / "best.safetensors")
    assert weights_file(tmp_path, "last").name == "epoch-0003.safetensors"
    for strange in ("../best", "-1", "3.0"):
        with pytest.raises(DataError, match="neither best, last nor an epoch"):
            weights_file(tmp_path, strange)
