"""With which settings a training goes on, begins from pretrained weights, and is compiled."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.nnunet.homes import SHORT, found
from tests.nnunet_sets import NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.files import read_json
from debride.types import DataError

DATA = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("home"))
    write_heart(made.raw, DATA, cases=12, tests=2)
    prepare_home(made)
    shrink_plans(made.plans)
    write_two_folds(made)
    yield made
    shutil.rmtree(made.root)


@pytest.fixture
def make(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a trainer by its name, under variables of the environment given without their prefix."""

    def trainer(name: str, **variables: object) -> Any:
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        given = home.environment(**found(**SHORT), nnUNet_results=tmp_path)
        for each, value in {**given, **{f"DEBRIDE_NNUNET_{name}": str(value) for name, value in variables.items()}}.items():
            monkeypatch.setenv(each, value)
        kind = recursive_find_trainer_class_by_name(f"nnUNetTrainerDebride{name}")
        plans = {**read_json(home.plans), "continue_training": False}
        made = kind(plans, "2d", 0, read_json(home.preprocessed / NAME / "dataset.json"), torch.device("cpu"))
        for each in variables:
            monkeypatch.delenv(f"DEBRIDE_NNUNET_{each}")
        return made

    return trainer


@pytest.mark.parametrize("name", ["GCE", "SCE"])
def test_a_training_goes_on_with_its_settings(make: Make, name: str, tmp_path: Path) -> None:
    """A shell without the variables of the first one does not change the loss, and what else is other is said."""
    settings = {"GCE": "q=0.4 dice=0.5", "SCE": "alpha=0.4 dice=0.5"}[name]
    first = make(name, SETTINGS=settings, EPOCHS=7)
    first.initialize()
    first.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    second = make(name)
    assert second.config != first.config
    second.load_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert second.config == first.config
    assert second.loss.loss.weight == 0.5
    output, target = [torch.randn(2, 4, 8, 8)] * 3, [torch.randint(0, 4, (2, 1, 8, 8))] * 3
    assert torch.equal(first.loss(output, target), second.loss(output, target))
    said = Path(second.log_file).read_text()
    assert "Settings are those that the training began with" in said
    assert "WARNING: DEBRIDE_NNUNET_EPOCHS is 3; the training began with 7." in said


@pytest.mark.parametrize("name", ["", "TLoss", "ELR", "JoCoR"])
def test_maps_that_would_have_no_part_are_refused(make: Make, name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^nnUNetTrainerDebride{name}: reads no maps of weights\. Train with Weighted, GCE"):
        make(name, WEIGHTS=tmp_path)


def test_trusted_cases_that_have_no_part_are_said(make: Make, tmp_path: Path) -> None:
    said = Path(make("GCE", TRUSTED=tmp_path / "trusted.txt").log_file).read_text()
    assert "DEBRIDE_NNUNET_TRUSTED has no part in this training" in said


def test_pretrained_weights_bring_no_settings(make: Make, tmp_path: Path) -> None:
    """Weights are those of the other training, settings those of the environment, though both lie in one state."""
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    first = make("CoTeaching", SETTINGS="noise_rate=0.1 per_class=false")
    first.initialize()
    weights = first.network.state_dict()
    torch.save({"network_weights": weights}, tmp_path / "other.pth")
    second = make("CoTeaching", SETTINGS="noise_rate=0.25")
    second.initialize()
    load_pretrained_weights(second.network, str(tmp_path / "other.pth"))
    second.dataloader_train, _ = second.get_dataloaders()
    assert second.network.method.config == second.config
    assert second.config.noise_rate == 0.25
    names = [name for name in weights if "encoder" in name]
    assert names and all(torch.equal(weights[name], second.network.state_dict()[name]) for name in names)
    second.on_train_epoch_start()
    second.train_step(next(second.dataloader_train))


@pytest.mark.parametrize("name", ["GCE", "TLoss", "ELR"])
def test_a_compiled_step_is_the_same(make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net compiles networks and Dice on GPUs. Here its graphs are run as they are captured, without a compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    states, losses = [], []
    for compiled in (False, True):
        torch.manual_seed(3)
        trainer = make(name, SEED=1)
        trainer._do_i_compile = lambda compiled=compiled: compiled
        trainer.initialize()
        trainer.dataloader_train, _ = trainer.get_dataloaders()
        trainer.on_train_epoch_start()
        losses.append(float(trainer.train_step(next(trainer.dataloader_train))["loss"]))
        assert isinstance(trainer.network, torch._dynamo.OptimizedModule) == compiled
        states.append(getattr(trainer.network, "_orig_mod", trainer.network).state_dict())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert all(torch.allclose(value, states[1][key], atol=1e-6) for key, value in states[0].items())


def test_compiled_predictions_of_a_method_are_the_same(make: Make) -> None:
    """nnU-Net compiles what it predicts with where nnUNet_compile says so."""
    trainer = make("JoCoR")
    trainer.initialize()
    network = trainer.network.eval()
    compiled = torch.compile(network, backend="eager")
    with torch.no_grad():
        for batch in (1, 2):
            image = torch.randn(batch, 1, 64, 64)
            assert torch.allclose(compiled(image), network(image), atol=1e-5)
