"""Real trainings by nnU-Net with methods of debride: killed, continued, validated, and predicted by nnU-Net alone."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.nnunet.homes import SHORT, found, kill_after_checkpoint, weights_of
from tests.nnunet_sets import HEART, NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.files import read_json

DATA = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None
SEEDED = {**SHORT, "DEBRIDE_NNUNET_SEED": 1}
SETTINGS = {
    "CoTeaching": "noise_rate=0.3 ramp_epochs=1",
    "JoCoR": "search=0 ramp_epochs=1",
    "GSDNet": "search=0 ramp_epochs=1 warm_up=0.3",
    "SelfCleansing": "warm_up=0.3 settled=0.6 every=1",
    "MetaDCSeg": "warm_up=0 start=0",
}
"""With which the whole of each method is at work in a few epochs."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("home"))
    write_heart(made.raw, DATA, cases=12, tests=2)
    prepare_home(made)
    shrink_plans(made.plans)
    write_two_folds(made)
    (made.root / "trusted.txt").write_text("\n".join(training_cases(made)[:2]) + "\n")
    yield made
    shutil.rmtree(made.root)


def training_cases(home: Home, fold: int = 0) -> list[str]:
    cases: list[str] = json.loads((home.preprocessed / NAME / "splits_final.json").read_text())[fold]["train"]
    return cases


def given(home: Home, method: str, **more: object) -> dict[str, object]:
    """The variables of a short training."""
    own = {"DEBRIDE_NNUNET_SETTINGS": SETTINGS[method], "DEBRIDE_NNUNET_TRUSTED": home.root / "trusted.txt"}
    return found(**{**SEEDED, **own, **more})


@pytest.mark.parametrize("method", ["CoTeaching", "MetaDCSeg"])
def test_killed_continued_validated_predicted(home: Home, method: str, tmp_path: Path) -> None:
    """What goes on after a kill ends with the weights, buffers and label state of an uninterrupted training, bit for bit."""
    trainer = f"nnUNetTrainerDebride{method}"
    whole = Home(tmp_path, home.bin)
    for part in ("raw", "preprocessed"):
        (tmp_path / part).symlink_to(home.root / part)
    whole.train(trainer, 0, **given(home, method))
    kill_after_checkpoint(home, trainer, **given(home, method))
    said = home.train(trainer, 0, "--c", "--npz", **given(home, method))
    assert "Epoch 0" not in said
    assert "Epoch 2" in said
    expected, held = (weights_of(each.fold(trainer) / "checkpoint_final.pth") for each in (whole, home))
    assert expected["network_weights"].keys() == held["network_weights"].keys()
    assert all(torch.equal(value, held["network_weights"][name]) for name, value in expected["network_weights"].items())
    assert expected["init_args"]["debride"]["state"] == held["init_args"]["debride"]["state"]
    assert all(
        torch.equal(value, held["init_args"]["debride"]["buffers"][name])
        for name, value in expected["init_args"]["debride"]["buffers"].items()
    )
    states = [each.fold(trainer) / "debride_state" / "states" / held["init_args"]["debride"]["state"] for each in (whole, home)]
    for file in states[0].glob("*.hashes"):
        assert file.read_bytes() == (states[1] / file.name).read_bytes(), file.name

    cases = json.loads((home.preprocessed / NAME / "splits_final.json").read_text())[0]["val"]
    written = home.fold(trainer) / "validation"
    assert {file.stem for file in written.glob("*.npz")} == set(cases)
    p = np.load(written / f"{cases[0]}.npz")["probabilities"].astype(np.float64)
    assert np.allclose(p.sum(axis=0), 1, atol=5e-3)
    assert (written / "summary.json").is_file()

    out = home.root / f"predicted_{method}"
    words = ("-i", home.raw / NAME / "imagesTs", "-o", out, "-d", HEART, "-c", "2d", "-f", 0, "-tr", trainer)
    home.run("nnUNetv2_predict", *words, "-device", "cpu", "-npp", 1, "-nps", 1, **found())
    assert len(list(out.glob("*.png"))) == len(list((home.raw / NAME / "imagesTs").iterdir()))


class StoppedError(Exception):
    """Ends a training as a kill does, but in this process."""


@pytest.mark.parametrize("method", SETTINGS)
def test_a_training_goes_on_bit_for_bit(home: Home, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, buffers and label state after a stop in the third epoch are those of a training without one."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from debride.nnunet import method_trainers

    kind = getattr(method_trainers, f"nnUNetTrainerDebride{method}")
    for name, value in home.environment(**given(home, method)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(nnUNetTrainer, "plot_network_architecture", lambda self: None)

    def trainer(place: str, going_on: bool = False) -> nnUNetTrainer:
        monkeypatch.setenv("nnUNet_results", str(tmp_path / place))
        plans = {**read_json(home.plans), "continue_training": going_on}
        return kind(plans, "2d", 0, read_json(home.preprocessed / NAME / "dataset.json"), torch.device("cpu"))

    whole = trainer("whole")
    whole.run_training()
    first = trainer("stopped")
    begin = first.on_train_epoch_start

    def begin_or_stop() -> None:
        if first.current_epoch == 2:
            raise StoppedError
        begin()

    first.on_train_epoch_start = begin_or_stop
    with pytest.raises(StoppedError):
        first.run_training()
    second = trainer("stopped", going_on=True)
    second.load_checkpoint(str(Path(first.output_folder) / "checkpoint_latest.pth"))
    second.run_training()
    ours, theirs = (each.network.method.state_dict() for each in (second, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    states = [Path(each.output_folder) / "debride_state" / "states" / "epoch-3" for each in (second, whole)]
    assert all((state / "fields.json").is_file() for state in states)
    for file in states[0].glob("*.hashes"):
        assert file.read_bytes() == (states[1] / file.name).read_bytes(), file.name


def test_what_a_method_needs_is_said_in_the_last_line(home: Home) -> None:
    with pytest.raises(AssertionError, match=r"MetaDCSeg: needs trusted cases .* Give DEBRIDE_NNUNET_TRUSTED, .*\s*$"):
        home.train("nnUNetTrainerDebrideMetaDCSeg", 0, **found(**SHORT))
    (home.root / "unknown.txt").write_text("nobody\n")
    with pytest.raises(AssertionError, match=r"DEBRIDE_NNUNET_TRUSTED: lists nobody, no case of the data set\. .*\s*$"):
        home.train("nnUNetTrainerDebrideJoCoR", 0, **found(**SHORT, DEBRIDE_NNUNET_TRUSTED=home.root / "unknown.txt"))


def test_regions_are_refused_by_name(home: Home, tmp_path: Path) -> None:
    described = read_json(home.preprocessed / NAME / "dataset.json")
    described |= {
        "labels": {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3},
        "regions_class_order": [1, 2, 3],
    }
    other = Home(tmp_path, home.bin)
    (tmp_path / "raw").symlink_to(home.raw)
    shutil.copytree(home.preprocessed, other.preprocessed)
    (other.preprocessed / NAME / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(AssertionError, match=r"nnUNetTrainerDebrideJoCoR: does not train regions\. .*\s*$"):
        other.train("nnUNetTrainerDebrideJoCoR", 0, **found(**SHORT))
