"""What nnU-Net's own trainer does, ours do too: ResEnc plans, cascades, regions, an ignore label, several processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_nnunet_3d
from tests.nnunet.homes import SHORT, found, weights_of
from tests.nnunet_sets import HEART, NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

DATA = Path(os.environ["DEBRIDE_DATA"]) if "DEBRIDE_DATA" in os.environ else None
GCE, TLOSS = "nnUNetTrainerDebrideGCE", "nnUNetTrainerDebrideTLoss"


def ready(root: Path, *words: object, plans: str = "nnUNetPlans", regions: bool = False, ignored: bool = False) -> Home:
    """A small set of slices, planned; with ``ignored`` its first rows have the ignore label."""
    home = Home(root)
    raw = write_heart(home.raw, DATA, cases=8, tests=1, regions=regions)
    if ignored:
        description = json.loads((raw / "dataset.json").read_text())
        description["labels"]["ignore"] = 4
        (raw / "dataset.json").write_text(json.dumps(description))
        for file in (raw / "labelsTr").iterdir():
            label = np.asarray(Image.open(file)).copy()
            label[: len(label) // 3] = 4
            Image.fromarray(label).save(file)
    prepare_home(home, *words)
    shrink_plans(home.preprocessed / NAME / f"{plans}.json")
    write_two_folds(home)
    return home


def test_resenc_plans(tmp_path: Path) -> None:
    name = "nnUNetResEncUNetMPlans"
    home = ready(tmp_path, "-pl", "nnUNetPlannerResEncM", plans=name)
    home.train(GCE, 0, "-p", name, **found(**SHORT))
    held = weights_of(home.fold(GCE, plans=name) / "checkpoint_final.pth")
    assert any("stages.0.blocks" in key for key in held["network_weights"])


@pytest.mark.parametrize("regions", [False, True])
def test_ignore_label_and_regions(tmp_path: Path, regions: bool) -> None:
    home = ready(tmp_path, regions=regions, ignored=True)
    for trainer in (GCE, TLOSS):
        home.train(trainer, 0, "--npz", **found(**SHORT))
        files = sorted((home.fold(trainer) / "validation").glob("*.npz"))
        p = np.load(files[0])["probabilities"].astype(np.float64)
        assert len(files) > 0 and len(p) == (3 if regions else 4) and np.isfinite(p).all()
        assert regions or np.allclose(p.sum(axis=0), 1, atol=2e-3)


def test_low_resolution_and_cascade(tmp_path: Path) -> None:
    """Plans as nnU-Net writes them where volumes are large, made of those of a small one."""
    home = Home(tmp_path)
    build_nnunet_3d(home.raw / NAME, 5)
    (home.raw / NAME / "splits_final.json").unlink(missing_ok=True)
    prepare_home(home, configuration="3d_fullres")
    chosen = shrink_plans(home.plans, "3d_fullres", patch=(16, 16, 16), batch=2, features=(4, 8, 8))
    described = json.loads(home.plans.read_text())
    both = described["configurations"]
    low = {"data_identifier": "nnUNetPlans_3d_lowres", "spacing": [1.5 * mm for mm in chosen["spacing"]]}
    both["3d_lowres"] = {**chosen, **low, "next_stage": "3d_cascade_fullres"}
    both["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    home.plans.write_text(json.dumps(described))
    home.run("nnUNetv2_preprocess", "-d", HEART, "-c", "3d_lowres", "-np", 1)
    home.train(GCE, "all", configuration="3d_lowres", **found(**SHORT))
    stage = home.fold(GCE, "all", "3d_lowres").parent / "predicted_next_stage" / "3d_cascade_fullres"
    assert len(list(stage.glob("*.b2nd")) + list(stage.glob("*.npz"))) == 5
    home.train(GCE, 0, configuration="3d_cascade_fullres", **found(**SHORT))
    held = weights_of(home.fold(GCE, 0, "3d_cascade_fullres") / "checkpoint_final.pth")
    assert held["current_epoch"] == SHORT["DEBRIDE_NNUNET_EPOCHS"]


def in_process(rank: int, trainer: str, folder: str, port: int) -> None:
    """One of two processes that train together on the CPU, as nnU-Net's on GPUs do."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module  # noqa: N813 (a module of that name)

    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    wrapped: Any = module.DDP
    module.DDP = lambda network, device_ids: wrapped(network)
    made = get_trainer_from_args(str(HEART), "2d", 0, trainer)
    made.device, made.grad_scaler = torch.device("cpu"), None
    made.initialize()
    made.network.train()
    made.dataloader_train, made.dataloader_val = made.get_dataloaders()
    for _ in range(2):
        made.train_step(next(made.dataloader_train))
    state = {**made.network.module.state_dict(), **{f"loss.{name}": each for name, each in made.loss.state_dict().items()}}
    torch.save({"state": state, "batch": made.batch_size}, Path(folder) / f"{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("trainer", [GCE, TLOSS])
def test_two_processes_have_the_same_weights(tmp_path: Path, trainer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sees other patches; networks and degrees of freedom stay the same in both."""
    import torch
    from nnunetv2.run.run_training import find_free_network_port

    home = ready(tmp_path / "home")
    for name, value in home.environment(**found()).items():
        monkeypatch.setenv(name, value)
    torch.multiprocessing.spawn(in_process, (trainer, str(tmp_path), find_free_network_port()), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    assert first["batch"] == second["batch"] == 2
    assert all(torch.equal(value, second["state"][name]) for name, value in first["state"].items())
    if trainer == TLOSS:
        assert float(first["state"]["loss.loss.robust.log_nu"]) != 1.0
