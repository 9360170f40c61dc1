"""Weights that a training begins with: what is loaded where, what is told, and what a resume asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets.basic_unet import BasicUNet
from safetensors.torch import load_file, save_file
from tests.training_jobs import small_job

from debride.cli import main
from debride.networks import build
from debride.training.fit import fit
from debride.training.initial import initial_file, load_initial, placed, read_initial
from debride.training.job import Job, make_method
from debride.types import DataError

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one network, and the data."""
    root = tmp_path_factory.mktemp("initial")
    fit(small_job(root, "ce", epochs=1))
    return root


def begun(job: Job, init: Path) -> Tensors:
    """The state of a job's method that began with the weights."""
    method = make_method(job, 3)
    load_initial(method, init)
    return dict(method.state_dict())


def test_every_network_begins_with_a_runs_best_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = load_file(root / "run" / "weights" / "best.safetensors")
    state = begun(small_job(root, "co-teaching", out="two"), root / "run")
    for name, tensor in best.items():
        rest = name.removeprefix("network.")
        assert torch.equal(state[f"first.{rest}"], tensor) and torch.equal(state[f"second.{rest}"], tensor)
    told = capsys.readouterr()
    assert f"`first`: {len(best)} of {len(best)} tensors are loaded." in told.out
    assert "all networks of the method begin alike" in told.err


def test_networks_of_the_same_names_keep_apart(root: Path, tmp_path: Path) -> None:
    method = make_method(small_job(root, "co-teaching", out="two", seed=5), 3)
    save_file({name: each.clone() for name, each in method.state_dict().items()}, tmp_path / "both.safetensors")
    state = begun(small_job(root, "co-teaching", out="two"), tmp_path / "both.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in method.state_dict().items())
    assert not torch.equal(state["first.head.weight"], state["second.head.weight"])


def test_a_network_of_monai(root: Path, tmp_path: Path) -> None:
    theirs = BasicUNet(2, 3, 3, (4, 8, 16, 32, 32, 4), act="relu", norm=("batch", {"affine": True}), upsample="nontrainable")
    save_file({f"net.{name}": each.clone() for name, each in theirs.state_dict().items()}, tmp_path / "monai.safetensors")
    method = make_method(small_job(root, "ce", out="other"), 3).eval()
    (loaded,) = load_initial(method, tmp_path / "monai.safetensors")
    assert not loaded.kept and not loaded.shapes
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(method.predict(image), theirs.eval()(image).softmax(dim=1))


def test_what_does_not_fit_stays_random_and_is_told(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = load_file(root / "run" / "weights" / "best.safetensors")
    held["network.head.weight"] = torch.zeros(7, *held["network.head.weight"].shape[1:])
    del held["network.head.bias"]
    held["classifier.weight"] = torch.zeros(2)
    save_file(held, tmp_path / "cut.safetensors")
    before = dict(make_method(small_job(root, "ce", out="other"), 3).state_dict())
    after = begun(small_job(root, "ce", out="other"), tmp_path / "cut.safetensors")
    assert torch.equal(after["network.head.weight"], before["network.head.weight"])
    assert torch.equal(after["network.head.bias"], before["network.head.bias"])
    said = capsys.readouterr().out
    assert "`network`: 1 of another shape stay random: head.weight 7x4x1x1, not 3x4x1x1." in said
    assert "`network`: 1 that the file does not have stay random: head.bias." in said
    assert "1 tensors of the file have no place: classifier.weight." in said


def test_the_longest_beginning_that_agrees_in_shape_wins() -> None:
    own = {name: torch.zeros(2) for name in ("trunk.a", "trunk.b", "head.c")}
    held = {
        **{f"teacher.{name}": torch.zeros(3) for name in own},
        "student.trunk.a": torch.zeros(2),
        "student.trunk.b": torch.zeros(2),
    }
    assert placed(own, held, "network") == {"trunk.a": "student.trunk.a", "trunk.b": "student.trunk.b"}


def test_nnunets_checkpoint_is_read_without_running_code(root: Path, tmp_path: Path) -> None:
    state = {name.removeprefix("network."): each for name, each in load_file(root / "run/weights/best.safetensors").items()}
    fold = tmp_path / "fold_0"
    fold.mkdir()
    torch.save({"network_weights": state, "current_epoch": 3, "optimizer_state": {"step": 1}}, fold / "checkpoint_final.pth")
    assert initial_file(fold) == fold / "checkpoint_final.pth"
    found = begun(small_job(root, "ce", out="other"), fold)
    assert all(torch.equal(found[f"network.{name}"], each) for name, each in state.items())
    log = {"mean_fg_dice": [np.float64(0.5), np.float32(0.6)], "val_losses": np.zeros(2), "own": np.array(["x"], object)}
    trusted = set(torch.serialization.get_safe_globals())
    settings = {"plans": {"a": 1}, "fold": 0, "device": torch.device("cpu")}
    torch.save({"network_weights": state, "logging": log, "init_args": settings}, fold / "checkpoint_final.pth")
    assert read_initial(fold / "checkpoint_final.pth").keys() == state.keys()
    assert trusted == set(torch.serialization.get_safe_globals())  # others that load files trust nothing more
    torch.save({"network_weights": state, "logging": Path("pickled")}, fold / "checkpoint_final.pth")
    with pytest.raises(DataError, match=r"checkpoint_final\.pth: is not read: it holds more than weights.*safetensors"):
        read_initial(fold / "checkpoint_final.pth")


class Running:
    """What a file may hold that would run code, by the names that are admitted too."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return (eval, (f"open({self.name!r}, 'w')",)) if "numpy" not in self.name else (np.dtype, ("O",), {"state": eval})


def test_a_checkpoint_runs_no_code_and_is_refused_by_an_old_torch(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, trace = tmp_path / "checkpoint_final.pth", tmp_path / "trace"
    for name in (str(trace), "numpy"):
        torch.save({"network_weights": {"a": torch.zeros(2)}, "logging": Running(name)}, file)
        with pytest.raises(DataError, match="is not read: it holds more than weights"):
            read_initial(file)
    assert not trace.exists()
    torch.save({"network_weights": {"a": torch.zeros(2)}}, file)
    assert read_initial(file).keys() == {"a"}
    for version in ("2.4.1", "2.9.1+cu128"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(DataError, match=r"is a pickle, of which torch .* may run code\. Update torch to 2\.10"):
            read_initial(file)


def test_what_is_no_beginning_is_refused(root: Path, tmp_path: Path) -> None:
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    save_file({"network.trunk.x": torch.tensor([float("nan")])}, tmp_path / "nan.safetensors")
    (tmp_path / "text.txt").write_text("weights")
    for init, problem in (
        (tmp_path / "other.safetensors", "has no weights that fit the network in name and shape; it has other.weight"),
        (tmp_path / "nan.safetensors", "holds weights that are not finite"),
        (tmp_path / "text.txt", "is of no kind that is read"),
        (tmp_path / "nothing", "does not exist"),
        (tmp_path, "is no run, no file of weights"),
    ):
        with pytest.raises(DataError, match=problem):
            begun(small_job(root, "ce", out="other"), init)
    job = replace(small_job(root, "ce", out="never"), init=tmp_path / "nothing")
    with pytest.raises(DataError, match="does not exist"):
        fit(job)
    assert not (root / "never").exists()


def test_a_resume_gives_the_same_bits_and_asks_for_the_same_weights(root: Path, tmp_path: Path) -> None:
    init = root / "run"
    data, common = str(root / "data"), ["--epochs", "2", "--image-size", "32", "32", "--network", "unet-small", "--width", "4"]
    common += ["--batch-size", "4", "--device", "cpu", "--log-to", "none"]
    assert main(["train", "ce", data, "--out", str(root / "whole"), "--init", str(init), *common]) == 0
    cut = replace(small_job(root, "ce", out="cut", epochs=2, learning_rate=0.01), init=init)

    def stop(run: object) -> None:
        if getattr(run, "epoch", 0) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(cut, watch=stop)
    entry = json.loads((root / "cut" / "run.json").read_text())["init"]
    assert entry["weights"] == str((init / "weights" / "best.safetensors").resolve()) and len(entry["hash"]) == 32
    for other in (None, root / "whole" / "weights" / "epoch-0001.safetensors"):
        with pytest.raises(DataError, match=r"began with .*best\.safetensors"):
            fit(replace(cut, resume=True, init=other))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((init / "weights" / "best.safetensors").read_bytes())
    fit(replace(cut, resume=True, init=moved))
    expected, found = (load_file(root / name / "weights" / "epoch-0002.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    fresh = replace(small_job(root, "ce", out="fresh", epochs=2, learning_rate=0.01), resume=False)
    fit(fresh)
    with pytest.raises(DataError, match="began with random weights"):
        fit(replace(fresh, resume=True, init=init))
    assert not torch.equal(
        load_file(root / "fresh/weights/epoch-0002.safetensors")["network.head.bias"], found["network.head.bias"]
    )


def test_unet_plus_plus_too() -> None:
    network = build("unet++", ndim=2, in_channels=1, classes=2, width=2)
    own = dict(network.state_dict())
    held = {name.replace("trunk.0.", "").replace("head.", "final_conv_0_4."): each for name, each in own.items()}
    assert placed(own, held, "network").keys() == own.keys()
